//! Random draws in integers: the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Stream `stream` of the generator under `seed`.
pub(super) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A number below `bound`, each equally likely (Lemire 2019, "Fast Random Integer Generation in an Interval").
fn below(rng: &mut ChaCha8Rng, bound: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        let low = product as u32;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 32) as u32;
        }
    }
}

/// Moves a random choice of `count` items to the front, in random order (Fisher and Yates).
pub(super) fn shuffle_front<T>(rng: &mut ChaCha8Rng, items: &mut [T], count: usize) {
    for at in 0..count.min(items.len()) {
        let left = u32::try_from(items.len() - at).unwrap_or(u32::MAX);
        items.swap(at, at + below(rng, left) as usize);
    }
}

/// Puts all items in random order.
pub(super) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    shuffle_front(rng, items, items.len());
}
