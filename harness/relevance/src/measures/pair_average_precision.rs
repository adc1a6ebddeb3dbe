//! Average precision over scored pairs pooled from all queries: how well one score threshold would serve them all.
//!
//! `sum over distinct scores of (recall_n - recall_(n-1)) * precision_n`, best score first, equal scores taken at
//! once: scikit-learn's `average_precision_score`, as SSRA (arXiv 2509.16717) uses it for each threshold on the grade.
//! Ties need no order here. Scores are compared as the 64-bit numbers they are.

/// Average precision of `pairs` (score, relevant or not), in 0..=1, with `positives` relevant pairs in all: at least
/// those among `pairs`; ones that were never scored lower the recall. 0 when there are none.
pub fn pair_average_precision(pairs: &mut [(f64, bool)], positives: usize) -> f64 {
    pairs.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut found, mut sum) = (0_usize, 0_usize, 0.0);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let relevant = tied.iter().filter(|pair| pair.1).count();
        seen += tied.len();
        found += relevant;
        sum += relevant as f64 * found as f64 / seen as f64;
    }
    sum / positives.max(found).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_scikit_learn() {
        let mut pairs = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        assert!((pair_average_precision(&mut pairs, 2) - 0.8333333333333333).abs() < 1e-15);
    }

    #[test]
    fn equal_scores_are_one_threshold() {
        let mut pairs = [(0.5, false), (0.5, true), (0.5, true), (0.1, true)];
        let expected = (2.0 * 2.0 / 3.0 + 3.0 / 4.0) / 3.0;
        assert!((pair_average_precision(&mut pairs, 3) - expected).abs() < 1e-15);
        assert_eq!(pair_average_precision(&mut [], 0), 0.0);
    }
}
