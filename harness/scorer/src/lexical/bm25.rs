//! BM25 as Lucene computes it, over an in-memory inverted index.
//!
//! S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the form of Lucene
//! 8 and later (no `k1 + 1` in the numerator; Kamphuis et al., "Which BM25 Do You Mean?", ECIR 2020):
//!
//! ```text
//! score(query, document) = sum over the query's terms of  idf * tf / (tf + k1 * (1 - b + b * dl / avgdl))
//! idf = ln(1 + (N - df + 0.5) / (df + 0.5))
//! ```
//!
//! `N` documents that hold at least one term, `df` of them hold this one, `tf` times in a document of `dl` terms, of
//! which there are `avgdl` on average (exact lengths, also where `dl` is rounded). A term that stands twice in a query
//! counts twice (its idf is doubled).
//!
//! Each term's share is rounded to 32 bits, the shares are added in 64 bits in the order the query first names them,
//! and the sum is rounded to 32 bits: the same bits whatever the search and the number of threads.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::analyzer::TermBuffer;
use super::{Analyzer, LexicalError, call};

/// How a document's length enters the formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DocumentLength {
    /// Rounded down to one of the 256 lengths that Lucene keeps in a byte (exact up to 40). Gives Lucene's scores.
    #[default]
    Lucene,
    /// As counted.
    Exact,
}

/// The settings of BM25. Written `bm25`, or `bm25(k1=1.2, b=0.75, length=exact)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bm25Parameters {
    k1: f32,
    b: f32,
    length: DocumentLength,
}

impl Default for Bm25Parameters {
    /// Anserini's: k1 = 0.9, b = 0.4, lengths as Lucene keeps them.
    fn default() -> Self {
        Self { k1: 0.9, b: 0.4, length: DocumentLength::Lucene }
    }
}

impl Bm25Parameters {
    /// Settings with a `k1` of at least 0 and a `b` from 0 to 1.
    ///
    /// # Errors
    /// [`LexicalError::BadValue`] for anything else, NaN included.
    pub fn new(k1: f32, b: f32, length: DocumentLength) -> Result<Self, LexicalError> {
        if !(k1.is_finite() && k1 >= 0.0) {
            return Err(call::bad_value("bm25", "k1", &k1.to_string(), "a number of at least 0"));
        }
        if !(0.0..=1.0).contains(&b) {
            return Err(call::bad_value("bm25", "b", &b.to_string(), "a number from 0 to 1"));
        }
        Ok(Self { k1, b, length })
    }

    /// How soon repeated terms stop counting.
    pub fn k1(&self) -> f32 {
        self.k1
    }

    /// How much long documents are held back.
    pub fn b(&self) -> f32 {
        self.b
    }

    /// How lengths are kept.
    pub fn length(&self) -> DocumentLength {
        self.length
    }

    /// `1 / (k1 * (1 - b + b * dl / avgdl))` in 32-bit steps, as Lucene tabulates it.
    fn inverse_norm(&self, length: u32, average: f32) -> f32 {
        let length = match self.length {
            DocumentLength::Lucene => lucene_length(length),
            DocumentLength::Exact => length,
        };
        1.0 / (self.k1 * ((1.0 - self.b) + self.b * length as f32 / average))
    }
}

impl fmt::Display for Bm25Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.length == DocumentLength::Lucene { "lucene" } else { "exact" };
        write!(f, "bm25(k1={}, b={}, length={length})", self.k1, self.b)
    }
}

impl FromStr for Bm25Parameters {
    type Err = LexicalError;

    /// Reads `bm25` with optional settings `k1`, `b` and `length`.
    fn from_str(written: &str) -> Result<Self, LexicalError> {
        let (name, settings) = call::parse(written)?;
        if name != "bm25" {
            return Err(LexicalError::UnknownScorer { name: name.to_owned() });
        }
        let Self { mut k1, mut b, mut length } = Self::default();
        for (key, value) in settings {
            let number = || value.parse().map_err(|_| call::bad_value(name, key, value, "a number"));
            match (key, value) {
                ("k1", _) => k1 = number()?,
                ("b", _) => b = number()?,
                ("length", "lucene") => length = DocumentLength::Lucene,
                ("length", "exact") => length = DocumentLength::Exact,
                ("length", _) => return Err(call::bad_value(name, key, value, "lucene or exact")),
                _ => return Err(call::unknown_setting(name, key, "k1, b, length")),
            }
        }
        Self::new(k1, b, length)
    }
}

/// A length after a trip through Lucene's one-byte code (`SmallFloat.intToByte4` and back): exact up to 40, then three
/// significant bits after the leading one, rounded down.
fn lucene_length(length: u32) -> u32 {
    const EXACT: u32 = 24;
    if length < EXACT {
        return length;
    }
    let above = length - EXACT;
    let dropped_bits = above.checked_ilog2().unwrap_or(0).saturating_sub(3);
    EXACT + (above >> dropped_bits << dropped_bits)
}

/// One term's share of one document's score.
#[derive(Clone, Debug, PartialEq)]
pub struct TermWeight {
    /// The term as the analyzer made it.
    pub term: String,
    /// How often the query names it.
    pub query_frequency: u32,
    /// How often the document holds it; 0 where it does not.
    pub term_frequency: u32,
    /// How many documents hold it.
    pub document_frequency: u32,
    /// Its inverse document frequency; 0 for a term no document holds.
    pub idf: f32,
    /// What it adds to the score.
    pub score: f32,
}

/// A term of the index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TermStatistics<'i> {
    /// The term as the analyzer made it.
    pub term: &'i str,
    /// How many documents hold it.
    pub document_frequency: u32,
    /// Its inverse document frequency.
    pub idf: f32,
}

/// An inverted index of texts, scored by BM25. Documents are numbered from 0 in the order given.
///
/// A posting takes 9 bytes: document, score share, and how often the term stands there.
#[derive(Clone, Debug)]
pub struct Bm25Index {
    pub(super) analyzer: Analyzer,
    parameters: Bm25Parameters,
    lengths: Vec<u32>,
    /// How many documents hold a term at all: N.
    indexed: usize,
    /// `1 / norm` of each document.
    inverse_norms: Vec<f32>,
    terms: Vec<Box<str>>,
    ids: FxHashMap<Box<str>, u32>,
    /// Where each term's postings begin, and behind the last one their number.
    offsets: Vec<usize>,
    documents: Vec<u32>,
    /// What a posting adds to a score when the query names its term once.
    shares: Vec<f32>,
    frequencies: Frequencies,
    /// The highest share of each term.
    highest: Vec<f32>,
}

/// The documents that hold a term of a query, ascending, and what each gets for it.
pub(super) struct Postings<'i> {
    pub(super) documents: &'i [u32],
    pub(super) shares: Cow<'i, [f32]>,
    pub(super) highest: f32,
}

impl Postings<'_> {
    /// What `document` gets, if it holds the term.
    pub(super) fn share(&self, document: u32) -> Option<f32> {
        self.documents.binary_search(&document).ok().map(|at| self.shares[at])
    }
}

/// The shares of one document added up, in the query's order.
pub(super) fn score(query: &[Postings<'_>], document: u32) -> f32 {
    query.iter().filter_map(|postings| postings.share(document)).map(f64::from).sum::<f64>() as f32
}

impl Bm25Index {
    /// Indexes `documents`, in parallel where there are threads. The result does not depend on their number.
    ///
    /// # Errors
    /// [`LexicalError::TooMany`] for 2^32 - 1 documents and more.
    pub fn build<T: AsRef<str> + Sync>(
        documents: &[T],
        analyzer: Analyzer,
        parameters: Bm25Parameters,
    ) -> Result<Self, LexicalError> {
        if documents.len() >= u32::MAX as usize {
            let (what, count, limit) = ("documents", documents.len(), u32::MAX as usize - 1);
            return Err(LexicalError::TooMany { what, count, limit });
        }
        Ok(Self::assemble(analyzer, parameters, count_terms(documents, analyzer)))
    }

    /// Merges the parts, in order, into one index.
    fn assemble(analyzer: Analyzer, parameters: Bm25Parameters, parts: Vec<Part>) -> Self {
        let vocabulary = Vocabulary::of(&parts);
        let lengths: Vec<u32> = parts.iter().flat_map(|part| part.lengths.iter().copied()).collect();
        let inverse_norms = inverse_norms(&lengths, parameters);
        let indexed = lengths.iter().filter(|&&length| length > 0).count();

        let idfs: Vec<f32> = vocabulary.document_frequencies.iter().map(|&df| idf(indexed, df)).collect();
        let offsets = running_sums(&vocabulary.document_frequencies);
        let postings = offsets[offsets.len() - 1];
        let mut next = offsets.clone();
        let mut documents = vec![0; postings];
        let mut shares = vec![0.0; postings];
        let mut frequencies = Frequencies::zeros(postings);
        let mut highest = vec![0.0_f32; vocabulary.terms.len()];

        let mut document = 0;
        for (part, global) in parts.iter().zip(&vocabulary.numbers) {
            for counts in part.documents() {
                for &(local, frequency) in counts {
                    let term = global[local as usize] as usize;
                    let at = next[term];
                    next[term] += 1;
                    documents[at] = document;
                    shares[at] = share(idfs[term], frequency, inverse_norms[document as usize]);
                    highest[term] = highest[term].max(shares[at]);
                    frequencies.set(at, frequency);
                }
                document += 1;
            }
        }
        frequencies.large.sort_unstable();
        let Vocabulary { terms, ids, .. } = vocabulary;
        Self {
            analyzer,
            parameters,
            lengths,
            indexed,
            inverse_norms,
            terms,
            ids,
            offsets,
            documents,
            shares,
            frequencies,
            highest,
        }
    }

    /// How documents and queries become terms.
    pub fn analyzer(&self) -> Analyzer {
        self.analyzer
    }

    /// The settings of the formula.
    pub fn parameters(&self) -> Bm25Parameters {
        self.parameters
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// How many terms `document` has, repetitions included.
    pub fn document_length(&self, document: u32) -> Option<u32> {
        self.lengths.get(document as usize).copied()
    }

    /// The terms of the index, in the order the documents first name them.
    pub fn terms(&self) -> impl ExactSizeIterator<Item = TermStatistics<'_>> {
        (0..self.terms.len()).map(|term| self.statistics(term))
    }

    /// A term of the index, written as the analyzer makes it.
    pub fn term(&self, term: &str) -> Option<TermStatistics<'_>> {
        self.ids.get(term).map(|&term| self.statistics(term as usize))
    }

    fn statistics(&self, term: usize) -> TermStatistics<'_> {
        let document_frequency = (self.offsets[term + 1] - self.offsets[term]) as u32;
        let idf = idf(self.indexed, document_frequency);
        TermStatistics { term: &self.terms[term], document_frequency, idf }
    }

    /// The score of one document for `query`: 0 where they share no term, `None` where there is no such document.
    pub fn score(&self, query: &str, document: u32) -> Option<f32> {
        self.lengths.get(document as usize)?;
        Some(score(&self.query_postings(query), document))
    }

    /// What each term of `query` adds to the score of `document`, in the query's order; `None` where there is no such
    /// document. The shares add up to [`score`](Self::score).
    pub fn explain(&self, query: &str, document: u32) -> Option<Vec<TermWeight>> {
        self.lengths.get(document as usize)?;
        let explain = |(term, query_frequency)| self.explain_term(term, query_frequency, document);
        Some(counted(self.analyzer.terms(query)).into_iter().map(explain).collect())
    }

    fn explain_term(&self, term: String, query_frequency: u32, document: u32) -> TermWeight {
        let mut weight = TermWeight {
            term,
            query_frequency,
            term_frequency: 0,
            document_frequency: 0,
            idf: 0.0,
            score: 0.0,
        };
        let Some(&id) = self.ids.get(weight.term.as_str()) else { return weight };
        let statistics = self.statistics(id as usize);
        (weight.document_frequency, weight.idf) = (statistics.document_frequency, statistics.idf);
        if let Ok(at) = self.documents[self.range(id)].binary_search(&document) {
            let at = self.range(id).start + at;
            weight.term_frequency = self.frequencies.get(at);
            weight.score = self.share(at, weight.idf * query_frequency as f32);
        }
        weight
    }

    /// The postings of the terms of `query` that the index knows, in the order first named.
    pub(super) fn query_postings(&self, query: &str) -> Vec<Postings<'_>> {
        let known =
            |(term, count): (String, u32)| self.ids.get(term.as_str()).map(|&id| self.postings(id, count));
        counted(self.analyzer.terms(query)).into_iter().filter_map(known).collect()
    }

    /// Lucene multiplies the idf, not the share, by how often the query names the term; rounding makes a difference.
    fn postings(&self, term: u32, count: u32) -> Postings<'_> {
        let range = self.range(term);
        let documents = &self.documents[range.clone()];
        if count == 1 {
            let highest = self.highest[term as usize];
            return Postings { documents, shares: Cow::Borrowed(&self.shares[range]), highest };
        }
        let weight = idf(self.indexed, documents.len() as u32) * count as f32;
        let shares: Vec<f32> = range.map(|at| self.share(at, weight)).collect();
        let highest = shares.iter().copied().fold(0.0, f32::max);
        Postings { documents, shares: Cow::Owned(shares), highest }
    }

    /// What the posting at `at` adds to a score when its term weighs `weight`.
    fn share(&self, at: usize, weight: f32) -> f32 {
        share(weight, self.frequencies.get(at), self.inverse_norms[self.documents[at] as usize])
    }

    fn range(&self, term: u32) -> Range<usize> {
        self.offsets[term as usize]..self.offsets[term as usize + 1]
    }
}

/// `ln(1 + (N - df + 0.5) / (df + 0.5))`, rounded to 32 bits as Lucene does.
fn idf(documents: usize, document_frequency: u32) -> f32 {
    let (n, df) = (documents as f64, f64::from(document_frequency));
    libm::log(1.0 + (n - df + 0.5) / (df + 0.5)) as f32
}

/// `idf * tf / (tf + norm)`, in Lucene's 32-bit steps: `idf - idf / (1 + tf / norm)`, which never falls as tf grows.
fn share(idf: f32, frequency: u32, inverse_norm: f32) -> f32 {
    idf - idf / (1.0 + frequency as f32 * inverse_norm)
}

/// `1 / norm` of each document.
fn inverse_norms(lengths: &[u32], parameters: Bm25Parameters) -> Vec<f32> {
    let indexed = lengths.iter().filter(|&&length| length > 0).count();
    let total: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
    let average = (total as f64 / indexed.max(1) as f64) as f32;
    lengths.iter().map(|&length| parameters.inverse_norm(length, average)).collect()
}

/// 0, then the sum of the first, the first two, ...
fn running_sums(counts: &[u32]) -> Vec<usize> {
    let mut sum = 0;
    let sums = counts.iter().map(|&count| {
        sum += count as usize;
        sum
    });
    [0].into_iter().chain(sums).collect()
}

/// Terms and how often each stands there, in the order first named.
fn counted(terms: Vec<String>) -> Vec<(String, u32)> {
    let mut counted: Vec<(String, u32)> = Vec::new();
    let mut position: FxHashMap<String, usize> = FxHashMap::default();
    for term in terms {
        let at = *position.entry(term).or_insert_with_key(|term| {
            counted.push((term.clone(), 0));
            counted.len() - 1
        });
        counted[at].1 += 1;
    }
    counted
}

/// Term frequencies, a byte each; 255 and more stand in a sorted list beside.
#[derive(Clone, Debug)]
struct Frequencies {
    small: Vec<u8>,
    large: Vec<(usize, u32)>,
}

impl Frequencies {
    fn zeros(postings: usize) -> Self {
        Self { small: vec![0; postings], large: Vec::new() }
    }

    fn set(&mut self, posting: usize, frequency: u32) {
        self.small[posting] = frequency.min(255) as u8;
        if frequency >= 255 {
            self.large.push((posting, frequency));
        }
    }

    fn get(&self, posting: usize) -> u32 {
        match self.small[posting] {
            255 => {
                self.large.binary_search_by_key(&posting, |&(at, _)| at).map_or(255, |at| self.large[at].1)
            }
            small => u32::from(small),
        }
    }
}

/// The counted terms of some consecutive documents, with a vocabulary of their own.
struct Part {
    terms: Vec<Box<str>>,
    document_frequencies: Vec<u32>,
    lengths: Vec<u32>,
    /// Term and frequency, document after document.
    counts: Vec<(u32, u32)>,
    /// Where each document's counts end.
    ends: Vec<usize>,
}

impl Part {
    fn documents(&self) -> impl Iterator<Item = &[(u32, u32)]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.counts[start..end])
    }
}

/// So many documents are counted by one thread at a time: a fixed number, so that terms are numbered alike whatever
/// the number of threads.
const DOCUMENTS_PER_PART: usize = 2048;

#[cfg(not(target_arch = "wasm32"))]
fn count_terms<T: AsRef<str> + Sync>(documents: &[T], analyzer: Analyzer) -> Vec<Part> {
    documents.par_chunks(DOCUMENTS_PER_PART).map(|chunk| Counter::count(chunk, analyzer)).collect()
}

#[cfg(target_arch = "wasm32")]
fn count_terms<T: AsRef<str> + Sync>(documents: &[T], analyzer: Analyzer) -> Vec<Part> {
    documents.chunks(DOCUMENTS_PER_PART).map(|chunk| Counter::count(chunk, analyzer)).collect()
}

/// Counts the terms of one part.
struct Counter {
    analyzer: Analyzer,
    buffer: TermBuffer,
    /// What each token seen so far becomes: stemming a word once is enough.
    tokens: FxHashMap<Box<str>, Option<u32>>,
    ids: FxHashMap<Box<str>, u32>,
    part: Part,
    /// For each term, where the current document's count of it stands.
    slots: Vec<usize>,
}

impl Counter {
    fn count<T: AsRef<str>>(documents: &[T], analyzer: Analyzer) -> Part {
        let (terms, document_frequencies, lengths) =
            (Vec::new(), Vec::new(), Vec::with_capacity(documents.len()));
        let part = Part { terms, document_frequencies, lengths, counts: Vec::new(), ends: Vec::new() };
        let (buffer, tokens, ids, slots) = <_>::default();
        let mut counter = Self { analyzer, buffer, tokens, ids, part, slots };
        documents.iter().for_each(|document| counter.document(document.as_ref()));
        counter.part
    }

    fn document(&mut self, text: &str) {
        let start = self.part.counts.len();
        let mut length = 0;
        let analyzer = self.analyzer;
        analyzer.tokens(text, |token| {
            if let Some(term) = self.term(token) {
                self.add(term, start);
                length += 1;
            }
        });
        self.part.lengths.push(length);
        self.part.ends.push(self.part.counts.len());
    }

    fn term(&mut self, token: &str) -> Option<u32> {
        if let Some(&term) = self.tokens.get(token) {
            return term;
        }
        let term = self.analyzer.term(token, &mut self.buffer).map(|term| match self.ids.get(term) {
            Some(&id) => id,
            None => {
                let id = self.part.terms.len() as u32;
                self.ids.insert(term.into(), id);
                self.part.terms.push(term.into());
                self.part.document_frequencies.push(0);
                self.slots.push(usize::MAX);
                id
            }
        });
        self.tokens.insert(token.into(), term);
        term
    }

    /// Counts one more `term` in the document whose counts begin at `start`.
    fn add(&mut self, term: u32, start: usize) {
        let slot = &mut self.slots[term as usize];
        if (start..self.part.counts.len()).contains(slot) {
            self.part.counts[*slot].1 += 1;
        } else {
            *slot = self.part.counts.len();
            self.part.counts.push((term, 1));
            self.part.document_frequencies[term as usize] += 1;
        }
    }
}

/// The vocabularies of all parts in one.
struct Vocabulary {
    terms: Vec<Box<str>>,
    ids: FxHashMap<Box<str>, u32>,
    document_frequencies: Vec<u32>,
    /// For each part, its terms' numbers here.
    numbers: Vec<Vec<u32>>,
}

impl Vocabulary {
    fn of(parts: &[Part]) -> Self {
        let mut all = Self {
            terms: Vec::new(),
            ids: FxHashMap::default(),
            document_frequencies: Vec::new(),
            numbers: Vec::with_capacity(parts.len()),
        };
        for part in parts {
            let numbers =
                part.terms.iter().zip(&part.document_frequencies).map(|(term, &df)| all.add(term, df));
            let numbers = numbers.collect();
            all.numbers.push(numbers);
        }
        all
    }

    fn add(&mut self, term: &str, document_frequency: u32) -> u32 {
        let id = match self.ids.get(term) {
            Some(&id) => id,
            None => {
                let id = self.terms.len() as u32;
                self.ids.insert(term.into(), id);
                self.terms.push(term.into());
                self.document_frequencies.push(0);
                id
            }
        };
        self.document_frequencies[id as usize] += document_frequency;
        id
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths_are_rounded_as_lucene_rounds_them() {
        let pairs =
            [(0, 0), (1, 1), (39, 39), (40, 40), (41, 40), (42, 42), (55, 54), (56, 56), (59, 56), (60, 60)];
        for (length, kept) in pairs.into_iter().chain([(1_000, 984), (u32::MAX, 24 + 0xF000_0000)]) {
            assert_eq!(lucene_length(length), kept, "{length}");
        }
    }

    #[test]
    fn settings_print_as_they_are_read() {
        let read = |written: &str| written.parse::<Bm25Parameters>().map(|p| p.to_string());
        assert_eq!(read("bm25").unwrap(), "bm25(k1=0.9, b=0.4, length=lucene)");
        assert_eq!(read("bm25(k1=1.2,b=0.75)").unwrap(), "bm25(k1=1.2, b=0.75, length=lucene)");
        assert_eq!(read(" bm25( length = exact ) ").unwrap(), "bm25(k1=0.9, b=0.4, length=exact)");
    }

    #[test]
    fn wrong_settings_are_named() {
        let message = |written: &str| written.parse::<Bm25Parameters>().unwrap_err().to_string();
        assert_eq!(message("bm25(k1=-1)"), "`bm25`: k1=-1, expected a number of at least 0");
        assert_eq!(message("bm25(b=NaN)"), "`bm25`: b=NaN, expected a number from 0 to 1");
        assert_eq!(message("bm25(k2=1)"), "`bm25` has no setting `k2`: expected one of k1, b, length");
        assert_eq!(message("tf-idf"), "unknown lexical scorer `tf-idf`: expected bm25");
        assert!(message("bm25(k1=0.9").contains("expected `name`"));
    }

    /// Worked by hand: N = 3, avgdl = 2; `cat` stands in two documents.
    #[test]
    fn a_score_is_the_formula() {
        let parameters = Bm25Parameters::new(1.2, 0.75, DocumentLength::Exact).unwrap();
        let index =
            Bm25Index::build(&["cat dog", "cat cat cat", "bird"], Analyzer::Whitespace, parameters).unwrap();
        let idf = (1.0_f64 + (3.0 - 2.0 + 0.5) / 2.5).ln();
        let expected = idf * 3.0 / (3.0 + 1.2 * (0.25 + 0.75 * 3.0 / 2.0));
        assert!((f64::from(index.score("cat", 1).unwrap()) - expected).abs() < 1e-7);
        assert_eq!(index.score("cat", 2), Some(0.0));
        assert_eq!(index.score("cat", 3), None);
    }

    #[derive(serde::Deserialize)]
    struct Case {
        k1: f32,
        b: f32,
        query: String,
        documents: Vec<String>,
        scores: Vec<f32>,
    }

    /// Random corpora scored by bm25s 0.3.16, method "lucene" (`benchmarks/references/bm25/bm25s_scores.py`).
    #[test]
    fn bm25s_agrees() {
        let cases: Vec<Case> =
            include_str!("bm25s.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(cases.len() >= 60);
        for Case { k1, b, query, documents, scores } in cases {
            let parameters = Bm25Parameters::new(k1, b, DocumentLength::Exact).unwrap();
            let index = Bm25Index::build(&documents, Analyzer::Whitespace, parameters).unwrap();
            for (document, expected) in scores.into_iter().enumerate() {
                let score = index.score(&query, document as u32).unwrap();
                assert!(
                    (score - expected).abs() <= 2e-6 * expected.max(1.0),
                    "{query}: {score}, bm25s {expected}"
                );
            }
        }
    }

    #[test]
    fn an_explanation_adds_up() {
        let many = "rare ".repeat(300) + "cat dog";
        let index =
            Bm25Index::build(&[many.as_str(), "cat", ""], Analyzer::Whitespace, <_>::default()).unwrap();
        let weights = index.explain("rare cat rare unheard", 0).unwrap();
        let seen: Vec<_> = weights
            .iter()
            .map(|w| (w.term.as_str(), w.query_frequency, w.term_frequency, w.document_frequency))
            .collect();
        assert_eq!(seen, [("rare", 2, 300, 1), ("cat", 1, 1, 2), ("unheard", 1, 0, 0)]);
        let sum: f64 = weights.iter().map(|w| f64::from(w.score)).sum();
        assert_eq!(sum as f32, index.score("rare cat rare unheard", 0).unwrap());
        assert_eq!(index.document_length(0), Some(302));
        assert_eq!(index.term("cat").unwrap().document_frequency, 2);
    }

    #[test]
    fn an_index_of_nothing_finds_nothing() {
        for documents in [&[][..], &["", "the of"]] {
            let index = Bm25Index::build(documents, Analyzer::default(), <_>::default()).unwrap();
            assert_eq!(index.terms().len(), 0);
            assert!(index.search("anything the", 10).is_empty());
        }
    }
}
