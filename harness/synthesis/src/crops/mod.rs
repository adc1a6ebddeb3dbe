//! CroPS' data engine (Kuaishou, AAAI-26, arXiv 2511.15443): graded training data out of logs, past the filter bubble of
//! the retriever that made them.
//!
//! For a query `q` that a user issued:
//!
//! - `P0`, *clicked*: opened in the ranking stage.
//! - `P1`, *query-level* (Eq. 1): `{ d : theta(q, d) > alpha }` over what the same user opened for reformulations of `q`
//!   made within 90 s after it; `theta` judges against the **original** query.
//! - `P2`, *system-level* (Eq. 2): the same over up to 100 items of the user's recommendation feed around the query.
//! - `P3`, *world knowledge*: texts a model writes for the query ([`world_knowledge`]).
//! - negatives: shown but not opened, ranked but not shown, filtered before ranking.
//!
//! Labels are the hierarchy of [`hierarchy`]; what is found in several ways takes its highest label.
//!
//! Three steps, each with little in memory: [`candidates_of`] turns one user's history into records; the caller sorts
//! the records by query and document, on disk if need be ([`Record`] orders as its bytes do); [`Labelling`] takes one query's
//! records after the other. Labels of in-batch negatives (0) are not written: a trainer makes them.
//!
//! *Where we differ or choose, for the paper does not say*: a reformulation is any other query of the same user in the
//! window, not only the next; the feed window is an hour on either side unless set; of more than 100 feed items those
//! nearest in time stay; each lower label keeps at most `most_per_label` documents a query, drawn by digest; queries
//! without a positive are left out.

pub mod hierarchy;
mod labelling;
mod parameters;
pub mod world_knowledge;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::history::{History, Search};
use crate::log::Stage;

pub use hierarchy::{Labels, Source, Sources};
pub use labelling::{Counts, Documents, LabelledDocument, LabelledQuery, Labelling, QueryRecords};
pub use parameters::{CropsParameters, Discriminator, Negatives, Threshold, Windows, WorldKnowledge};

/// One finding: this document, for this query, from this source. Sorted by [`Record::to_bytes`] it stands by query, then
/// document, then source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The query's normal form.
    pub query: String,
    /// The document.
    pub document: String,
    /// Where it was found.
    pub source: Source,
}

impl Record {
    /// Query and document, each behind a zero byte (neither can hold one), and the source.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.query.len() + self.document.len() + 3);
        bytes.extend_from_slice(self.query.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.document.as_bytes());
        bytes.extend_from_slice(&[0, self.source.code()]);
        bytes
    }

    /// Reads [`Record::to_bytes`] back; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&code, rest) = bytes.split_last()?;
        let mut parts = std::str::from_utf8(rest).ok()?.splitn(3, '\0');
        let (query, document) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        (parts.next() == Some("")).then_some(())?;
        Some(Self { query, document, source: Source::from_code(code)? })
    }
}

/// What the rules met on their way through the histories; adding up in any order gives the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HistoryAudit {
    /// Users.
    pub users: u64,
    /// Users without a search: nothing is learned from them.
    pub users_without_queries: u64,
    /// Searches.
    pub searches: u64,
    /// Next searches of the same user with other words, within the window.
    pub rewordings_within_window: u64,
    /// Next searches of the same user with other words, later than the window: not taken for reformulations.
    pub rewordings_after_window: u64,
    /// Next searches with the same words.
    pub repetitions: u64,
    /// Feed items inside the window of a search.
    pub feed_items_in_window: u64,
    /// Of these, those beyond the number a user contributes.
    pub feed_items_cut: u64,
    /// Records handed on.
    pub records: u64,
}

impl HistoryAudit {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.users += other.users;
        self.users_without_queries += other.users_without_queries;
        self.searches += other.searches;
        self.rewordings_within_window += other.rewordings_within_window;
        self.rewordings_after_window += other.rewordings_after_window;
        self.repetitions += other.repetitions;
        self.feed_items_in_window += other.feed_items_in_window;
        self.feed_items_cut += other.feed_items_cut;
        self.records += other.records;
    }
}

/// Everything one user's history says about the queries in it, and what the rules met. A record may stand more than
/// once.
pub fn candidates_of(history: &History, parameters: &CropsParameters) -> (Vec<Record>, HistoryAudit) {
    let mut audit = HistoryAudit {
        users: 1,
        users_without_queries: u64::from(history.searches.is_empty()),
        searches: history.searches.len() as u64,
        ..HistoryAudit::default()
    };
    count_rewordings(history, &parameters.windows, &mut audit);
    let mut records = Vec::new();
    for (at, search) in history.searches.iter().enumerate() {
        let mut push = |document: &str, source| {
            if parameters.uses(source) {
                let (query, document) = (search.query.clone(), document.to_owned());
                records.push(Record { query, document, source });
            }
        };
        own_results(search, &mut push);
        consumed_after_rewording(history, at, &parameters.windows, &mut push);
        recommended_around(history, search, &parameters.windows, &mut push, &mut audit);
    }
    audit.records = records.len() as u64;
    (records, audit)
}

fn count_rewordings(history: &History, windows: &Windows, audit: &mut HistoryAudit) {
    for pair in history.searches.windows(2) {
        let count = match pair[0].query == pair[1].query {
            true => &mut audit.repetitions,
            false if windows.is_reformulation(pair[0].time_ms, pair[1].time_ms) => {
                &mut audit.rewordings_within_window
            }
            false => &mut audit.rewordings_after_window,
        };
        *count += 1;
    }
}

/// `P0` and the negatives: what the search itself brought.
fn own_results(search: &Search, push: &mut impl FnMut(&str, Source)) {
    for shown in &search.shown {
        let source = match (shown.clicked, shown.stage) {
            (true, _) => Source::Clicked,
            (false, Stage::Exposed) => Source::Exposed,
            (false, Stage::Ranked) => Source::Ranked,
            (false, Stage::Filtered) => Source::Filtered,
        };
        push(&shown.document, source);
    }
}

/// `P1`: opened, and watched long enough, for other words of the same user within the window.
fn consumed_after_rewording(
    history: &History,
    at: usize,
    windows: &Windows,
    push: &mut impl FnMut(&str, Source),
) {
    let original = &history.searches[at];
    let later = history.searches[at + 1..].iter();
    let within = later.take_while(|later| windows.is_reformulation(original.time_ms, later.time_ms));
    for later in within.filter(|later| later.query != original.query) {
        let consumed =
            later.shown.iter().filter(|shown| shown.clicked && shown.dwell_ms >= windows.consumed_dwell_ms);
        consumed.for_each(|shown| push(&shown.document, Source::Reformulation));
    }
}

/// `P2`: the items of the feed nearest to the search in time, each document once.
fn recommended_around(
    history: &History,
    search: &Search,
    windows: &Windows,
    push: &mut impl FnMut(&str, Source),
    audit: &mut HistoryAudit,
) {
    let window_ms = (windows.feed_window_s * 1000.0) as i64;
    let from = history.feed.partition_point(|item| item.time_ms < search.time_ms - window_ms);
    let to = history.feed.partition_point(|item| item.time_ms <= search.time_ms + window_ms);
    let mut nearest: FxHashMap<&str, i64> = FxHashMap::default();
    for item in &history.feed[from..to] {
        let distance_ms = (item.time_ms - search.time_ms).abs();
        let nearest = nearest.entry(item.document.as_str()).or_insert(distance_ms);
        *nearest = distance_ms.min(*nearest);
    }
    let mut items: Vec<(i64, &str)> =
        nearest.into_iter().map(|(document, distance)| (distance, document)).collect();
    items.sort_unstable();
    let taken = items.len().min(windows.feed_items_per_user);
    audit.feed_items_in_window += items.len() as u64;
    audit.feed_items_cut += (items.len() - taken) as u64;
    items[..taken].iter().for_each(|(_, document)| push(document, Source::Recommendation));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{FeedItem, Shown};

    const T: i64 = 1_735_689_600_000;

    fn search(query: &str, after_s: i64, shown: &[(&str, Stage, bool)]) -> Search {
        let shown = shown.iter().map(|&(document, stage, clicked)| Shown {
            document: document.into(),
            stage,
            clicked,
            dwell_ms: 5000,
        });
        Search { id: query.into(), query: query.into(), time_ms: T + after_s * 1000, shown: shown.collect() }
    }

    /// One user: `q` shows a and b, nothing opened, c ranked, d filtered; 40 s later `r` opens e; 95 s after `q`, `s` opens f;
    /// the feed shows g twice near `q`, and h two hours before.
    fn history() -> History {
        use Stage::*;
        let feed = [("h", -7200), ("g", -60), ("g", 30)];
        let feed = feed.map(|(document, s)| FeedItem { document: document.into(), time_ms: T + s * 1000 });
        let searches = vec![
            search(
                "q",
                0,
                &[("a", Exposed, false), ("b", Exposed, false), ("c", Ranked, false), ("d", Filtered, false)],
            ),
            search("r", 40, &[("e", Exposed, true), ("a", Exposed, false)]),
            search("s", 95, &[("f", Exposed, true)]),
        ];
        History { user: "u".into(), searches, feed: feed.into() }
    }

    #[test]
    fn hand_computed_candidates() {
        let (mut records, audit) = candidates_of(&history(), &CropsParameters::default());
        records.sort();
        let said: Vec<String> = records
            .iter()
            .map(|record| format!("{} {} {}", record.query, record.document, record.source.name()))
            .collect();
        let expected = [
            "q a exposed",
            "q b exposed",
            "q c ranked",
            "q d filtered",
            "q e reformulation",
            "q g recommendation",
            "r a exposed",
            "r e clicked",
            "r f reformulation",
            "r g recommendation",
            "s f clicked",
            "s g recommendation",
        ];
        assert_eq!(said, expected);
        assert_eq!((audit.rewordings_within_window, audit.rewordings_after_window), (2, 0));
        assert_eq!((audit.feed_items_in_window, audit.feed_items_cut), (3, 0));
    }

    #[test]
    fn windows_sources_and_numbers_are_parameters() {
        let mut parameters = CropsParameters::default();
        parameters.windows.reformulation_s = 180.0;
        let reformulated = |parameters: &CropsParameters| {
            let (records, _) = candidates_of(&history(), parameters);
            records.iter().filter(|record| record.source == Source::Reformulation).count()
        };
        assert_eq!(reformulated(&parameters), 3);
        parameters.windows.reformulation_s = 30.0;
        assert_eq!(reformulated(&parameters), 0);
        parameters.windows = Windows { consumed_dwell_ms: 6000, ..Windows::default() };
        assert_eq!(reformulated(&parameters), 0);
        parameters.windows = Windows { feed_items_per_user: 0, ..Windows::default() };
        assert_eq!(candidates_of(&history(), &parameters).1.feed_items_cut, 3);
        parameters.sources = vec![Source::Clicked];
        assert_eq!(candidates_of(&history(), &parameters).0.len(), 2);
    }

    #[test]
    fn records_survive_their_bytes_and_keep_their_order() {
        let (records, _) = candidates_of(&history(), &CropsParameters::default());
        for record in &records {
            assert_eq!(Record::from_bytes(&record.to_bytes()).as_ref(), Some(record));
        }
        let mut by_bytes = records.clone();
        by_bytes.sort_by_key(Record::to_bytes);
        let mut by_value = records;
        by_value.sort();
        assert_eq!(by_bytes, by_value);
        assert_eq!(Record::from_bytes(b"q\0d"), None);
        assert_eq!(Record::from_bytes(b""), None);
    }
}
