//! From token vectors to a unit vector per text, and back.
//!
//! ```text
//! p = sum over tokens of w_t h_t        e = p / |p|
//! dp = (de - e (e . de)) / |p|          dh_t = w_t dp
//! ```

use scorer::pooling::Pooling;

use crate::error::{Result, TrainerError};

/// A pooling that is a weighted sum of token vectors; all but the maximum are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearPooling(Pooling);

impl LinearPooling {
    /// # Errors
    /// [`TrainerError::Unsupported`] for the maximum.
    pub fn new(pooling: Pooling) -> Result<Self> {
        match pooling {
            Pooling::Max => Err(TrainerError::Unsupported("training through max pooling".into())),
            other => Ok(Self(other)),
        }
    }

    /// `w_t` of a text's token.
    pub(super) fn weight(self, token: usize, tokens: usize) -> f32 {
        match self.0 {
            Pooling::Mean | Pooling::Max => 1.0 / tokens as f32,
            Pooling::MeanSqrtLength => 1.0 / (tokens as f32).sqrt(),
            Pooling::WeightedMean => (token + 1) as f32 / (tokens * (tokens + 1) / 2) as f32,
            Pooling::Cls => f32::from(u8::from(token == 0)),
            Pooling::Last => f32::from(u8::from(token + 1 == tokens)),
        }
    }

    /// `p` of a text's token vectors.
    pub fn pool(self, hidden: &[f32], pooled: &mut [f32]) {
        let tokens = hidden.len() / pooled.len();
        pooled.fill(0.0);
        for (token, row) in hidden.chunks_exact(pooled.len()).enumerate() {
            let weight = self.weight(token, tokens);
            if weight != 0.0 {
                pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }

    /// `dh` of a text from `dp`.
    pub fn spread(self, pooled_slope: &[f32], hidden_slope: &mut [f32]) {
        let tokens = hidden_slope.len() / pooled_slope.len();
        for (token, row) in hidden_slope.chunks_exact_mut(pooled_slope.len()).enumerate() {
            let weight = self.weight(token, tokens);
            row.iter_mut().zip(pooled_slope).for_each(|(slope, value)| *slope = weight * value);
        }
    }
}

/// Scales a vector to length 1 and returns the length it had; the zero vector stays as it is.
pub fn normalize(vector: &mut [f32]) -> f64 {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    length
}

/// `dp` from `de`, the unit vector and the length before; a zero vector passes nothing on.
pub fn normalize_backward(unit: &[f32], length: f64, slope: &mut [f32]) {
    if length == 0.0 {
        slope.fill(0.0);
        return;
    }
    let along: f64 = unit.iter().zip(slope.iter()).map(|(&e, &de)| f64::from(e) * f64::from(de)).sum();
    for (slope, &unit) in slope.iter_mut().zip(unit) {
        *slope = ((f64::from(*slope) - f64::from(unit) * along) / length) as f32;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pools_as_the_scorer_does_and_spreads_as_it_pooled() {
        let hidden = [1.0, -2.0, 3.0, 4.0, 0.5, 0.25];
        for pooling in
            [Pooling::Mean, Pooling::MeanSqrtLength, Pooling::WeightedMean, Pooling::Cls, Pooling::Last]
        {
            let ours = LinearPooling::new(pooling).unwrap();
            let mut pooled = [0.0; 2];
            ours.pool(&hidden, &mut pooled);
            for (a, b) in pooled.iter().zip(pooling.pool(&hidden, 2)) {
                assert!((a - b).abs() < 1e-6, "{pooling:?}");
            }
            // A linear map and its transpose: <pool h, s> = <h, spread s>.
            let (slope, mut back) = ([0.3, -0.7], [0.0; 6]);
            ours.spread(&slope, &mut back);
            let left: f32 = pooled.iter().zip(slope).map(|(p, s)| p * s).sum();
            let right: f32 = hidden.iter().zip(back).map(|(h, b)| h * b).sum();
            assert!((left - right).abs() < 1e-5, "{pooling:?}: {left} {right}");
        }
        assert!(LinearPooling::new(Pooling::Max).is_err());
    }

    #[test]
    fn the_backward_of_scaling_against_differences() {
        let (vector, slope) = ([0.6f32, -1.2, 2.0], [0.5f32, 0.25, -1.0]);
        let value = |vector: &[f32]| {
            let mut unit = vector.to_vec();
            normalize(&mut unit);
            unit.iter().zip(slope).map(|(e, s)| f64::from(e * s)).sum::<f64>()
        };
        let mut unit = vector.to_vec();
        let length = normalize(&mut unit);
        let mut back = slope.to_vec();
        normalize_backward(&unit, length, &mut back);
        for at in 0..3 {
            let (mut up, mut down) = (vector, vector);
            up[at] += 1e-2;
            down[at] -= 1e-2;
            let difference = (value(&up) - value(&down)) / 2e-2;
            assert!((f64::from(back[at]) - difference).abs() < 1e-4, "{at}: {} {difference}", back[at]);
        }
    }
}
