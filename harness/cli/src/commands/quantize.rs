//! `graded model quantize`: a transformer in 8 bits, and what that costs, measured before the bundle is written and said in
//! its model card.

use std::path::PathBuf;

use clap::Args;
use datasets::{Collection, Document};
use relevance::evaluation::{EvaluationOptions, Evaluator};
use relevance::parse_measures;
use relevance::significance::{differences, standard_deviation};
use scorer::{Bundle, EncoderOptions, Role, WeightBits, load_encoder};
use serde::Serialize;
use serde_json::json;

use super::model::{bundle_table, read_text};
use super::{Finished, quantize_labeler};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::models::Model;
use crate::report::{Cell, Report, Table};
use crate::systems::{self, Candidates, Resources, Task};
use crate::{cache, collections, models, progress};

/// What a loss is measured by.
const MEASURE: &str = "nDCG@10";
/// Documents a query ranks: as deep as the measure looks, and more than enough.
const DEPTH: usize = 100;
/// Documents whose vectors are compared, evenly spread over a collection.
const COMPARED_DOCUMENTS: usize = 256;

/// What a card says of how texts or pairs were used; their number and name follow.
pub(super) const CALIBRATION: &str = "Activations are evened out (SmoothQuant), and weights rounded so that their errors\n\
     cancel (GPTQ in the form LDLQ), over";

/// Flags of `graded model quantize`.
#[derive(Debug, Args)]
pub struct Quantize {
    /// A BERT bundle in floats, an encoder or a cross-encoder labeler: a pulled model's name, or a bundle's file or folder
    pub(super) bundle: String,
    /// The bundle file to write
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// A file of texts, one a line, over which activations are evened out and weights rounded; of a labeler's pairs: query,
    /// tab, document. Texts like those that are to be encoded cost least [default: the embedded sample's]
    #[arg(long, value_name = "FILE")]
    pub(super) texts: Option<PathBuf>,
    /// Bits of a weight: 7, which browsers multiply faster and other devices as fast, or 8, nearer to the floats
    #[arg(long, value_name = "7|8", default_value = "7", value_parser = weight_bits)]
    pub(super) weight_bits: WeightBits,
    /// A collection on which the loss is measured; may be repeated [default: sample]
    #[arg(long = "on", value_name = "NAME|DIR")]
    pub(super) collections: Vec<String>,
}

fn weight_bits(text: &str) -> Result<WeightBits, String> {
    match text {
        "7" => Ok(WeightBits::Seven),
        "8" => Ok(WeightBits::Eight),
        _ => Err("expected 7 or 8".to_owned()),
    }
}

/// What fewer bits cost on one collection.
#[derive(Serialize)]
struct Loss {
    collection: String,
    queries: usize,
    #[serde(rename = "nDCG@10 float")]
    float: f64,
    #[serde(rename = "nDCG@10 quantized")]
    quantized: f64,
    /// Of the mean difference, over the queries.
    standard_error: f64,
    mean_cosine: f64,
    least_cosine: f64,
}

/// Runs `graded model quantize`.
pub fn run(command: &Quantize, options: &Options) -> anyhow::Result<Finished> {
    models::require_replaceable(&command.out)?;
    let float = models::bundle(&command.bundle)?;
    if scorer::labeler::is_cross_encoder(&float)? {
        return quantize_labeler::run(command, &float, options);
    }
    let texts = calibration_texts(command)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    progress::say(options, format!("quantising {}, evened out over {} texts", command.bundle, texts.len()));
    let bundle = command
        .watched(options, |progress| scorer::quantize(&float, &texts, command.weight_bits, "", progress))?;
    let models = (model(&float)?, model(&bundle)?);
    let losses = command.measured_on().into_iter().map(|name| {
        let collection = collections::open(&name, None, options.memory)?;
        loss(&name, &collection, &models, options)
    });
    let losses = losses.collect::<anyhow::Result<Vec<_>>>()?;
    let card = card(command, &float, &texts, &losses);
    command.write(&bundle, card, &losses, loss_table(&losses, command.weight_bits))
}

impl Quantize {
    /// The collections on which the loss is measured.
    pub(super) fn measured_on(&self) -> Vec<String> {
        match self.collections.as_slice() {
            [] => vec![collections::SAMPLE.to_owned()],
            named => named.to_vec(),
        }
    }

    /// Quantises, with a bar over the layers.
    pub(super) fn watched<T>(
        &self,
        options: &Options,
        quantize: impl FnOnce(&mut dyn FnMut(usize, usize)) -> T,
    ) -> T {
        let bar = progress::bar(options, "layers", 0);
        let result = quantize(&mut |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        result
    }

    /// Writes the bundle with its card, and says what it cost: as `losses` for programs, as a table for people.
    pub(super) fn write(
        &self,
        bundle: &Bundle,
        card: String,
        losses: &[impl Serialize],
        cost: Table,
    ) -> anyhow::Result<Finished> {
        let mut files: std::collections::BTreeMap<_, _> = bundle
            .names()
            .filter_map(|name| bundle.get(name).map(|content| (name.to_owned(), content.to_vec())))
            .collect();
        files.insert(scorer::bundle::CARD.to_owned(), card.into_bytes());
        let bundle = &Bundle::from_files(files)?;
        let bytes = bundle.to_bytes();
        cache::write_whole(&self.out, &bytes)?;
        let written = bundle_table(&self.bundle, bundle, bytes.len(), &self.out);
        let json = json!({
            "bundle": self.bundle,
            "file": self.out,
            "bytes": bytes.len(),
            "digest": bundle.digest(),
            "weight_bits": self.weight_bits.count(),
            "losses": losses,
        });
        Ok(Report { tables: vec![written, cost], json, lines: Vec::new() }.into())
    }
}

/// A card, and below it that of the float bundle.
pub(super) fn above_the_card_of(float: &Bundle, mut card: String) -> String {
    if let Some(original) = float.get(scorer::bundle::CARD) {
        card.push_str(&format!("\n---\n\n{}", String::from_utf8_lossy(original)));
    }
    card
}

fn calibration_texts(command: &Quantize) -> anyhow::Result<Vec<String>> {
    let texts = match &command.texts {
        Some(path) => read_text(path)?.lines().map(str::to_owned).collect(),
        None => datasets::sample()?.documents.iter().map(Document::full_text).collect::<Vec<_>>(),
    };
    told(texts.into_iter().filter(|text| !text.trim().is_empty()).collect(), command, "a text")
}

/// Refuses a file that says nothing: weights would be rounded over nothing, unasked.
pub(super) fn told<T>(items: Vec<T>, command: &Quantize, expected: &str) -> anyhow::Result<Vec<T>> {
    match &command.texts {
        Some(path) if items.is_empty() => {
            Err(Usage::error(format!("{}: expected {expected} a line, found none", path.display())))
        }
        _ => Ok(items),
    }
}

fn model(bundle: &Bundle) -> anyhow::Result<Model> {
    let encoder = load_encoder(bundle, &EncoderOptions::default())?;
    Ok(Model { encoder, is_worth_storing: true, prefix: None })
}

fn loss(
    name: &str,
    collection: &Collection,
    (float, quantized): &(Model, Model),
    options: &Options,
) -> anyhow::Result<Loss> {
    let (mean_cosine, least_cosine) = cosines(collection, float, quantized)?;
    let (exact, rough) = (quality(collection, float, options)?, quality(collection, quantized, options)?);
    let differences = differences(&exact.values, &rough.values)?;
    // Undefined where no query differs.
    let deviation = standard_deviation(&differences).unwrap_or(0.0);
    Ok(Loss {
        collection: name.to_owned(),
        queries: Task::new(collection).queries.len(),
        float: exact.mean,
        quantized: rough.mean,
        standard_error: deviation / (differences.len().max(1) as f64).sqrt(),
        mean_cosine,
        least_cosine,
    })
}

/// The measure of each judged query, and their mean.
struct Quality {
    mean: f64,
    values: Vec<f64>,
}

fn quality(collection: &Collection, model: &Model, options: &Options) -> anyhow::Result<Quality> {
    let resources = Resources { device: options.device()?, memory_bytes: options.memory as usize, options };
    let task = Task::new(collection);
    let rankings = systems::rank(model, &task, Candidates::Corpus { depth: DEPTH }, resources)?;
    let settings = EvaluationOptions { self_hits: collection.self_hits, ..EvaluationOptions::default() };
    let evaluator = Evaluator::new(&collection.judgments, &parse_measures(MEASURE)?, settings)?;
    let outcomes = rankings.iter().map(|ranking| evaluator.query(ranking)).collect::<Result<Vec<_>, _>>()?;
    let found = evaluator.collect(outcomes)?;
    let values = found.queries.iter().map(|query| query.values[0]).collect();
    Ok(Quality { mean: found.summary[0], values })
}

/// Mean and least cosine between the two vectors of a document.
fn cosines(collection: &Collection, float: &Model, quantized: &Model) -> anyhow::Result<(f64, f64)> {
    let step = collection.documents.len().div_ceil(COMPARED_DOCUMENTS).max(1);
    let texts: Vec<String> = collection.documents.iter().step_by(step).map(Document::full_text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let float = float.encoder.encode(&texts, Role::Document)?;
    let quantized = quantized.encoder.encode(&texts, Role::Document)?;
    let cosine = |row: usize| -> f64 {
        float.row(row).iter().zip(quantized.row(row)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosines: Vec<f64> = (0..texts.len()).map(cosine).collect();
    let least = cosines.iter().copied().fold(1.0, f64::min);
    Ok((cosines.iter().sum::<f64>() / cosines.len().max(1) as f64, least))
}

fn loss_table(losses: &[Loss], bits: WeightBits) -> Table {
    let quantized = format!("nDCG@10 {} bits", bits.count());
    let mut table = Table::new([
        "collection",
        "queries",
        "nDCG@10 float",
        &quantized,
        "change",
        "standard error",
        "mean cosine",
        "least cosine",
    ]);
    for loss in losses {
        table.push(vec![
            Cell::text(&loss.collection),
            Cell::count(loss.queries),
            Cell::Value(loss.float),
            Cell::Value(loss.quantized),
            Cell::text(format!("{:+.2} %", loss.change_percent())),
            Cell::text(format!("{:.2} %", loss.standard_error_percent())),
            Cell::Value(loss.mean_cosine),
            Cell::Value(loss.least_cosine),
        ]);
    }
    table.titled(cost_title(bits))
}

pub(super) fn cost_title(bits: WeightBits) -> String {
    format!("what weights of {} bits cost", bits.count())
}

impl Loss {
    fn change_percent(&self) -> f64 {
        self.percent(self.quantized - self.float)
    }

    fn standard_error_percent(&self) -> f64 {
        self.percent(self.standard_error)
    }

    fn percent(&self, part: f64) -> f64 {
        if self.float > 0.0 { part / self.float * 100.0 } else { 0.0 }
    }
}

/// The model card: what was done, over what, and what it cost; then the card of the float bundle.
fn card(command: &Quantize, float: &Bundle, texts: &[&str], losses: &[Loss]) -> String {
    let digest = blake3::hash(texts.join("\n").as_bytes()).to_hex();
    let source = match &command.texts {
        Some(_) => "given texts",
        None => "documents of the sample that comes with graded",
    };
    let mut card = format!(
        "# {name} in {bits} bits\n\n\
         Made by `graded model quantize` from {name}, blake3 {float}. Weights: {bits} bits, one scale per output; word\n\
         embeddings: 8 bits, one scale per word; activations: 8 bits, one scale per token, found while encoding;\n\
         attention in 10 to 12 bits. {calibration}\n\
         {count} {source}, blake3 {digest}.\n\n\
         | collection | queries | nDCG@10 float | nDCG@10 {bits} bits | change | standard error | mean cosine | least cosine |\n\
         |---|---|---|---|---|---|---|---|\n",
        calibration = CALIBRATION,
        name = command.bundle,
        float = float.digest(),
        bits = command.weight_bits.count(),
        count = texts.len(),
    );
    for loss in losses {
        card.push_str(&format!(
            "| {} | {} | {:.4} | {:.4} | {:+.2} % | {:.2} % | {:.5} | {:.5} |\n",
            loss.collection,
            loss.queries,
            loss.float,
            loss.quantized,
            loss.change_percent(),
            loss.standard_error_percent(),
            loss.mean_cosine,
            loss.least_cosine
        ));
    }
    card.push_str(
        "\nThe standard error is that of the change, from the queries' differences. Cosines are between the two vectors of the\n\
         same document.\n",
    );
    above_the_card_of(float, card)
}
