//! Fields of a line separated by blanks or tabs: the inner loop of reading runs and judgments.
//!
//! A field is a maximal stretch of bytes above `0x20`. The definition is [`split_plainly`]; a line that ends inside the
//! 64 bytes it begins is split by [`Window`] instead: one bit a byte says "separator", another "line feed", and the end
//! of the line and the borders of its fields fall out of the bits without a branch a byte.

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

/// The fields of `line`. The definition: walk the bytes.
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

/// How many bytes are looked at together.
pub(super) const WINDOW: usize = 64;

/// How 64 bytes are compared at once: one way a processor, all with the same answer. A value of the type is the proof that
/// the processor can.
pub(super) trait Compare: Copy {
    /// Bit `i` is set when byte `i` is a line feed.
    fn line_feeds(self, bytes: &[u8; WINDOW]) -> u64;

    /// Bit `i` is set when byte `i` separates fields.
    fn separators(self, bytes: &[u8; WINDOW]) -> u64;
}

/// What every processor of the target has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Everywhere;

impl Compare for Everywhere {
    #[inline(always)]
    fn line_feeds(self, bytes: &[u8; WINDOW]) -> u64 {
        bits(bytes, Test::LineFeed)
    }

    #[inline(always)]
    fn separators(self, bytes: &[u8; WINDOW]) -> u64 {
        bits(bytes, Test::AtMostBlank)
    }
}

/// AVX-512: one comparison for all 64 bytes, whose result already is the mask.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The proof, where it can be had.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Compare for Avx512 {
    #[inline(always)]
    fn line_feeds(self, bytes: &[u8; WINDOW]) -> u64 {
        use std::arch::x86_64::{_mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_set1_epi8};
        // SAFETY: the processor has AVX-512 F and BW; the load reads the 64 bytes of the array.
        unsafe { _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(bytes.as_ptr().cast()), _mm512_set1_epi8(0x0a)) }
    }

    #[inline(always)]
    fn separators(self, bytes: &[u8; WINDOW]) -> u64 {
        use std::arch::x86_64::{_mm512_cmple_epu8_mask, _mm512_loadu_si512, _mm512_set1_epi8};
        // SAFETY: as above.
        unsafe { _mm512_cmple_epu8_mask(_mm512_loadu_si512(bytes.as_ptr().cast()), _mm512_set1_epi8(0x20)) }
    }
}

/// Bit `i` of each mask speaks of byte `i` of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    separators: u64,
    line_feeds: u64,
}

impl Window {
    #[inline(always)]
    pub fn new(bytes: &[u8; WINDOW], compare: impl Compare) -> Self {
        Self { separators: compare.separators(bytes), line_feeds: compare.line_feeds(bytes) }
    }

    /// The first line: its length and the borders of its fields. `None` when it does not end in the window.
    #[inline(always)]
    pub fn line(self) -> Option<(usize, Borders)> {
        if self.line_feeds == 0 {
            return None;
        }
        let inside = self.line_feeds & self.line_feeds.wrapping_neg();
        let letters = !self.separators & (inside - 1);
        let borders = Borders { starts: letters & !(letters << 1), ends: !letters & (letters << 1) };
        Some((self.line_feeds.trailing_zeros() as usize, borders))
    }
}

/// A bit for the first byte of each field, and one for the byte after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Borders {
    starts: u64,
    ends: u64,
}

impl Borders {
    /// Whether there are exactly `count` fields, at least one.
    #[inline(always)]
    pub fn are(self, count: usize) -> bool {
        let last = without_lowest(self.starts, count - 1);
        last != 0 && without_lowest(last, 1) == 0
    }

    /// Where field `at` begins and ends. There must be such a field.
    #[inline(always)]
    pub fn of(self, at: usize) -> (usize, usize) {
        let start = without_lowest(self.starts, at).trailing_zeros();
        (start as usize, without_lowest(self.ends, at).trailing_zeros() as usize)
    }
}

/// `bits` without its lowest `count` set bits.
#[inline(always)]
fn without_lowest(bits: u64, count: usize) -> u64 {
    (0..count).fold(bits, |bits, _| bits & bits.wrapping_sub(1))
}

/// What is asked of every byte of a window.
#[derive(Clone, Copy, Debug)]
enum Test {
    AtMostBlank,
    LineFeed,
}

/// Bit `i` is set when byte `i` passes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn bits(bytes: &[u8; WINDOW], test: Test) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8,
    };
    let mut bits = 0;
    for part in 0..WINDOW / 16 {
        // SAFETY: SSE2 is part of x86-64; the unaligned load reads bytes 16*part..16*part+16 of a 64-byte array.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().add(16 * part).cast::<__m128i>());
            _mm_movemask_epi8(match test {
                // Unsigned byte <= 0x20 exactly when min(byte, 0x20) == byte.
                Test::AtMostBlank => _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x20)), bytes),
                Test::LineFeed => _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x0a)),
            })
        };
        bits |= u64::from(mask as u32 & 0xffff) << (16 * part);
    }
    bits
}

/// Bit `i` is set when byte `i` passes.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn bits(bytes: &[u8; WINDOW], test: Test) -> u64 {
    let passes = |byte| match test {
        Test::AtMostBlank => is_separator(byte),
        Test::LineFeed => byte == b'\n',
    };
    let bit = |(at, &byte): (usize, &u8)| u64::from(passes(byte)) << at;
    bytes.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        fn the_window_finds_the_line_and_the_fields_the_walk_finds(
            bytes in proptest::collection::vec(
                prop_oneof![8 => Just(b' '), 4 => Just(b'\t'), 8 => any::<u8>(), 30 => Just(b'a'), 1 => Just(b'\n')],
                WINDOW,
            ),
        ) {
            let window: &[u8; WINDOW] = bytes[..].try_into().unwrap();
            let length = bytes.iter().position(|&byte| byte == b'\n');
            let found = Window::new(window, Everywhere).line();
            #[cfg(target_arch = "x86_64")]
            if let Some(avx512) = Avx512::detect() {
                prop_assert_eq!(Window::new(window, avx512), Window::new(window, Everywhere));
            }
            prop_assert_eq!(found.map(|(length, _)| length), length);
            if let (Some((length, borders)), Some(_)) = (found, length) {
                let fields = split_plainly(&bytes[..length]);
                for count in 1..=MOST {
                    prop_assert_eq!(borders.are(count), fields.count == count);
                }
                for at in 0..fields.count.min(MOST) {
                    prop_assert_eq!(borders.of(at), (fields.starts[at], fields.ends[at]));
                }
            }
        }
    }
}
