//! The labeler's half of `graded model quantize`: a cross-encoder in 8 bits, and how its grades differ from those of the
//! floats and of people.

use relevance::LabeledPair;
use relevance::agreement::{Report as Agreement, Statistic, rated_pairs};
use relevance::resampling::Bootstrap;
use scorer::{Bundle, EncoderOptions, Labeler, Pair, WeightBits, load_labeler, quantize_labeler};
use serde::Serialize;

use super::Finished;
use super::model::read_text;
use super::quantize::{CALIBRATION, Quantize, above_the_card_of, cost_title, told};
use crate::arguments::Options;
use crate::exit::Usage;
use crate::report::{Cell, Table};
use crate::{collections, labelers, progress};

/// What fewer bits cost on one collection.
#[derive(Serialize)]
struct Loss {
    collection: String,
    pairs: usize,
    #[serde(rename = "kappa float")]
    float: Option<f64>,
    #[serde(rename = "kappa quantized")]
    quantized: Option<f64>,
    same_grade: f64,
    mean_difference: f64,
}

/// Quantises a labeler.
pub fn run(command: &Quantize, float: &Bundle, options: &Options) -> anyhow::Result<Finished> {
    let texts = calibration_pairs(command, options)?;
    let pairs: Vec<Pair> = texts.iter().map(|(query, document)| Pair { query, document }).collect();
    progress::say(options, format!("quantising {}, evened out over {} pairs", command.bundle, pairs.len()));
    let bundle = command
        .watched(options, |progress| quantize_labeler(float, &pairs, command.weight_bits, "", progress))?;
    let load = |bundle: &Bundle| load_labeler(bundle, &EncoderOptions::default());
    let labelers = (load(float)?, load(&bundle)?);
    let names = command.measured_on();
    let losses = names.iter().map(|name| loss(name, labelers.0.as_ref(), labelers.1.as_ref(), options));
    let losses = losses.collect::<anyhow::Result<Vec<_>>>()?;
    let card = card(command, float, pairs.len(), &losses);
    command.write(&bundle, card, &losses, loss_table(&losses, command.weight_bits))
}

fn calibration_pairs(command: &Quantize, options: &Options) -> anyhow::Result<Vec<(String, String)>> {
    let Some(path) = &command.texts else {
        let (pairs, _) = labelers::of_collection(collections::SAMPLE, None, options)?;
        let texts = |pair: LabeledPair| Some((pair.query_text?, pair.document_text?));
        return Ok(pairs.into_iter().filter_map(texts).collect());
    };
    let text = read_text(path)?;
    let pair = |(number, line): (usize, &str)| match line.split_once('\t') {
        Some((query, document)) => Ok((query.to_owned(), document.to_owned())),
        None => {
            Err(Usage::error(format!("{}:{number}: expected a query, a tab and a document", path.display())))
        }
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    told(lines.map(pair).collect::<anyhow::Result<_>>()?, command, "a query, a tab and a document")
}

fn loss(name: &str, float: &dyn Labeler, quantized: &dyn Labeler, options: &Options) -> anyhow::Result<Loss> {
    let (pairs, _) = labelers::of_collection(name, None, options)?;
    let (mut exact, mut rough) = (pairs.clone(), pairs);
    labelers::predict(&mut exact, float, options)?;
    labelers::predict(&mut rough, quantized, options)?;
    let both = || exact.iter().zip(&rough);
    let count = exact.len().max(1) as f64;
    let difference = |(a, b): (&LabeledPair, &LabeledPair)| {
        (a.score.unwrap_or_default() - b.score.unwrap_or_default()).abs()
    };
    Ok(Loss {
        collection: name.to_owned(),
        pairs: exact.len(),
        float: kappa(&exact),
        quantized: kappa(&rough),
        same_grade: both().filter(|(a, b)| a.predicted == b.predicted).count() as f64 / count,
        mean_difference: both().map(difference).sum::<f64>() / count,
    })
}

fn kappa(pairs: &[LabeledPair]) -> Option<f64> {
    let report = Agreement::of(&rated_pairs(pairs), &Bootstrap::new(1, 0.95, 0)?);
    report.get(Statistic::CohenKappaQuadratic)?.value.ok()
}

fn loss_table(losses: &[Loss], bits: WeightBits) -> Table {
    let quantized = format!("kappa {} bits", bits.count());
    let columns =
        ["collection", "pairs", "kappa float", &quantized, "same grade", "mean difference of scores"];
    let mut table = Table::new(columns);
    for loss in losses {
        table.push(vec![
            Cell::text(&loss.collection),
            Cell::count(loss.pairs),
            Cell::maybe(loss.float),
            Cell::maybe(loss.quantized),
            Cell::Share(loss.same_grade),
            Cell::Value(loss.mean_difference),
        ]);
    }
    table.notes = vec!["kappa: quadratic, against the collection's human grades".to_owned()];
    table.titled(cost_title(bits))
}

/// The model card: what was done, over what, and what it cost; then the card of the float bundle.
fn card(command: &Quantize, float: &Bundle, pairs: usize, losses: &[Loss]) -> String {
    let source = match &command.texts {
        Some(_) => "given pairs",
        None => "judged pairs of the sample that comes with graded",
    };
    let mut card = format!(
        "# {name} in {bits} bits\n\n\
         Made by `graded model quantize` from {name}, blake3 {float}. Weights: {bits} bits, one scale per output; word\n\
         embeddings: 8 bits, one scale per word; activations: 8 bits, one scale per token, found while encoding;\n\
         attention in 10 to 12 bits; the head in floats. {calibration}\n\
         {pairs} {source}.\n\n\
         | collection | pairs | kappa float | kappa {bits} bits | same grade | mean difference of scores |\n\
         |---|---|---|---|---|---|\n",
        calibration = CALIBRATION,
        name = command.bundle,
        float = float.digest(),
        bits = command.weight_bits.count(),
    );
    let four = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    for loss in losses {
        card.push_str(&format!(
            "| {} | {} | {} | {} | {:.4} | {:.5} |\n",
            loss.collection,
            loss.pairs,
            four(loss.float),
            four(loss.quantized),
            loss.same_grade,
            loss.mean_difference
        ));
    }
    card.push_str("\nKappa is quadratic, against the collection's human grades.\n");
    above_the_card_of(float, card)
}
