//! Makes graded training data: the log schema, a simulated platform that writes such logs, the papers' pipelines over
//! them, and the ports through which models take part.
//!
//! Values in, values out: the crate opens no file and no socket, reads no clock, and trains nothing. The command line
//! brings bytes in and carries records away; a live model stands behind [`Generator`] or [`Judge`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

// What is in a log, and what one user did.
pub mod history;
pub mod log;

// Pipelines.
pub mod crops;
pub mod platform;
pub mod slm_labeler;
pub mod ssra;
pub mod sycl;

// Ports, what was answered before, and the generator that needs no model.
pub mod asking;
pub mod generator;
pub mod journal;
pub mod judge;
pub mod judging;
pub mod offline;
pub mod passages;

// What a synthetic set is worth.
pub mod quality;

pub mod draws;
pub mod error;

pub use error::{Place, SynthesisError};
pub use generator::{Generator, Request};
pub use judge::{Judge, Verdict};
pub use log::{Action, Event, Stage};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, SynthesisError>;

/// A query as it is compared: lower case, single blanks. Two searches with equal forms are the same query.
pub fn normal_form(query: &str) -> String {
    let mut form = String::with_capacity(query.len());
    for word in query.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !form.is_empty() {
            form.push(' ');
        }
        form.extend(word.chars().flat_map(char::to_lowercase));
    }
    form
}

/// The id of a query by its text: `q` and 16 hexadecimal digits of the normal form's blake3. Logs name searches, not
/// queries; every command that needs an id for a query's text uses this one, so their files join.
pub fn query_id(query: &str) -> String {
    let digest = blake3::hash(normal_form(query).as_bytes()).to_hex();
    format!("q{}", &digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_compared_without_case_and_blanks() {
        assert_eq!(normal_form("  Red\tWINE \u{0} stain\n"), "red wine stain");
        assert_eq!(query_id("Red  wine"), query_id("red wine "));
        assert_ne!(query_id("red wine"), query_id("redwine"));
        assert_eq!(query_id("red wine").len(), 17);
    }
}
