//! Several tests at once: p-values adjusted so that they can be compared with the level as they stand.
//!
//! With the `m` p-values sorted, `p_(1) <= ... <= p_(m)`:
//!
//! - Bonferroni: `m p_(i)`;
//! - Holm (1979): the largest of `(m - j + 1) p_(j)` for `j <= i`; controls the same error, always at least as powerful;
//! - Benjamini and Hochberg (1995): the smallest of `m p_(j) / j` for `j >= i`; controls the false discovery rate;
//!
//! each capped at 1. The adjusted values stand in the order of the given ones.

/// Bonferroni's adjustment.
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    p.iter().map(|one| (one * p.len() as f64).min(1.0)).collect()
}

/// Holm's adjustment: for the error of any false claim, better than Bonferroni's at no price.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let (mut adjusted, mut largest) = (vec![0.0; p.len()], 0.0f64);
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max((p.len() - rank) as f64 * p[at]);
        adjusted[at] = largest.min(1.0);
    }
    adjusted
}

/// Benjamini and Hochberg's adjustment: for the share of false claims among all claims.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let (mut adjusted, mut smallest) = (vec![0.0; p.len()], 1.0f64);
    for (rank, &at) in order.iter().enumerate().rev() {
        smallest = smallest.min(p[at] * (p.len() as f64 / (rank + 1) as f64));
        adjusted[at] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}
