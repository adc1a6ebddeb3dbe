//! An evaluation as JSON has it: the part of `graded evaluate`'s document that follows from judgments and rankings
//! alone. Whoever evaluates, natively or in a page, writes this.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::evaluation::Evaluation;
use crate::measures::Measure;

/// The values of an evaluation, by the measures' names.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationReport<'a> {
    /// The values.
    pub evaluation: &'a Evaluation,
    /// Whether to give the values of every query as well, under `queries`.
    pub per_query: bool,
}

impl Serialize for EvaluationReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let evaluation = self.evaluation;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("measures", &Values(&evaluation.measures, &evaluation.summary))?;
        object.serialize_entry("missing_queries", &evaluation.missing)?;
        object.serialize_entry("unjudged_queries", &evaluation.unjudged)?;
        object.serialize_entry("query_count", &evaluation.queries.len())?;
        object.serialize_entry("judged_in_top_10", &evaluation.judged_in_top_10)?;
        object.serialize_entry("tied_hits", &evaluation.tied_hits)?;
        object.serialize_entry("ties_across", &evaluation.ties_across)?;
        if self.per_query {
            object.serialize_entry("queries", &Queries(evaluation))?;
        }
        object.end()
    }
}

/// `{"nDCG@10": 0.5, ...}`
struct Values<'a>(&'a [Measure], &'a [f64]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// `{"q1": {"nDCG@10": 0.5, ...}, ...}`, in the order of the judgments.
struct Queries<'a>(&'a Evaluation);

impl Serialize for Queries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let queries = self.0.queries.iter();
        serializer.collect_map(queries.map(|query| (&query.query, Values(&self.0.measures, &query.values))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{EvaluationOptions, Evaluator, Hit, Judgments, Ranking, parse_measures};

    #[test]
    fn measures_and_queries_stand_under_their_names() {
        let judgments: Judgments = [("q2", "a", 1), ("q1", "b", 1)].into_iter().collect();
        let measures = parse_measures("RR P@2").unwrap();
        let evaluator = Evaluator::new(&judgments, &measures, EvaluationOptions::default()).unwrap();
        let hits =
            ["x", "a"].into_iter().zip([2.0, 1.0]).map(|(document, score)| Hit { document, score }).collect();
        let evaluation = evaluator.evaluate(&[Ranking { query: "q2", hits }]).unwrap();
        let said = |per_query| {
            serde_json::to_string(&EvaluationReport { evaluation: &evaluation, per_query }).unwrap()
        };
        assert!(said(true).starts_with(r#"{"measures":{"RR":0.25,"P@2":0.25},"missing_queries":["q1"],"#));
        assert!(said(true).ends_with(r#""queries":{"q2":{"RR":0.5,"P@2":0.5},"q1":{"RR":0.0,"P@2":0.0}}}"#));
        assert!(!said(false).contains("queries\":{"));
    }
}
