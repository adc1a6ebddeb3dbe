//! What is measured of a pair before an ordinal head weighs it.
//!
//! Tokens are those of the encoder, each once, without the unknown one; their weight is the length of their vector in
//! the static table (the table has inverse-frequency weights folded in, so rare tokens are long). Stems are the terms of
//! the English analyzer.

use serde::{Deserialize, Serialize};

use crate::lexical::Analyzer;

/// A number between -1 and 1 (but [`Feature::Length`]), higher when the document fits the query better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The cosine of the two texts' vectors.
    Similarity,
    /// The highest cosine of the query with [`WINDOW`] consecutive tokens of the document (steps of half a window): a
    /// long document is relevant by its best passage. Static tables only.
    WindowSimilarity,
    /// For each query token the cosine of its nearest document token, averaged by token weight. Static tables only.
    SoftCoverage,
    /// The lowest of those cosines: what the document misses altogether. Static tables only.
    WeakestMatch,
    /// The share of the query's tokens, by weight, that the document has. Static tables only.
    TokenCoverage,
    /// The share of the query's stems that the document has.
    StemCoverage,
    /// The longest run of query stems that stands in the document unbroken, as a share of the query's length.
    Phrase,
    /// The share of the document's stems that the query has: what the document is about.
    Focus,
    /// The natural logarithm of one plus the number of the document's stems.
    Length,
}

/// Tokens of one window of [`Feature::WindowSimilarity`].
pub const WINDOW: usize = 32;

impl Feature {
    /// All of them, in the order in which they are usually written.
    pub const ALL: [Feature; 9] = [
        Feature::Similarity,
        Feature::WindowSimilarity,
        Feature::SoftCoverage,
        Feature::WeakestMatch,
        Feature::TokenCoverage,
        Feature::StemCoverage,
        Feature::Phrase,
        Feature::Focus,
        Feature::Length,
    ];

    /// Those that carry over from one collection to another; what they leave out follows how long its documents are.
    pub const USUAL: [Feature; 6] = [
        Feature::Similarity,
        Feature::WindowSimilarity,
        Feature::SoftCoverage,
        Feature::WeakestMatch,
        Feature::StemCoverage,
        Feature::Phrase,
    ];

    /// The name in `labeler.json`.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Similarity => "similarity",
            Feature::WindowSimilarity => "window_similarity",
            Feature::SoftCoverage => "soft_coverage",
            Feature::WeakestMatch => "weakest_match",
            Feature::TokenCoverage => "token_coverage",
            Feature::StemCoverage => "stem_coverage",
            Feature::Phrase => "phrase",
            Feature::Focus => "focus",
            Feature::Length => "length",
        }
    }

    /// Whether it needs a vector for each token by itself.
    pub fn needs_token_vectors(self) -> bool {
        use Feature::{SoftCoverage, TokenCoverage, WeakestMatch, WindowSimilarity};
        matches!(self, WindowSimilarity | SoftCoverage | WeakestMatch | TokenCoverage)
    }
}

/// The features of words alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Words {
    pub stem_coverage: f64,
    pub phrase: f64,
    pub focus: f64,
    pub length: f64,
}

/// Compares the stems of two texts. A query without stems is covered by nothing.
pub(super) fn words(query: &str, document: &str) -> Words {
    let analyzer = Analyzer::default();
    let (query, document) = (analyzer.terms(query), analyzer.terms(document));
    let share = |of: &[String], inside: &[String]| {
        let mut distinct: Vec<&String> = of.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let found = distinct.iter().filter(|term| inside.contains(term)).count();
        if distinct.is_empty() { 0.0 } else { found as f64 / distinct.len() as f64 }
    };
    Words {
        stem_coverage: share(&query, &document),
        phrase: if query.is_empty() {
            0.0
        } else {
            longest_run(&query, &document) as f64 / query.len() as f64
        },
        focus: share(&document, &query),
        length: libm::log(1.0 + document.len() as f64),
    }
}

/// The longest common substring of two sequences of terms, by the usual table of which one row is kept.
fn longest_run(query: &[String], document: &[String]) -> usize {
    let mut runs = vec![0_usize; query.len() + 1];
    let mut longest = 0;
    for term in document {
        for at in (0..query.len()).rev() {
            runs[at + 1] = if query[at] == *term { runs[at] + 1 } else { 0 };
            longest = longest.max(runs[at + 1]);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_by_hand() {
        // Stems: parent tip toddler | tip parent toddler sleep.
        let found = words("parenting tips for toddlers", "Tips for parents: toddlers and sleep");
        assert_eq!(found.stem_coverage, 1.0);
        assert_eq!(found.focus, 0.75);
        assert_eq!(found.phrase, 1.0 / 3.0);
        assert_eq!(found.length, libm::log(5.0));
    }

    #[test]
    fn a_run_is_unbroken() {
        let terms = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(longest_run(&terms("a b c"), &terms("x a b y b c")), 2);
        assert_eq!(longest_run(&terms("a a"), &terms("a a a")), 2);
        assert_eq!(longest_run(&terms("a"), &[]), 0);
    }

    #[test]
    fn nothing_covers_a_query_without_stems() {
        let found = words("the of", "the of and");
        assert_eq!((found.stem_coverage, found.phrase, found.focus), (0.0, 0.0, 0.0));
    }

    #[test]
    fn names_are_those_of_the_file() {
        for feature in Feature::ALL {
            let written = serde_json::to_string(&feature).unwrap_or_default();
            assert_eq!(written, format!("\"{}\"", feature.name()));
        }
    }
}
