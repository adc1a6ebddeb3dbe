//! Passages put together from the sentences of real documents, for a query at a target grade: what the offline generator
//! writes for SyCL.
//!
//! With `Q` the query's distinct stems, and documents ranked by the summed inverse document frequency of those they hold:
//!
//! - 3: the sentences of one of the best documents that hold most of `Q`, and for what they still miss the sentence of
//!   another good document that holds most of it;
//! - 2: the same without one stem of `Q`, drawn; for a query of one stem its best sentence amid a strange document's;
//! - 1: sentences of a document that shares as little with `Q` as any that shares something;
//! - 0: sentences of a document that shares nothing.
//!
//! A sentence stays as somebody wrote it; only the choice and the company are ours. What grade the whole has is for a
//! judge to say.

use std::collections::BTreeMap;

use relevance::Grade;
use rustc_hash::FxHashMap;
use scorer::lexical::Analyzer;

use crate::draws::Draws;
use crate::offline::stems;

/// Documents that may lead a passage of grade 2 or 3.
const LEADERS: usize = 5;
/// Documents that may supply what the leader misses.
const SUPPLIERS: usize = 20;

/// Composes passages.
pub struct Composer {
    texts: Vec<String>,
    /// The documents that hold a stem, ascending.
    with_stem: FxHashMap<String, Vec<u32>>,
    analyzer: Analyzer,
    digest: String,
}

/// A sentence, and which of the query's stems it holds.
#[derive(Clone, Debug, PartialEq)]
struct Sentence<'t> {
    text: &'t str,
    held: Vec<usize>,
}

/// The documents that share a stem with a query.
struct Ranked {
    /// Best first.
    best: Vec<u32>,
    /// How many of the query's stems each holds.
    shared: BTreeMap<u32, usize>,
}

impl Composer {
    /// A composer over these documents.
    pub fn new<'a>(analyzer: Analyzer, documents: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<String> = documents.into_iter().map(str::to_owned).collect();
        let mut with_stem: FxHashMap<String, Vec<u32>> = FxHashMap::default();
        let mut hasher = blake3::Hasher::new();
        for (at, text) in texts.iter().enumerate() {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            for stem in stems(analyzer, text) {
                with_stem.entry(stem).or_default().push(at as u32);
            }
        }
        let digest = hasher.finalize().to_hex()[..16].to_owned();
        Self { texts, with_stem, analyzer, digest }
    }

    /// What the documents are, in 16 digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A passage of at most so many sentences, or `None` where the documents offer none of the kind.
    pub fn compose(&self, query: &str, grade: Grade, sentences: u32, draws: &mut Draws) -> Option<String> {
        let asked = stems(self.analyzer, query);
        let most = (sentences as usize).max(1);
        let ranked = self.ranked(&asked);
        let passage = match grade {
            3 => self.whole(&asked, None, &ranked, most, draws)?,
            2 if asked.len() > 1 => {
                let without = draws.below(asked.len());
                self.whole(&asked, Some(without), &ranked, most, draws)?
            }
            2 => self.buried(&asked, &ranked, most, draws)?,
            1 => self.beside(&asked, &ranked, most, draws)?,
            0 => self.stretch(self.stranger(&ranked, draws)?, most, draws)?,
            _ => return None,
        };
        (!passage.is_empty()).then(|| passage.join(" "))
    }

    fn ranked(&self, asked: &[String]) -> Ranked {
        let mut weights: BTreeMap<u32, (f64, usize)> = BTreeMap::new();
        for stem in asked {
            let Some(documents) = self.with_stem.get(stem) else { continue };
            let idf = libm::log((self.texts.len() as f64 + 1.0) / (documents.len() as f64 + 0.5)).max(0.0);
            for &document in documents {
                let weight = weights.entry(document).or_default();
                *weight = (weight.0 + idf, weight.1 + 1);
            }
        }
        let mut best: Vec<(u32, f64)> =
            weights.iter().map(|(&document, &(weight, _))| (document, weight)).collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ranked {
            best: best.into_iter().map(|(document, _)| document).collect(),
            shared: weights.into_iter().map(|(document, (_, shared))| (document, shared)).collect(),
        }
    }

    /// The best sentences of a good document and what other documents add, without a stem that is to be left out.
    fn whole(
        &self,
        asked: &[String],
        without: Option<usize>,
        ranked: &Ranked,
        most: usize,
        draws: &mut Draws,
    ) -> Option<Vec<&str>> {
        let leader = *ranked.best.get(draws.zipf(ranked.best.len().min(LEADERS)))?;
        let allowed = |document: u32| -> Vec<Sentence<'_>> {
            let own = self.sentences(document, asked).into_iter();
            own.filter(|sentence| without.is_none_or(|stem| !sentence.held.contains(&stem))).collect()
        };
        let mut chosen = best_in_order(allowed(leader), most);
        let is_missing = |chosen: &[Sentence<'_>], stem: usize| {
            Some(stem) != without && !chosen.iter().any(|sentence| sentence.held.contains(&stem))
        };
        for _ in 0..asked.len() {
            let missing: Vec<usize> = (0..asked.len()).filter(|&stem| is_missing(&chosen, stem)).collect();
            let adds =
                |sentence: &Sentence<'_>| missing.iter().filter(|stem| sentence.held.contains(stem)).count();
            let offered = ranked.best.iter().take(SUPPLIERS).flat_map(|&document| allowed(document));
            let Some(best) = first_best(offered, adds).filter(|best| adds(best) > 0) else { break };
            if chosen.len() >= most {
                let Some(idle) = idle(&chosen) else { break };
                chosen.remove(idle);
            }
            chosen.push(best);
        }
        let holds_something = chosen.iter().any(|sentence| !sentence.held.is_empty());
        holds_something.then(|| chosen.into_iter().map(|sentence| sentence.text).collect())
    }

    /// The best sentence for the query in the midst of a strange document's.
    fn buried(&self, asked: &[String], ranked: &Ranked, most: usize, draws: &mut Draws) -> Option<Vec<&str>> {
        let leader = *ranked.best.get(draws.zipf(ranked.best.len().min(LEADERS)))?;
        let best = best_in_order(self.sentences(leader, asked), 1).pop()?;
        let mut passage = self.stretch(self.stranger(ranked, draws)?, most.max(2) - 1, draws)?;
        passage.insert(passage.len().div_ceil(2), best.text);
        Some(passage)
    }

    /// Sentences of a document that shares the least, beginning with one that shares it.
    fn beside(&self, asked: &[String], ranked: &Ranked, most: usize, draws: &mut Draws) -> Option<Vec<&str>> {
        let least = *ranked.shared.values().min()?;
        let far: Vec<u32> = ranked
            .shared
            .iter()
            .filter(|(_, shared)| **shared == least)
            .map(|(&document, _)| document)
            .collect();
        let own = self.sentences(*draws.pick(&far)?, asked);
        let first = own.iter().position(|sentence| !sentence.held.is_empty())?;
        let from = first.saturating_sub(draws.below(most));
        Some(own.iter().skip(from).take(most.max(first + 1 - from)).map(|sentence| sentence.text).collect())
    }

    /// A document that shares nothing with the query.
    fn stranger(&self, ranked: &Ranked, draws: &mut Draws) -> Option<u32> {
        let mut tries = (0..64).map(|_| draws.below(self.texts.len()) as u32);
        tries
            .find(|document| !ranked.shared.contains_key(document) && (*document as usize) < self.texts.len())
    }

    /// Consecutive sentences of a document.
    fn stretch(&self, document: u32, most: usize, draws: &mut Draws) -> Option<Vec<&str>> {
        let own = sentences(&self.texts[document as usize]);
        let from = draws.below(own.len().saturating_sub(most) + 1);
        let stretch: Vec<&str> = own.into_iter().skip(from).take(most).collect();
        (!stretch.is_empty()).then_some(stretch)
    }

    fn sentences(&self, document: u32, asked: &[String]) -> Vec<Sentence<'_>> {
        let held = |text: &str| {
            let terms = stems(self.analyzer, text);
            (0..asked.len()).filter(|&stem| terms.binary_search(&asked[stem]).is_ok()).collect()
        };
        sentences(&self.texts[document as usize])
            .into_iter()
            .map(|text| Sentence { text, held: held(text) })
            .collect()
    }
}

/// The sentences that hold most of the query, at most so many, in the order of the text.
fn best_in_order(sentences: Vec<Sentence<'_>>, most: usize) -> Vec<Sentence<'_>> {
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(sentences[at].held.len()), at));
    order.truncate(most);
    let is_taken = |at: usize| order.contains(&at);
    sentences.into_iter().enumerate().filter(|(at, _)| is_taken(*at)).map(|(_, sentence)| sentence).collect()
}

/// The last sentence without which the passage holds as much of the query.
fn idle(chosen: &[Sentence<'_>]) -> Option<usize> {
    let is_held_elsewhere = |at: usize, stem: &usize| {
        chosen.iter().enumerate().any(|(other, sentence)| other != at && sentence.held.contains(stem))
    };
    (0..chosen.len()).rev().find(|&at| chosen[at].held.iter().all(|stem| is_held_elsewhere(at, stem)))
}

/// The first sentence with the highest value.
fn first_best<'t>(
    sentences: impl Iterator<Item = Sentence<'t>>,
    value: impl Fn(&Sentence<'t>) -> usize,
) -> Option<Sentence<'t>> {
    sentences.fold(None, |best: Option<Sentence<'t>>, sentence| match best {
        Some(best) if value(&best) >= value(&sentence) => Some(best),
        _ => Some(sentence),
    })
}

/// The sentences of a text: up to a full stop, question or exclamation mark before a blank, or a line's end; those of one
/// word are none.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|&(_, next)| next);
        let ends = match character {
            '\n' => true,
            '.' | '!' | '?' => next.is_none_or(char::is_whitespace),
            _ => next.is_none(),
        };
        if ends {
            let end = at + character.len_utf8();
            found.push(text[start..end].trim());
            start = end;
        }
    }
    found.retain(|sentence| sentence.split_whitespace().nth(1).is_some());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 4] = [
        "Red wine fell on the rug. Soda gets a stain out. We moved house last year.",
        "Carpet care in ten steps. Vacuum the carpet daily.",
        "A wine course for beginners. Bring your own glass! We meet on Mondays.",
        "Python loops are easy. Print the table of seven.",
    ];

    fn compose(query: &str, grade: Grade, sentences: u32, seed: u64) -> Option<String> {
        Composer::new(Analyzer::default(), DOCUMENTS).compose(
            query,
            grade,
            sentences,
            &mut Draws::new(seed, 0),
        )
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        assert_eq!(sentences("One two. 3.5 mm wide\nlast line"), ["One two.", "3.5 mm wide", "last line"]);
        assert_eq!(sentences("Hm. Really? No way!"), ["No way!"]);
        assert!(sentences("").is_empty());
    }

    #[test]
    fn hand_computed() {
        // "wine stain carpet": document 0 holds wine and stain, 1 carpet, 2 wine. Led by any of them, a 3 holds all.
        for seed in 0..20 {
            let three = compose("wine stain carpet", 3, 3, seed).unwrap();
            for word in ["wine", "stain"] {
                assert!(three.contains(word), "{three}");
            }
            assert!(three.to_lowercase().contains("carpet"), "{three}");
            let two = compose("wine stain carpet", 2, 3, seed).unwrap().to_lowercase();
            let held = ["wine", "stain", "carpet"].into_iter().filter(|word| two.contains(word)).count();
            assert_eq!(held, 2, "{two}");
            let one = compose("wine stain carpet", 1, 2, seed).unwrap().to_lowercase();
            let held = ["wine", "stain", "carpet"].into_iter().filter(|word| one.contains(word)).count();
            assert_eq!(held, 1, "{one}");
            let none = compose("wine stain carpet", 0, 2, seed).unwrap();
            assert_eq!(none, "Python loops are easy. Print the table of seven.");
        }
        // One stem alone: its sentence stands second, after one of the only stranger.
        let buried = compose("carpet", 2, 2, 1).unwrap();
        assert!(buried.ends_with(" Carpet care in ten steps.") && !buried.starts_with("Carpet"), "{buried}");
        assert_eq!(compose("zebra", 3, 2, 1), None);
        assert_eq!(compose("wine", 4, 2, 1), None);
    }
}
