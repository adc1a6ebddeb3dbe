//! Which token comes next.

use crate::error::{Result, ScorerError};

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the most probable token. Else scores are divided by it before they become probabilities.
    pub temperature: f64,
    /// Draws are made among the fewest tokens that together have this probability (nucleus sampling, arXiv 1904.09751).
    pub top_p: f64,
    /// Decides the draws.
    pub seed: u64,
    /// The longest answer.
    pub max_tokens: usize,
}

impl Sampling {
    /// The token after `place` others of the answer; of equal scores the first.
    ///
    /// # Errors
    /// `Compute` when a score is not a number or there are none.
    pub(super) fn pick(&self, logits: &[f32], place: usize) -> Result<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(ScorerError::Compute("a score of the language model is not a number".into()));
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let score = |id: u32| logits[id as usize];
        let best = order.iter().copied().reduce(|best, id| if score(id) > score(best) { id } else { best });
        let best = best.ok_or_else(|| ScorerError::Compute("a language model without scores".into()))?;
        if self.temperature <= 0.0 {
            return Ok(best);
        }
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        let highest = f64::from(score(best));
        let weight = |id: u32| libm::exp((f64::from(score(id)) - highest) / self.temperature);
        let weights: Vec<f64> = order.iter().map(|&id| weight(id)).collect();
        let limit = self.top_p * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let kept = weights.iter().take_while(|weight| {
            let is_in = sum < limit;
            sum += **weight;
            is_in
        });
        let kept: Vec<f64> = kept.copied().collect();
        let mut left = self.draw(place) * kept.iter().sum::<f64>();
        for (id, weight) in order.iter().zip(&kept) {
            left -= weight;
            if left < 0.0 {
                return Ok(*id);
            }
        }
        Ok(best)
    }

    /// A number from 0 up to 1, by seed and place.
    fn draw(&self, place: usize) -> f64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&(place as u64).to_le_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sampling(temperature: f64, top_p: f64) -> Sampling {
        Sampling { temperature, top_p, seed: 7, max_tokens: 1 }
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(sampling(0.0, 1.0).pick(&[1.0, 3.0, 3.0, 2.0], 0).unwrap(), 1);
        assert!(sampling(0.0, 1.0).pick(&[1.0, f32::NAN], 0).is_err());
        assert!(sampling(0.0, 1.0).pick(&[], 0).is_err());
    }

    #[test]
    fn draws_follow_the_probabilities_and_stay_in_the_nucleus() {
        // e^0, e^-1, e^-2 over their sum: .665, .245, .090.
        let logits = [0.0, -1.0, -2.0];
        let counts = |sampling: Sampling| {
            let mut counts = [0_u32; 3];
            (0..10_000).for_each(|place| counts[sampling.pick(&logits, place).unwrap() as usize] += 1);
            counts
        };
        let all = counts(sampling(1.0, 1.0));
        for (count, share) in all.iter().zip([0.6652, 0.2447, 0.0900]) {
            assert!((f64::from(*count) / 1e4 - share).abs() < 0.015, "{all:?}");
        }
        // .665 alone is less than .7, the first two are not.
        assert_eq!(counts(sampling(1.0, 0.7))[2], 0);
        assert_eq!(counts(sampling(1.0, 0.6)), [10_000, 0, 0]);
        assert_eq!(counts(sampling(0.01, 1.0)), [10_000, 0, 0]);
        let again = counts(sampling(1.0, 1.0));
        assert_eq!(again, all);
        assert_ne!(counts(Sampling { seed: 8, ..sampling(1.0, 1.0) }), all);
    }
}
