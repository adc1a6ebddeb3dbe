//! `graded synthesize quality`: what a set of graded pairs is worth.

use std::path::PathBuf;

use clap::Args;
use datasets::{Collection, Lines};
use rustc_hash::FxHashMap;
use synthesis::quality::{GradedPair, Quality, QualityCheck, TestSet};

use crate::arguments::Options;
use crate::collections;
use crate::commands::Finished;
use crate::exit::Usage;
use crate::report::{Cell, Report, Table};

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
}

/// Runs `graded synthesize quality`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let test = match &command.against {
        Some(name) => Some(test_set(&collections::open(name, command.split.as_deref(), options.memory)?)),
        None => None,
    };
    let mut check = QualityCheck::new(test);
    let mut lines = Lines::open(&command.pairs, LONGEST_LINE_BYTES)?;
    while let Some((line, text)) = lines.next_line()? {
        if text.trim().is_empty() {
            continue;
        }
        let pair: GradedPair = serde_json::from_str(text).map_err(|error| {
            Usage::error(format!("{}:{line}: expected a graded pair: {error}", command.pairs.display()))
        })?;
        check.push(&pair);
    }
    let quality = check.report();
    Ok(Report { json: serde_json::to_value(&quality)?, tables: tables(&quality), lines: Vec::new() }.into())
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
