//! From a recipe's `[data]` to lists to learn from and queries to measure on. The two never share a query: equal texts
//! are refused.

use std::collections::HashMap;

use datasets::pairs;
use datasets::{Collection, Document, Ratings};
use relevance::{Judgments, QueryJudgments};
use trainer::batch::{GradedPair, Lists, refuse_leaked};

use crate::arguments::Options;
use crate::collections;
use crate::exit::Usage;
use crate::recipe::TrainingRecipe;
use crate::recipe::training::{HeldOut, TrainingData};

/// What is learned from and what is measured on.
pub struct TrainingSet {
    /// The documents, and the judgments that are learned.
    pub learned: Collection,
    /// The same as lists, each text once.
    pub lists: Lists,
    /// The documents and judgments of held-out queries.
    pub held_out: Option<Collection>,
    /// What a reader should know: what was merged, left out, mapped. One sentence each.
    pub notes: Vec<String>,
}

/// Reads the data of a recipe.
///
/// # Errors
/// When it cannot be read, a grade is off the scale, a held-out query is also learned from, or the loss has nothing to
/// learn from a list; each names the first at fault.
pub fn read(recipe: &TrainingRecipe, options: &Options) -> anyhow::Result<TrainingSet> {
    let data = &recipe.file.data;
    let mut learned = match (&data.dataset, &data.pairs) {
        (Some(name), _) => collections::open(name, data.split.as_deref(), options.memory)?,
        (None, Some(file)) => collections::of_pairs(file, &data.columns, options)?,
        (None, None) => return Err(Usage::error("data: expected either dataset or pairs")),
    };
    let held_out = match &data.held_out {
        Some(held_out) => Some(hold_out(&mut learned, held_out, data.dataset.as_deref(), options)?),
        None => None,
    };
    let mut notes = learned.notes.clone();
    let scores = teacher_scores(&learned, data, options)?;
    let mut lists = lists(&learned, scores.as_ref(), &mut notes)?;
    if let Some(held_out) = &held_out {
        let queries = held_out.judged_queries().map(|query| (query.id.as_str(), query.text.as_str()));
        refuse_leaked(&lists, queries)?;
    }
    if data.drop_silent {
        let dropped = lists.drop_silent(&recipe.loss)?;
        if dropped > 0 {
            notes.push(format!("{dropped} lists say nothing to the loss and were left out"));
        }
    }
    Ok(TrainingSet { learned, lists, held_out, notes })
}

/// Takes the held-out queries' judgments out of `learned` and returns them with their documents.
///
/// # Errors
/// When what is held out cannot be opened, or nothing is left on one side.
pub fn hold_out(
    learned: &mut Collection,
    held_out: &HeldOut,
    dataset: Option<&str>,
    options: &Options,
) -> anyhow::Result<Collection> {
    if let Some(name) = &held_out.dataset {
        return collections::open(name, None, options.memory);
    }
    if let Some(split) = &held_out.split {
        let Some(name) = dataset else {
            return Err(Usage::error("data.held_out.split: expected a data.dataset that has splits"));
        };
        return collections::open(name, Some(split), options.memory);
    }
    let mut queries: Vec<String> =
        learned.judgments.queries().map(|query| query.query().to_owned()).collect();
    // An order that depends on seed and id alone: adding a query to the collection moves no other.
    queries.sort_by_cached_key(|id| *blake3::hash(format!("{}:{id}", held_out.seed).as_bytes()).as_bytes());
    let is_held_out = |at: usize| match (held_out.folds, held_out.fold, held_out.share) {
        (Some(folds), Some(fold), _) => at % folds == fold,
        (_, _, Some(share)) => (at as f64) < share * queries.len() as f64,
        _ => false,
    };
    let chosen: std::collections::HashSet<&str> =
        queries.iter().enumerate().filter(|(at, _)| is_held_out(*at)).map(|(_, id)| id.as_str()).collect();
    let (inside, outside): (Vec<_>, Vec<_>) =
        learned.judgments.queries().partition(|query| chosen.contains(query.query()));
    if inside.is_empty() || outside.is_empty() {
        let (inside, all) = (inside.len(), queries.len());
        return Err(Usage::error(format!(
            "data.held_out: {inside} of {all} queries held out leaves nothing on one side"
        )));
    }
    let (inside, outside) = (judgments(&inside), judgments(&outside));
    learned.judgments = outside;
    Ok(Collection { judgments: inside, ..learned.clone() })
}

fn judgments(queries: &[&QueryJudgments]) -> Judgments {
    let triples =
        queries.iter().flat_map(|own| own.iter().map(|(document, grade)| (own.query(), document, grade)));
    triples.collect()
}

/// The judged pairs whose texts are there.
fn lists(
    collection: &Collection,
    scores: Option<&TeacherScores>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Lists> {
    let documents: HashMap<&str, &Document> =
        collection.documents.iter().map(|document| (document.id.as_str(), document)).collect();
    let mut texts: HashMap<&str, String> = HashMap::new();
    for query in collection.judged_queries() {
        for (id, _) in collection.judgments.get(&query.id).into_iter().flat_map(QueryJudgments::iter) {
            if let Some(document) = documents.get(id) {
                texts.entry(document.id.as_str()).or_insert_with(|| document.full_text());
            }
        }
    }
    let (mut pairs, mut absent) = (Vec::new(), 0);
    for query in collection.judged_queries() {
        for (id, grade) in collection.judgments.get(&query.id).into_iter().flat_map(QueryJudgments::iter) {
            let Some((document_id, document)) = texts.get_key_value(id) else {
                absent += 1;
                continue;
            };
            let teacher = scores.and_then(|scores| scores.get(&query.id)?.get(id).copied());
            let (query_id, query) = (query.id.as_str(), query.text.as_str());
            pairs.push(GradedPair { query_id, query, document_id, document, grade, teacher });
        }
    }
    if absent > 0 {
        notes.push(format!("{absent} judged documents are not in the collection and were left out"));
    }
    let lists = Lists::new(&collection.scale, pairs)?;
    let merged = lists.merged();
    for (count, what) in [
        (merged.queries, "queries have the text of another and were merged with it"),
        (merged.documents, "documents have the text of another and were merged with it"),
        (merged.conflicting_pairs, "pairs of equal texts have different grades; the highest was kept"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    Ok(lists)
}

/// A teacher's scores by query and document.
type TeacherScores = HashMap<String, HashMap<String, f32>>;

/// The scores of the teacher that the recipe names: of a file, of a column of the pairs, or a rater's grades.
fn teacher_scores(
    collection: &Collection,
    data: &TrainingData,
    options: &Options,
) -> anyhow::Result<Option<TeacherScores>> {
    let own_file = data.pairs.as_ref().filter(|_| data.teacher.is_some() && collection.ratings.is_none());
    let mut scores = TeacherScores::new();
    let mut put = |query: &str, document: &str, score: f32| {
        scores.entry(query.to_owned()).or_default().insert(document.to_owned(), score);
    };
    match (data.teacher_file.as_ref().or(own_file), &data.teacher) {
        (None, None) => return Ok(None),
        (Some(file), column) => {
            let wanted = data.columns.options_of(file, data.pairs.as_deref(), options.memory);
            let told = pairs::read_scores(file, column.as_deref(), &wanted)?;
            told.iter().for_each(|told| put(&told.query, &told.document, told.value));
        }
        (None, Some(name)) => {
            let (ratings, column) = rater(collection, name)?;
            let keys = ratings.queries.iter().zip(&ratings.documents);
            for ((query, document), row) in keys.zip(ratings.table.rows()) {
                if let Some(grade) = row[column] {
                    put(query, document, grade as f32);
                }
            }
        }
    }
    Ok(Some(scores))
}

fn rater<'c>(collection: &'c Collection, name: &str) -> anyhow::Result<(&'c Ratings, usize)> {
    let ratings = collection.ratings.as_ref();
    ratings.and_then(|ratings| Some((ratings, ratings.column(name)?))).ok_or_else(|| {
        let known = ratings.map_or("none".to_owned(), |ratings| ratings.raters.join(", "));
        Usage::error(format!("data.teacher: {name} is no rater of the collection; there are: {known}"))
    })
}
