//! From a labeler recipe's `[data]` to pairs to learn from and pairs to measure on. The two never share a query: equal texts
//! are refused.

use std::collections::HashMap;
use std::path::Path;

use datasets::pairs::{PairFile, PairOptions, read_distributions, read_ratings};
use datasets::{Collection, Ratings};
use relevance::{Grade, LabeledPair, Scale};
use serde_json::Value;
use trainer::batch::refuse_leaked_queries;

use super::data::hold_out;
use crate::arguments::Options;
use crate::collections;
use crate::exit::Usage;
use crate::labelers;
use crate::recipe::LabelerRecipe;

/// A pair to learn from.
pub struct Lesson {
    /// The pair, with its texts.
    pub pair: LabeledPair,
    /// The level that is learned, counted from the lowest.
    pub level: u8,
    /// The share of the raters' votes that each level got, or a teacher's probability of it; empty where grades alone are
    /// learned.
    pub distribution: Vec<f32>,
}

/// What a labeler learns from and is measured on.
pub struct Lessons {
    /// Where the pairs come from.
    pub name: String,
    /// Digests of documents, queries and judgments.
    pub fingerprint: Value,
    /// The grades.
    pub scale: Scale,
    /// What is learned.
    pub learned: Vec<Lesson>,
    /// Pairs of held-out queries with their human grades.
    pub held_out: Option<Vec<LabeledPair>>,
    /// The same with the teacher's grades as predictions, where there is a teacher.
    pub teacher: Option<Vec<LabeledPair>>,
    /// What a reader should know. One sentence each.
    pub notes: Vec<String>,
}

impl Lessons {
    /// The blake3 digest, in hex, of all that is learned from, in its order: texts, levels and distributions.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for Lesson { pair, level, distribution } in &self.learned {
            let texts = labelers::texts(pair);
            for text in [texts.query, texts.document] {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
            hasher.update(&[*level, distribution.len() as u8]);
            for share in distribution {
                hasher.update(&share.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Grades by query and document.
type Votes = HashMap<(String, String), Vec<Option<Grade>>>;

/// Reads the data of a recipe.
///
/// # Errors
/// When it cannot be read, a rater is unknown, a grade is off the scale, a held-out query is also learned from, or
/// nothing is left to learn.
pub fn read(recipe: &LabelerRecipe, options: &Options) -> anyhow::Result<Lessons> {
    let data = &recipe.file.data;
    let told_by = |file: &Path, scale: &Scale| {
        let wanted = data.columns.options_of(file, data.pairs.as_deref(), options.memory);
        Told::read(file, scale, &wanted)
    };
    let mut stood_in = Vec::new();
    let (mut learned, told) = match (&data.dataset, &data.pairs, &data.teacher_file) {
        (Some(name), _, file) => {
            let learned = collections::open(name, data.split.as_deref(), options.memory)?;
            let told = file.as_ref().map(|file| told_by(file, &learned.scale)).transpose()?;
            (learned, told)
        }
        (None, Some(pairs), Some(file)) => {
            let told = told_by(file, &Scale::ssra())?;
            let (learned, without) =
                collections::of_taught_pairs(pairs, &data.columns, |pair| told.likeliest(pair), options)?;
            stood_in = without;
            (learned, Some(told))
        }
        (None, Some(pairs), None) => (collections::of_pairs(pairs, &data.columns, options)?, None),
        (None, None, _) => return Err(Usage::error("data: expected either dataset or pairs")),
    };
    let held_out = match &data.held_out {
        Some(held_out) => Some(hold_out(&mut learned, held_out, data.dataset.as_deref(), options)?),
        None => None,
    };
    if let Some(held_out) = &held_out {
        fn queries(collection: &Collection) -> impl Iterator<Item = (&str, &str)> {
            collection.judged_queries().map(|query| (query.id.as_str(), query.text.as_str()))
        }
        refuse_leaked_queries(queries(&learned), queries(held_out))?;
        require_people(held_out, &stood_in)?;
    }
    let mut notes = learned.notes.clone();
    if !stood_in.is_empty() {
        let count = stood_in.len();
        notes.push(format!("{count} pairs have no human grade; the teacher's likeliest stands in for it"));
    }
    let lessons = lessons(&learned, told.as_ref(), recipe, options, &mut notes)?;
    let pairs = held_out.as_ref().map(|collection| PairFile::of_collection(collection).pairs);
    let teacher = match (&held_out, &pairs, &data.teacher) {
        (Some(collection), Some(pairs), Some(name)) => taught(collection, pairs, name, recipe, options)?,
        _ => None,
    };
    Ok(Lessons {
        name: learned.name.clone(),
        fingerprint: collections::fingerprint(&learned),
        scale: learned.scale.clone(),
        learned: lessons,
        held_out: pairs,
        teacher,
        notes,
    })
}

/// A teacher's probabilities of the grades, lowest first, by query and document.
struct Told {
    scale: Scale,
    distributions: HashMap<(String, String), Vec<f32>>,
}

impl Told {
    fn read(file: &Path, scale: &Scale, wanted: &PairOptions) -> anyhow::Result<Self> {
        let grades: Vec<Grade> = scale.levels().iter().map(|level| level.grade).collect();
        let told = read_distributions(file, &grades, wanted)?;
        let distributions = told.into_iter().map(|told| ((told.query, told.document), told.value));
        Ok(Self { scale: scale.clone(), distributions: distributions.collect() })
    }

    fn of(&self, pair: &LabeledPair) -> Option<&Vec<f32>> {
        self.distributions.get(&(pair.query.clone(), pair.document.clone()))
    }

    /// The grade with the highest probability, the lowest of several.
    fn likeliest(&self, pair: &LabeledPair) -> Option<Grade> {
        let distribution = self.of(pair)?;
        let best = distribution.iter().copied().fold(0.0, f32::max);
        let at = distribution.iter().position(|share| *share == best)?;
        Some(self.scale.levels()[at].grade)
    }
}

/// Refuses to measure agreement with people where no person has graded.
fn require_people(held_out: &Collection, stood_in: &[(String, String)]) -> anyhow::Result<()> {
    let is_held_out =
        |(query, document): &&(String, String)| held_out.judgments.grade(query, document).is_some();
    match stood_in.iter().find(is_held_out) {
        None => Ok(()),
        Some((query, document)) => Err(Usage::error(format!(
            "data.held_out: query {query}, document {document} has no human grade to be measured by; hold out another \
             dataset"
        ))),
    }
}

fn lessons(
    collection: &Collection,
    told: Option<&Told>,
    recipe: &LabelerRecipe,
    options: &Options,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Lesson>> {
    let data = &recipe.file.data;
    let teacher = match &data.teacher {
        Some(name) => Some(votes(collection, std::slice::from_ref(name), recipe, options, "data.teacher")?),
        None => None,
    };
    let raters = match data.raters.as_slice() {
        [] => None,
        names => Some(votes(collection, names, recipe, options, "data.raters")?),
    };
    let level = |pair: &LabeledPair, grade: Grade| {
        let position = collection.scale.levels().iter().position(|level| level.grade == grade);
        position.ok_or_else(|| {
            let (query, document, scale) = (&pair.query, &pair.document, collection.scale.name());
            Usage::error(format!("{query} {document}: grade {grade} is not on the scale {scale}"))
        })
    };
    let (mut lessons, mut silent) = (Vec::new(), 0);
    for pair in PairFile::of_collection(collection).pairs {
        let key = (pair.query.clone(), pair.document.clone());
        let voted =
            |votes: &Votes| votes.get(&key).into_iter().flatten().copied().flatten().collect::<Vec<_>>();
        let grade = match &teacher {
            Some(teacher) => voted(teacher).first().copied(),
            None => pair.human,
        };
        let mut distribution = told.and_then(|told| told.of(&pair)).cloned().unwrap_or_default();
        if let Some(raters) = &raters {
            let given = voted(raters);
            distribution = vec![0.0; if given.is_empty() { 0 } else { collection.scale.levels().len() }];
            for grade in &given {
                distribution[level(&pair, *grade)?] += 1.0 / given.len() as f32;
            }
        }
        match grade {
            Some(grade) if (raters.is_none() && told.is_none()) || !distribution.is_empty() => {
                let level =
                    u8::try_from(level(&pair, grade)?).map_err(|_| Usage::error("a scale of 256 levels"))?;
                lessons.push(Lesson { pair, level, distribution });
            }
            _ => silent += 1,
        }
    }
    if silent > 0 {
        notes.push(format!("{silent} pairs without a grade to learn were left out"));
    }
    if lessons.is_empty() {
        return Err(Usage::error(format!("{}: no pair has a grade to learn", collection.name)));
    }
    Ok(lessons)
}

/// The held-out pairs with a teacher's grades; `None` where the held-out collection has no such rater.
fn taught(
    collection: &Collection,
    pairs: &[LabeledPair],
    name: &str,
    recipe: &LabelerRecipe,
    options: &Options,
) -> anyhow::Result<Option<Vec<LabeledPair>>> {
    let known = collection.ratings.as_ref().is_some_and(|ratings| ratings.column(name).is_some());
    if !known && recipe.file.data.pairs.is_none() {
        return Ok(None);
    }
    let votes = votes(collection, &[name.to_owned()], recipe, options, "data.teacher")?;
    let graded = |pair: &LabeledPair| {
        let key = (pair.query.clone(), pair.document.clone());
        LabeledPair { predicted: votes.get(&key).and_then(|grades| grades[0]), ..pair.clone() }
    };
    Ok(Some(pairs.iter().map(graded).collect()))
}

/// The grades of the named raters: of the collection's, or of a pair file's columns.
fn votes(
    collection: &Collection,
    names: &[String],
    recipe: &LabelerRecipe,
    options: &Options,
    key: &str,
) -> anyhow::Result<Votes> {
    let read;
    let ratings: &Ratings = match (&collection.ratings, &recipe.file.data.pairs) {
        (Some(ratings), _) => ratings,
        (None, Some(file)) => {
            let wanted = recipe.file.data.columns.options(options.memory);
            read = read_ratings(file, names, &wanted)?;
            &read
        }
        (None, None) => return Err(Usage::error(format!("{key}: {} has no raters", collection.name))),
    };
    let columns = names.iter().map(|name| {
        ratings.column(name).ok_or_else(|| {
            let known = ratings.raters.join(", ");
            Usage::error(format!("{key}: {name} is no rater of the collection; there are: {known}"))
        })
    });
    let columns = columns.collect::<anyhow::Result<Vec<_>>>()?;
    let rows = ratings.queries.iter().zip(&ratings.documents).zip(ratings.table.rows());
    Ok(rows
        .map(|((query, document), row)| {
            ((query.clone(), document.clone()), columns.iter().map(|&column| row[column]).collect())
        })
        .collect())
}
