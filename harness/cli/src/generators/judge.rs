//! `[judge]` of a recipe: a labeler, an encoder, or a model that is asked; and what is said of the asking in a report.

use scorer::EncoderOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synthesis::Generator;
use synthesis::asking::Usage;
use synthesis::judge::{Judge, LabelerJudge, SimilarityJudge};
use synthesis::judging::{Asking, PromptedJudge};
use synthesis::offline::Offline;

use super::{GeneratorFile, Kind};
use crate::arguments::Options;
use crate::report::{Cell, Table};
use crate::{exit, models};

/// Who judges, as written; unknown keys refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeFile {
    /// What gives the grades or scores.
    pub kind: JudgeKind,
    /// With `labeler` and `encoder`: `embedded`, a pulled model's name, or a path.
    pub bundle: String,
    /// With `prompted`: how often a pair is asked about until an answer can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<u32>,
    /// With `prompted`: the largest share of pairs that may stay without a readable answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unparsed: Option<f64>,
    /// With `prompted`: the temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// With `prompted`: who answers, `live`, `local` or `transcript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorFile>,
}

/// What gives grades or scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgeKind {
    /// A labeler's expected grade over its highest.
    #[default]
    Labeler,
    /// An encoder's cosine.
    Encoder,
    /// A language model that is asked for a grade from 0 to 3: the grade over 3.
    Prompted,
}

impl Default for JudgeFile {
    fn default() -> Self {
        Self {
            kind: JudgeKind::Labeler,
            bundle: models::EMBEDDED.to_owned(),
            asks: None,
            max_unparsed: None,
            temperature: None,
            generator: None,
        }
    }
}

impl JudgeFile {
    /// The judge; an encoder's grade is 1 above `threshold`.
    ///
    /// # Errors
    /// When there is no such bundle, or as [`JudgeFile::prompted`].
    pub fn open(&self, threshold: f64, options: &Options) -> anyhow::Result<Box<dyn Judge>> {
        let encoder_options = EncoderOptions::default();
        Ok(match self.kind {
            JudgeKind::Labeler => {
                let bundle = models::bundle(&self.bundle)?;
                Box::new(LabelerJudge::new(scorer::load_labeler(&bundle, &encoder_options)?))
            }
            JudgeKind::Encoder => {
                let encoder = scorer::load_encoder(&models::bundle(&self.bundle)?, &encoder_options)?;
                Box::new(SimilarityJudge::new(encoder, threshold))
            }
            JudgeKind::Prompted => Box::new(self.prompted(options)?),
        })
    }

    /// The model that is asked.
    ///
    /// # Errors
    /// Settings out of range, or a generator that cannot be opened or cannot judge.
    pub fn prompted(&self, options: &Options) -> anyhow::Result<PromptedJudge> {
        let wrong =
            |key: &str, expected: &str| Err(exit::Usage::error(format!("judge.{key}: expected {expected}")));
        let Some(generator) = self.generator.as_ref().filter(|_| self.kind == JudgeKind::Prompted) else {
            return wrong("kind", "\"prompted\", with a table [judge.generator]");
        };
        if generator.kind == Kind::Offline {
            return wrong(
                "generator.kind",
                "\"live\", \"local\" or \"transcript\": the offline generator grades nothing",
            );
        }
        let default = Asking::default();
        let asking = Asking {
            asks: self.asks.unwrap_or(default.asks),
            max_unparsed: self.max_unparsed.unwrap_or(default.max_unparsed),
            temperature: self.temperature.unwrap_or(default.temperature),
        };
        // Of an offline generator nothing is asked.
        let no_words = || Offline::new([], []);
        Ok(PromptedJudge::new(generator.open(no_words, options)?, asking, options.seed)?)
    }
}

/// One of those who are asked in a run: its key in the report, and what asking it came to.
pub struct ModelUse {
    /// The report's key, such as `generator_usage`.
    pub key: &'static str,
    /// Nothing where no model was asked.
    pub usage: Option<Usage>,
    /// How many grades it gave, for a judge.
    pub labels: Option<u64>,
}

impl ModelUse {
    /// A generator.
    pub fn generator(generator: &dyn Generator) -> Self {
        Self { key: "generator_usage", usage: generator.usage(), labels: None }
    }

    /// A judge.
    pub fn judge(key: &'static str, judge: &dyn Judge) -> Self {
        let labels = judge.answer_counts().map(|counts| counts.graded);
        Self { key, usage: judge.usage(), labels }
    }

    /// Puts it into a report, where a model was asked.
    pub fn report(&self, json: &mut Value, tables: &mut Vec<Table>) {
        if self.usage.is_some() {
            json[self.key] = usage_json(self.usage.as_ref(), self.labels);
        }
        let who = self.key.trim_end_matches("_usage").replace('_', " ");
        tables.extend(usage_table(&who, self.usage.as_ref(), self.labels));
    }
}

/// What asking came to, for people; nothing where nothing was asked of a model.
pub fn usage_table(who: &str, usage: Option<&Usage>, labels: Option<u64>) -> Option<Table> {
    let usage = usage?;
    let mut table = Table::new(["what", "amount"]).titled(format!("what was asked of the {who}"));
    for (what, count) in [
        ("requests", usage.requests),
        ("answers", usage.answered),
        ("answers from the journal", usage.recalled),
        ("questions refused", usage.refused),
        ("attempts made again", usage.retries.values().sum()),
        ("prompt tokens", usage.prompt_tokens),
        ("completion tokens", usage.completion_tokens),
        ("answers without token counts (4 characters a token)", usage.without_token_counts),
        ("answers cut at max_tokens", usage.cut_answers),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    let currency = usage.currency.as_deref().unwrap_or_default();
    if let Some(cost) = usage.cost {
        table.push(vec![Cell::text(format!("cost, {currency}")), Cell::Quantity(cost)]);
    }
    // Answers from the journal cost nothing this time: what labels cost is what the model's answers cost.
    let asked = labels.map(|labels| labels.min(usage.answered));
    if let Some(cost) = asked.and_then(|labels| usage.cost_per_1000(labels)) {
        table.push(vec![Cell::text(format!("cost per 1,000 labels, {currency}")), Cell::Quantity(cost)]);
    }
    table.push(vec![Cell::text("seconds"), Cell::Quantity(usage.seconds)]);
    if !usage.retries.is_empty() {
        let retries: Vec<_> = usage.retries.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        table.notes.push(format!("made again after: {}", retries.join(", ")));
    }
    if let Some(refusal) = &usage.first_refusal {
        table.notes.push(format!("the first question refused: {refusal}"));
    }
    if let Some(format) = &usage.format {
        table.notes.push(format!("form of answers: {format}"));
    }
    if !usage.served_as.is_empty() {
        let names: Vec<_> = usage.served_as.iter().cloned().collect();
        table.notes.push(format!("WARNING: answered by another model than named: {}", names.join(", ")));
    }
    Some(table)
}

/// What asking came to, for programs.
pub fn usage_json(usage: Option<&Usage>, labels: Option<u64>) -> Value {
    let Some(usage) = usage else { return Value::Null };
    let mut value = json!(usage);
    if let Some(labels) = labels {
        value["cost_per_1000_labels"] = json!(usage.cost_per_1000(labels.min(usage.answered)));
    }
    value
}
