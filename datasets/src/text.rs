//! Lines and fields of text that is already in memory. No files here: the browser uses these too.

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

/// The text of `bytes` for a message, quoted and shortened, whatever the bytes are.
pub(crate) fn shown(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(&bytes[..bytes.len().min(400)]))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_bad_byte_is_named_with_its_line() {
        let error = utf8(b"ab\ncd\xff", Path::new("f"), 10).unwrap_err();
        assert_eq!(error.to_string(), "f:11: expected UTF-8 text, found the byte 0xff");
    }
}
