//! A generator that needs no model: it composes texts from a query log and the document's own words.
//!
//! What it knows is in the log and in the collection: it brings words together that people and documents brought together
//! before. It has no knowledge of the world beyond that; a comparison with a live model's texts is a comparison with a
//! control arm. What it writes is a proposal: whoever asked verifies it with a [`Judge`](crate::Judge).
//!
//! A query for a document, by target grade:
//!
//! - 3: words the document is about (rare in the collection, early in the text), or the logged query that they answer
//!   best, where all its words stand in the document;
//! - 2: such words with one that the document lacks, taken from a logged query that shares a word with it;
//! - 1: one such word in a logged query that is about something else;
//! - 0: a logged query that shares no word with the document.
//!
//! Examples that a request shows it change nothing: it learns from its log alone, and a caller refits it by making it
//! anew with more queries. A query that seeds a labeler is one of grade 3, some with words of the document's fields.
//! Passages are put together from the sentences of real ones ([`crate::passages`]).

use rustc_hash::{FxHashMap, FxHashSet};
use scorer::lexical::Analyzer;

use crate::crops::world_knowledge::Clip;
use crate::draws::Draws;
use crate::error::SynthesisError;
use crate::generator::{Generator, Request, Task};
use crate::passages::Composer;
use crate::{Result, normal_form};

/// The generator.
pub struct Offline {
    queries: Vec<String>,
    /// The queries that hold a stem.
    with_stem: FxHashMap<String, Vec<u32>>,
    /// How many documents hold a stem.
    document_frequencies: FxHashMap<String, u32>,
    documents: u32,
    analyzer: Analyzer,
    revision: String,
    composer: Option<Composer>,
}

/// A word as it stands in a text, with its stem.
struct Word<'t> {
    text: &'t str,
    stem: String,
}

/// How many words tell what a document is about.
const ABOUT: usize = 12;

impl Offline {
    /// A generator that knows these logged queries and these documents.
    ///
    /// # Errors
    /// When there is no query.
    pub fn new<'a>(
        queries: impl IntoIterator<Item = &'a str>,
        documents: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let analyzer = Analyzer::default();
        let mut queries: Vec<String> =
            queries.into_iter().map(normal_form).filter(|q| !q.is_empty()).collect();
        queries.sort_unstable();
        queries.dedup();
        if queries.is_empty() {
            return Err(SynthesisError::Empty(
                "the offline generator: expected at least one query".to_owned(),
            ));
        }
        let mut hasher = blake3::Hasher::new();
        let mut with_stem: FxHashMap<String, Vec<u32>> = FxHashMap::default();
        for (at, query) in queries.iter().enumerate() {
            hasher.update(query.as_bytes()).update(b"\n");
            for stem in stems(analyzer, query) {
                with_stem.entry(stem).or_default().push(at as u32);
            }
        }
        let mut document_frequencies: FxHashMap<String, u32> = FxHashMap::default();
        let mut count = 0;
        for document in documents {
            hasher.update(document.as_bytes()).update(b"\n");
            count += 1;
            for stem in stems(analyzer, document) {
                *document_frequencies.entry(stem).or_default() += 1;
            }
        }
        let revision = hasher.finalize().to_hex()[..16].to_owned();
        let composer = None;
        Ok(Self { queries, with_stem, document_frequencies, documents: count, analyzer, revision, composer })
    }

    /// The same, able to compose passages from the sentences of these documents, which it then holds in memory.
    #[must_use]
    pub fn with_passages<'a>(self, documents: impl IntoIterator<Item = &'a str>) -> Self {
        let composer = Composer::new(self.analyzer, documents);
        let revision = format!("{}-{}", self.revision, composer.digest());
        Self { composer: Some(composer), revision, ..self }
    }

    fn clip(&self, query: &str, exemplar: &str, draws: &mut Draws) -> String {
        let asked: FxHashSet<String> = stems(self.analyzer, query).into_iter().collect();
        let mut about: Vec<&str> = self
            .about(exemplar)
            .into_iter()
            .filter(|word| !asked.contains(&word.stem))
            .map(|w| w.text)
            .collect();
        draws.shuffle(&mut about);
        let said: Vec<String> = query.split_whitespace().map(str::to_owned).collect();
        let with = |count: usize, about: &[&str]| {
            let mut words = said.clone();
            words.extend(about.iter().take(count).map(|word| word.to_lowercase()));
            words
        };
        let clip = Clip {
            caption: with(3, &about).join(" "),
            tags: with(2, about.get(3..).unwrap_or_default()),
            cover_text: said.join(" "),
            keywords: with(4, &about),
            related_queries: self.neighbours(query, &asked, draws),
        };
        serde_json::to_string(&clip).expect("strings are JSON")
    }

    /// Up to three logged queries that share a word with this one.
    fn neighbours(&self, query: &str, stems: &FxHashSet<String>, draws: &mut Draws) -> Vec<String> {
        let mut sorted: Vec<&String> = stems.iter().collect();
        sorted.sort_unstable();
        let mut near: Vec<u32> =
            sorted.iter().filter_map(|stem| self.with_stem.get(*stem)).flatten().copied().collect();
        near.sort_unstable();
        near.dedup();
        draws.shuffle(&mut near);
        let near = near.into_iter().map(|at| self.queries[at as usize].clone()).filter(|near| near != query);
        near.take(3).collect()
    }

    fn query(&self, document: &str, grade: i32, draws: &mut Draws) -> Option<String> {
        let about = self.about(document);
        let held: FxHashSet<String> = stems(self.analyzer, document).into_iter().collect();
        let composed = |least: usize, most: usize, draws: &mut Draws| -> Vec<String> {
            let wanted = least + draws.below(most - least + 1);
            // The words most about the document are likelier, and stay in the order of the text.
            let mut taken: Vec<usize> = Vec::new();
            for _ in 0..4 * wanted {
                let at = draws.zipf(about.len());
                if taken.len() < wanted && at < about.len() && !taken.contains(&at) {
                    taken.push(at);
                }
            }
            taken.sort_by_key(|&at| about[at].text.as_ptr());
            taken.iter().map(|&at| about[at].text.to_lowercase()).collect()
        };
        let words = match grade {
            3 => match self.answered(&about, &held, draws).filter(|_| draws.chance(0.5)) {
                Some(query) => return Some(query),
                None => composed(2, 4, draws),
            },
            2 => {
                let mut words = composed(2, 3, draws);
                words.push(self.foreign_word(&about, &held, draws)?);
                words
            }
            1 => {
                let mut words = composed(1, 1, draws);
                let strange = self.strange_query(&held, draws)?;
                words.extend(strange.split_whitespace().take(3).map(str::to_owned));
                words
            }
            0 => return self.strange_query(&held, draws),
            _ => return None,
        };
        let query = normal_form(&words.join(" "));
        (!query.is_empty()).then_some(query)
    }

    /// Words of the document, and in seven of ten queries one or two of a field's value.
    fn seed_query(&self, document: &str, fields: &[(String, String)], draws: &mut Draws) -> Option<String> {
        let with_a_field = draws.chance(0.7);
        let Some((_, value)) = draws.pick(fields).filter(|_| with_a_field) else {
            return self.query(document, 3, draws);
        };
        let about = self.about(document);
        let mut words: Vec<String> = Vec::new();
        for _ in 0..1 + draws.below(3) {
            words.extend(about.get(draws.zipf(about.len())).map(|word| word.text.to_lowercase()));
        }
        let known = self.words(value);
        let first = draws.below(known.len());
        let known = known.iter().skip(first).take(1 + draws.below(2));
        words.extend(known.map(|word| word.text.to_lowercase()));
        let mut said: Vec<String> = Vec::new();
        for word in words {
            if !said.contains(&word) {
                said.push(word);
            }
        }
        let query = normal_form(&said.join(" "));
        (!query.is_empty()).then_some(query)
    }

    /// A logged query whose every word stands in the document.
    fn answered(&self, about: &[Word<'_>], held: &FxHashSet<String>, draws: &mut Draws) -> Option<String> {
        let near = about.iter().filter_map(|word| self.with_stem.get(&word.stem)).flatten();
        let near: Vec<u32> = near
            .copied()
            .filter(|&at| {
                stems(self.analyzer, &self.queries[at as usize]).iter().all(|stem| held.contains(stem))
            })
            .collect();
        draws.pick(&near).map(|&at| self.queries[at as usize].clone())
    }

    /// A word that the document lacks, of a logged query that shares one with it.
    fn foreign_word(
        &self,
        about: &[Word<'_>],
        held: &FxHashSet<String>,
        draws: &mut Draws,
    ) -> Option<String> {
        let mut words = Vec::new();
        for at in about.iter().filter_map(|word| self.with_stem.get(&word.stem)).flatten() {
            let query = &self.queries[*at as usize];
            words.extend(
                self.words(query)
                    .into_iter()
                    .filter(|word| !held.contains(&word.stem))
                    .map(|w| w.text.to_owned()),
            );
        }
        if words.is_empty() {
            let strange = self.strange_query(held, draws)?;
            words = self.words(&strange).into_iter().map(|word| word.text.to_owned()).collect();
        }
        draws.pick(&words).cloned()
    }

    /// A logged query without a word of the document.
    fn strange_query(&self, held: &FxHashSet<String>, draws: &mut Draws) -> Option<String> {
        for _ in 0..32 {
            let query = draws.pick(&self.queries)?;
            let stems = stems(self.analyzer, query);
            if !stems.is_empty() && stems.iter().all(|stem| !held.contains(stem)) {
                return Some(query.clone());
            }
        }
        None
    }

    /// The words that tell what a text is about: rare in the collection, frequent and early in the text; best first.
    fn about<'t>(&self, text: &'t str) -> Vec<Word<'t>> {
        let mut weights: FxHashMap<String, (f64, usize)> = FxHashMap::default();
        let words = self.words(text);
        for (at, word) in words.iter().enumerate() {
            let frequency = self.document_frequencies.get(&word.stem).copied().unwrap_or(0);
            let idf = libm::log(f64::from(self.documents + 1) / (f64::from(frequency) + 0.5)).max(0.0);
            let weight = idf / (1.0 + at as f64 / 20.0);
            weights.entry(word.stem.clone()).or_insert((0.0, at)).0 += weight;
        }
        let mut best: Vec<(f64, usize)> = weights.into_values().collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        best.truncate(ABOUT);
        let mut words: Vec<Option<Word<'t>>> = words.into_iter().map(Some).collect();
        best.into_iter().filter_map(|(_, at)| words[at].take()).collect()
    }

    /// The words of a text that have a stem and some length.
    fn words<'t>(&self, text: &'t str) -> Vec<Word<'t>> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 2);
        let words = words.filter_map(|text| {
            let stem = self.analyzer.terms(text).pop()?;
            Some(Word { text, stem })
        });
        words.collect()
    }
}

/// The distinct stems of a text, sorted.
pub(crate) fn stems(analyzer: Analyzer, text: &str) -> Vec<String> {
    let mut stems = analyzer.terms(text);
    stems.sort_unstable();
    stems.dedup();
    stems
}

impl Generator for Offline {
    fn model(&self) -> &str {
        "offline"
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn generate(&self, request: &Request) -> Result<Vec<String>> {
        let digest = blake3::hash(request.key(self)?.as_bytes());
        let stream = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
        let mut draws = Draws::new(request.seed, stream);
        let samples = 0..request.samples;
        Ok(match &request.task {
            Task::Clip { query, exemplar } => {
                samples.map(|_| self.clip(query, exemplar, &mut draws)).collect()
            }
            Task::Query { document, grade } | Task::QueryLike { document, grade, .. } => {
                samples.filter_map(|_| self.query(document, *grade, &mut draws)).collect()
            }
            Task::Judgment(_) => {
                return Err(SynthesisError::parameter("generator.kind", "a model that can judge", "offline"));
            }
            Task::SeedQuery { document, fields } => {
                samples.filter_map(|_| self.seed_query(document, fields, &mut draws)).collect()
            }
            Task::Passage { query, grade, sentences, .. } => {
                let Some(composer) = &self.composer else {
                    let reason = "has no documents to compose passages from".to_owned();
                    return Err(SynthesisError::Generation { model: "offline".to_owned(), reason });
                };
                samples.filter_map(|_| composer.compose(query, *grade, *sentences, &mut draws)).collect()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        "Red wine on the carpet. Sparkling water and dish soap get the stain out of the rug.";

    fn offline() -> Offline {
        let queries = ["wine stain carpet", "wine tasting course", "python loops", "dog afraid of fireworks"];
        Offline::new(queries, [DOCUMENT, "Learn Python loops", "Calm your dog", "The wine course"]).unwrap()
    }

    fn ask(grade: i32) -> Vec<String> {
        let task = Task::Query { document: DOCUMENT.to_owned(), grade };
        offline().generate(&Request { task, samples: 12, temperature: 0.0, seed: 3 }).unwrap()
    }

    fn shared(query: &str) -> (usize, usize) {
        let held = stems(Analyzer::default(), DOCUMENT);
        let stems = stems(Analyzer::default(), query);
        (stems.iter().filter(|stem| held.contains(stem)).count(), stems.len())
    }

    #[test]
    fn queries_share_with_the_document_what_their_grade_says() {
        for query in ask(3) {
            let (shared, all) = shared(&query);
            assert_eq!(shared, all, "{query}");
        }
        for query in ask(2) {
            let (shared, all) = shared(&query);
            assert!(shared >= 1 && all == shared + 1, "{query}");
        }
        for query in ask(1) {
            let (shared, all) = shared(&query);
            assert!(shared == 1 && all > shared, "{query}");
        }
        assert!(ask(0).iter().all(|query| shared(query).0 == 0));
        let task = Task::Query { document: DOCUMENT.into(), grade: 4 };
        let request = Request { task, samples: 1, temperature: 0.0, seed: 1 };
        assert!(offline().generate(&request).is_err());
    }

    #[test]
    fn seed_queries_name_the_document_and_sometimes_its_fields() {
        let fields = vec![("author".to_owned(), "Ann Lee".to_owned())];
        let task = Task::SeedQuery { document: DOCUMENT.to_owned(), fields };
        let request = Request { task, samples: 40, temperature: 0.0, seed: 3 };
        let queries = offline().generate(&request).unwrap();
        let with_field =
            queries.iter().filter(|query| query.contains("ann") || query.contains("lee")).count();
        assert!((20..36).contains(&with_field), "{queries:?}");
        assert!(queries.iter().all(|query| shared(query).0 > 0), "{queries:?}");
        let passage = Task::Passage {
            query: "wine".into(),
            grade: 3,
            sentences: 1,
            register: Default::default(),
            examples: vec![],
        };
        let request = Request { task: passage, samples: 1, temperature: 0.0, seed: 3 };
        assert!(offline().generate(&request).is_err());
        let composes = offline().with_passages([DOCUMENT]);
        assert_eq!(composes.generate(&request).unwrap(), ["Red wine on the carpet."]);
        assert_ne!(composes.revision(), offline().revision());
    }

    #[test]
    fn the_same_request_is_answered_the_same_and_a_clip_can_be_read() {
        assert_eq!(ask(3), ask(3));
        let task = Task::Clip { query: "wine stain carpet".into(), exemplar: DOCUMENT.into() };
        let request = Request { task, samples: 2, temperature: 0.0, seed: 3 };
        let clips = offline().generate(&request).unwrap();
        assert_eq!(clips.len(), 2);
        let clip = Clip::parse(&clips[0]).unwrap();
        assert!(
            clip.caption.contains("wine stain carpet") && clip.related_queries == ["wine tasting course"]
        );
    }
}
