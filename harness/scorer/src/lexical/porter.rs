//! Porter's stemmer, the original one: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980.
//!
//! Lucene's `PorterStemFilter` follows Porter's own later program rather than the paper, and so does this file: words
//! of one or two letters are left alone, and step 2 has two more liberal rules (`bli` -> `ble`, `logi` -> `log`). It
//! is not the "English" (Porter2) stemmer of Snowball.
//!
//! Symbols of the paper: a word is `[C](VC)^m[V]` for runs of consonants `C` and vowels `V`; `m` is its measure.
//! `*v*` the stem holds a vowel; `*d` it ends in a double consonant; `*o` it ends consonant-vowel-consonant, the last
//! one not `w`, `x` or `y`.

/// Stems one lower-cased word in place. Characters outside a-z count as consonants, as they do in Lucene.
pub(super) fn stem(word: &mut Vec<char>) {
    if word.len() > 2 {
        plurals_and_participles(word);
        y_to_i(word);
        replace_if_measured(word, STEP_2);
        replace_if_measured(word, STEP_3);
        drop_suffix(word);
        drop_final_e(word);
        single_final_l(word);
    }
}

/// Step 2: double suffixes to single ones, where m > 0. Of two rules that fit, the longer stands first.
const STEP_2: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
];

/// Step 3: `-ic-`, `-full`, `-ness` and the like, where m > 0.
const STEP_3: &[(&str, &str)] = &[
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4: suffixes that fall where m > 1 (`ion` only after `s` or `t`).
const STEP_4: &[&str] = &[
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// Step 1a and 1b.
fn plurals_and_participles(word: &mut Vec<char>) {
    if let Some(at) = suffix(word, "sses").or_else(|| suffix(word, "ies")) {
        word.truncate(if word[at] == 's' { at + 2 } else { at + 1 });
    } else if word.ends_with(&['s']) && !word.ends_with(&['s', 's']) {
        word.pop();
    }
    if let Some(at) = suffix(word, "eed") {
        if measure(&word[..at]) > 0 {
            word.pop();
        }
    } else if let Some(at) =
        suffix(word, "ed").or_else(|| suffix(word, "ing")).filter(|&at| has_vowel(&word[..at]))
    {
        word.truncate(at);
        restore_ending(word);
    }
}

/// After `-ed` or `-ing` fell: `conflat` -> `conflate`, `hopp` -> `hop`, `fil` -> `file`.
fn restore_ending(word: &mut Vec<char>) {
    if ["at", "bl", "iz"].iter().any(|ending| suffix(word, ending).is_some()) {
        word.push('e');
    } else if ends_double_consonant(word) {
        if !matches!(word.last(), Some('l' | 's' | 'z')) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_cvc(word) {
        word.push('e');
    }
}

/// Step 1c: a final `y` after a vowel somewhere before it.
fn y_to_i(word: &mut [char]) {
    if let Some((last, stem)) = word.split_last_mut()
        && *last == 'y'
        && has_vowel(stem)
    {
        *last = 'i';
    }
}

/// Steps 2 and 3: the first suffix that fits is replaced, if what stands before it measures more than 0.
fn replace_if_measured(word: &mut Vec<char>, rules: &[(&str, &str)]) {
    for (ending, replacement) in rules {
        if let Some(at) = suffix(word, ending) {
            if measure(&word[..at]) > 0 {
                word.truncate(at);
                word.extend(replacement.chars());
            }
            return;
        }
    }
}

/// Step 4.
fn drop_suffix(word: &mut Vec<char>) {
    let fits = |ending: &&&str| {
        suffix(word, ending).is_some_and(|at| {
            **ending != "ion" || word[..at].ends_with(&['s']) || word[..at].ends_with(&['t'])
        })
    };
    if let Some(ending) = STEP_4.iter().find(fits) {
        let at = word.len() - ending.len();
        if measure(&word[..at]) > 1 {
            word.truncate(at);
        }
    }
}

/// Step 5a: a final `e` falls where m > 1, or where m = 1 and the rest does not end in `*o`.
fn drop_final_e(word: &mut Vec<char>) {
    if let Some(at) = suffix(word, "e") {
        let m = measure(&word[..at]);
        if m > 1 || (m == 1 && !ends_cvc(&word[..at])) {
            word.pop();
        }
    }
}

/// Step 5b: `controll` -> `control`.
fn single_final_l(word: &mut Vec<char>) {
    if word.ends_with(&['l', 'l']) && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
}

/// Where `ending` begins in `word`, when the word ends in it.
fn suffix(word: &[char], ending: &str) -> Option<usize> {
    let at = word.len().checked_sub(ending.len())?;
    word[at..].iter().copied().eq(ending.chars()).then_some(at)
}

/// Whether the character at `at` is a consonant: not a vowel, and not a `y` that follows a consonant.
fn is_consonant(word: &[char], at: usize) -> bool {
    match word[at] {
        'a' | 'e' | 'i' | 'o' | 'u' => false,
        // A run of y's alternates, so look back to its start instead of calling ourselves once a letter.
        'y' => {
            let run = word[..at].iter().rev().take_while(|&&c| c == 'y').count();
            let before_run = at - run;
            let first_is_consonant =
                before_run == 0 || matches!(word[before_run - 1], 'a' | 'e' | 'i' | 'o' | 'u');
            first_is_consonant == (run % 2 == 0)
        }
        _ => true,
    }
}

/// m: how often a vowel run is followed by a consonant run.
fn measure(stem: &[char]) -> usize {
    let mut m = 0;
    let mut after_vowel = false;
    let mut consonant = false;
    for (at, &c) in stem.iter().enumerate() {
        consonant = match c {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => at == 0 || !consonant,
            _ => true,
        };
        m += usize::from(consonant && after_vowel);
        after_vowel = !consonant;
    }
    m
}

fn has_vowel(stem: &[char]) -> bool {
    (0..stem.len()).any(|at| !is_consonant(stem, at))
}

fn ends_double_consonant(word: &[char]) -> bool {
    matches!(word, [.., a, b] if a == b) && is_consonant(word, word.len() - 1)
}

fn ends_cvc(word: &[char]) -> bool {
    let n = word.len();
    n >= 3
        && is_consonant(word, n - 1)
        && !is_consonant(word, n - 2)
        && is_consonant(word, n - 3)
        && !matches!(word[n - 1], 'w' | 'x' | 'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stemmed(word: &str) -> String {
        let mut word: Vec<char> = word.chars().collect();
        stem(&mut word);
        word.into_iter().collect()
    }

    /// The paper's own examples, taken through all steps.
    #[test]
    fn the_papers_examples_come_out_as_in_the_paper() {
        let examples = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("digitizer", "digit"),
            ("vietnamization", "vietnam"),
            ("triplicate", "triplic"),
            ("hopefulness", "hope"),
            ("adoption", "adopt"),
            ("probate", "probat"),
            ("cease", "ceas"),
            ("controll", "control"),
            ("generalizations", "gener"),
            ("oscillators", "oscil"),
        ];
        for (word, expected) in examples {
            assert_eq!(stemmed(word), expected, "{word}");
        }
    }

    #[test]
    fn short_words_and_the_two_later_rules_follow_porters_program() {
        assert_eq!(stemmed("is"), "is");
        assert_eq!(stemmed("sensibli"), "sensibl");
        assert_eq!(stemmed("archaeology"), "archaeolog");
    }

    /// Words of the real collections and their stems by an independent implementation
    /// (`benchmarks/references/bm25/porter.py`).
    #[test]
    fn thousands_of_real_words_agree_with_the_reference() {
        let fixture = include_str!("porter.tsv");
        let pairs = || fixture.lines().filter_map(|line| line.split_once('\t'));
        assert!(pairs().count() > 4_000);
        for (word, expected) in pairs() {
            assert_eq!(stemmed(word), expected, "{word}");
        }
    }
}
