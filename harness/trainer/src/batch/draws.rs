//! Random draws in integers: the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use relevance::resampling::below;

/// Stream `stream` of the generator under `seed`.
pub(super) fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
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
