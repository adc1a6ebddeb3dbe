//! From text to terms, with the choices Lucene's analyzers give, so that published Lucene and Anserini figures can be
//! met.
//!
//! An [`Analyzer`] is a value that prints as it is written, `english(stop=lucene, stem=porter)`, and parses back:
//!
//! | name | tokens | terms |
//! |---|---|---|
//! | `english` | words of Unicode's annex 29 | possessive `'s` dropped, lower case, stop words dropped, stemmed |
//! | `multilingual` | the same, runs of CJK letters as overlapping pairs | lower case |
//! | `simple` | runs of letters | lower case |
//! | `whitespace` | what stands between blanks | as they are |
//!
//! `english` with its defaults is Anserini's `DefaultEnglishAnalyzer`. Known differences from Lucene: emoji make no tokens
//! here, lone fractions and superscripts do, and Thai, Lao, Khmer and Myanmar fall apart into letters where Lucene keeps
//! runs.

use std::fmt;
use std::str::FromStr;

use unicode_segmentation::UnicodeSegmentation;

use super::{LexicalError, call, porter};

/// Words that say little, dropped before stemming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StopWords {
    /// Lucene's 33 English stop words.
    #[default]
    Lucene,
    /// Nothing is dropped.
    None,
}

/// How a word is brought to its stem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stemmer {
    /// Porter's original algorithm as Lucene runs it.
    #[default]
    Porter,
    /// The word stays as it is.
    None,
}

/// How a text becomes terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Analyzer {
    /// English text.
    English {
        /// What is dropped.
        stop: StopWords,
        /// What is stemmed.
        stem: Stemmer,
    },
    /// Any language: no stop words, no stems; CJK text by overlapping pairs of letters.
    Multilingual,
    /// Runs of letters in lower case.
    Simple,
    /// Whatever stands between blanks.
    Whitespace,
}

impl Default for Analyzer {
    fn default() -> Self {
        Self::English { stop: StopWords::default(), stem: Stemmer::default() }
    }
}

/// Lucene's `EnglishAnalyzer.ENGLISH_STOP_WORDS_SET`, sorted.
const LUCENE_STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
    "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
    "was", "will", "with",
];

/// Longer words are cut into pieces of this many UTF-16 units, as Lucene's tokenizer does.
const LONGEST_TOKEN: usize = 255;

impl Analyzer {
    /// The terms of `text`, in order, repetitions included.
    pub fn terms(&self, text: &str) -> Vec<String> {
        let mut buffer = TermBuffer::default();
        let mut terms = Vec::new();
        self.tokens(text, |token| terms.extend(self.term(token, &mut buffer).map(str::to_owned)));
        terms
    }

    /// Hands every token of `text` to `emit`: what the tokenizer finds, before any filter.
    pub(super) fn tokens(&self, text: &str, mut emit: impl FnMut(&str)) {
        match self {
            Self::English { .. } => words(text, emit),
            Self::Multilingual => words_and_pairs(text, emit),
            Self::Simple => {
                text.split(|c: char| !c.is_alphabetic()).filter(|t| !t.is_empty()).for_each(&mut emit)
            }
            Self::Whitespace => text.split_whitespace().for_each(emit),
        }
    }

    /// The term a token becomes, or `None` when it is dropped. Depends on the token alone, so callers may remember it.
    pub(super) fn term<'b>(&self, token: &'b str, buffer: &'b mut TermBuffer) -> Option<&'b str> {
        match self {
            Self::English { stop, stem } => buffer.english(token, *stop, *stem),
            Self::Multilingual | Self::Simple => Some(buffer.lower_case(token)),
            Self::Whitespace => Some(token),
        }
    }
}

/// Scratch space for one term.
#[derive(Default)]
pub(super) struct TermBuffer {
    characters: Vec<char>,
    term: String,
}

impl TermBuffer {
    fn lower_case(&mut self, token: &str) -> &str {
        self.term.clear();
        self.term.extend(token.chars().map(lower_case));
        &self.term
    }

    fn english(&mut self, token: &str, stop: StopWords, stem: Stemmer) -> Option<&str> {
        self.lower_case(without_possessive(token));
        if stop == StopWords::Lucene && LUCENE_STOP_WORDS.binary_search(&self.term.as_str()).is_ok() {
            return None;
        }
        if stem == Stemmer::Porter {
            self.characters.clear();
            self.characters.extend(self.term.chars());
            porter::stem(&mut self.characters);
            self.term.clear();
            self.term.extend(&self.characters);
        }
        Some(&self.term)
    }
}

/// One character in lower case. One-to-one, as Java's `Character.toLowerCase`, so that a dotted capital I becomes `i`.
fn lower_case(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) }
}

/// Lucene's `EnglishPossessiveFilter`: `cat's`, with any of three apostrophes, is `cat`.
fn without_possessive(token: &str) -> &str {
    token
        .strip_suffix(['s', 'S'])
        .and_then(|rest| rest.strip_suffix(['\'', '\u{2019}', '\u{FF07}']))
        .unwrap_or(token)
}

/// The words of annex 29 that hold a letter or a digit, long ones cut.
fn words(text: &str, mut emit: impl FnMut(&str)) {
    for word in text.unicode_words().filter(|word| starts_a_word(word)) {
        let mut rest = word;
        while rest.len() > LONGEST_TOKEN {
            let (head, tail) = rest.split_at(utf16_boundary(rest, LONGEST_TOKEN));
            emit(head);
            rest = tail;
        }
        if !rest.is_empty() {
            emit(rest);
        }
    }
}

/// Whether this piece of annex 29, known to hold an alphabetic character or a digit, is a word. Vowel signs and points
/// are alphabetic too but join whatever stands before them: a blank with a Hebrew point is one piece, and no word.
fn starts_a_word(piece: &str) -> bool {
    let Some(first) = piece.chars().next() else { return false };
    first.is_ascii_alphanumeric() || piece.chars().any(|c| c.is_alphanumeric() && !joins_what_precedes(c))
}

/// Rule WB4 of annex 29: no word boundary before marks, whatever precedes them.
fn joins_what_precedes(c: char) -> bool {
    !c.is_ascii() && !is_cjk(c) && format!("!{c}").split_word_bounds().nth(1).is_none()
}

/// The byte at which the first `units` UTF-16 units of `text` end (never inside a character).
fn utf16_boundary(text: &str, units: usize) -> usize {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.len_utf16();
        if taken > units {
            return at;
        }
    }
    text.len()
}

/// Words, with every run of adjoining CJK letters given as its overlapping pairs (a lone letter as itself), as Lucene's
/// `CJKBigramFilter` does.
fn words_and_pairs(text: &str, mut emit: impl FnMut(&str)) {
    let mut run: Option<(usize, usize)> = None;
    for (at, word) in text.unicode_word_indices().filter(|(_, word)| starts_a_word(word)) {
        let cjk = word.chars().all(is_cjk);
        match &mut run {
            Some((_, end)) if cjk && *end == at => *end = at + word.len(),
            _ => {
                flush_pairs(text, run.take(), &mut emit);
                if cjk {
                    run = Some((at, at + word.len()));
                } else {
                    words(word, &mut emit);
                }
            }
        }
    }
    flush_pairs(text, run, &mut emit);
}

fn flush_pairs(text: &str, run: Option<(usize, usize)>, emit: &mut impl FnMut(&str)) {
    let Some((from, to)) = run else { return };
    let run = &text[from..to];
    let starts: Vec<usize> = run.char_indices().map(|(at, _)| at).chain([run.len()]).collect();
    if starts.len() == 2 {
        emit(run);
    }
    starts.windows(3).for_each(|pair| emit(&run[pair[0]..pair[2]]));
}

/// Han, Hiragana, Katakana and Hangul letters.
fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11FF}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30FF}' | '\u{3130}'..='\u{318F}'
        | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{A960}'..='\u{A97F}'
        | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FF9D}' | '\u{20000}'..='\u{3FFFD}')
}

impl fmt::Display for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::English { stop, stem } => {
                let stop = if *stop == StopWords::Lucene { "lucene" } else { "none" };
                let stem = if *stem == Stemmer::Porter { "porter" } else { "none" };
                write!(f, "english(stop={stop}, stem={stem})")
            }
            Self::Multilingual => f.write_str("multilingual"),
            Self::Simple => f.write_str("simple"),
            Self::Whitespace => f.write_str("whitespace"),
        }
    }
}

impl FromStr for Analyzer {
    type Err = LexicalError;

    /// Reads a name with optional settings: `english`, `english(stem=none)`, `whitespace`.
    fn from_str(written: &str) -> Result<Self, LexicalError> {
        let (name, settings) = call::parse(written)?;
        match name {
            "english" => english(&settings),
            "multilingual" => call::no_settings(name, &settings).map(|()| Self::Multilingual),
            "simple" => call::no_settings(name, &settings).map(|()| Self::Simple),
            "whitespace" => call::no_settings(name, &settings).map(|()| Self::Whitespace),
            _ => Err(LexicalError::UnknownAnalyzer { name: name.to_owned() }),
        }
    }
}

fn english(settings: &[(&str, &str)]) -> Result<Analyzer, LexicalError> {
    let (mut stop, mut stem) = (StopWords::default(), Stemmer::default());
    for &(key, value) in settings {
        match (key, value) {
            ("stop", "lucene") => stop = StopWords::Lucene,
            ("stop", "none") => stop = StopWords::None,
            ("stem", "porter") => stem = Stemmer::Porter,
            ("stem", "none") => stem = Stemmer::None,
            ("stop", _) => return Err(call::bad_value("english", key, value, "lucene or none")),
            ("stem", _) => return Err(call::bad_value("english", key, value, "porter or none")),
            _ => return Err(call::unknown_setting("english", key, "stop, stem")),
        }
    }
    Ok(Analyzer::English { stop, stem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn terms(analyzer: &str, text: &str) -> Vec<String> {
        analyzer.parse::<Analyzer>().unwrap().terms(text)
    }

    #[test]
    fn english_does_what_anserini_does() {
        let text =
            "The cat's toys weren't O'Reilly\u{2019}s; U.S. prices fell 3.5% (EL/1), time-sharing system_3.";
        assert_eq!(
            terms("english", text),
            [
                "cat", "toi", "weren't", "o'reilli", "u.", "price", "fell", "3.5", "el", "1", "time",
                "share", "system_3"
            ]
        );
        assert_eq!(terms("english(stop=none, stem=none)", "The CATS"), ["the", "cats"]);
    }

    /// Lines with their terms by Lucene 9 (`benchmarks/references/bm25/Terms.java`).
    #[test]
    fn lucene_agrees() {
        let fixtures = [
            ("english", include_str!("lucene_english.tsv")),
            ("multilingual", include_str!("lucene_cjk.tsv")),
        ];
        for (analyzer, fixture) in fixtures {
            for (text, expected) in fixture.lines().filter_map(|line| line.split_once('\t')) {
                assert_eq!(terms(analyzer, text).join(" "), expected, "{analyzer}: {text}");
            }
        }
    }

    #[test]
    fn the_other_analyzers_split_as_their_names_say() {
        assert_eq!(terms("whitespace", " The  cat's\tToys.\n"), ["The", "cat's", "Toys."]);
        assert_eq!(terms("simple", "The cat's 3 TOYS"), ["the", "cat", "s", "toys"]);
        assert_eq!(
            terms("multilingual", "Running 東京都 に, 猫 한국어"),
            ["running", "東京", "京都", "に", "猫", "한국", "국어"]
        );
    }

    #[test]
    fn capitals_outside_ascii_become_single_small_letters() {
        assert_eq!(terms("simple", "İSTANBUL ÉCOLE"), ["istanbul", "école"]);
    }

    /// Marks that count as letters hang on a blank, on punctuation, on a line's start; with a letter they are its word.
    #[test]
    fn a_mark_without_a_letter_is_no_word() {
        for analyzer in ["english", "multilingual"] {
            assert!(terms(analyzer, " \u{5b0}").is_empty(), "a point after a blank");
            assert!(terms(analyzer, "\u{93e} !\u{93e} -\u{345}\n\u{5b0}").is_empty());
            assert_eq!(terms(analyzer, "ש\u{5b0}ל _\u{5b0}x \u{5b0}y"), ["ש\u{5b0}ל", "_\u{5b0}x", "y"]);
        }
    }

    #[test]
    fn long_words_are_cut() {
        let lengths: Vec<_> = terms("english", &"x".repeat(600)).iter().map(String::len).collect();
        assert_eq!(lengths, [255, 255, 90]);
    }

    #[test]
    fn an_analyzer_prints_as_it_is_read() {
        for written in
            ["english(stop=lucene, stem=porter)", "english(stop=none, stem=none)", "simple", "multilingual"]
        {
            assert_eq!(written.parse::<Analyzer>().unwrap().to_string(), written);
        }
        assert_eq!("english".parse::<Analyzer>().unwrap(), Analyzer::default());
    }

    #[test]
    fn a_wrong_analyzer_is_named() {
        let message = |written: &str| written.parse::<Analyzer>().unwrap_err().to_string();
        assert_eq!(
            message("klingon"),
            "unknown analyzer `klingon`: expected english, multilingual, simple or whitespace"
        );
        assert_eq!(message("english(stop=yes)"), "`english`: stop=yes, expected lucene or none");
        assert_eq!(message("simple(stem=porter)"), "`simple` takes no settings, found `stem`");
        assert!(message("english(stop").contains("expected `name` or `name(key=value, ...)`"));
    }

    proptest! {
        #[test]
        fn any_text_makes_terms_without_blanks(text in "(.|[ \n][\\p{M}a]){0,200}") {
            for analyzer in ["english", "english(stop=none,stem=none)", "multilingual", "simple", "whitespace"] {
                for term in terms(analyzer, &text) {
                    prop_assert!(!term.is_empty());
                    prop_assert!(!term.contains(char::is_whitespace));
                }
            }
        }

        #[test]
        fn a_printed_analyzer_is_the_same_analyzer(stop in any::<bool>(), stem in any::<bool>()) {
            let analyzer = Analyzer::English {
                stop: if stop { StopWords::Lucene } else { StopWords::None },
                stem: if stem { Stemmer::Porter } else { Stemmer::None },
            };
            prop_assert_eq!(analyzer.to_string().parse::<Analyzer>().unwrap(), analyzer);
        }
    }
}
