//! Lines and fields of text that is already in memory. No files here: the browser uses these too.

use std::ops::Range;
use std::path::Path;

use memchr::memchr;
use relevance::Grade;

use crate::error::{Error, Result, quoted};

/// The lines of `bytes` with their numbers from 1; neither `\n` nor a `\r` before it is part of a line.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut number = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        number += 1;
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some((number, line.strip_suffix(b"\r").unwrap_or(line)))
    })
}

/// `bytes` as text, or the line and byte that are not UTF-8. `first_line` is the number of the first line.
pub(crate) fn utf8<'a>(bytes: &'a [u8], path: &Path, first_line: u64) -> Result<&'a str> {
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8. The check is a good deal faster than the one below, and runs are ASCII.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let line = first_line + memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64;
        Error::NotUtf8 { path: path.to_owned(), line, byte: bytes[at] }
    })
}

/// Without the byte-order mark that some editors put first.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Whether a line of a TREC file says nothing: blank, or a comment (its first character is `#`).
pub(crate) fn is_blank_or_comment(line: &[u8]) -> bool {
    line.iter().find(|byte| !is_separator(**byte)).is_none_or(|&first| first == b'#')
}

/// Whether `byte` separates fields: a blank, a tab or another ASCII control character.
#[inline]
pub(crate) fn is_separator(byte: u8) -> bool {
    byte <= b' '
}

/// A whole grade: `2`, `-1`, `+1`, `2.0`. Nothing else, and nothing beyond 32 bits.
pub(crate) fn grade(cell: &str) -> Option<Grade> {
    if let [digit @ b'0'..=b'9'] = cell.as_bytes() {
        return Some(Grade::from(digit - b'0'));
    }
    let cell = cell.trim();
    let whole = match cell.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => cell,
    };
    whole.parse().ok()
}

/// A finite number.
pub(crate) fn finite(cell: &str) -> Option<f64> {
    let parsed = fast_float2::parse(cell).or_else(|_| cell.parse()).ok();
    parsed.filter(|number: &f64| number.is_finite())
}

/// The number that `text[field]` writes, when it is finite: [`finite`], faster for the plain decimals that runs are full
/// of. Bytes before the field are loaded with it and masked away.
#[inline(always)]
pub(crate) fn finite_field(text: &str, field: Range<usize>) -> Option<f64> {
    let start = field.start + usize::from(text.as_bytes().get(field.start) == Some(&b'-'));
    let last_eight = text.as_bytes().get(..field.end).and_then(|bytes| bytes.last_chunk::<8>());
    match (last_eight, field.end - start) {
        (Some(eight), length @ 1..=8) => match short_decimal(u64::from_le_bytes(*eight), length) {
            Some(value) => Some(if start == field.start { value } else { -value }),
            None => finite(&text[field]),
        },
        _ => finite(&text[field]),
    }
}

/// A byte of one, eight times.
const BYTES: u64 = 0x0101_0101_0101_0101;
const POWERS_OF_TEN: [f64; 8] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// The number that the last `1..=8` bytes of `eight` (the first in the lowest byte) write with digits and at most one
/// point. The digits make a whole number and the places after the point a power of ten; both are exact as f64, and
/// their quotient is rounded once: the nearest f64, as any correct parser gives (Clinger 1990, "How to Read Floating
/// Point Numbers Accurately", the fast case).
#[inline(always)]
fn short_decimal(eight: u64, length: usize) -> Option<f64> {
    let ours = u64::MAX << (64 - 8 * length);
    let zeros = BYTES * u64::from(b'0');
    let padded = eight & ours | zeros & !ours;
    // The highest bit of each byte is set exactly where the byte is a point; no carry leaves a byte.
    let low_bits = BYTES * 0x7f;
    let differs = padded ^ (BYTES * u64::from(b'.'));
    let points = !(((differs & low_bits) + low_bits) | differs | low_bits);
    if points == 0 {
        return whole_number(padded);
    }
    let point = points.leading_zeros() as usize / 8;
    if length == 1 {
        return None;
    }
    // What stands before the last point moves into its place, a zero into the lowest byte.
    let before = (u64::MAX >> (8 * point)) >> 8;
    let after = !(u64::MAX >> (8 * point));
    let digits = padded & after | (padded & before) << 8 | u64::from(b'0');
    Some(whole_number(digits)? / POWERS_OF_TEN[point])
}

/// The number of eight digits, the first in the lowest byte.
#[inline(always)]
fn whole_number(text: u64) -> Option<f64> {
    let digits = text ^ (BYTES * u64::from(b'0'));
    // A byte is a digit's value when it is below ten.
    if (digits | digits.wrapping_add(BYTES * 0x76)) & (BYTES * 0x80) != 0 {
        return None;
    }
    // Neighbours are joined: eight digits to four pairs, two fours, one eight.
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff;
    Some(eight as i64 as f64)
}

/// The text of `bytes` for a message, quoted and shortened, whatever the bytes are.
pub(crate) fn shown(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(&bytes[..bytes.len().min(400)]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_with_or_without_a_newline() {
        let split = |text: &'static str| lines(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("a\r\nb"), [(1, &b"a"[..]), (2, b"b")]);
        assert_eq!(split("a\n\nb\n"), [(1, &b"a"[..]), (2, b""), (3, b"b")]);
        assert!(split("").is_empty());
    }

    #[test]
    fn only_whole_numbers_are_grades() {
        assert_eq!(grade(" 3 "), Some(3));
        assert_eq!(grade("-1"), Some(-1));
        assert_eq!(grade("2.0"), Some(2));
        for not_a_grade in ["", "2.5", "2.", "x", "99999999999", "NaN", "1e1", ".0"] {
            assert_eq!(grade(not_a_grade), None, "{not_a_grade:?}");
        }
    }

    #[test]
    fn only_finite_numbers_are_scores() {
        assert_eq!(finite("+1.5"), Some(1.5));
        assert_eq!(finite("-2e-3"), Some(-2e-3));
        for not_a_score in ["", "nan", "inf", "-Infinity", "1e999", "1.0x"] {
            assert_eq!(finite(not_a_score), None, "{not_a_score:?}");
        }
    }

    /// What `finite_field` reads where the number has neighbours.
    fn among_others(number: &str) -> Option<f64> {
        let text = format!("1 Q0 document 1 {number} tag");
        finite_field(&text, 16..16 + number.len())
    }

    #[test]
    fn numbers_of_every_shape_are_read_as_the_standard_library_reads_them() {
        for number in [
            "0",
            "-0",
            "-0.0",
            "5.",
            ".5",
            "-.25",
            "29.9990",
            "12345678",
            "12345678.5",
            "123456789.5",
            "0.8234567642211914",
            "9007199254740993",
            "1.00000000000000001",
            "1e3",
            "1.5e-7",
            "00000000000.1",
            "1234567.12345678",
            "0.0000000000001",
            "8.234567642211914",
            "99999999.9999999",
            "+1.5",
            "-7",
        ] {
            let expected: f64 = number.parse().unwrap();
            let found = among_others(number).map(f64::to_bits);
            assert_eq!(found, Some(expected.to_bits()), "{number}");
            assert_eq!(finite_field(number, 0..number.len()).map(f64::to_bits), found, "{number}");
        }
        for number in
            ["", ".", "-", "-.", "--1", "1.2.3", "1-2", "nan", "inf", "1:2", "1/2", "1.x", "0x10", "\u{e9}"]
        {
            assert_eq!(among_others(number), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn short_numbers_are_read_to_the_last_bit(number in "[-+]?[0-9]{0,9}[.]?[0-9]{0,17}(e-?[0-9])?[.a]?") {
            let expected = number.parse().ok().map(f64::to_bits);
            prop_assert_eq!(among_others(&number).map(f64::to_bits), expected);
        }
    }

    #[test]
    fn a_bad_byte_is_named_with_its_line() {
        let error = utf8(b"ab\ncd\xff", Path::new("f"), 10).unwrap_err();
        assert_eq!(error.to_string(), "f:11: expected UTF-8 text, found the byte 0xff");
    }
}
