//! Sums of products of bytes in 16 bits, and when they are exact: the plan behind `relaxed.rs` and `maddubs.rs`.
//!
//! Processors without instructions for more multiply bytes and add the products in pairs, in 16 bits. Widening every pair to 32
//! bits would take as many multiplications as are saved by that. So pairs add up in 16 bits, over a segment of groups of
//! [`GROUP`] inputs, modulo 2^16. A lane of 32 bits takes a group: its lower half the first pair, its upper half the second, so
//! a half sums over every other pair of the segment. That is exact where the true sum fits, and it does where
//!
//! ```text
//! |sum a w| <= |a| |w| <= 32767        (Cauchy-Schwarz, over the inputs of a half)
//! ```
//!
//! The weights' norms are known when they are packed, the codes' when they are quantised. Each block of rows, panel of outputs
//! and segment compares them, and widens pair by pair where the bound says nothing.

/// Inputs whose products are added at once: two pairs.
pub(super) const GROUP: usize = 4;

/// Per panel of `panel` outputs and segment of `of_segment` inputs, the largest sum of squares of a half's codes under which no
/// sum of products leaves 16 bits; `weights` is `outputs x inputs`.
pub(super) fn limits(weights: &[i8], inputs: usize, panel: usize, of_segment: usize) -> Vec<i32> {
    const MOST_SQUARED: i32 = (i16::MAX as i32) * (i16::MAX as i32);
    let segments = inputs.div_ceil(of_segment);
    let mut limits = Vec::new();
    for panel in weights.chunks(panel * inputs) {
        let mut squares = vec![1; segments];
        for row in panel.chunks_exact(inputs) {
            for (most, segment) in squares.iter_mut().zip(row.chunks(of_segment)) {
                let half = |parity: usize| -> i32 {
                    let pairs = segment.chunks(2).skip(parity).step_by(2);
                    pairs.flatten().map(|&w| i32::from(w) * i32::from(w)).sum()
                };
                *most = half(0).max(half(1)).max(*most);
            }
        }
        limits.extend(squares.iter().map(|squares| MOST_SQUARED / squares));
    }
    limits
}
