//! Sharing a list of items among threads: rayon on native targets, one after the other on wasm.

use std::sync::Mutex;

/// How many workers `threads` asks for: 0 means every thread of the current rayon pool.
pub(crate) fn count(threads: usize) -> usize {
    if threads > 0 { threads } else { available() }
}

#[cfg(not(target_arch = "wasm32"))]
fn available() -> usize {
    rayon::current_num_threads()
}

#[cfg(target_arch = "wasm32")]
fn available() -> usize {
    1
}

/// Runs `work(0)` to `work(workers - 1)`, at the same time where there are threads, and collects what they
/// return in that order.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn run<T: Send>(workers: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
    if workers <= 1 {
        return vec![work(0)];
    }
    (0..workers).into_par_iter().with_max_len(1).map(&work).collect()
}

/// Runs `work(0)` to `work(workers - 1)` one after the other and collects what they return.
#[cfg(target_arch = "wasm32")]
pub(crate) fn run<T: Send>(workers: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    (0..workers).map(work).collect()
}

/// Hands the items of an iterator, one at a time, to `workers` workers.
pub(crate) fn share<I: Iterator + Send>(workers: usize, items: I, work: impl Fn(I::Item) + Sync) {
    let items = Mutex::new(items);
    run(workers, |_| {
        while let Some(item) = next(&items) {
            work(item)
        }
    });
}

/// The next item of a shared iterator. A worker that panicked while holding the lock left the iterator
/// usable: `next` is all that ever runs under it.
fn next<I: Iterator>(items: &Mutex<I>) -> Option<I::Item> {
    items.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
}
