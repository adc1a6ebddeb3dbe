//! A labeler that costs little more than encoding the two texts: an encoder's similarity and lexical features under an
//! ordinal head.

use kernels::similarity::{self, Metric};
use kernels::{Device, Matrix};

use super::features::{WINDOW, words};
use super::{Cuts, Evidence, Feature, Label, Labeler, OrdinalHead, Pair};
use crate::bundle::{Bundle, LABELER};
use crate::encoder::static_table::StaticTable;
use crate::encoder::{Encoder, EncoderOptions, load_encoder, normalize};
use crate::error::{Result, ScorerError};
use crate::template::Role;

/// Pairs handed to one thread at a time.
#[cfg(not(target_arch = "wasm32"))]
const CHUNK: usize = 64;

/// An encoder under an ordinal head.
pub struct EncoderLabeler {
    source: Source,
    head: OrdinalHead,
    digest: String,
}

enum Source {
    Static(Box<StaticTable>),
    Other(Box<dyn Encoder + Send + Sync>),
}

/// The distinct known tokens of a text with their vectors of length 1.
struct TokenVectors {
    ids: Vec<u32>,
    weights: Vec<f64>,
    units: Vec<f32>,
}

/// For each query token: its weight, the index of the nearest document token, and their cosine.
struct Nearest {
    weight: f64,
    document: Option<usize>,
    cosine: f64,
}

impl EncoderLabeler {
    /// The labeler of a bundle that has an encoder and a `labeler.json`.
    ///
    /// # Errors
    /// Whatever is wrong with either; `Unsupported` for a feature that this encoder does not have.
    pub fn from_bundle(bundle: &Bundle, options: &EncoderOptions) -> Result<Self> {
        let head = OrdinalHead::from_bundle(bundle)?;
        Self::with_head(bundle, options, head)
    }

    /// A bundle's encoder under a head of the caller's.
    ///
    /// # Errors
    /// As [`EncoderLabeler::from_bundle`].
    pub fn with_head(bundle: &Bundle, options: &EncoderOptions, head: OrdinalHead) -> Result<Self> {
        let source = match bundle.describe()?.model_type.as_str() {
            "static_table" => Source::Static(Box::new(StaticTable::from_bundle(bundle, options)?)),
            _ => Source::Other(load_encoder(bundle, options)?),
        };
        let missing = head.features().iter().find(|feature| feature.needs_token_vectors());
        if let (Source::Other(_), Some(feature)) = (&source, missing) {
            let what = format!("the feature {} without a static table", feature.name());
            return Err(ScorerError::Unsupported { file: LABELER.into(), what });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(source.encoder().digest().as_bytes());
        hasher.update(bundle.get(LABELER).unwrap_or_default());
        let digest = hasher.finalize().to_hex().to_string();
        Ok(Self { source, head, digest })
    }

    /// The head.
    pub fn head(&self) -> &OrdinalHead {
        &self.head
    }

    /// The features of each pair, row after row, in the order of the head's.
    ///
    /// # Errors
    /// Only if the tokenizer or the tensor library fails.
    pub fn features(&self, pairs: &[Pair<'_>]) -> Result<Vec<f64>> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            use rayon::prelude::*;
            let rows = pairs.par_chunks(CHUNK).map(|pairs| self.chunk_features(pairs));
            Ok(rows.collect::<Result<Vec<_>>>()?.concat())
        }
        #[cfg(target_arch = "wasm32")]
        self.chunk_features(pairs)
    }

    fn chunk_features(&self, pairs: &[Pair<'_>]) -> Result<Vec<f64>> {
        let encoder = self.source.encoder();
        let queries =
            encoder.encode(&pairs.iter().map(|pair| pair.query).collect::<Vec<_>>(), Role::Query)?;
        let documents =
            encoder.encode(&pairs.iter().map(|pair| pair.document).collect::<Vec<_>>(), Role::Document)?;
        let mut values = Vec::with_capacity(pairs.len() * self.head.features().len());
        for (at, pair) in pairs.iter().enumerate() {
            let similarity = cosines(queries.row(at), documents.row(at), encoder.dimensions())?[0];
            self.pair_features(*pair, queries.row(at), similarity, &mut values)?;
        }
        Ok(values)
    }

    fn pair_features(
        &self,
        pair: Pair<'_>,
        query_vector: &[f32],
        similarity: f64,
        values: &mut Vec<f64>,
    ) -> Result<()> {
        let wants = |feature: Feature| self.head.features().contains(&feature);
        let words = words(pair.query, pair.document);
        let mut window = similarity;
        let mut tokens = TokenFeatures::default();
        if let Source::Static(table) = &self.source {
            if wants(Feature::WindowSimilarity) {
                window = best_window(table, query_vector, pair.document, similarity)?;
            }
            if Feature::ALL[2..5].iter().any(|&feature| wants(feature)) {
                tokens = TokenFeatures::of(&matches(table, pair)?.2);
            }
        }
        values.extend(self.head.features().iter().map(|feature| match feature {
            Feature::Similarity => similarity,
            Feature::WindowSimilarity => window,
            Feature::SoftCoverage => tokens.soft_coverage,
            Feature::WeakestMatch => tokens.weakest_match,
            Feature::TokenCoverage => tokens.token_coverage,
            Feature::StemCoverage => words.stem_coverage,
            Feature::Phrase => words.phrase,
            Feature::Focus => words.focus,
            Feature::Length => words.length,
        }));
        Ok(())
    }
}

impl Labeler for EncoderLabeler {
    fn cuts(&self) -> &Cuts {
        self.head.cuts()
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn label(&self, pairs: &[Pair<'_>]) -> Result<Vec<Label>> {
        let width = self.head.features().len();
        Ok(self.features(pairs)?.chunks_exact(width).map(|x| self.head.label(x)).collect())
    }

    fn explain(&self, pair: Pair<'_>) -> Result<Evidence> {
        let x = self.features(&[pair])?;
        let features = self.head.features().iter().zip(self.head.weights()).zip(&x);
        let features = features.map(|((feature, weight), x)| (feature.name(), *x, weight * x)).collect();
        let tokens = match &self.source {
            Source::Static(table) => named_matches(table, pair)?,
            Source::Other(_) => Vec::new(),
        };
        Ok(Evidence { label: self.head.label(&x), features, tokens })
    }
}

impl Source {
    fn encoder(&self) -> &dyn Encoder {
        match self {
            Source::Static(table) => table.as_ref(),
            Source::Other(encoder) => encoder.as_ref(),
        }
    }
}

impl TokenVectors {
    fn of(table: &StaticTable, text: &str, role: Role) -> Result<Self> {
        let mut ids = table.ids(text, role)?;
        ids.sort_unstable();
        ids.dedup();
        let dimensions = table.dimensions();
        let mut found = Self { ids: Vec::new(), weights: Vec::new(), units: Vec::new() };
        let mut row = vec![0.0; dimensions];
        for id in ids {
            row.fill(0.0);
            table.add_row(id, &mut row);
            let squares = row.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x));
            if squares > 0.0 {
                normalize(&mut row);
                found.ids.push(id);
                found.weights.push(squares.sqrt());
                found.units.extend_from_slice(&row);
            }
        }
        Ok(found)
    }
}

/// What the nearest tokens say of a pair; all zero for a query without known tokens.
#[derive(Default)]
struct TokenFeatures {
    soft_coverage: f64,
    weakest_match: f64,
    token_coverage: f64,
}

impl TokenFeatures {
    fn of(nearest: &[Nearest]) -> Self {
        let total = nearest.iter().fold(0.0, |sum, token| sum + token.weight);
        if total == 0.0 {
            return Self::default();
        }
        let mean = |value: fn(&Nearest) -> f64| {
            nearest.iter().fold(0.0, |sum, token| sum + token.weight * value(token)) / total
        };
        Self {
            soft_coverage: mean(|token| token.cosine),
            weakest_match: nearest.iter().fold(1.0, |lowest: f64, token| lowest.min(token.cosine)),
            // Equal tokens have a cosine of 1 up to rounding; no two different rows come that close.
            token_coverage: mean(|token| f64::from(u8::from(token.cosine > 0.9999))),
        }
    }
}

/// The tokens of both texts, and for each of the query's the nearest of the document's (the lower id on a tie).
fn matches(table: &StaticTable, pair: Pair<'_>) -> Result<(TokenVectors, TokenVectors, Vec<Nearest>)> {
    let query = TokenVectors::of(table, pair.query, Role::Query)?;
    let document = TokenVectors::of(table, pair.document, Role::Document)?;
    let scores = match query.ids.is_empty() || document.ids.is_empty() {
        true => Vec::new(),
        false => cosines(&query.units, &document.units, table.dimensions())?,
    };
    let nearest = query.weights.iter().enumerate().map(|(at, &weight)| {
        let row = scores.get(at * document.ids.len()..(at + 1) * document.ids.len()).unwrap_or_default();
        let mut best = Nearest { weight, document: None, cosine: 0.0 };
        for (index, &cosine) in row.iter().enumerate() {
            if best.document.is_none() || cosine > best.cosine {
                best = Nearest { weight, document: Some(index), cosine };
            }
        }
        best
    });
    let nearest = nearest.collect();
    Ok((query, document, nearest))
}

fn named_matches(table: &StaticTable, pair: Pair<'_>) -> Result<Vec<(String, Option<String>, f64)>> {
    let (query, document, nearest) = matches(table, pair)?;
    let name = |id: u32| table.token(id).unwrap_or_default();
    let rows = query.ids.iter().zip(&nearest);
    Ok(rows
        .map(|(&id, best)| (name(id), best.document.map(|at| name(document.ids[at])), best.cosine))
        .collect())
}

/// The highest similarity of a query with a window of the document; `whole` for one that fits into a window.
fn best_window(table: &StaticTable, query: &[f32], document: &str, whole: f64) -> Result<f64> {
    let ids = table.ids(document, Role::Document)?;
    if ids.len() <= WINDOW {
        return Ok(whole);
    }
    let mut vectors = Vec::new();
    let mut start = 0;
    loop {
        let end = (start + WINDOW).min(ids.len());
        let at = vectors.len();
        vectors.resize(at + query.len(), 0.0);
        ids[start..end].iter().for_each(|&id| table.add_row(id, &mut vectors[at..]));
        normalize(&mut vectors[at..]);
        if end == ids.len() {
            break;
        }
        start += WINDOW / 2;
    }
    Ok(cosines(query, &vectors, query.len())?.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

/// Every query row with every document row, of length 1 each, in the kernel's defined order of summation.
fn cosines(queries: &[f32], documents: &[f32], dimensions: usize) -> Result<Vec<f64>> {
    let matrix = |what, values| Matrix::new(what, values, <[f32]>::len(values) / dimensions, dimensions);
    let (queries, documents) = (matrix("queries", queries), matrix("documents", documents));
    let scores =
        queries.and_then(|queries| similarity::scores(queries, documents?, Metric::Dot, Device::auto(), 1));
    let scores = scores.map_err(|error| ScorerError::Compute(error.to_string()))?;
    Ok(scores.into_iter().map(f64::from).collect())
}
