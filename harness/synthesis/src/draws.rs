//! Random draws with one defined result on every machine: ChaCha8 streams, and logarithms from `libm`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Stream `stream` under `seed`. Different streams are independent, so that each user (each document, each query) has
    /// its own and no result depends on the order or the number of threads.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. By widening multiplication: the bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// One of `items`, each equally likely.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log1p(-self.unit())
    }

    /// Standard normal (Box and Muller 1958, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log1p(-self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// A count with this mean, geometric from 0: many small ones, a few large.
    pub fn geometric(&mut self, mean: f64) -> usize {
        if mean <= 0.0 {
            return 0;
        }
        let failure = mean / (1.0 + mean);
        (libm::log1p(-self.unit()) / libm::log(failure)) as usize
    }

    /// Zipf-like in `0..bound`: a low index is drawn more often, `P(index < x) = log(1 + x) / log(1 + bound)`.
    pub fn zipf(&mut self, bound: usize) -> usize {
        let drawn = libm::expm1(self.unit() * libm::log1p(bound as f64)) as usize;
        drawn.min(bound.saturating_sub(1))
    }

    /// Shuffles `items` (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(count: usize, mut draw: impl FnMut() -> f64) -> f64 {
        (0..count).map(|_| draw()).sum::<f64>() / count as f64
    }

    #[test]
    fn draws_have_the_means_they_are_asked_for() {
        let mut draws = Draws::new(7, 0);
        assert!((mean(20_000, || draws.exponential(25.0)) - 25.0).abs() < 0.7);
        assert!((mean(20_000, || draws.geometric(3.0) as f64) - 3.0).abs() < 0.15);
        assert!(mean(20_000, || draws.normal()).abs() < 0.03);
        assert!((mean(20_000, || draws.below(10) as f64) - 4.5).abs() < 0.1);
        assert_eq!((draws.below(0), draws.below(1), draws.geometric(0.0), draws.zipf(1)), (0, 0, 0, 0));
        assert!((0..1000).all(|_| draws.zipf(10) < 10));
    }

    #[test]
    fn a_stream_is_a_stream_whatever_else_is_drawn() {
        let mut one = Draws::new(1, 5);
        Draws::new(1, 4).unit();
        let first: Vec<f64> = (0..3).map(|_| one.unit()).collect();
        let mut again = Draws::new(1, 5);
        assert_eq!(first, (0..3).map(|_| again.unit()).collect::<Vec<_>>());
        assert_ne!(first[0], Draws::new(1, 6).unit());
        assert_ne!(first[0], Draws::new(2, 5).unit());
    }
}
