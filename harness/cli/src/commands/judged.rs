//! What `graded label` says where a language model gave the labels: how many can be used, which texts spoke to the model,
//! and what it cost. Read from the written file, so that it is about the whole of it, whichever run wrote a row.

use std::path::Path;

use anyhow::Context;
use relevance::LabeledPair;
use serde::{Deserialize, Serialize};
use serde_json::json;
use synthesis::Judge;
use synthesis::generator::addresses_a_model;
use synthesis::judging::PromptedJudge;

use super::Finished;
use super::recipe::Completed;
use crate::arguments::Options;
use crate::exit::Verdict;
use crate::generators::{JudgeFile, usage_json, usage_table};
use crate::recipe::{self, Claim};
use crate::report::{Cell, Report, Table};

/// A recipe of a judge: `[judge]` with `kind = "prompted"`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct JudgeRecipe {
    claim: Claim,
    judge: JudgeFile,
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of a judge.
pub fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: JudgeRecipe = recipe::read(path)?;
    Completed::of(&file, &JudgeRecipe { claim: Claim::default(), ..file.clone() })
}

/// The judge of a recipe, with the largest share of pairs that may stay without a grade.
///
/// # Errors
/// When the recipe cannot be read or its judge not be opened.
pub fn open(
    path: &Path,
    retries: Option<u32>,
    max_unparsed: Option<f64>,
    options: &Options,
) -> anyhow::Result<PromptedJudge> {
    let mut recipe: JudgeRecipe = recipe::read(path)?;
    if let Some(retries) = retries {
        recipe.judge.asks = Some(retries.saturating_add(1));
    }
    if max_unparsed.is_some() {
        recipe.judge.max_unparsed = max_unparsed;
    }
    recipe.judge.prompted(options).with_context(|| path.display().to_string())
}

/// What stands in the written file.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Tally {
    graded: u64,
    unparsed: u64,
    absent: u64,
    /// How many pairs have each grade.
    grades: Vec<u64>,
    /// Pairs with a text that speaks to a model.
    addressing: u64,
    /// How many of them have each grade.
    addressing_grades: Vec<u64>,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_addressing: Option<String>,
}

impl Tally {
    fn of(out: &Path, pairs: &[LabeledPair], highest: usize) -> anyhow::Result<Self> {
        let shown = || out.display().to_string();
        let mut tally =
            Self { grades: vec![0; highest + 1], addressing_grades: vec![0; highest + 1], ..Self::default() };
        let mut reader = csv::Reader::from_path(out).with_context(shown)?;
        for (row, pair) in reader.records().zip(pairs) {
            let row = row.with_context(shown)?;
            let grade =
                row.get(3).and_then(|grade| grade.parse::<usize>().ok()).filter(|grade| *grade <= highest);
            match (grade, row.get(5)) {
                (Some(grade), _) => {
                    tally.graded += 1;
                    tally.grades[grade] += 1;
                }
                (None, Some("unparsed")) => tally.unparsed += 1,
                (None, _) => tally.absent += 1,
            }
            let texts = [&pair.query_text, &pair.document_text];
            if texts.into_iter().flatten().any(|text| addresses_a_model(text)) {
                tally.addressing += 1;
                tally.first_addressing.get_or_insert_with(|| format!("{} {}", pair.query, pair.document));
                if let Some(grade) = grade {
                    tally.addressing_grades[grade] += 1;
                }
            }
        }
        Ok(tally)
    }
}

/// The summary of a file that a judge has written; the verdict is no where too many pairs are without a grade.
///
/// # Errors
/// When the file cannot be read again.
pub fn summary(
    out: &Path,
    pairs: &[LabeledPair],
    done: usize,
    judge: &PromptedJudge,
) -> anyhow::Result<Finished> {
    let highest = usize::try_from(judge.scale().highest()).unwrap_or_default();
    let tally = Tally::of(out, pairs, highest)?;
    let without = tally.unparsed + tally.absent;
    let most = judge.asking().max_unparsed;
    let is_too_many = without as f64 > most * pairs.len() as f64;
    let mut table = Table::new(["file", "pairs", "already there", "graded", "unparsed", "absent", "labeler"]);
    table.push(vec![
        Cell::text(out.display().to_string()),
        Cell::count(pairs.len()),
        Cell::count(done),
        Cell::Count(tally.graded),
        Cell::Count(tally.unparsed),
        Cell::Count(tally.absent),
        Cell::text(judge.digest()),
    ]);
    if is_too_many {
        let said = format!("{without} of {} pairs have no grade", pairs.len());
        table.notes.push(format!("{said}; expected at most a share of {most} (--max-unparsed)"));
    }
    if let Some(first) = &tally.first_addressing {
        let said = format!("{} pairs hold a text that speaks to a model", tally.addressing);
        table.notes.push(format!("WARNING: {said} (addresses_a_model); the first: {first}"));
    }
    let mut grades = Table::new(["grade", "pairs", "of texts that speak to a model"]).titled("grades");
    for (grade, (&count, &addressing)) in tally.grades.iter().zip(&tally.addressing_grades).enumerate() {
        grades.push(vec![Cell::count(grade), Cell::Count(count), Cell::Count(addressing)]);
    }
    let (usage, counts) = (judge.usage(), judge.counts());
    let json = json!({
        "file": out.display().to_string(),
        "pairs": pairs.len(),
        "already_there": done,
        "graded": tally.graded,
        "unparsed": tally.unparsed,
        "absent": tally.absent,
        "unread_answers": counts.unread_answers,
        "grades": tally.grades,
        "addresses_a_model": {
            "pairs": tally.addressing,
            "grades": tally.addressing_grades,
            "first": tally.first_addressing,
        },
        "labeler": judge.digest(),
        "usage": usage_json(usage.as_ref(), Some(counts.graded)),
    });
    let mut tables = vec![table, grades];
    tables.extend(usage_table("model", usage.as_ref(), Some(counts.graded)));
    let verdict = if is_too_many { Verdict::No } else { Verdict::Yes };
    Ok(Finished { report: Report { tables, json, lines: Vec::new() }, verdict, record: None })
}
