//! The written form shared by analyzers and BM25: `name` or `name(key=value, ...)`.

use super::LexicalError;

/// A name and its settings, in the order written.
pub(super) type Call<'w> = (&'w str, Vec<(&'w str, &'w str)>);

/// Reads the form.
pub(super) fn parse(written: &str) -> Result<Call<'_>, LexicalError> {
    let malformed = || LexicalError::Malformed { written: written.to_owned() };
    let written = written.trim();
    let Some((name, rest)) = written.split_once('(') else {
        return if written.is_empty() || written.contains([')', '=', ',']) {
            Err(malformed())
        } else {
            Ok((written, vec![]))
        };
    };
    let inside = rest.strip_suffix(')').ok_or_else(malformed)?;
    if inside.trim().is_empty() {
        return Ok((name.trim(), vec![]));
    }
    let pairs = inside.split(',').map(|part| part.split_once('='));
    let settings: Option<Vec<_>> =
        pairs.map(|pair| pair.map(|(key, value)| (key.trim(), value.trim()))).collect();
    Ok((name.trim(), settings.ok_or_else(malformed)?))
}

/// Refuses any setting.
pub(super) fn no_settings(name: &str, settings: &[(&str, &str)]) -> Result<(), LexicalError> {
    match settings.first() {
        Some((key, _)) => Err(LexicalError::NoSettings { name: name.to_owned(), key: (*key).to_owned() }),
        None => Ok(()),
    }
}

/// The error for a setting nobody knows.
pub(super) fn unknown_setting(name: &str, key: &str, known: &'static str) -> LexicalError {
    LexicalError::UnknownSetting { name: name.to_owned(), key: key.to_owned(), known }
}

/// The error for a known setting with a value it cannot have.
pub(super) fn bad_value(name: &str, key: &str, value: &str, expected: &'static str) -> LexicalError {
    LexicalError::BadValue { name: name.to_owned(), key: key.to_owned(), value: value.to_owned(), expected }
}
