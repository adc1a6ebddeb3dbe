//! Who grades while data are made: a head fitted on the seed grades over an encoder, a labeler that is there, an encoder's
//! similarity, grades that were recorded (people's, or a teacher's), or a language model that is asked. The trainer fits, the pipelines judge; this file is
//! where they are introduced to each other.

use relevance::agreement::{Confusion, Weights, cohen_kappa, per_grade};
use relevance::{Grade, Scale};
use scorer::labeler::{EncoderLabeler, Feature};
use scorer::{EncoderOptions, Pair};
use serde::{Deserialize, Serialize};
use synthesis::judge::{Judge, LabelerJudge, RecordedJudge, SimilarityJudge};

use super::seed::Seed;
use crate::arguments::Options;
use crate::commands::calibrate;
use crate::exit::Usage;
use crate::generators::JudgeFile;
use crate::models;
use crate::report::{Cell, Table};

/// Below this F1 on a middle grade the score model is no guide to it.
const LEAST_F1: f64 = 0.6;

/// Above this cosine an encoder's grade is 1; the pipelines read its scores.
const ENCODER_THRESHOLD: f64 = 0.5;

/// `[score_model]`, `[teacher]` and `[pairwise]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreModelFile {
    /// Who grades.
    pub kind: Kind,
    /// The encoder or labeler: `embedded`, a pulled model's name, or a path.
    pub bundle: String,
    /// With `fitted`: what the score is made of; as `graded model calibrate` chooses unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<Feature>>,
    /// With `fitted`: how strongly the weights are held to zero.
    pub ridge: f64,
    /// With `fitted`: the share of the seed queries that it is measured on instead of fitted to.
    pub hold_out: f64,
    /// With `recorded`: the rater whose grades are taken; the collection's judgments unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rater: Option<String>,
    /// With `judge`: who, as `[judge]` says it in other recipes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeFile>,
}

/// Who grades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An ordinal head over the bundle's encoder, fitted on the seed grades.
    #[default]
    Fitted,
    /// The bundle's own head.
    Labeler,
    /// The cosine of the bundle's encoder: it orders pairs, but has no grades beyond 0 and 1.
    Encoder,
    /// Grades that are in the collection.
    Recorded,
    /// Whoever the table `judge` names: a language model, for one.
    Judge,
}

impl Default for ScoreModelFile {
    fn default() -> Self {
        Self {
            kind: Kind::Fitted,
            bundle: models::EMBEDDED.to_owned(),
            features: None,
            ridge: 1.0,
            hold_out: 0.3,
            rater: None,
            judge: None,
        }
    }
}

impl ScoreModelFile {
    /// What a pairwise judge is where nothing is said: something else than the score model.
    pub fn encoder() -> Self {
        Self { kind: Kind::Encoder, ..Self::default() }
    }
}

/// A judge, and how well it does.
pub struct ScoreModel {
    /// The judge.
    pub judge: Box<dyn Judge>,
    /// With `fitted`: on seed queries that it was not fitted to.
    pub measured: Option<Measured>,
}

/// How well a fitted score model does on queries it has not seen.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Pairs it was fitted to.
    pub fitted_pairs: usize,
    /// Pairs it was measured on.
    pub pairs: u64,
    /// Cohen's kappa with quadratic weights.
    pub kappa_quadratic: Option<f64>,
    /// Grade by grade: the grade, pairs that people gave it, F1.
    pub grades: Vec<(Grade, u64, Option<f64>)>,
}

/// Pairs that the score model is fitted to beyond the seed grades: query, document, grade.
pub type Further<'a> = [(&'a str, &'a str, Grade)];

/// The judge of a recipe.
///
/// # Errors
/// When the bundle cannot be loaded, the seed grades do not fit a head, there is no such rater, or the judge cannot be
/// opened.
pub fn open(
    file: &ScoreModelFile,
    seed: &Seed,
    further: &Further<'_>,
    options: &Options,
) -> anyhow::Result<ScoreModel> {
    let bundle = || models::bundle(&file.bundle);
    let encoder_options = EncoderOptions::default();
    let judge: Box<dyn Judge> = match (file.kind, &file.judge) {
        (Kind::Judge, Some(judge)) => judge.open(ENCODER_THRESHOLD, options)?,
        (Kind::Judge, None) => {
            return Err(Usage::error(
                "kind = \"judge\": expected a table that says who, such as [teacher.judge]",
            ));
        }
        (_, Some(_)) => {
            return Err(Usage::error("a table `judge` says who grades: it goes with kind = \"judge\""));
        }
        (Kind::Fitted, _) => return fitted(file, seed, further, options.seed),
        (Kind::Labeler, _) => {
            Box::new(LabelerJudge::new(scorer::load_labeler(&bundle()?, &encoder_options)?))
        }
        (Kind::Encoder, _) => {
            let encoder = scorer::load_encoder(&bundle()?, &encoder_options)?;
            Box::new(SimilarityJudge::new(encoder, ENCODER_THRESHOLD))
        }
        (Kind::Recorded, _) => Box::new(recorded(file.rater.as_deref(), seed)?),
    };
    Ok(ScoreModel { judge, measured: None })
}

fn recorded(rater: Option<&str>, seed: &Seed) -> anyhow::Result<RecordedJudge> {
    let texts = |pair: &super::seed::JudgedPair| {
        (seed.queries[pair.query].1.as_str(), seed.texts[pair.document].as_str())
    };
    let scale = Scale::ssra();
    let Some(rater) = rater else {
        let graded = seed.judged.iter().map(|pair| {
            let (query, document) = texts(pair);
            (query, document, pair.grade)
        });
        return Ok(RecordedJudge::new(scale, graded));
    };
    let ratings = seed.collection.ratings.as_ref();
    let Some((ratings, column)) = ratings.and_then(|ratings| Some((ratings, ratings.column(rater)?))) else {
        let known = ratings.map_or("none".to_owned(), |ratings| ratings.raters.join(", "));
        return Err(Usage::error(format!("rater: {rater} is none of the collection's; there are: {known}")));
    };
    let rows = ratings.queries.iter().zip(&ratings.documents).zip(ratings.table.rows());
    let grades: rustc_hash::FxHashMap<(&str, &str), Grade> =
        rows.filter_map(|((q, d), row)| Some(((q.as_str(), d.as_str()), row[column]?))).collect();
    let graded = seed.judged.iter().filter_map(|pair| {
        let id = &seed.collection.documents[pair.document].id;
        let grade = *grades.get(&(seed.queries[pair.query].0.as_str(), id.as_str()))?;
        let (query, document) = texts(pair);
        Some((query, document, grade))
    });
    Ok(RecordedJudge::new(scale, graded))
}

fn fitted(
    file: &ScoreModelFile,
    seed: &Seed,
    further: &Further<'_>,
    draw: u64,
) -> anyhow::Result<ScoreModel> {
    let is_in_range = (0.0..1.0).contains(&file.hold_out) && file.ridge.is_finite() && file.ridge >= 0.0;
    if !is_in_range {
        let expected = "score_model: expected hold_out from 0 up to, but without, 1, and ridge of at least 0";
        return Err(Usage::error(expected));
    }
    let bundle = models::bundle(&file.bundle)?;
    let features = match &file.features {
        Some(features) => features.clone(),
        None => calibrate::features(&[], &bundle)?,
    };
    let scale = &seed.collection.scale;
    let is_seen = |query: usize| calibrate::is_seen(&seed.queries[query].0, file.hold_out, draw);
    let pair = |at: &super::seed::JudgedPair| Pair {
        query: &seed.queries[at.query].1,
        document: &seed.texts[at.document],
    };
    let (seen, unseen): (Vec<_>, Vec<_>) = seed.judged.iter().partition(|pair| is_seen(pair.query));
    let mut pairs: Vec<Pair<'_>> = seen.iter().copied().map(&pair).collect();
    let mut grades: Vec<Grade> = seen.iter().map(|pair| pair.grade).collect();
    for &(query, document, grade) in further {
        pairs.push(Pair { query, document });
        grades.push(grade);
    }
    let options = EncoderOptions::default();
    let blank = EncoderLabeler::with_head(&bundle, &options, calibrate::unfitted(scale, &features)?)?;
    let head = trainer::ordinal_head::fit(scale, &features, &blank.features(&pairs)?, &grades, file.ridge)
        .map_err(|error| Usage::error(format!("score_model: {error}")))?;
    let labeler = scorer::load_labeler(&calibrate::with_head(&bundle, &head, None)?, &options)?;
    let judge = Box::new(LabelerJudge::new(labeler));
    let unseen_pairs: Vec<Pair<'_>> = unseen.iter().copied().map(pair).collect();
    let verdicts = judge.judge(&unseen_pairs)?;
    let graded: Vec<(Grade, Grade)> = unseen
        .iter()
        .zip(&verdicts)
        .filter_map(|(pair, verdict)| Some((pair.grade, verdict.grade()?)))
        .collect();
    let measured = (!graded.is_empty()).then(|| measure(&graded, pairs.len()));
    Ok(ScoreModel { judge, measured })
}

fn measure(graded: &[(Grade, Grade)], fitted_pairs: usize) -> Measured {
    let confusion = Confusion::of(graded);
    let grades = per_grade(&confusion).into_iter();
    Measured {
        fitted_pairs,
        pairs: confusion.pairs(),
        kappa_quadratic: cohen_kappa(&confusion, Weights::Quadratic).ok(),
        grades: grades.map(|row| (row.grade, row.human, row.f1.ok())).collect(),
    }
}

impl Measured {
    /// The papers' sign of failure: a score model that cannot tell the middle grades.
    pub fn signs(&self) -> Vec<String> {
        let middle = self.grades.iter().filter(|(grade, ..)| (1..=2).contains(grade));
        let weak = middle.filter_map(|(grade, human, f1)| Some((grade, human, (*f1)?)));
        let weak = weak.filter(|(.., f1)| *f1 < LEAST_F1);
        weak.map(|(grade, human, f1)| {
            format!("score model: F1 {f1:.3} on grade {grade} ({human} pairs), below {LEAST_F1}")
        })
        .collect()
    }

    /// As people read it.
    pub fn table(&self) -> Table {
        let mut table =
            Table::new(["grade", "pairs", "F1"]).titled("score model on seed queries it has not seen");
        for &(grade, human, f1) in &self.grades {
            table.push(vec![Cell::text(grade.to_string()), Cell::Count(human), Cell::maybe(f1)]);
        }
        let kappa = self.kappa_quadratic.map_or("none".to_owned(), |kappa| format!("{kappa:.4}"));
        table.notes.push(format!("fitted to {} pairs; quadratic kappa {kappa}", self.fitted_pairs));
        table.notes.extend(self.signs());
        table
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_score_model_that_cannot_tell_the_middle_grades_is_a_sign() {
        // Grade 1 is never found; grade 2 is found twice of three times, and nothing else is called so: F1 .8.
        let graded = [(0, 0), (0, 0), (1, 0), (1, 3), (2, 2), (2, 2), (2, 3), (3, 3)];
        let measured = measure(&graded, 100);
        assert_eq!(measured.signs(), ["score model: F1 0.000 on grade 1 (2 pairs), below 0.6"]);
        let notes = measured.table().notes;
        assert!(notes[0].contains("fitted to 100 pairs") && notes[1].contains("on grade 1"), "{notes:?}");
        let good = [(0, 0), (1, 1), (1, 1), (1, 2), (2, 2), (2, 2), (3, 0)];
        assert_eq!(measure(&good, 1).signs(), [""; 0], "the outer grades are not looked at");
    }
}
