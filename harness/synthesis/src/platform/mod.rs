//! A simulated short-video platform: what no public log has together (searches, exposures, clicks, reformulations and a
//! recommendation feed), with grades that are known.
//!
//! Each user has interests, some intents of the [`Catalogue`]. In a session the user puts one into words, not always
//! completely. The deployed retriever (BM25) finds documents, ranks fewer, shows fewest: what it never shows is the
//! *filter bubble*. The user looks down the list as the position-based model says (M. Richardson, E. Dominowska and
//! R. Ragno, WWW 2007: P(click) = P(looked at position) * P(opened | grade)), opens, watches, and is satisfied or not
//! by what was watched. Who is not satisfied types another query within seconds. Around all that runs the feed, which
//! knows the user's interests but not the query, and does not pass through the retriever.
//!
//! Every user draws from a stream of their own, so the log does not depend on the number of threads, and the summary is
//! sums of counts. All parameters are in [`PlatformParameters`]; none is estimated from a real platform.

mod bubble;
pub mod catalogue;
mod parameters;
mod user;

use rustc_hash::FxHashSet;
use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters};
use serde::Serialize;

use crate::draws::Draws;
use crate::error::SynthesisError;
use crate::log::Event;
use crate::{Result, normal_form, query_id};

pub use bubble::{Bubble, Mark, Reach};
pub use catalogue::{Catalogue, CatalogueParameters, Intent};
pub use parameters::{Clicks, Feed, PlatformParameters, Population, Reformulation, Retriever, Wording};

/// The platform, ready to be used by its users.
pub struct Platform {
    parameters: PlatformParameters,
    catalogue: Catalogue,
    index: Bm25Index,
    /// The intents that users have, by number; the others are kept for testing.
    used: Vec<usize>,
    /// The queries of the others, which nobody types: a test set stays unseen.
    withheld: FxHashSet<String>,
    seed: u64,
}

/// What one user left behind.
pub struct Trace {
    /// The log lines, in the order of time.
    pub lines: Vec<u8>,
    /// What happened, counted.
    pub tally: Tally,
    /// Which relevant documents were reached how.
    pub reached: Vec<Mark>,
    /// Every query typed, with the intent behind it.
    pub queries: Vec<(String, usize)>,
}

/// Counts over users; adding them up in any order gives the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Users.
    pub users: u64,
    /// Log lines.
    pub lines: u64,
    /// Searches, reformulations included.
    pub searches: u64,
    /// Searches that reword the one before.
    pub reformulations: u64,
    /// Of these, those made at most 90 s after the session's first search.
    pub reformulations_within_90_s: u64,
    /// Searches that found nothing at all.
    pub searches_without_results: u64,
    /// Results that were found but not ranked.
    pub filtered: u64,
    /// Results that were ranked but not shown.
    pub ranked: u64,
    /// Results that were shown.
    pub exposed: u64,
    /// Clicks.
    pub clicks: u64,
    /// Clicks by the grade of what was opened, lowest grade first.
    pub clicks_by_grade: Vec<u64>,
    /// Exposures by grade.
    pub exposed_by_grade: Vec<u64>,
    /// Items of the feed.
    pub feed_items: u64,
    /// Of these, those with a grade above 0 for an interest of the user.
    pub feed_items_on_interest: u64,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.users += other.users;
        self.lines += other.lines;
        self.searches += other.searches;
        self.reformulations += other.reformulations;
        self.reformulations_within_90_s += other.reformulations_within_90_s;
        self.searches_without_results += other.searches_without_results;
        self.filtered += other.filtered;
        self.ranked += other.ranked;
        self.exposed += other.exposed;
        self.clicks += other.clicks;
        add_all(&mut self.clicks_by_grade, &other.clicks_by_grade);
        add_all(&mut self.exposed_by_grade, &other.exposed_by_grade);
        self.feed_items += other.feed_items;
        self.feed_items_on_interest += other.feed_items_on_interest;
    }
}

fn add_all(sums: &mut Vec<u64>, more: &[u64]) {
    sums.resize(sums.len().max(more.len()), 0);
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

impl Platform {
    /// Opens the platform: checks the parameters, indexes the catalogue, and sets intents aside for testing.
    ///
    /// # Errors
    /// A parameter outside its range, an unknown retriever or analyzer, or a catalogue without documents or intents.
    pub fn open(catalogue: Catalogue, parameters: PlatformParameters, seed: u64) -> Result<Self> {
        parameters.check()?;
        if catalogue.documents.is_empty() || catalogue.intents.is_empty() {
            let (documents, intents) = (catalogue.documents.len(), catalogue.intents.len());
            let found = format!("{documents} documents and {intents} intents");
            return Err(SynthesisError::Empty(format!(
                "the catalogue: expected at least one of each, found {found}"
            )));
        }
        let bm25: Bm25Parameters = parameters.retriever.bm25.parse()?;
        let analyzer: Analyzer = parameters.retriever.analyzer.parse()?;
        let texts: Vec<String> = catalogue.documents.iter().map(|document| document.full_text()).collect();
        let index = Bm25Index::build(&texts, analyzer, bm25)?;
        let used = used_intents(&catalogue, parameters.population.held_out, seed);
        let is_used: FxHashSet<usize> = used.iter().copied().collect();
        let others = catalogue.intents.iter().enumerate().filter(|(intent, _)| !is_used.contains(intent));
        let withheld = others.map(|(_, intent)| normal_form(&intent.text)).collect();
        Ok(Self { parameters, catalogue, index, used, withheld, seed })
    }

    /// What is on the platform.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How it is set.
    pub fn parameters(&self) -> &PlatformParameters {
        &self.parameters
    }

    /// The intents that users have, by number.
    pub fn used_intents(&self) -> &[usize] {
        &self.used
    }

    /// Lets user `number` live. The same number gives the same trace, whoever else lives.
    pub fn live(&self, number: usize) -> Trace {
        user::live(self, number)
    }

    /// Nothing reached yet, for [`Reach::join`].
    pub fn unreached(&self) -> Reach {
        Reach::new(&self.catalogue, self.parameters.retriever.relevant_from)
    }

    /// The size of the filter bubble, given what all users reached.
    pub fn bubble(&self, reached: &Reach) -> Bubble {
        reached.bubble(&self.used)
    }
}

/// Some intents have no users: their queries test what is trained on the log. The choice hangs on the intent's words
/// and the seed alone, so it does not change when others are added; of few intents, at least one is used.
fn used_intents(catalogue: &Catalogue, held_out: f64, seed: u64) -> Vec<usize> {
    let is_used = |intent: &Intent| {
        let digest = blake3::hash(format!("{seed}:{}", query_id(&intent.text)).as_bytes());
        let draw = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
        (draw >> 11) as f64 / (1_u64 << 53) as f64 >= held_out
    };
    let mut used: Vec<usize> =
        (0..catalogue.intents.len()).filter(|&intent| is_used(&catalogue.intents[intent])).collect();
    if used.is_empty() {
        used.push(0);
    }
    used
}

/// Appends an event to a trace's lines.
fn write(lines: &mut Vec<u8>, tally: &mut Tally, event: &Event<'_>) {
    event.write(lines);
    tally.lines += 1;
}

/// The stream of a user's draws; streams below are for the catalogue.
fn stream(seed: u64, user: usize) -> Draws {
    Draws::new(seed, (1 << 32) + user as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Platform {
        let catalogue =
            catalogue::generate(&CatalogueParameters { documents: 600, ..Default::default() }, 1).unwrap();
        Platform::open(catalogue, PlatformParameters::default(), 1).unwrap()
    }

    #[test]
    fn a_user_lives_the_same_life_whoever_else_lives() {
        let platform = small();
        let alone = platform.live(7);
        platform.live(3);
        assert_eq!(alone.lines, platform.live(7).lines);
        assert_ne!(alone.lines, platform.live(8).lines);
        assert!(
            alone.tally.searches > 0
                && alone.tally.lines as usize == alone.lines.split(|b| *b == b'\n').count() - 1
        );
    }

    #[test]
    fn the_log_is_one_that_its_own_reader_takes() {
        use crate::history::{History, LogRules};
        let platform = small();
        let (mut searches, mut clicks) = (0, 0);
        for user in 0..40 {
            let trace = platform.live(user);
            let text = String::from_utf8(trace.lines).unwrap();
            let place = |line| crate::Place { file: "log".into(), line };
            let events: Vec<_> =
                text.lines().zip(1..).map(|(line, at)| (Event::parse(line).unwrap(), place(at))).collect();
            let history = History::of("u", events, &LogRules::default()).unwrap();
            searches += history.searches.len() as u64;
            clicks +=
                history.searches.iter().flat_map(|s| &s.shown).filter(|shown| shown.clicked).count() as u64;
            assert_eq!(history.searches.len() as u64, trace.tally.searches);
        }
        assert!(searches > 40 && clicks > 10, "{searches} searches, {clicks} clicks");
    }

    #[test]
    fn higher_grades_are_opened_more_often_and_there_is_a_bubble() {
        let platform = small();
        let (mut tally, mut reached) = (Tally::default(), platform.unreached());
        for user in 0..300 {
            let trace = platform.live(user);
            tally.add(&trace.tally);
            reached.join(&trace.reached);
        }
        let rate = |grade: usize| tally.clicks_by_grade[grade] as f64 / tally.exposed_by_grade[grade] as f64;
        assert!(rate(0) < rate(3), "{tally:?}");
        let bubble = platform.bubble(&reached);
        assert!(bubble.relevant > 0 && bubble.never_exposed > 0, "{bubble:?}");
        assert!(
            bubble.exposed_to_first_queries + bubble.only_exposed_to_reformulations + bubble.never_exposed
                == bubble.relevant
        );
        assert!(
            tally.reformulations_within_90_s > 0 && tally.reformulations_within_90_s < tally.reformulations
        );
    }

    #[test]
    fn held_out_intents_have_no_users() {
        let platform = small();
        let used: Vec<usize> = platform.used_intents().to_vec();
        assert!(used.len() < platform.catalogue().intents.len());
        for user in 0..50 {
            assert!(platform.live(user).queries.iter().all(|(_, intent)| used.contains(intent)));
        }
    }

    #[test]
    fn nobody_types_a_query_of_the_test_set() {
        // Two intents in the same words, one of them held out: its words are nobody's.
        let document = |title: &str| catalogue::Document {
            id: title.to_owned(),
            title: title.to_owned(),
            text: String::new(),
        };
        let documents = vec![document("red shoes"), document("blue shoes")];
        let queries = (0..12).map(|at| (format!("Red shoes {at}"), vec![(0, 3)]));
        let queries = queries.chain([("red  shoes".to_owned(), vec![(1, 3)])]);
        let catalogue = Catalogue::of_collection(documents, queries);
        let seed = (0..).find(|&seed| !used_intents(&catalogue, 0.25, seed).contains(&12)).unwrap();
        let platform = Platform::open(catalogue, PlatformParameters::default(), seed).unwrap();
        for user in 0..100 {
            assert!(platform.live(user).queries.iter().all(|(query, _)| query != "red shoes"));
        }
    }
}
