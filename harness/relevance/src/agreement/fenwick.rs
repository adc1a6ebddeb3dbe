//! A Fenwick tree: counts by position with prefix sums in logarithmic time (Fenwick 1994).

/// Counts over positions `0..len`.
pub(crate) struct Fenwick {
    sums: Vec<u64>,
}

impl Fenwick {
    pub(crate) fn new(len: usize) -> Self {
        Self { sums: vec![0; len + 1] }
    }

    /// Adds `count` at `position`.
    pub(crate) fn add(&mut self, position: usize, count: u64) {
        let mut at = position + 1;
        while at < self.sums.len() {
            self.sums[at] += count;
            at += at & at.wrapping_neg();
        }
    }

    /// The sum over positions below `position`.
    pub(crate) fn below(&self, position: usize) -> u64 {
        let (mut at, mut sum) = (position, 0);
        while at > 0 {
            sum += self.sums[at];
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_sums_are_those_of_the_counts() {
        let counts = [3, 0, 5, 1, 0, 2, 7];
        let mut tree = Fenwick::new(counts.len());
        counts.iter().enumerate().for_each(|(at, &count)| tree.add(at, count));
        for position in 0..=counts.len() {
            assert_eq!(tree.below(position), counts[..position].iter().sum::<u64>());
        }
    }
}
