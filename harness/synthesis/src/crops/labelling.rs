//! From one query's records to its labelled documents: the discriminator, the hierarchy, the cut of lower labels.

use relevance::Grade;
use scorer::Pair;
use serde::Serialize;

use super::{CropsParameters, Labels, Record, Source, Sources, Threshold};
use crate::Result;
use crate::judge::{Judge, Verdict};
use crate::query_id;

/// The texts of documents by id.
pub trait Documents {
    /// The text, or `None` for a document that is not there.
    fn text(&self, id: &str) -> Option<&str>;
}

/// One query's findings: its documents, each with all its sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRecords {
    /// The query's normal form.
    pub query: String,
    /// The documents in the order of their ids.
    pub documents: Vec<(String, Sources)>,
}

impl QueryRecords {
    /// The findings of a query with no documents yet.
    pub fn new(query: String) -> Self {
        Self { query, documents: Vec::new() }
    }

    /// Takes the next record of this query; records come sorted.
    pub fn push(&mut self, record: Record) {
        match self.documents.last_mut() {
            Some((document, sources)) if *document == record.document => sources.insert(record.source),
            _ => {
                let mut sources = Sources::default();
                sources.insert(record.source);
                self.documents.push((record.document, sources));
            }
        }
    }
}

/// A document with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledDocument {
    /// The document.
    pub document: String,
    /// The label as written.
    pub grade: Grade,
    /// The source that decided it.
    pub source: Source,
    /// `theta(q, d)`, where the discriminator was asked.
    pub theta: Option<f64>,
}

/// A query with its labelled documents.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledQuery {
    /// The query's id, from its text.
    pub id: String,
    /// The query's normal form.
    pub query: String,
    /// The threshold that the discriminator's scores were held to.
    pub threshold: f64,
    /// The documents, highest label first, then by id.
    pub documents: Vec<LabelledDocument>,
}

/// How many pairs, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceCounts {
    /// Distinct pairs of this source.
    pub found: u64,
    /// Of these, those whose document is not in the collection.
    pub without_text: u64,
    /// Those the discriminator let pass (for sources it does not judge: all that have a text).
    pub passed: u64,
    /// Those it refused.
    pub refused: u64,
    /// Those it could not judge.
    pub unjudged: u64,
    /// Passed with a theta at most 0.05 above the threshold.
    pub barely_passed: u64,
    /// Pairs whose label this source decided and that were written.
    pub written: u64,
}

/// What became of all pairs: per source and per rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Queries with records.
    pub queries: u64,
    /// Queries that were written.
    pub queries_written: u64,
    /// Queries left out for want of a positive.
    pub queries_without_positive: u64,
    /// Queries with a threshold of their own.
    pub adaptive_thresholds: u64,
    /// Pairs found by sources of different labels: the highest label was taken.
    pub conflicts: u64,
    /// Pairs that only refused sources had found.
    pub dropped_by_discriminator: u64,
    /// Pairs of the labels 1 to 3 beyond what a query keeps.
    pub cut_negatives: u64,
    /// Texts written by the generator.
    pub texts_written: u64,
    /// Answers of the generator that could not be read: not used, not graded.
    pub texts_unparsed: u64,
    /// By source, in the order of [`Source::ALL`].
    pub sources: [SourceCounts; 7],
    /// Written pairs by label, from 0.
    pub labels: [u64; 6],
}

impl Counts {
    /// The counts of a source.
    pub fn source(&self, source: Source) -> &SourceCounts {
        &self.sources[source as usize]
    }

    fn of(&mut self, source: Source) -> &mut SourceCounts {
        &mut self.sources[source as usize]
    }
}

/// Labels queries, some at a time, and counts.
pub struct Labelling<'a> {
    parameters: &'a CropsParameters,
    judge: &'a dyn Judge,
    /// What became of all pairs so far.
    pub counts: Counts,
}

/// How near above the threshold is barely.
const BARELY: f64 = 0.05;

impl<'a> Labelling<'a> {
    /// Labelling with this judge as the discriminator.
    ///
    /// # Errors
    /// A parameter outside its range.
    pub fn new(parameters: &'a CropsParameters, judge: &'a dyn Judge) -> Result<Self> {
        parameters.check()?;
        Ok(Self { parameters, judge, counts: Counts::default() })
    }

    /// Labels these queries; all their pairs are judged in one call. Queries that are left out are not in the answer.
    ///
    /// # Errors
    /// When the judge fails.
    pub fn label(
        &mut self,
        queries: &[QueryRecords],
        documents: &dyn Documents,
    ) -> Result<Vec<LabelledQuery>> {
        let asked: Vec<Vec<usize>> =
            queries.iter().map(|query| self.pairs_to_judge(query, documents)).collect();
        let mut pairs = Vec::new();
        for (query, asked) in queries.iter().zip(&asked) {
            for &at in asked {
                let document = documents.text(&query.documents[at].0).unwrap_or_default();
                pairs.push(Pair { query: &query.query, document });
            }
        }
        let mut verdicts = self.judge.judge(&pairs)?.into_iter();
        let mut labelled = Vec::new();
        for (query, asked) in queries.iter().zip(&asked) {
            let mut thetas = vec![None; query.documents.len()];
            for (&at, verdict) in asked.iter().zip(verdicts.by_ref()) {
                thetas[at] = Some(verdict);
            }
            labelled.extend(self.label_one(query, &thetas, documents));
        }
        Ok(labelled)
    }

    /// The documents the discriminator is asked about: candidates, and with an adaptive threshold the clicked ones.
    fn pairs_to_judge(&self, query: &QueryRecords, documents: &dyn Documents) -> Vec<usize> {
        let adaptive = self.parameters.discriminator.threshold == Threshold::Adaptive;
        let is_asked = |sources: Sources| {
            sources.iter().any(Source::is_judged) || adaptive && sources.contains(Source::Clicked)
        };
        let documents = query
            .documents
            .iter()
            .enumerate()
            .filter(|(_, (document, sources))| is_asked(*sources) && documents.text(document).is_some());
        documents.map(|(at, _)| at).collect()
    }

    fn label_one(
        &mut self,
        query: &QueryRecords,
        verdicts: &[Option<Verdict>],
        documents: &dyn Documents,
    ) -> Option<LabelledQuery> {
        self.counts.queries += 1;
        let threshold = self.threshold(query, verdicts);
        let mut labelled = Vec::new();
        for ((document, sources), verdict) in query.documents.iter().zip(verdicts) {
            let has_text = documents.text(document).is_some();
            let passed = self.discriminate(*sources, verdict.as_ref(), threshold, has_text);
            let theta = verdict.as_ref().and_then(Verdict::score);
            let Some((source, level, conflict)) = passed.resolve(&self.parameters.labels) else {
                self.counts.dropped_by_discriminator += u64::from(has_text);
                continue;
            };
            self.counts.conflicts += u64::from(conflict);
            labelled
                .push((level, LabelledDocument { document: document.clone(), grade: level, source, theta }));
        }
        let is_positive = labelled.iter().any(|(level, _)| *level >= 4);
        if labelled.is_empty() || !is_positive && !self.parameters.negatives.keep_queries_without_positive {
            self.counts.queries_without_positive += 1;
            return None;
        }
        let id = query_id(&query.query);
        let mut documents = self.cut_negatives(&id, labelled);
        documents.sort_by(|a, b| b.grade.cmp(&a.grade).then_with(|| a.document.cmp(&b.document)));
        for document in &mut documents {
            document.grade = self.parameters.labels.written(document.grade);
            self.count_written(document.grade, document.source);
        }
        self.counts.queries_written += 1;
        Some(LabelledQuery { id, query: query.query.clone(), threshold, documents })
    }

    /// Counts a pair that is written.
    pub fn count_written(&mut self, grade: Grade, source: Source) {
        self.counts.labels[usize::try_from(grade).unwrap_or(0).min(5)] += 1;
        self.counts.of(source).written += 1;
    }

    /// Counts a text of the generator, or an answer that was none.
    pub fn count_text(&mut self, text: bool) {
        match text {
            true => {
                self.counts.texts_written += 1;
                self.counts.of(Source::Written).found += 1;
                self.counts.of(Source::Written).passed += 1;
            }
            false => self.counts.texts_unparsed += 1,
        }
    }

    /// The label of texts written by the generator.
    pub fn labels(&self) -> &Labels {
        &self.parameters.labels
    }

    fn threshold(&mut self, query: &QueryRecords, verdicts: &[Option<Verdict>]) -> f64 {
        let discriminator = &self.parameters.discriminator;
        if discriminator.threshold == Threshold::Fixed {
            return discriminator.alpha;
        }
        let clicked = query.documents.iter().zip(verdicts);
        let clicked = clicked.filter(|((_, sources), _)| sources.contains(Source::Clicked));
        let mut thetas: Vec<f64> =
            clicked.filter_map(|(_, verdict)| verdict.as_ref().and_then(Verdict::score)).collect();
        if thetas.is_empty() || thetas.len() < discriminator.smallest_reference {
            return discriminator.alpha;
        }
        self.counts.adaptive_thresholds += 1;
        median(&mut thetas)
    }

    /// The sources that are left: none without a text, and of the judged ones those that passed.
    fn discriminate(
        &mut self,
        sources: Sources,
        verdict: Option<&Verdict>,
        threshold: f64,
        has_text: bool,
    ) -> Sources {
        let mut left = sources;
        for source in sources.iter() {
            let counts = self.counts.of(source);
            counts.found += 1;
            let theta = verdict.and_then(Verdict::score);
            let keep = match (has_text, source.is_judged(), theta) {
                (false, ..) => {
                    counts.without_text += 1;
                    false
                }
                (true, false, _) => true,
                (true, true, Some(theta)) => {
                    counts.refused += u64::from(theta <= threshold);
                    counts.barely_passed += u64::from(theta > threshold && theta <= threshold + BARELY);
                    theta > threshold
                }
                (true, true, None) => {
                    counts.unjudged += 1;
                    false
                }
            };
            counts.passed += u64::from(keep);
            if !keep {
                left.remove(source);
            }
        }
        left
    }

    /// Of each label below 4, the documents with the smallest digests: a draw that depends on nothing else.
    fn cut_negatives(
        &mut self,
        query: &str,
        labelled: Vec<(Grade, LabelledDocument)>,
    ) -> Vec<LabelledDocument> {
        let most = self.parameters.negatives.most_per_label;
        let mut kept = Vec::with_capacity(labelled.len());
        let mut below: [Vec<([u8; 32], LabelledDocument)>; 4] = Default::default();
        for (level, document) in labelled {
            match usize::try_from(level) {
                Ok(level @ 0..=3) => {
                    let digest = blake3::hash(format!("{query}:{}", document.document).as_bytes());
                    below[level].push((*digest.as_bytes(), document));
                }
                _ => kept.push(document),
            }
        }
        for mut documents in below {
            documents.sort_unstable_by_key(|(digest, _)| *digest);
            self.counts.cut_negatives += documents.len().saturating_sub(most) as u64;
            kept.extend(documents.into_iter().take(most).map(|(_, document)| document));
        }
        kept
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use relevance::Scale;

    use super::*;

    /// The score of a document is its text.
    struct Written(Scale);

    impl Judge for Written {
        fn scale(&self) -> &Scale {
            &self.0
        }
        fn digest(&self) -> &str {
            "written"
        }
        fn judge(&self, pairs: &[Pair<'_>]) -> Result<Vec<Verdict>> {
            let verdict = |pair: &Pair<'_>| match pair.document.parse() {
                Ok(score) => Verdict::Graded { grade: 0, score },
                Err(_) => Verdict::Unparsed { answer: pair.document.to_owned() },
            };
            Ok(pairs.iter().map(verdict).collect())
        }
    }

    struct Texts(Vec<(&'static str, &'static str)>);

    impl Documents for Texts {
        fn text(&self, id: &str) -> Option<&str> {
            self.0.iter().find(|(document, _)| *document == id).map(|(_, text)| *text)
        }
    }

    fn records(of: &[(&str, Source)]) -> QueryRecords {
        let mut query = QueryRecords::new("q".to_owned());
        for &(document, source) in of {
            query.push(Record { query: "q".into(), document: document.into(), source });
        }
        query
    }

    fn label(
        parameters: &CropsParameters,
        query: &QueryRecords,
        texts: &Texts,
    ) -> (Vec<(String, Grade)>, Counts) {
        let judge = Written(Scale::binary());
        let mut labelling = Labelling::new(parameters, &judge).unwrap();
        let labelled = labelling.label(std::slice::from_ref(query), texts).unwrap();
        let pairs = labelled.into_iter().flat_map(|query| query.documents);
        (pairs.map(|document| (document.document, document.grade)).collect(), labelling.counts)
    }

    fn pairs(expected: &[(&str, Grade)]) -> Vec<(String, Grade)> {
        expected.iter().map(|&(document, grade)| (document.to_owned(), grade)).collect()
    }

    #[test]
    fn hand_computed_labels_and_counts() {
        use Source::*;
        let query = records(&[
            ("a", Reformulation),
            ("a", Exposed),
            ("b", Reformulation),
            ("b", Exposed),
            ("c", Recommendation),
            ("d", Recommendation),
            ("e", Clicked),
            ("f", Ranked),
            ("g", Filtered),
            ("h", Reformulation),
            ("i", Recommendation),
        ]);
        // a passes and takes 5 over 3; b is refused at exactly alpha and stays what it was, 3; c passes barely; d is
        // refused and was nothing else; h has no text; i cannot be judged.
        let texts = Texts(vec![
            ("a", "0.9"),
            ("b", "0.6"),
            ("c", "0.62"),
            ("d", "0.1"),
            ("e", "0.0"),
            ("f", "0.5"),
            ("g", "0.5"),
            ("i", "no number"),
        ]);
        let (found, counts) = label(&CropsParameters::default(), &query, &texts);
        assert_eq!(found, pairs(&[("a", 5), ("c", 4), ("e", 4), ("b", 3), ("f", 2), ("g", 1)]));
        let of = counts.source(Reformulation);
        assert_eq!((of.found, of.passed, of.refused, of.without_text, of.written), (3, 1, 1, 1, 1));
        let of = counts.source(Recommendation);
        assert_eq!((of.found, of.passed, of.refused, of.unjudged, of.barely_passed), (3, 1, 1, 1, 1));
        assert_eq!((counts.conflicts, counts.dropped_by_discriminator), (1, 2));
        assert_eq!(counts.labels, [0, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn an_adaptive_threshold_is_the_median_of_what_was_clicked() {
        use Source::*;
        let query = records(&[
            ("a", Clicked),
            ("b", Clicked),
            ("c", Clicked),
            ("d", Reformulation),
            ("e", Reformulation),
        ]);
        let texts = Texts(vec![("a", "0.1"), ("b", "0.3"), ("c", "0.8"), ("d", "0.31"), ("e", "0.3")]);
        let mut parameters = CropsParameters::default();
        parameters.discriminator.threshold = Threshold::Adaptive;
        let (found, counts) = label(&parameters, &query, &texts);
        assert_eq!(found, pairs(&[("d", 5), ("a", 4), ("b", 4), ("c", 4)]));
        assert_eq!(counts.adaptive_thresholds, 1);
        parameters.discriminator.smallest_reference = 4;
        assert_eq!(label(&parameters, &query, &texts).1.adaptive_thresholds, 0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn lower_labels_are_cut_and_queries_without_positives_left_out() {
        use Source::*;
        let texts = Texts(vec![("a", ""), ("b", ""), ("c", ""), ("d", "")]);
        let mut parameters = CropsParameters::default();
        parameters.negatives.most_per_label = 1;
        let query = records(&[("a", Clicked), ("b", Ranked), ("c", Ranked), ("d", Ranked)]);
        let (found, counts) = label(&parameters, &query, &texts);
        assert_eq!((found.len(), counts.cut_negatives), (2, 2));
        let query = records(&[("b", Ranked)]);
        assert!(label(&parameters, &query, &texts).0.is_empty());
        parameters.negatives.keep_queries_without_positive = true;
        assert_eq!(label(&parameters, &query, &texts).0, pairs(&[("b", 2)]));
        parameters.labels.binary = true;
        let query = records(&[("a", Clicked), ("b", Ranked)]);
        assert_eq!(label(&parameters, &query, &texts).0, pairs(&[("a", 1), ("b", 0)]));
    }
}
