//! `graded synthesize quality`: what a set of graded pairs is worth.

use std::path::PathBuf;

use clap::Args;
use datasets::{Collection, Lines};
use relevance::Grade;
use relevance::agreement::{Confusion, Weights, cohen_kappa};
use rustc_hash::FxHashMap;
use scorer::{Labeler, Pair};
use serde::Serialize;
use synthesis::quality::{GradedPair, Quality, QualityCheck, TestSet};

use super::quality_page;
use crate::arguments::Options;
use crate::commands::Finished;
use crate::exit::Usage;
use crate::report::{Cell, Report, Table};
use crate::{cache, collections, labelers};

/// A pair with its two texts on one line.
const LONGEST_LINE_BYTES: u64 = 32 << 20;

/// Flags of `graded synthesize quality`.
#[derive(Debug, Args)]
pub struct Command {
    /// Graded pairs as `graded synthesize` writes them: JSON lines with query_id, query, doc_id, document, grade
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// A test collection that must not be in them: a name or a folder
    #[arg(long, value_name = "NAME|DIR")]
    against: Option<String>,
    /// The split of the test collection
    #[arg(long, value_name = "NAME", requires = "against")]
    split: Option<String>,
    /// A labeler whose grades are set beside those of the pairs: `embedded`, a pulled model's name, or a bundle
    #[arg(long, value_name = "BUNDLE")]
    labeler: Option<String>,
    /// Write the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The grades of the pairs beside a labeler's.
#[derive(Debug, Serialize)]
pub struct Alignment {
    /// The labeler's digest.
    pub labeler: String,
    /// The grades on either side, lowest first.
    pub grades: Vec<Grade>,
    /// Pairs: a row for each given grade, a column for each of the labeler's.
    pub counts: Vec<Vec<u64>>,
    /// Cohen's kappa with quadratic weights.
    pub kappa_quadratic: Option<f64>,
}

/// Pairs on their way to the labeler.
struct Aligning {
    labeler: Box<dyn Labeler>,
    waiting: Vec<GradedPair>,
    graded: Vec<(Grade, Grade)>,
}

impl Aligning {
    fn push(&mut self, pair: GradedPair) -> anyhow::Result<()> {
        self.waiting.push(pair);
        if self.waiting.len() >= labelers::CHUNK { self.label() } else { Ok(()) }
    }

    fn label(&mut self) -> anyhow::Result<()> {
        let pairs: Vec<Pair<'_>> =
            self.waiting.iter().map(|pair| Pair { query: &pair.query, document: &pair.document }).collect();
        let labels = self.labeler.label(&pairs)?;
        self.graded.extend(self.waiting.iter().zip(labels).map(|(pair, label)| (pair.grade, label.grade)));
        self.waiting.clear();
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Alignment> {
        self.label()?;
        let confusion = Confusion::of(&self.graded);
        Ok(Alignment {
            labeler: self.labeler.digest().to_owned(),
            grades: confusion.grades().to_vec(),
            counts: confusion.rows().collect(),
            kappa_quadratic: cohen_kappa(&confusion, Weights::Quadratic).ok(),
        })
    }
}

/// Runs `graded synthesize quality`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let test = match &command.against {
        Some(name) => Some(test_set(&collections::open(name, command.split.as_deref(), options.memory)?)),
        None => None,
    };
    let mut check = QualityCheck::new(test);
    let mut aligning = match &command.labeler {
        Some(name) => {
            Some(Aligning { labeler: labelers::load(name)?, waiting: Vec::new(), graded: Vec::new() })
        }
        None => None,
    };
    let mut lines = Lines::open(&command.pairs, LONGEST_LINE_BYTES)?;
    while let Some((line, text)) = lines.next_line()? {
        if text.trim().is_empty() {
            continue;
        }
        let pair: GradedPair = serde_json::from_str(text).map_err(|error| {
            Usage::error(format!("{}:{line}: expected a graded pair: {error}", command.pairs.display()))
        })?;
        check.push(&pair);
        if let Some(aligning) = &mut aligning {
            aligning.push(pair)?;
        }
    }
    let quality = check.report();
    let alignment = aligning.map(Aligning::finish).transpose()?;
    if let Some(path) = &command.html {
        let name = command.pairs.display().to_string();
        let page = quality_page::of(&name, &quality, alignment.as_ref());
        cache::write_whole(path, page.as_bytes())?;
    }
    let (mut json, mut tables) = (serde_json::to_value(&quality)?, tables(&quality));
    if let Some(alignment) = &alignment {
        json["alignment"] = serde_json::to_value(alignment)?;
        tables.push(alignment_table(alignment));
    }
    Ok(Report { json, tables, lines: Vec::new() }.into())
}

fn alignment_table(alignment: &Alignment) -> Table {
    let mut columns = vec!["given \\ labeler".to_owned()];
    columns.extend(alignment.grades.iter().map(Grade::to_string));
    let mut table = Table::new(columns).titled("alignment");
    for (grade, counts) in alignment.grades.iter().zip(&alignment.counts) {
        let mut row = vec![Cell::text(grade.to_string())];
        row.extend(counts.iter().copied().map(Cell::Count));
        table.push(row);
    }
    let kappa = alignment.kappa_quadratic.map_or("none".to_owned(), |kappa| format!("{kappa:.4}"));
    table.notes.push(format!("quadratic kappa {kappa}"));
    table
}

/// A collection's queries and judged pairs, by their texts.
pub fn test_set(collection: &Collection) -> TestSet {
    let texts: FxHashMap<&str, String> =
        collection.documents.iter().map(|document| (document.id.as_str(), document.full_text())).collect();
    let mut test = TestSet::default();
    for query in collection.judged_queries() {
        test.add_query(&query.text);
        for (document, grade) in
            collection.judgments.get(&query.id).into_iter().flat_map(|judged| judged.iter())
        {
            if let Some(text) = texts.get(document) {
                test.add_pair(&query.text, text, grade);
            }
        }
    }
    test
}

/// The report as people read it.
pub fn tables(quality: &Quality) -> Vec<Table> {
    let mut whole = Table::new(["quality", "value"]).titled("quality");
    for (what, count) in
        [("pairs", quality.pairs), ("queries", quality.queries), ("documents", quality.documents)]
    {
        whole.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    for (what, share) in [
        ("repeated pairs", quality.repeated_pairs),
        ("repeated queries", quality.repeated_queries),
        ("repeated documents", quality.repeated_documents),
        ("pairs above another of their query", quality.pairs_with_lower),
    ] {
        whole.push(vec![Cell::text(what), Cell::Share(share)]);
    }
    whole.push(vec![Cell::text("contradictions"), Cell::Count(quality.contradictions)]);
    whole.push(vec![Cell::text("balance of grades"), Cell::Value(quality.balance)]);
    if let Some(leakage) = &quality.leakage {
        for (what, count) in [
            ("test queries among the queries", leakage.queries),
            ("judged test documents among the documents", leakage.documents),
            ("judged test pairs among the pairs", leakage.pairs),
        ] {
            whole.push(vec![Cell::text(what), Cell::Count(count)]);
        }
        whole.push(vec![
            Cell::text("distance of grades to the test set"),
            Cell::maybe(leakage.grade_distance),
        ]);
    }
    for sign in &quality.signs {
        whole
            .notes
            .push(format!("{} ({:.4}, limit {}): {}", sign.name, sign.value, sign.limit, sign.meaning));
    }
    let mut grades =
        Table::new(["grade", "pairs", "share", "words shared", "all words shared"]).titled("by grade");
    for of in &quality.grades {
        let (pairs, share) = (Cell::Count(of.pairs), Cell::Share(of.share));
        let (overlap, all) = (Cell::Share(of.overlap), Cell::Share(of.whole_query));
        grades.push(vec![Cell::text(of.grade.to_string()), pairs, share, overlap, all]);
    }
    vec![whole, grades]
}
