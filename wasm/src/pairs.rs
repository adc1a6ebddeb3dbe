//! A file of pairs while it is looked at: parsed once, labelled piece by piece, and asked about as often as a page likes.

use std::path::Path;

use datasets::pairs::{self, Column, LABEL_COLUMNS, PairFile, PairOptions};
use relevance::agreement::{FileReport, Predicted, Report, reliability, score_histogram};
use relevance::evaluation::{EvaluationOptions, Evaluator};
use relevance::resampling::Bootstrap;
use relevance::{EvaluationReport, Grade, Hit, Judgments, LabeledPair, Ranking, parse_measures};
use scorer::labeler::{at_least, scores_digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::labeler::Labeler;

/// Stands for "no grade" in arrays of grades.
const NO_GRADE: Grade = Grade::MIN;
/// What a parsed file may take, of the 4 GiB that a module can address at most.
const MEMORY_BYTES: u64 = 1 << 30;

/// The columns that hold what; guessed from the usual names where they are not named.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    query: Option<String>,
    document: Option<String>,
    query_text: Option<String>,
    document_text: Option<String>,
    human: Option<String>,
    predicted: Option<String>,
}

/// Which pairs to list, and in which order.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Selection {
    disagreements: bool,
    human: Option<Grade>,
    predicted: Option<Grade>,
    query: Option<String>,
    text: Option<String>,
    order: Order,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    File,
    ScoreDescending,
    ScoreAscending,
    LargestError,
}

/// How intervals are drawn; the flags of `graded agree`, with the same defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resampling {
    resamples: u32,
    level: f64,
    seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { resamples: 1000, level: 0.95, seed: 42 }
    }
}

/// One pair, as a page shows it.
#[derive(Serialize)]
struct Shown<'a> {
    at: u32,
    /// `None` for a pair that stands in no file.
    line: Option<u64>,
    query: &'a str,
    document: &'a str,
    query_text: Option<&'a str>,
    document_text: Option<&'a str>,
    human: Option<Grade>,
    predicted: Option<Grade>,
    score: Option<f64>,
}

/// The pairs of a file with the grades that people gave them, and those that a labeler (or the file) predicts.
#[wasm_bindgen]
pub struct Pairs {
    file: PairFile,
    /// The predictions that the file came with.
    given: Vec<(Option<Grade>, Option<f64>)>,
    labeled: usize,
    /// The distribution of each labelled pair, one after the other.
    distributions: Vec<f64>,
    predicted_by: Option<String>,
}

#[wasm_bindgen]
impl Pairs {
    /// Reads a file of pairs (CSV, TSV or JSON lines). `name` is the file's name: its ending tells the format, and
    /// messages carry it. `columns` is a JSON object with any of `query`, `document`, `query_text`, `document_text`,
    /// `human` and `predicted`; the others are guessed from the usual names.
    ///
    /// # Errors
    /// What the reader says of a malformed file, with its line; a column that is not there or cannot be guessed; a file
    /// that takes more than 1 GiB parsed.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: &[u8], name: &str, columns: Option<String>) -> Result<Pairs, JsError> {
        let wanted: Wanted = crate::options::parse("pairs", columns.as_deref())?;
        let options = PairOptions {
            query: wanted.query,
            document: wanted.document,
            query_text: wanted.query_text,
            document_text: wanted.document_text,
            human: wanted.human,
            predicted: wanted.predicted,
            grades_may_be_absent: true,
            memory_bytes: MEMORY_BYTES,
            ..PairOptions::default()
        };
        Ok(Self::of(pairs::parse(bytes, Path::new(name), &options)?))
    }

    /// The judged pairs of the sample collection, from the bytes of its three files.
    ///
    /// # Errors
    /// What the readers say of bytes that are not the sample's.
    pub fn sample(corpus: &[u8], queries: &[u8], judgments: &[u8]) -> Result<Pairs, JsError> {
        Ok(Self::of(PairFile::of_collection(&datasets::parse_sample(corpus, queries, judgments)?)))
    }

    /// The names of a file's columns as a JSON list, also where it cannot be told which holds what.
    ///
    /// # Errors
    /// A table that is not one.
    pub fn header(bytes: &[u8], name: &str) -> Result<String, JsError> {
        let options = PairOptions { memory_bytes: MEMORY_BYTES, ..PairOptions::default() };
        Ok(serde_json::to_string(&pairs::header(bytes, Path::new(name), &options)?)?)
    }

    fn of(file: PairFile) -> Self {
        let given = file.pairs.iter().map(|pair| (pair.predicted, pair.score)).collect();
        Self { file, given, labeled: 0, distributions: Vec::new(), predicted_by: None }
    }

    /// How many pairs there are.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.file.pairs.len()
    }

    /// How many of them, from the first on, a labeler has graded.
    #[wasm_bindgen(getter)]
    pub fn labeled(&self) -> usize {
        self.labeled
    }

    /// What was found, as JSON: `header`, for each role the column's `name` and whether it was `guessed`, and how many
    /// grades are `human_missing`, `predicted_missing` and `unparsed`.
    #[wasm_bindgen(getter)]
    pub fn columns(&self) -> String {
        let columns = &self.file.columns;
        let said = |column: &Option<Column>| {
            column.as_ref().map(|column| json!({ "name": column.name, "guessed": column.guessed }))
        };
        json!({
            "header": self.file.header,
            "query": said(&columns.query),
            "document": said(&columns.document),
            "query_text": said(&columns.query_text),
            "document_text": said(&columns.document_text),
            "human": said(&columns.human),
            "predicted": said(&columns.predicted),
            "human_missing": self.file.human_missing,
            "predicted_missing": self.file.predicted_missing,
            "unparsed": self.file.unparsed.len(),
        })
        .to_string()
    }

    /// Refuses a file whose pairs lack texts, which nothing can label.
    ///
    /// # Errors
    /// The line of the first such pair.
    #[wasm_bindgen(js_name = requireTexts)]
    pub fn require_texts(&self) -> Result<(), JsError> {
        Ok(self.file.require_texts()?)
    }

    /// Forgets what labelers predicted; the predictions of the file stand again.
    pub fn unlabel(&mut self) {
        for (pair, &(predicted, score)) in self.file.pairs.iter_mut().zip(&self.given) {
            (pair.predicted, pair.score) = (predicted, score);
        }
        (self.labeled, self.predicted_by) = (0, None);
        self.distributions.clear();
    }

    /// Grades the next `count` pairs and returns how many are graded then. The first call of another labeler begins
    /// anew.
    ///
    /// # Errors
    /// A count of 0; a pair without texts, by line; a tokenizer that fails.
    pub fn label(&mut self, labeler: &Labeler, count: usize) -> Result<usize, JsError> {
        if count == 0 {
            return Err(JsError::new("label: expected a count of at least 1"));
        }
        self.begin(labeler.labeler().digest());
        let end = self.length().min(self.labeled.saturating_add(count));
        let next = &mut self.file.pairs[self.labeled..end];
        if next.iter().any(|pair| pair.query_text.is_none() || pair.document_text.is_none()) {
            return Err(self
                .file
                .require_texts()
                .map_or_else(JsError::from, |()| JsError::new("label: no texts")));
        }
        let labels = labeler.labeler().label(&next.iter().map(texts).collect::<Vec<_>>())?;
        for (pair, label) in next.iter_mut().zip(labels) {
            (pair.predicted, pair.score) = (Some(label.grade), Some(label.score));
            self.distributions.extend(label.distribution);
        }
        self.labeled = end;
        Ok(end)
    }

    /// The texts of the next `count` pairs from position `first` on, query and document by turns: for a labeler in
    /// another thread, whose answers go to `takeLabels`.
    ///
    /// # Errors
    /// A pair without texts, by line.
    pub fn texts(&self, first: usize, count: usize) -> Result<Vec<String>, JsError> {
        self.file.require_texts()?;
        let last = self.length().min(first.saturating_add(count));
        let pairs = self.file.pairs.get(first..last).unwrap_or_default().iter().map(texts);
        Ok(pairs.flat_map(|pair| [pair.query.to_owned(), pair.document.to_owned()]).collect())
    }

    /// Takes what the labeler of this digest said elsewhere of the next pairs (`distributions` one after another), and
    /// returns how many are graded then. As with `label`, another digest than before begins anew.
    ///
    /// # Errors
    /// Grades, scores and distributions of different numbers, or of more pairs than are left.
    #[wasm_bindgen(js_name = takeLabels)]
    pub fn take_labels(
        &mut self,
        digest: &str,
        grades: &[Grade],
        scores: &[f64],
        distributions: &[f64],
    ) -> Result<usize, JsError> {
        self.begin(digest);
        let left = self.length() - self.labeled;
        if grades.len() != scores.len() || grades.len() > left {
            let (g, s) = (grades.len(), scores.len());
            return Err(JsError::new(&format!("takeLabels: {g} grades and {s} scores for {left} pairs")));
        }
        if !grades.is_empty()
            && (distributions.is_empty() || !distributions.len().is_multiple_of(grades.len()))
        {
            let (g, d) = (grades.len(), distributions.len());
            return Err(JsError::new(&format!("takeLabels: {d} probabilities for {g} grades")));
        }
        self.distributions.extend_from_slice(distributions);
        let next = self.file.pairs[self.labeled..].iter_mut();
        for ((pair, &grade), &score) in next.zip(grades).zip(scores) {
            (pair.predicted, pair.score) = (Some(grade), Some(score));
        }
        self.labeled += grades.len();
        Ok(self.labeled)
    }

    /// Forgets what another labeler than the one of this digest predicted.
    fn begin(&mut self, digest: &str) {
        if self.predicted_by.as_deref() != Some(digest) {
            self.file.pairs.iter_mut().for_each(|pair| (pair.predicted, pair.score) = (None, None));
            (self.labeled, self.predicted_by) = (0, Some(digest.to_owned()));
            self.distributions.clear();
        }
    }

    /// Grades the scored pairs again with other `cuts`; the labeler's own where there are none. Scores stay.
    ///
    /// # Errors
    /// Cuts that do not fit the scale or do not ascend.
    pub fn regrade(&mut self, labeler: &Labeler, cuts: Option<Vec<f64>>) -> Result<(), JsError> {
        let own = labeler.labeler().cuts();
        let cuts = match cuts {
            Some(values) => own.moved(&values)?,
            None => own.clone(),
        };
        for pair in &mut self.file.pairs[..self.labeled] {
            pair.predicted = pair.score.map(|score| cuts.grade(score));
        }
        Ok(())
    }

    /// The human grades; -2147483648 where there is none.
    pub fn human(&self) -> Vec<Grade> {
        self.file.pairs.iter().map(|pair| pair.human.unwrap_or(NO_GRADE)).collect()
    }

    /// The predicted grades; -2147483648 where there is none.
    pub fn predicted(&self) -> Vec<Grade> {
        self.file.pairs.iter().map(|pair| pair.predicted.unwrap_or(NO_GRADE)).collect()
    }

    /// The predicted scores; NaN where there is none.
    pub fn scores(&self) -> Vec<f64> {
        self.file.pairs.iter().map(|pair| pair.score.unwrap_or(f64::NAN)).collect()
    }

    /// The digest of the scores of all pairs in order, as `graded agree --labeler` prints it.
    #[wasm_bindgen(getter, js_name = scoresDigest)]
    pub fn scores_digest(&self) -> String {
        scores_digest(self.file.pairs.iter().filter_map(|pair| pair.score))
    }

    /// The pairs at these positions, as a JSON list.
    ///
    /// # Errors
    /// A position that is not there.
    pub fn rows(&self, positions: &[u32]) -> Result<String, JsError> {
        let row = |&at: &u32| {
            let there = self.file.pairs.get(at as usize);
            let pair = there.ok_or_else(|| JsError::new(&format!("rows: no pair at {at}")))?;
            Ok(Shown {
                at,
                line: self.file.lines.get(at as usize).copied(),
                query: &pair.query,
                document: &pair.document,
                query_text: pair.query_text.as_deref(),
                document_text: pair.document_text.as_deref(),
                human: pair.human,
                predicted: pair.predicted,
                score: pair.score,
            })
        };
        Ok(serde_json::to_string(&positions.iter().map(row).collect::<Result<Vec<_>, JsError>>()?)?)
    }

    /// The positions of the pairs that fit `selection`, a JSON object with any of `disagreements` (true: human and
    /// predicted grades that differ), `human`, `predicted` (grades), `query` (an id), `text` (what query or document
    /// must contain, without regard to case) and `order` (`file`, `score_descending`, `score_ascending`,
    /// `largest_error`).
    ///
    /// # Errors
    /// An unknown key or order.
    pub fn select(&self, selection: Option<String>) -> Result<Vec<u32>, JsError> {
        let wanted: Selection = crate::options::parse("select", selection.as_deref())?;
        let text = wanted.text.as_deref().map(str::to_lowercase).filter(|text| !text.is_empty());
        let pairs = &self.file.pairs;
        let mut found: Vec<u32> = (0..)
            .zip(pairs)
            .filter(|(_, pair)| wanted.takes(pair, text.as_deref()))
            .map(|(at, _)| at)
            .collect();
        let score = |at: &u32| pairs[*at as usize].score.unwrap_or(f64::NEG_INFINITY);
        match wanted.order {
            Order::File => {}
            Order::ScoreDescending => found.sort_by(|a, b| score(b).total_cmp(&score(a))),
            Order::ScoreAscending => found.sort_by(|a, b| score(a).total_cmp(&score(b))),
            Order::LargestError => found.sort_by_key(|&at| std::cmp::Reverse(distance(&pairs[at as usize]))),
        }
        Ok(found)
    }

    /// The agreement of the predicted with the human grades: the document that `graded agree --format json` prints.
    /// `resampling` is a JSON object with any of `resamples`, `level` and `seed`.
    ///
    /// # Errors
    /// No pair with both grades; no resamples, or a level that is none.
    pub fn agreement(&self, resampling: Option<String>) -> Result<String, JsError> {
        let wanted: Resampling = crate::options::parse("agreement", resampling.as_deref())?;
        let bootstrap = Bootstrap::new(wanted.resamples, wanted.level, wanted.seed).ok_or_else(|| {
            JsError::new("agreement: expected resamples of 1 to 1000000 and a level between 0 and 1")
        })?;
        let report = Report::of_labeled(&self.file.pairs, &bootstrap);
        let file = self.file.path.display().to_string();
        if report.pairs == 0 {
            let message = format!("{file}: no pair has both a human and a predicted grade");
            return Err(JsError::new(&message));
        }
        let scores_digest = self.scores_digest();
        let predicted =
            self.predicted_by.as_deref().map(|labeler| Predicted { labeler, scores_digest: &scores_digest });
        Ok(serde_json::to_string(&FileReport { report: &report, file: &file, predicted })?)
    }

    /// How well the labeler's probabilities are calibrated, as JSON: for each grade above the lowest, `grade` and the
    /// reliability of "at least this grade" in `bins` bins, or null where nothing is labelled and judged.
    ///
    /// # Errors
    /// More than 10,000 bins.
    pub fn calibration(&self, labeler: &Labeler, bins: usize) -> Result<String, JsError> {
        require_bins(bins)?;
        let levels = labeler.labeler().scale().levels();
        let labeled = self.file.pairs[..self.labeled].iter().zip(self.distributions.chunks(levels.len()));
        let judged: Vec<(Grade, &[f64])> =
            labeled.filter_map(|(pair, distribution)| Some((pair.human?, distribution))).collect();
        let levels = levels.iter().enumerate().skip(1);
        let curves: Vec<_> = levels
            .map(|(position, level)| {
                let predictions = judged
                    .iter()
                    .map(|(human, distribution)| (at_least(distribution, position), *human >= level.grade));
                let found = reliability(&predictions.collect::<Vec<_>>(), bins).ok();
                json!({ "grade": level.grade, "reliability": found })
            })
            .collect();
        Ok(serde_json::to_string(&curves)?)
    }

    /// How the scores spread over the human grades, as JSON: `lowest`, `highest`, `grades`, `counts`; null where no
    /// judged pair has a score.
    ///
    /// # Errors
    /// More than 10,000 bins.
    pub fn histogram(&self, bins: usize) -> Result<String, JsError> {
        require_bins(bins)?;
        let rated = self.file.pairs.iter().filter_map(|pair| Some((pair.human?, pair.score?)));
        Ok(serde_json::to_string(&score_histogram(&rated.collect::<Vec<_>>(), bins).ok())?)
    }

    /// The ranking by score, of each query's own pairs, scored against the human grades: `measures` as in `nDCG@10`.
    /// The answer is that of [`evaluate`](crate::evaluate) with `per_query`.
    ///
    /// # Errors
    /// An unknown measure; a document that stands twice under one query.
    pub fn evaluate(&self, measures: &str) -> Result<String, JsError> {
        let pairs = &self.file.pairs;
        let judgments: Judgments = pairs
            .iter()
            .filter_map(|pair| Some((pair.query.as_str(), pair.document.as_str(), pair.human?)))
            .collect();
        let evaluator = Evaluator::new(&judgments, &parse_measures(measures)?, EvaluationOptions::default())?;
        let outcomes =
            rankings(pairs).iter().map(|ranking| evaluator.query(ranking)).collect::<Result<Vec<_>, _>>()?;
        let evaluation = evaluator.collect(outcomes)?;
        Ok(serde_json::to_string(&EvaluationReport { evaluation: &evaluation, per_query: true })?)
    }

    /// The text of each query by its id, as a JSON object; its id where it has no text.
    ///
    /// # Errors
    /// Never.
    pub fn queries(&self) -> Result<String, JsError> {
        let mut queries = serde_json::Map::new();
        for pair in &self.file.pairs {
            if !queries.contains_key(&pair.query) {
                queries.insert(
                    pair.query.clone(),
                    pair.query_text.as_ref().unwrap_or(&pair.query).as_str().into(),
                );
            }
        }
        Ok(serde_json::to_string(&queries)?)
    }

    /// Compares the labelled pairs with those that `graded label` wrote as CSV, bit for bit: pairs, grades, scores, and the
    /// probabilities and the labeler where the file has them. The answer is null where
    /// all are equal, or else the first that differs: `{"at", "line", "what", "here", "there"}`.
    ///
    /// # Errors
    /// A file that holds no labels.
    pub fn compare(&self, written: &[u8], name: &str) -> Result<String, JsError> {
        let options = PairOptions {
            predicted: Some("predicted".into()),
            score: Some("predicted_score".into()),
            memory_bytes: MEMORY_BYTES,
            ..PairOptions::default()
        };
        let there = pairs::parse(written, Path::new(name), &options)?;
        let found = self.difference(&there).or_else(|| self.other_label(written, &there.lines));
        Ok(serde_json::to_string(&found)?)
    }

    /// The labels as CSV: the file that `graded label --out` writes. Where `regrade` moved the cuts, the last column says
    /// so.
    ///
    /// # Errors
    /// Pairs that are not labelled by this labeler, or not all of them.
    pub fn csv(&self, labeler: &Labeler) -> Result<String, JsError> {
        let cuts = labeler.labeler().cuts();
        if self.labeled < self.length() || self.predicted_by.as_deref() != Some(labeler.labeler().digest()) {
            return Err(JsError::new("csv: expected all pairs labelled by this labeler"));
        }
        let moved =
            self.file.pairs.iter().any(|pair| pair.predicted != pair.score.map(|score| cuts.grade(score)));
        let mark =
            format!("{}{}", &labeler.labeler().digest()[..16], if moved { " with other cuts" } else { "" });
        let mut header: Vec<String> = LABEL_COLUMNS.split(',').map(str::to_owned).collect();
        header.extend(cuts.scale().levels().iter().map(|level| format!("p{}", level.grade)));
        header.push("labeler".to_owned());
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&header)?;
        for at in 0..self.length() {
            writer.write_record(self.csv_row(at, &mark))?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }
}

impl Pairs {
    fn difference(&self, there: &PairFile) -> Option<serde_json::Value> {
        let (here, there_pairs) = (&self.file.pairs, &there.pairs);
        let said = |at: usize, what: &str, a: String, b: String| {
            Some(json!({ "at": at, "line": there.lines.get(at), "what": what, "here": a, "there": b }))
        };
        for (at, (a, b)) in here.iter().zip(there_pairs).enumerate() {
            if (&a.query, &a.document) != (&b.query, &b.document) {
                let name = |pair: &LabeledPair| format!("{} / {}", pair.query, pair.document);
                return said(at, "pair", name(a), name(b));
            }
            if a.score.map(f64::to_bits) != b.score.map(f64::to_bits) {
                let number = |score: Option<f64>| score.map_or_else(String::new, |score| score.to_string());
                return said(at, "score", number(a.score), number(b.score));
            }
            for (what, a, b) in
                [("human grade", a.human, b.human), ("predicted grade", a.predicted, b.predicted)]
            {
                let grade = |grade: Option<Grade>| grade.map_or_else(String::new, |grade| grade.to_string());
                if a != b {
                    return said(at, what, grade(a), grade(b));
                }
            }
        }
        match here.len() == there_pairs.len() {
            true => None,
            false => said(
                here.len().min(there_pairs.len()),
                "number of pairs",
                here.len().to_string(),
                there_pairs.len().to_string(),
            ),
        }
    }
}

impl Pairs {
    /// The first row of a file of labels in which probabilities or the labeler are not those here. Everything else of it
    /// is known to be equal, so that the rows are written alike.
    fn other_label(&self, written: &[u8], lines: &[u64]) -> Option<serde_json::Value> {
        let written = std::str::from_utf8(written).ok()?.replace("\r\n", "\n");
        let (header, mut rest) = written.split_once('\n')?;
        let mark = self.predicted_by.as_deref()?.get(..16)?;
        if self.labeled < self.length()
            || !header.strip_prefix(LABEL_COLUMNS).is_some_and(|more| more.starts_with(",p"))
        {
            return None;
        }
        for at in 0..self.length() {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(self.csv_row(at, mark)).ok()?;
            let row = String::from_utf8(writer.into_inner().ok()?).ok()?.replace("\r\n", "\n");
            // The last line may lack its end, and nothing else.
            let last = || (rest == row.trim_end()).then_some("");
            let Some(more) = rest.strip_prefix(row.as_str()).or_else(last) else {
                let there = rest.lines().next();
                return Some(json!({
                    "at": at, "line": lines.get(at), "what": "probabilities or labeler", "here": row.trim_end(), "there": there,
                }));
            };
            rest = more;
        }
        None
    }

    /// The cells of a labelled pair, as `graded label` writes them.
    fn csv_row(&self, at: usize, mark: &str) -> Vec<String> {
        let pair = &self.file.pairs[at];
        let levels = self.distributions.len() / self.labeled.max(1);
        let grade = |grade: Option<Grade>| grade.map_or_else(String::new, |grade| grade.to_string());
        let mut row =
            vec![pair.query.clone(), pair.document.clone(), grade(pair.human), grade(pair.predicted)];
        row.push(pair.score.unwrap_or_default().to_string());
        row.extend(self.distributions[at * levels..][..levels].iter().map(f64::to_string));
        row.push(mark.to_owned());
        row
    }
}

impl Selection {
    fn takes(&self, pair: &LabeledPair, text: Option<&str>) -> bool {
        let differs = || pair.human.is_some() && pair.predicted.is_some() && pair.human != pair.predicted;
        let contains = |text: &str| {
            let texts = [&pair.query_text, &pair.document_text].into_iter().flatten();
            texts.chain([&pair.query, &pair.document]).any(|whole| whole.to_lowercase().contains(text))
        };
        (!self.disagreements || differs())
            && (self.human.is_none() || pair.human == self.human)
            && (self.predicted.is_none() || pair.predicted == self.predicted)
            && self.query.as_ref().is_none_or(|query| pair.query == *query)
            && text.is_none_or(contains)
    }
}

/// Refuses more bins than a picture could hold, before they take memory.
fn require_bins(bins: usize) -> Result<(), JsError> {
    (bins <= 10_000).then_some(()).ok_or_else(|| JsError::new("expected at most 10000 bins"))
}

/// How many grades apart; 0 where one is missing.
fn distance(pair: &LabeledPair) -> u32 {
    pair.human.zip(pair.predicted).map_or(0, |(human, predicted)| human.abs_diff(predicted))
}

fn texts(pair: &LabeledPair) -> scorer::Pair<'_> {
    scorer::Pair {
        query: pair.query_text.as_deref().unwrap_or_default(),
        document: pair.document_text.as_deref().unwrap_or_default(),
    }
}

/// The scored pairs of each query, in the order the queries first appear.
fn rankings(pairs: &[LabeledPair]) -> Vec<Ranking<'_>> {
    let mut places = std::collections::HashMap::new();
    let mut rankings: Vec<Ranking<'_>> = Vec::new();
    for pair in pairs {
        let Some(score) = pair.score else { continue };
        let at = *places.entry(pair.query.as_str()).or_insert_with(|| {
            rankings.push(Ranking { query: &pair.query, hits: Vec::new() });
            rankings.len() - 1
        });
        rankings[at].hits.push(Hit { document: &pair.document, score });
    }
    rankings
}
