//! The logarithmic discount of Järvelin and Kekäläinen (2002) as trec_eval writes it: `log2(rank + 1)`.
//!
//! `libm` rather than the platform's logarithm, so that a browser gets the same bits as a server.

use std::sync::LazyLock;

/// Ranks whose discount is looked up rather than computed.
const TABLE: usize = 1024;

static DISCOUNTS: LazyLock<Vec<f64>> =
    LazyLock::new(|| (0..=TABLE).map(|rank| libm::log2(rank as f64 + 1.0)).collect());

/// `log2(rank + 1)`: what the gain of the document at `rank` (from 1) is divided by.
#[inline]
pub fn discount(rank: usize) -> f64 {
    if rank <= TABLE { DISCOUNTS[rank] } else { libm::log2(rank as f64 + 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_formula_agree() {
        assert_eq!(discount(1), 1.0);
        assert_eq!(discount(3), 2.0);
        for rank in [1, 2, 10, 1023, 1024, 1025, 1_000_000] {
            assert!((discount(rank) - (rank as f64 + 1.0).log2()).abs() < 1e-14, "rank {rank}");
        }
    }
}
