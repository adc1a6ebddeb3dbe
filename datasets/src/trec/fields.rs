//! Fields of a line separated by blanks or tabs: the inner loop of reading runs and judgments.
//!
//! A field is a maximal stretch of bytes above `0x20`. The definition is [`split_plainly`]; lines of at most 63 bytes
//! inside a larger buffer take [`split_by_mask`]: one bit a byte says "separator", and the borders of fields fall out
//! of the bits without a branch a byte.

use crate::text::is_separator;

/// The widest line any reader here asks for.
pub(super) const MOST: usize = 6;

/// Where the fields of a line begin and end, as offsets into the line. Only the first [`MOST`] are kept; `count`
/// says how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub count: usize,
    pub starts: [usize; MOST],
    pub ends: [usize; MOST],
}

impl Fields {
    /// The bytes of field `at` of `line`, the line these fields were split from.
    #[inline]
    pub fn get<'a>(&self, line: &'a [u8], at: usize) -> &'a [u8] {
        &line[self.starts[at]..self.ends[at]]
    }
}

/// The fields of `buffer[start..end]`.
#[inline]
pub(super) fn split(buffer: &[u8], start: usize, end: usize) -> Fields {
    match buffer.get(start..start + 64) {
        Some(window) if end - start < 64 => split_by_mask(window, end - start),
        _ => split_plainly(&buffer[start..end]),
    }
}

/// The definition: walk the bytes.
pub(super) fn split_plainly(line: &[u8]) -> Fields {
    let mut fields = Fields::default();
    let mut at = 0;
    while at < line.len() {
        if is_separator(line[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < line.len() && !is_separator(line[at]) {
            at += 1;
        }
        if fields.count < MOST {
            fields.starts[fields.count] = start;
            fields.ends[fields.count] = at;
        }
        fields.count += 1;
    }
    fields
}

/// The same for the first `length < 64` bytes of a window of 64.
#[inline]
fn split_by_mask(window: &[u8], length: usize) -> Fields {
    let inside = (1u64 << length) - 1;
    let letters = !separators(window) & inside;
    let mut starts = letters & !(letters << 1);
    let mut ends = !letters & (letters << 1);
    let mut fields = Fields { count: starts.count_ones() as usize, ..Fields::default() };
    for at in 0..fields.count.min(MOST) {
        fields.starts[at] = starts.trailing_zeros() as usize;
        fields.ends[at] = ends.trailing_zeros() as usize;
        starts &= starts.wrapping_sub(1);
        ends &= ends.wrapping_sub(1);
    }
    fields
}

/// Bit `i` is set when byte `i` of the 64-byte `window` separates fields.
#[cfg(target_arch = "x86_64")]
#[inline]
fn separators(window: &[u8]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8,
    };
    let window: &[u8; 64] = window[..64].first_chunk().expect("64 bytes were just taken");
    let mut bits = 0;
    for part in 0..4 {
        // SAFETY: SSE2 is part of x86-64; the unaligned load reads bytes 16*part..16*part+16 of a 64-byte array.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(window.as_ptr().add(16 * part).cast::<__m128i>());
            // Unsigned byte <= 0x20 exactly when min(byte, 0x20) == byte.
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x20)), bytes))
        };
        bits |= u64::from(mask as u32 & 0xffff) << (16 * part);
    }
    bits
}

/// Bit `i` is set when byte `i` of the 64-byte `window` separates fields.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn separators(window: &[u8]) -> u64 {
    let bit = |(at, &byte): (usize, &u8)| u64::from(is_separator(byte)) << at;
    window[..64].iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let fields = split_plainly(line.as_bytes());
        (0..fields.count.min(MOST))
            .map(|at| String::from_utf8_lossy(fields.get(line.as_bytes(), at)).into_owned())
            .collect()
    }

    #[test]
    fn fields_stand_between_blanks_and_tabs() {
        assert_eq!(texts(" 302\tQ0  FR94 \t 1.5\r"), ["302", "Q0", "FR94", "1.5"]);
        assert!(texts(" \t ").is_empty());
        assert_eq!(split_plainly(b"1 2 3 4 5 6 7 8").count, 8);
    }

    proptest! {
        #[test]
        fn the_mask_finds_the_fields_the_walk_finds(
            bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'\t'), any::<u8>(), Just(b'a')], 64..90),
            length in 0usize..64,
        ) {
            prop_assert_eq!(split(&bytes, 0, length), split_plainly(&bytes[..length]));
        }
    }
}
