//! `graded model calibrate`: fits the head that makes an encoder a labeler, on pairs with human grades, and says how well
//! it agrees with people on queries it has not seen.

use std::path::{Path, PathBuf};

use clap::Args;
use relevance::agreement::{RatedPair, Report as Agreement, Statistic, rated_pairs};
use relevance::resampling::Bootstrap;
use relevance::{LabeledPair, Scale};
use scorer::bundle::{CARD, LABELER};
use scorer::labeler::{EncoderLabeler, Feature, HeadFile, OrdinalHead, ScaleFile};
use scorer::{Bundle, EncoderOptions};

use super::Finished;
use super::agree::ScaleName;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;
use crate::report::{Cell, Report, Table};
use crate::{cache, labelers, models, progress};

/// Flags of `graded model calibrate`.
#[derive(Debug, Args)]
pub struct Calibrate {
    /// The encoder: `embedded`, a pulled model's name, or a bundle's file or folder
    encoder: String,
    /// A file of pairs with texts and human grades
    #[arg(long, value_name = "FILE", required_unless_present = "dataset")]
    pairs: Option<PathBuf>,
    /// A collection whose judged pairs are used: a name or a folder
    #[arg(long, value_name = "NAME|DIR", conflicts_with = "pairs")]
    dataset: Option<String>,
    #[command(flatten)]
    columns: PairColumns,
    /// The labeler's bundle file to write: the encoder and its head
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The grades [default: the collection's scale; ssra for a file of pairs]
    #[arg(long, value_enum, value_name = "NAME")]
    scale: Option<ScaleName>,
    /// What the score is made of, separated by commas [default: similarities, coverages and phrase, as far as the encoder
    /// has them; focus and length learn the habits of one collection, and are left to be asked for]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Vec<String>,
    /// The share of the queries that the head is not fitted to, to measure it on
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    hold_out: f64,
    /// How strongly the weights are held to zero, in units of one pair's log-likelihood
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    ridge: f64,
    /// A model card to put into the bundle in place of the encoder's
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
}

/// Runs `graded model calibrate`.
pub fn run(command: &Calibrate, options: &Options) -> anyhow::Result<Finished> {
    if !(0.0..1.0).contains(&command.hold_out) || !command.ridge.is_finite() || command.ridge < 0.0 {
        return Err(Usage::error(
            "expected --hold-out from 0 up to, but without, 1, and --ridge of at least 0",
        ));
    }
    models::require_replaceable(&command.out)?;
    let bundle = models::bundle(&command.encoder)?;
    let features = features(&command.features, &bundle)?;
    let (pairs, scale) = pairs(command, options)?;
    let (seen, held_out) = split(pairs, command.hold_out, options.seed);
    progress::say(options, format!("fitting to {} pairs, measuring on {}", seen.len(), held_out.len()));
    let blank = EncoderLabeler::with_head(&bundle, &EncoderOptions::default(), unfitted(&scale, &features)?)?;
    let x = values(&blank, &seen)?;
    let grades: Vec<_> = seen.iter().filter_map(|pair| pair.human).collect();
    let head =
        trainer::ordinal_head::fit(&scale, &features, &x, &grades, command.ridge).map_err(|error| {
            let (seen, aside) = (seen.len(), held_out.len());
            Usage::error(format!(
                "of the {seen} pairs to fit to ({aside} are held out by --hold-out): {error}"
            ))
        })?;
    let fitted = OrdinalHead::new(head.clone())?;
    let mut table = agreement_table();
    for (name, pairs, x) in [("fitted", &seen, x), ("held out", &held_out, values(&blank, &held_out)?)] {
        agreement_row(&mut table, name, pairs, &x, &fitted, options.seed);
    }
    let bytes = with_head(&bundle, &head, command.card.as_deref())?.to_bytes();
    cache::write_whole(&command.out, &bytes)?;
    let mut weights = Table::new(["feature", "weight"]).titled("head");
    for (feature, weight) in features.iter().zip(&head.weights) {
        weights.push(vec![Cell::text(feature.name()), Cell::Value(*weight)]);
    }
    weights.notes = vec![format!("cuts {:?}", head.cuts), format!("thresholds {:?}", head.thresholds)];
    let json = serde_json::json!({
        "file": command.out.display().to_string(),
        "bytes": bytes.len(),
        "head": head,
        "agreement": Report::of_rows(table.clone()).json,
    });
    let title = format!("{}: {} bytes", command.out.display(), bytes.len());
    Ok(Report { tables: vec![table.titled(title), weights], json, lines: Vec::new() }.into())
}

pub(super) fn features(names: &[String], bundle: &Bundle) -> anyhow::Result<Vec<Feature>> {
    let is_table = bundle.describe()?.model_type == "static_table";
    let offered = || Feature::ALL.into_iter().filter(|feature| is_table || !feature.needs_token_vectors());
    if names.is_empty() {
        return Ok(offered().filter(|feature| Feature::USUAL.contains(feature)).collect());
    }
    let find = |name: &String| {
        let known = || offered().map(Feature::name).collect::<Vec<_>>().join(", ");
        offered().find(|feature| feature.name() == name).ok_or_else(|| {
            Usage::error(format!("--features: {name} is not one that this encoder has: {}", known()))
        })
    };
    names.iter().map(find).collect()
}

fn pairs(command: &Calibrate, options: &Options) -> anyhow::Result<(Vec<LabeledPair>, Scale)> {
    let (mut pairs, scale) = match (&command.pairs, &command.dataset) {
        (Some(file), _) => {
            (labelers::read(file, &command.columns.options(options.memory), options)?.pairs, Scale::ssra())
        }
        (None, Some(name)) => labelers::of_collection(name, None, options)?,
        (None, None) => return Err(Usage::error("expected --pairs FILE or --dataset NAME")),
    };
    let judged = pairs.len();
    pairs.retain(|pair| pair.human.is_some());
    if pairs.len() < judged {
        progress::say(options, format!("{} pairs without a human grade are left out", judged - pairs.len()));
    }
    let scale = command.scale.map_or(scale, ScaleName::scale);
    for LabeledPair { query, document, human, .. } in &pairs {
        if let Some(grade) = human.filter(|grade| !scale.contains(*grade)) {
            let of = command.pairs.as_ref().map_or(String::new(), |file| format!("{}: ", file.display()));
            let (name, pair) = (scale.name(), format!("query {query}, document {document}"));
            return Err(Usage::error(format!("{of}{pair}: the grade {grade} is not on the scale {name}")));
        }
    }
    Ok((pairs, scale))
}

/// The pairs to fit to and the pairs to measure on: whole queries, dealt by the digest of their id under the seed.
fn split(pairs: Vec<LabeledPair>, hold_out: f64, seed: u64) -> (Vec<LabeledPair>, Vec<LabeledPair>) {
    pairs.into_iter().partition(|pair| is_seen(&pair.query, hold_out, seed))
}

/// Whether a head is fitted to a query's pairs, or measured on them.
pub(super) fn is_seen(query: &str, hold_out: f64, seed: u64) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(query.as_bytes());
    let bytes = hasher.finalize();
    let [a, b, c, d, ..] = bytes.as_bytes();
    f64::from(u32::from_le_bytes([*a, *b, *c, *d])) / 2_f64.powi(32) >= hold_out
}

pub(super) fn unfitted(scale: &Scale, features: &[Feature]) -> anyhow::Result<OrdinalHead> {
    let steps = scale.levels().len().saturating_sub(1);
    let (weights, ends) = (vec![0.0; features.len()], vec![0.0; steps]);
    let scale = ScaleFile::of(scale);
    Ok(OrdinalHead::new(HeadFile {
        scale,
        features: features.into(),
        weights,
        thresholds: ends.clone(),
        cuts: ends,
    })?)
}

fn values(labeler: &EncoderLabeler, pairs: &[LabeledPair]) -> anyhow::Result<Vec<f64>> {
    Ok(labeler.features(&pairs.iter().map(labelers::texts).collect::<Vec<_>>())?)
}

const STATISTICS: [Statistic; 4] = [
    Statistic::CohenKappaQuadratic,
    Statistic::KrippendorffAlphaOrdinal,
    Statistic::Mae,
    Statistic::Accuracy,
];

fn agreement_table() -> Table {
    let mut columns = vec!["pairs of", "queries", "pairs"];
    columns.extend(STATISTICS.iter().map(|statistic| statistic.name()));
    Table::new(columns)
}

fn agreement_row(
    table: &mut Table,
    name: &str,
    pairs: &[LabeledPair],
    x: &[f64],
    head: &OrdinalHead,
    seed: u64,
) {
    let labeled: Vec<LabeledPair> = pairs
        .iter()
        .zip(x.chunks_exact(head.features().len()))
        .map(|(pair, x)| LabeledPair { predicted: Some(head.label(x).grade), ..pair.clone() })
        .collect();
    let rated: Vec<RatedPair> = rated_pairs(&labeled);
    let Some(bootstrap) = Bootstrap::new(1, 0.95, seed) else { return };
    let report = Agreement::of(&rated, &bootstrap);
    let mut row = vec![Cell::text(name), Cell::count(report.queries), Cell::Count(report.pairs)];
    row.extend(
        STATISTICS.iter().map(|&statistic| Cell::maybe(report.get(statistic).and_then(|e| e.value.ok()))),
    );
    table.push(row);
}

pub(super) fn with_head(bundle: &Bundle, head: &HeadFile, card: Option<&Path>) -> anyhow::Result<Bundle> {
    let mut files: std::collections::BTreeMap<String, Vec<u8>> =
        bundle.names().filter_map(|name| Some((name.to_owned(), bundle.get(name)?.to_vec()))).collect();
    let mut written = serde_json::to_vec_pretty(head)?;
    written.push(b'\n');
    files.insert(LABELER.to_owned(), written);
    if let Some(card) = card {
        files.insert(CARD.to_owned(), cache::read_whole(card, 1 << 20)?);
    }
    Ok(Bundle::from_files(files)?)
}
