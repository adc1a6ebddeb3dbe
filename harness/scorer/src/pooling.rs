//! From token vectors to one vector per text. Only real tokens come in: there is no padding to leave out.

use serde::Deserialize;

use crate::bundle::{Bundle, POOLING};
use crate::error::{Result, ScorerError};

/// How the token vectors of one text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The arithmetic mean.
    Mean,
    /// The sum over the square root of the number of tokens.
    MeanSqrtLength,
    /// The mean with weight i for the i-th token, counted from 1.
    WeightedMean,
    /// The largest value in each dimension.
    Max,
    /// The first token, `[CLS]`.
    Cls,
    /// The last token.
    Last,
}

#[derive(Deserialize)]
struct PoolingFile {
    pooling_mode: Option<String>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "yes")]
    include_prompt: bool,
}

fn yes() -> bool {
    true
}

impl Pooling {
    /// The pooling of a bundle in the sentence-transformers layout: exactly one mode must be on.
    ///
    /// # Errors
    /// `MissingFile`, `BadConfig` for no mode or several, `Unsupported` for pooling that leaves the prompt out.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self> {
        let file: PoolingFile =
            bundle.json(POOLING)?.ok_or(ScorerError::MissingFile { file: POOLING.into() })?;
        if !file.include_prompt {
            let what = "include_prompt = false".into();
            return Err(ScorerError::Unsupported { file: POOLING.into(), what });
        }
        match file.chosen().as_slice() {
            [one] => Ok(*one),
            several => {
                let reason = format!("exactly one pooling mode was expected, {} are on", several.len());
                Err(ScorerError::BadConfig { file: POOLING.into(), reason })
            }
        }
    }

    /// Pools `tokens x width` values into `width`.
    ///
    /// # Panics
    /// When `hidden` is empty or not a whole number of rows.
    pub fn pool(self, hidden: &[f32], width: usize) -> Vec<f32> {
        assert!(!hidden.is_empty() && hidden.len().is_multiple_of(width));
        let rows = hidden.chunks_exact(width);
        let tokens = rows.len();
        match self {
            Pooling::Cls => hidden[..width].to_vec(),
            Pooling::Last => hidden[(tokens - 1) * width..].to_vec(),
            Pooling::Max => maximum(rows, width),
            Pooling::Mean => weighted_sum(rows, width, |_| 1.0 / tokens as f32),
            Pooling::MeanSqrtLength => weighted_sum(rows, width, |_| 1.0 / (tokens as f32).sqrt()),
            Pooling::WeightedMean => {
                let total = (tokens * (tokens + 1) / 2) as f32;
                weighted_sum(rows, width, |index| (index + 1) as f32 / total)
            }
        }
    }
}

impl PoolingFile {
    fn chosen(&self) -> Vec<Pooling> {
        let named = |name: &str, flag: bool| match &self.pooling_mode {
            Some(mode) => mode == name,
            None => flag,
        };
        [
            (named("cls", self.pooling_mode_cls_token), Pooling::Cls),
            (named("mean", self.pooling_mode_mean_tokens), Pooling::Mean),
            (named("max", self.pooling_mode_max_tokens), Pooling::Max),
            (named("mean_sqrt_len_tokens", self.pooling_mode_mean_sqrt_len_tokens), Pooling::MeanSqrtLength),
            (named("weightedmean", self.pooling_mode_weightedmean_tokens), Pooling::WeightedMean),
            (named("lasttoken", self.pooling_mode_lasttoken), Pooling::Last),
        ]
        .into_iter()
        .filter_map(|(on, mode)| on.then_some(mode))
        .collect()
    }
}

fn weighted_sum<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    width: usize,
    weight: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for (index, row) in rows.enumerate() {
        let weight = weight(index);
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
    }
    sum
}

fn maximum<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    rows.fold(vec![f32::NEG_INFINITY; width], |mut best, row| {
        best.iter_mut().zip(row).for_each(|(best, value)| *best = best.max(*value));
        best
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn by_hand() {
        let hidden = [1.0, -2.0, 3.0, 4.0];
        assert_eq!(Pooling::Mean.pool(&hidden, 2), [2.0, 1.0]);
        assert_eq!(Pooling::Cls.pool(&hidden, 2), [1.0, -2.0]);
        assert_eq!(Pooling::Last.pool(&hidden, 2), [3.0, 4.0]);
        assert_eq!(Pooling::Max.pool(&hidden, 2), [3.0, 4.0]);
        let weighted = Pooling::WeightedMean.pool(&hidden, 2);
        assert!((weighted[0] - 7.0 / 3.0).abs() < 1e-6 && (weighted[1] - 2.0).abs() < 1e-6);
        let root = Pooling::MeanSqrtLength.pool(&hidden, 2);
        assert!((root[0] - 4.0 / 2f32.sqrt()).abs() < 1e-6);
    }

    fn read(json: &str) -> Result<Pooling> {
        let files = [("config.json", "{}"), (POOLING, json)];
        let files = files.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        Pooling::from_bundle(&Bundle::from_files(files.into()).unwrap())
    }

    #[test]
    fn exactly_one_mode() {
        assert_eq!(read(r#"{"pooling_mode_mean_tokens": true}"#), Ok(Pooling::Mean));
        assert_eq!(read(r#"{"pooling_mode": "max"}"#), Ok(Pooling::Max));
        assert!(matches!(read("{}"), Err(ScorerError::BadConfig { .. })));
        let both = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#;
        assert!(matches!(read(both), Err(ScorerError::BadConfig { .. })));
        let partial = r#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#;
        assert!(matches!(read(partial), Err(ScorerError::Unsupported { .. })));
    }
}
