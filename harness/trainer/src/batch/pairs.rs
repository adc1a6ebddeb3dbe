//! Which pairs a labeler sees in which step: every pair once an epoch, in an order of seed and epoch alone.

use super::draws::{shuffle, stream};

/// The order of `count` pairs in batches of `size`.
#[derive(Clone, Debug)]
pub struct PairBatches {
    count: usize,
    size: usize,
    seed: u64,
    epoch: Option<(u64, Vec<u32>)>,
}

impl PairBatches {
    /// Both numbers are at least 1, and there are fewer than 2^32 pairs.
    pub fn new(count: usize, size: usize, seed: u64) -> Self {
        Self { count: count.max(1), size: size.max(1), seed, epoch: None }
    }

    /// Batches of an epoch; the last one reaches into the next epoch.
    pub fn per_epoch(&self) -> u64 {
        self.count.div_ceil(self.size) as u64
    }

    /// The positions of the pairs of batch `number`, from 0.
    pub fn batch(&mut self, number: u64) -> Vec<usize> {
        let first = number * self.size as u64;
        (first..first + self.size as u64).map(|place| self.pair(place)).collect()
    }

    fn pair(&mut self, place: u64) -> usize {
        let (epoch, within) = (place / self.count as u64, (place % self.count as u64) as usize);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut order: Vec<u32> = (0..self.count as u32).collect();
            shuffle(&mut stream(self.seed, epoch), &mut order);
            self.epoch = Some((epoch, order));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order[within] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_comes_once_an_epoch_in_another_order_each_time() {
        let mut batches = PairBatches::new(10, 4, 7);
        let all: Vec<usize> = (0..5).flat_map(|number| batches.batch(number)).collect();
        let sorted = |epoch: &[usize]| {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(sorted(&all[..10]), (0..10).collect::<Vec<_>>());
        assert_eq!(sorted(&all[10..]), (0..10).collect::<Vec<_>>());
        assert_ne!(all[..10], all[10..]);
        assert_eq!(batches.per_epoch(), 3);
    }

    #[test]
    fn a_batch_does_not_depend_on_those_before() {
        let (mut one, mut other) = (PairBatches::new(100, 32, 3), PairBatches::new(100, 32, 3));
        let late = one.batch(9);
        (0..9).for_each(|number| drop(other.batch(number)));
        assert_eq!(late, other.batch(9));
        assert_ne!(late, PairBatches::new(100, 32, 4).batch(9));
    }
}
