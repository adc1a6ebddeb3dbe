//! Buffers of a step that are used again: memory fresh from the system costs a page fault every 4 KiB, which a step's
//! gigabyte would pay anew each time.
//!
//! A [`Buffer`] gives its memory back to the thread that drops it, and the next one on that thread takes it over, contents
//! and all: whoever takes one writes every value. [`release`] frees what lies idle.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static IDLE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Values that were somebody else's before.
#[derive(Debug, Default)]
pub struct Buffer(Vec<f32>);

impl Buffer {
    /// `count` values of no meaning, to be overwritten.
    pub fn stale(count: usize) -> Self {
        let mut values = IDLE.with_borrow_mut(|idle| {
            let fits = |buffer: &Vec<f32>| (count..=2 * count).contains(&buffer.capacity());
            let fitting = idle.iter().enumerate().filter(|(_, buffer)| fits(buffer));
            match fitting.min_by_key(|(_, buffer)| buffer.capacity()) {
                Some((at, _)) => idle.remove(at),
                None => {
                    // The one that has lain longest makes room, so that sizes nobody asks for any more do not pile up.
                    drop(idle.drain(..idle.len().min(1)));
                    Vec::with_capacity(count)
                }
            }
        });
        values.resize(count, 0.0);
        Self(values)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        if values.capacity() > 0 {
            // At the thread's own end there is nobody left to hand it to.
            let _ = IDLE.try_with(|idle| idle.borrow_mut().push(values));
        }
    }
}

/// Frees what this thread holds for later.
pub fn release() {
    IDLE.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_where_it_fits_and_makes_room_where_it_does_not() {
        release();
        let first = Buffer::stale(1000);
        let place = first.as_ptr();
        drop(first);
        let again = Buffer::stale(600);
        assert_eq!((again.as_ptr(), again.len()), (place, 600));
        drop(again);
        drop(Buffer::stale(100));
        assert_eq!(IDLE.with_borrow(|idle| idle.iter().map(Vec::capacity).collect::<Vec<_>>()), [100]);
        release();
        assert_eq!(IDLE.with_borrow(Vec::len), 0);
    }
}
