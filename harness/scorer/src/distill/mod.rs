//! A static table from a transformer: what the table's vectors are, and how they are made small.
//!
//! The start is that of Model2Vec (Tulkens and van Dongen 2024): every token of the vocabulary goes through the teacher
//! alone, between its special tokens, and the pooled vector, centred over the vocabulary and reduced by principal
//! components, becomes the token's row. A row is scaled by ln(1 + r), r being the token's frequency rank: BERT
//! vocabularies list words by falling frequency, so the common words of no meaning weigh least. No text is read.
//!
//! With texts given, the rows are then fitted: those that bring the weighted mean of every text close to the teacher's
//! vector of that text (see [`fit`]).
//!
//! Where we differ from Model2Vec: the ranking opens at the first whole word of two letters rather than at id 0 (in
//! BERT's vocabularies some 2,000 ids of unused entries and single characters come first, and counting them would give
//! `the` nearly the weight of rare words); the mean over the token with its special ones follows the teacher's own
//! pooling; the vocabulary is cut to what ships; rows are stored as int8.

pub mod eigen;
pub mod fit;

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::bundle::{Bundle, CARD, CONFIG, LICENSE, TOKENIZER, WEIGHTS};
use crate::dual_encoder::DualEncoder;
use crate::encoder::EncoderOptions;
use crate::encoder::static_table::StaticTableConfig;
use crate::error::{Result, ScorerError};
use eigen::symmetric_eigen;

/// Element type of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// One byte per element and a 16-bit scale per row.
    Int8,
    /// Four bytes per element.
    Float32,
}

/// What the table should be.
#[derive(Debug, Clone)]
pub struct DistillOptions {
    /// Width of the rows, at most the teacher's.
    pub dimensions: usize,
    /// Tokens kept, special ones included: the first of the vocabulary, which are the most frequent. Words that are cut
    /// fall into pieces that were kept.
    pub vocabulary: usize,
    /// Keep only tokens of ASCII characters; texts in other scripts then come out as unknown tokens, which do not count.
    pub ascii_only: bool,
    /// Element type of the table.
    pub storage: Storage,
    /// Strength of the pull towards the start in the fit.
    pub ridge: f64,
}

impl Default for DistillOptions {
    fn default() -> Self {
        Self {
            dimensions: 256,
            vocabulary: usize::MAX,
            ascii_only: false,
            storage: Storage::Int8,
            ridge: 1.0,
        }
    }
}

/// The tokens kept, in their old order; a token's place is its new id.
struct Vocabulary {
    tokens: Vec<String>,
    old_ids: Vec<u32>,
    special: Vec<bool>,
}

/// Distils `teacher` into the bundle of a static table. `texts` may be empty. `card` and `license` go into the bundle as
/// they are. Teacher and options decide the result; threads do not, beyond the rounding of the teacher's vectors.
///
/// # Errors
/// `BadArgument` for dimensions or a vocabulary that the teacher does not have, `Unsupported` for a teacher whose tokenizer
/// is not WordPiece, and whatever loading and running the teacher may bring.
pub fn distill(
    teacher: &Bundle,
    texts: &[&str],
    options: &DistillOptions,
    card: &str,
    license: &str,
) -> Result<Bundle> {
    let encoder = DualEncoder::from_bundle(teacher, &EncoderOptions::default())?;
    let mut settings: Value = serde_json::from_slice(teacher.require(TOKENIZER)?)
        .map_err(|error| ScorerError::BadConfig { file: TOKENIZER.into(), reason: error.to_string() })?;
    let vocabulary = Vocabulary::choose(&encoder, &settings, options)?;
    let width = encoder.config().hidden_size;
    if !(1..=width).contains(&options.dimensions) {
        let reason = format!("{} dimensions from a teacher of {width}", options.dimensions);
        return Err(ScorerError::BadArgument(reason));
    }
    let vectors = vocabulary.vectors(&encoder)?;
    let (mean, components) = principal_components(&vectors, width, options.dimensions);
    let mut table = project(&vectors, &mean, &components, width);
    vocabulary.weigh(&mut table, options.dimensions);
    cut_tokenizer(&mut settings, &vocabulary)?;
    let mut files = BTreeMap::from([
        (TOKENIZER.to_owned(), json_bytes(&settings)?),
        (CARD.to_owned(), card.as_bytes().to_vec()),
        (LICENSE.to_owned(), license.as_bytes().to_vec()),
    ]);
    files.insert(CONFIG.to_owned(), config(&vocabulary, options)?);
    if !texts.is_empty() {
        let pairs = fit::Pairs { encoder: &encoder, texts, components: &components, width };
        let tokens = crate::tokens::Tokens::from_bundle(&Bundle::from_files(files.clone())?, false, None)?;
        fit::refine(&mut table, options.dimensions, &tokens, &pairs, options.ridge)?;
        vocabulary.silence(&mut table, options.dimensions);
    }
    files.insert(WEIGHTS.to_owned(), weights(&table, options)?);
    Bundle::from_files(files)
}

impl Vocabulary {
    fn choose(encoder: &DualEncoder, settings: &Value, options: &DistillOptions) -> Result<Self> {
        let added = added_tokens(settings);
        let wanted = |token: &str| {
            let unused = token.starts_with("[unused") && token.ends_with(']');
            added.contains(&token) || (!unused && (token.is_ascii() || !options.ascii_only))
        };
        let all = encoder.tokens().vocabulary();
        let kept: Vec<_> =
            all.into_iter().filter(|(token, _)| wanted(token)).take(options.vocabulary).collect();
        if added.iter().any(|token| !kept.iter().any(|(kept, _)| kept == token)) || kept.len() <= added.len()
        {
            let reason = format!("a vocabulary of {} does not hold the special tokens and words", kept.len());
            return Err(ScorerError::BadArgument(reason));
        }
        let special = kept.iter().map(|(token, _)| added.contains(&token.as_str())).collect();
        let (tokens, old_ids) = kept.into_iter().unzip();
        Ok(Self { tokens, old_ids, special })
    }

    /// Each token alone through the teacher, `tokens x width`, not normalised.
    fn vectors(&self, encoder: &DualEncoder) -> Result<Vec<f32>> {
        let empty = encoder.tokens().encode("")?;
        let [first, last] = empty.as_slice() else {
            let what = format!("a template of {} special tokens", empty.len());
            return Err(ScorerError::Unsupported { file: TOKENIZER.into(), what });
        };
        let sequences: Vec<Vec<u32>> = self.old_ids.iter().map(|&id| vec![*first, id, *last]).collect();
        encoder.pool_ids(&sequences)
    }

    /// Scales each row by ln(1 + rank) and makes the special tokens' rows zero.
    fn weigh(&self, table: &mut [f32], dimensions: usize) {
        let is_word = |token: &&String| token.chars().all(char::is_alphabetic) && token.chars().count() > 1;
        let opening = self.tokens.iter().position(|token| is_word(&token)).unwrap_or(0);
        let opening = self.old_ids[opening];
        for (row, &id) in table.chunks_exact_mut(dimensions).zip(&self.old_ids) {
            let rank = f64::from((id + 1).saturating_sub(opening).max(1));
            row.iter_mut().for_each(|value| *value *= (1.0 + rank).ln() as f32);
        }
        self.silence(table, dimensions);
    }

    fn silence(&self, table: &mut [f32], dimensions: usize) {
        for (row, _) in table.chunks_exact_mut(dimensions).zip(&self.special).filter(|(_, special)| **special)
        {
            row.fill(0.0);
        }
    }
}

fn added_tokens(settings: &Value) -> Vec<&str> {
    let added = settings["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    added.iter().filter_map(|token| token["content"].as_str()).collect()
}

/// The mean row and the first `dimensions` principal directions (`dimensions x width`), in f64.
fn principal_components(vectors: &[f32], width: usize, dimensions: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = vectors.len() / width;
    let mut mean = vec![0.0; width];
    for row in vectors.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / rows as f64);
    }
    let mut covariance = vec![0.0; width * width];
    let mut centred = vec![0.0; width];
    for row in vectors.chunks_exact(width) {
        centred.iter_mut().zip(row).zip(&mean).for_each(|((c, &value), mean)| *c = f64::from(value) - mean);
        for (line, &left) in covariance.chunks_exact_mut(width).zip(&centred) {
            line.iter_mut().zip(&centred).for_each(|(sum, &right)| *sum += left * right / rows as f64);
        }
    }
    let (_, mut directions) = symmetric_eigen(covariance, width);
    directions.truncate(dimensions * width);
    (mean, directions)
}

/// Rows of `width` minus the mean, in the directions' coordinates.
fn project(vectors: &[f32], mean: &[f64], directions: &[f64], width: usize) -> Vec<f32> {
    let coordinate = |row: &[f32], direction: &[f64]| {
        let terms = row.iter().zip(mean).zip(direction);
        terms.map(|((&value, mean), direction)| (f64::from(value) - mean) * direction).sum::<f64>() as f32
    };
    vectors
        .chunks_exact(width)
        .flat_map(|row| directions.chunks_exact(width).map(move |direction| coordinate(row, direction)))
        .collect()
}

/// Leaves in the tokenizer what was kept, under new ids, and takes out what a table has no use for.
fn cut_tokenizer(settings: &mut Value, vocabulary: &Vocabulary) -> Result<()> {
    if settings["model"]["type"] != "WordPiece" {
        let what = format!("the tokenizer model {}", settings["model"]["type"]);
        return Err(ScorerError::Unsupported { file: TOKENIZER.into(), what });
    }
    let ids: BTreeMap<&str, usize> = vocabulary.tokens.iter().map(String::as_str).zip(0..).collect();
    settings["model"]["vocab"] =
        ids.iter().map(|(token, id)| (token.to_string(), Value::from(*id))).collect();
    for added in settings["added_tokens"].as_array_mut().into_iter().flatten() {
        let id = added["content"].as_str().and_then(|token| ids.get(token));
        added["id"] = Value::from(id.copied().unwrap_or_default());
    }
    for key in ["truncation", "padding", "post_processor"] {
        settings[key] = Value::Null;
    }
    Ok(())
}

fn config(vocabulary: &Vocabulary, options: &DistillOptions) -> Result<Vec<u8>> {
    json_bytes(&StaticTableConfig {
        model_type: "static_table".into(),
        dimensions: options.dimensions,
        vocab_size: vocabulary.tokens.len(),
        max_tokens: None,
    })
}

fn json_bytes(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| ScorerError::BadArgument(error.to_string()))
}

fn weights(table: &[f32], options: &DistillOptions) -> Result<Vec<u8>> {
    let rows = table.len() / options.dimensions;
    let shape = vec![rows, options.dimensions];
    match options.storage {
        Storage::Float32 => {
            let bytes: Vec<u8> = table.iter().flat_map(|value| value.to_le_bytes()).collect();
            serialize(vec![("table", Dtype::F32, shape, &bytes)])
        }
        Storage::Int8 => {
            let (codes, scales) = quantize_rows(table, options.dimensions);
            let codes: Vec<u8> = codes.into_iter().map(|code| code as u8).collect();
            let scales: Vec<u8> = scales.into_iter().flat_map(|scale| scale.to_le_bytes()).collect();
            serialize(vec![("table", Dtype::I8, shape, &codes), ("scales", Dtype::F16, vec![rows], &scales)])
        }
    }
}

fn serialize(tensors: Vec<(&str, Dtype, Vec<usize>, &[u8])>) -> Result<Vec<u8>> {
    let refused = |error: safetensors::SafeTensorError| ScorerError::BadWeights {
        file: WEIGHTS.into(),
        reason: error.to_string(),
    };
    let view =
        |(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes).map_err(refused)?));
    let views: Vec<(&str, TensorView)> = tensors.into_iter().map(view).collect::<Result<_>>()?;
    safetensors::serialize(views, None).map_err(refused)
}

/// Symmetric int8 codes and one scale per row: the row's largest magnitude becomes 127 (the 16-bit scale is rounded first,
/// so that codes and scale belong together; a code that rounding pushes past 127 is cut there).
fn quantize_rows(table: &[f32], dimensions: usize) -> (Vec<i8>, Vec<half::f16>) {
    let mut codes = Vec::with_capacity(table.len());
    let mut scales = Vec::with_capacity(table.len() / dimensions);
    for row in table.chunks_exact(dimensions) {
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = half::f16::from_f32(largest / 127.0);
        let divisor = if scale.to_f32() > 0.0 { scale.to_f32() } else { 1.0 };
        codes.extend(row.iter().map(|value| (value / divisor).round().clamp(-127.0, 127.0) as i8));
        scales.push(scale);
    }
    (codes, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_within_half_a_step() {
        let table: Vec<f32> = (0..60).map(|i| ((i * 31) % 17) as f32 * 0.37 - 2.0).chain([0.0; 10]).collect();
        let (codes, scales) = quantize_rows(&table, 10);
        for (index, (value, code)) in table.iter().zip(&codes).enumerate() {
            let scale = scales[index / 10].to_f32();
            assert!((value - scale * f32::from(*code)).abs() <= 0.51 * scale, "element {index}");
        }
    }

    #[test]
    fn the_first_component_is_the_long_axis() {
        // Points on the line (3, 4) t + (1, 1), with a little of the other direction.
        let points: Vec<f32> = (-5..=5)
            .flat_map(|t| [3.0 * t as f32 + 1.0 + 0.04 * (t % 2) as f32, 4.0 * t as f32 + 1.0])
            .collect();
        let (mean, directions) = principal_components(&points, 2, 1);
        assert!((mean[0] - 1.0).abs() < 1e-6 && (mean[1] - 1.0).abs() < 1e-6);
        assert!((directions[0] - 0.6).abs() < 1e-2 && (directions[1] - 0.8).abs() < 1e-2);
        let coordinates = project(&points, &mean, &directions, 2);
        assert!((coordinates[10] - 25.0).abs() < 0.1);
    }
}
