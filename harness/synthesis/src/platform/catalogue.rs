//! What is on the platform: documents, intents, and which document has which grade for which intent. Generated, or made
//! of a collection with human grades.
//!
//! A *generated* catalogue is built of concepts. A topic is a concept, and has facets, concepts too, each of which some other
//! topics have as well; each concept has several words that mean the same. A document is about one topic and one to three of its facets, and says
//! each with one of its words; an intent is a topic with two facets. The grade counts what they share: 3 topic and both
//! facets, 2 topic and one, 1 the topic alone, 0 another topic. A query and a document that mean the same need not share
//! a word: that is what makes a lexical retriever's bubble.

use relevance::Grade;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::draws::Draws;
use crate::error::SynthesisError;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
}

impl Document {
    /// Title and text joined by a blank; either alone where the other is empty.
    pub fn full_text(&self) -> String {
        match (self.title.is_empty(), self.text.is_empty()) {
            (true, _) => self.text.clone(),
            (_, true) => self.title.clone(),
            _ => format!("{} {}", self.title, self.text),
        }
    }
}

/// What somebody may look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The intent in full words: the query a test asks.
    pub text: String,
    /// Its parts, each with the words that say it.
    pub parts: Vec<Vec<String>>,
    /// Words that come to mind besides: they may stand in a reformulation.
    pub related: Vec<String>,
    /// `(document, grade)` of every judged document, sorted by document; all others are 0.
    pub grades: Vec<(u32, Grade)>,
}

impl Intent {
    /// The grade of a document; 0 for one nobody judged.
    pub fn grade(&self, document: u32) -> Grade {
        self.grades.binary_search_by_key(&document, |entry| entry.0).map_or(0, |at| self.grades[at].1)
    }
}

/// Documents and intents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The documents; intents name them by their place here.
    pub documents: Vec<Document>,
    /// The intents, most popular first.
    pub intents: Vec<Intent>,
}

/// The parameters of a generated catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogueParameters {
    /// How many documents.
    pub documents: usize,
    /// How many documents a topic has, on average.
    pub documents_per_topic: usize,
    /// How many facets a topic has.
    pub facets_per_topic: usize,
    /// How many words say the same concept.
    pub words_per_concept: usize,
    /// How many intents each topic has.
    pub intents_per_topic: usize,
    /// How many words without meaning a document has besides.
    pub filler_words: usize,
}

impl Default for CatalogueParameters {
    fn default() -> Self {
        Self {
            documents: 5000,
            documents_per_topic: 50,
            facets_per_topic: 6,
            words_per_concept: 3,
            intents_per_topic: 2,
            filler_words: 25,
        }
    }
}

/// How many related words an intent of a collection has at most.
const MOST_RELATED: usize = 8;
/// How many words there are that mean nothing.
const FILLERS: usize = 2000;
/// How many topics have the same facet, on average: their documents answer a query that names it, and are 0.
const TOPICS_PER_FACET: usize = 5;

/// What all topics share.
struct World {
    fillers: Vec<String>,
    facets: Vec<Vec<String>>,
}

impl Catalogue {
    /// A catalogue of a collection's documents; `queries` come with their judgments as `(document's place, grade)`. An
    /// intent's parts are the query's words; its related words are the words of its best documents' titles.
    pub fn of_collection(
        documents: Vec<Document>,
        queries: impl IntoIterator<Item = (String, Vec<(u32, Grade)>)>,
    ) -> Self {
        let intents = queries.into_iter().map(|(text, grades)| intent_of(&documents, text, grades));
        let intents = intents.collect();
        Self { documents, intents }
    }
}

fn intent_of(documents: &[Document], text: String, mut grades: Vec<(u32, Grade)>) -> Intent {
    grades.sort_unstable();
    grades.dedup_by_key(|entry| entry.0);
    let parts: Vec<Vec<String>> = text.split_whitespace().map(|word| vec![word.to_owned()]).collect();
    let best = grades.iter().map(|entry| entry.1).max().filter(|&grade| grade > 0);
    let mut seen: FxHashSet<String> = parts.iter().flatten().map(|word| word.to_lowercase()).collect();
    let mut related = Vec::new();
    let titles = grades.iter().filter(|entry| Some(entry.1) == best);
    for word in titles.flat_map(|&(document, _)| documents[document as usize].title.split_whitespace()) {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if word.chars().count() > 3 && related.len() < MOST_RELATED && seen.insert(word.clone()) {
            related.push(word);
        }
    }
    Intent { text, parts, related, grades }
}

/// Generates a catalogue. Topics are independent of each other, and each draws from a stream of its own.
///
/// # Errors
/// A parameter of 0, fewer than two facets, or more documents than 2^32 - 1.
pub fn generate(parameters: &CatalogueParameters, seed: u64) -> Result<Catalogue> {
    check(parameters)?;
    let topics = parameters.documents.div_ceil(parameters.documents_per_topic);
    let mut catalogue = Catalogue::default();
    let shared = &mut Draws::new(seed, 0);
    let fillers = words(shared, FILLERS);
    let facets = (topics * parameters.facets_per_topic).div_ceil(TOPICS_PER_FACET);
    let facets = facets.max(parameters.facets_per_topic);
    let facets: Vec<Vec<String>> = (0..facets).map(|_| words(shared, parameters.words_per_concept)).collect();
    let world = World { fillers, facets };
    for topic in 0..topics {
        let draws = &mut Draws::new(seed, topic as u64 + 1);
        let count = parameters.documents_per_topic.min(parameters.documents - catalogue.documents.len());
        add_topic(&mut catalogue, parameters, &world, topic, count, draws);
    }
    Ok(catalogue)
}

fn check(parameters: &CatalogueParameters) -> Result<()> {
    for (key, found, least) in [
        ("catalogue.documents", parameters.documents, 1),
        ("catalogue.documents_per_topic", parameters.documents_per_topic, 1),
        ("catalogue.facets_per_topic", parameters.facets_per_topic, 2),
        ("catalogue.words_per_concept", parameters.words_per_concept, 1),
        ("catalogue.intents_per_topic", parameters.intents_per_topic, 1),
    ] {
        if found < least || found >= u32::MAX as usize {
            return Err(SynthesisError::parameter(key, format!("{least} to 2^32 - 2"), found));
        }
    }
    Ok(())
}

fn add_topic(
    catalogue: &mut Catalogue,
    parameters: &CatalogueParameters,
    world: &World,
    topic: usize,
    count: usize,
    draws: &mut Draws,
) {
    let mut concepts = vec![words(draws, parameters.words_per_concept)];
    let mut facets: Vec<usize> = (0..world.facets.len()).collect();
    draws.shuffle(&mut facets);
    concepts.extend(facets[..parameters.facets_per_topic].iter().map(|&facet| world.facets[facet].clone()));
    let first = catalogue.documents.len() as u32;
    let mut facets_of = Vec::with_capacity(count);
    for _ in 0..count {
        let mut facets: Vec<usize> = (1..=parameters.facets_per_topic).collect();
        draws.shuffle(&mut facets);
        facets.truncate(1 + draws.below(3));
        let id = format!("d{}", catalogue.documents.len());
        catalogue.documents.push(document(id, &concepts, &facets, &world.fillers, parameters, draws));
        facets_of.push(facets);
    }
    for number in 0..parameters.intents_per_topic {
        let mut wanted: Vec<usize> = (1..=parameters.facets_per_topic).collect();
        draws.shuffle(&mut wanted);
        wanted.truncate(2);
        let shared = |facets: &Vec<usize>| wanted.iter().filter(|facet| facets.contains(facet)).count();
        let grades = facets_of.iter().zip(first..).map(|(facets, at)| (at, 1 + shared(facets) as Grade));
        let parts: Vec<Vec<String>> =
            [0, wanted[0], wanted[1]].into_iter().map(|concept| concepts[concept].clone()).collect();
        let text = parts.iter().map(|words| words[(topic + number) % words.len()].as_str());
        let text = text.collect::<Vec<_>>().join(" ");
        catalogue.intents.push(Intent { text, parts, related: Vec::new(), grades: grades.collect() });
    }
}

fn document(
    id: String,
    concepts: &[Vec<String>],
    facets: &[usize],
    fillers: &[String],
    parameters: &CatalogueParameters,
    draws: &mut Draws,
) -> Document {
    let said: Vec<&String> =
        std::iter::once(&0).chain(facets).filter_map(|&concept| draws.pick(&concepts[concept])).collect();
    let mut text: Vec<&String> = said.clone();
    text.extend((0..parameters.filler_words).map(|_| &fillers[draws.zipf(fillers.len())]));
    draws.shuffle(&mut text);
    let join = |words: &[&String]| words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    Document { id, title: join(&said), text: join(&text) }
}

/// Words that can be spoken, all different: three or four syllables.
fn words(draws: &mut Draws, count: usize) -> Vec<String> {
    const ONSETS: [&str; 16] =
        ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "br"];
    const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
    let mut seen = FxHashSet::default();
    let mut words = Vec::with_capacity(count);
    while words.len() < count {
        let syllables = 3 + draws.below(2);
        let mut word = String::new();
        for _ in 0..syllables {
            word.push_str(ONSETS[draws.below(ONSETS.len())]);
            word.push_str(VOWELS[draws.below(VOWELS.len())]);
        }
        // An ending no stemmer takes off.
        word.push('k');
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_catalogue_has_every_grade_and_is_the_same_again() {
        let parameters = CatalogueParameters { documents: 320, ..CatalogueParameters::default() };
        let catalogue = generate(&parameters, 5).unwrap();
        assert_eq!(catalogue, generate(&parameters, 5).unwrap());
        assert_ne!(catalogue, generate(&parameters, 6).unwrap());
        assert_eq!((catalogue.documents.len(), catalogue.intents.len()), (320, 14));
        for grade in 1..=3 {
            assert!(
                catalogue.intents.iter().any(|intent| intent.grades.iter().any(|entry| entry.1 == grade))
            );
        }
        let intent = &catalogue.intents[0];
        assert_eq!(intent.grade(300), 0);
        // A three says all three concepts, in whatever words.
        let three = intent.grades.iter().find(|entry| entry.1 == 3).unwrap().0;
        let text = &catalogue.documents[three as usize].text;
        assert!(intent.parts.iter().all(|part| part.iter().any(|word| text.contains(word.as_str()))));
    }

    #[test]
    fn a_collection_s_related_words_come_from_its_best_titles() {
        let document = |title: &str| Document { id: "d".into(), title: title.into(), text: String::new() };
        let documents = vec![document("Merlot, on the carpet!"), document("python loops")];
        let queries = [("Wine carpet".to_owned(), vec![(1, 0), (0, 3)])];
        let catalogue = Catalogue::of_collection(documents, queries);
        let intent = &catalogue.intents[0];
        assert_eq!(intent.related, ["merlot"]);
        assert_eq!((intent.grade(0), intent.grade(1), intent.parts.len()), (3, 0, 2));
    }

    #[test]
    fn impossible_catalogues_are_refused() {
        let wrong = CatalogueParameters { facets_per_topic: 1, ..CatalogueParameters::default() };
        assert!(generate(&wrong, 1).unwrap_err().to_string().contains("facets_per_topic"));
    }
}
