//! What one user did, out of the user's lines: searches with how far each document came, and the feed.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::error::{Place, SynthesisError};
use crate::log::{Action, Event, Stage};
use crate::{Result, normal_form};

/// 1990-01-01 and 2100-01-01: outside these a number is hardly milliseconds since 1970.
const PLAUSIBLE_MS: std::ops::Range<i64> = 631_152_000_000..4_102_444_800_000;
const DAY_MS: f64 = 86_400_000.0;

/// What is asked of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogRules {
    /// What happens to a user's events that do not stand in the order of their times.
    pub out_of_order: OutOfOrder,
    /// The longest time, in days, that may lie between two events of one user; longer is a jump of the clock.
    pub largest_gap_days: f64,
}

/// What happens to events out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfOrder {
    /// An error with file and line.
    #[default]
    Refuse,
    /// They are put in order; equal times keep the order of the file.
    Sort,
}

impl Default for LogRules {
    fn default() -> Self {
        Self { out_of_order: OutOfOrder::Refuse, largest_gap_days: 366.0 }
    }
}

impl LogRules {
    /// # Errors
    /// When the gap is not a number above 0.
    pub fn check(&self) -> Result<()> {
        match self.largest_gap_days.is_finite() && self.largest_gap_days > 0.0 {
            true => Ok(()),
            false => Err(SynthesisError::parameter("log.largest_gap_days", "above 0", self.largest_gap_days)),
        }
    }
}

/// A document of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The document.
    pub document: String,
    /// How far it came. A click proves that it was shown.
    pub stage: Stage,
    /// Whether it was opened.
    pub clicked: bool,
    /// For how long it was watched in all, in milliseconds.
    pub dwell_ms: u64,
}

/// One search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Its id.
    pub id: String,
    /// The query's normal form ([`normal_form`]).
    pub query: String,
    /// When it was made.
    pub time_ms: i64,
    /// Its documents, in the order they were first named.
    pub shown: Vec<Shown>,
}

/// An item of the recommendation feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedItem {
    /// The document.
    pub document: String,
    /// When it was shown.
    pub time_ms: i64,
}

/// Everything one user did, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Who.
    pub user: String,
    /// The searches.
    pub searches: Vec<Search>,
    /// The feed.
    pub feed: Vec<FeedItem>,
}

impl History {
    /// The history in `events`, all of them one user's, each with its place, in the order of the file.
    ///
    /// # Errors
    /// Times out of order, jumps of the clock, implausible times, searches that repeat an id, and events of a search that
    /// was never made; each with file and line.
    pub fn of<'e>(user: &str, mut events: Vec<(Event<'e>, Place)>, rules: &LogRules) -> Result<Self> {
        if rules.out_of_order == OutOfOrder::Sort {
            events.sort_by_key(|(event, _)| event.time_ms);
        }
        let mut building = Building::new(user, rules);
        for (event, place) in events {
            building.check_time(event.time_ms, &place)?;
            building.take(event, place)?;
        }
        Ok(building.history)
    }
}

struct Building<'r> {
    history: History,
    searches: FxHashMap<String, Entry>,
    previous_ms: Option<i64>,
    rules: &'r LogRules,
}

/// A search's number, and its documents' numbers.
struct Entry {
    search: usize,
    documents: FxHashMap<String, usize>,
}

impl<'r> Building<'r> {
    fn new(user: &str, rules: &'r LogRules) -> Self {
        let history = History { user: user.to_owned(), ..History::default() };
        Self { history, searches: FxHashMap::default(), previous_ms: None, rules }
    }

    fn check_time(&mut self, time_ms: i64, place: &Place) -> Result<()> {
        if !PLAUSIBLE_MS.contains(&time_ms) {
            return Err(SynthesisError::ImplausibleTime { place: place.clone(), time_ms });
        }
        let Some(previous_ms) = self.previous_ms.replace(time_ms) else { return Ok(()) };
        let (place, user) = (place.clone(), self.history.user.clone());
        if time_ms < previous_ms {
            return Err(SynthesisError::OutOfOrder { place, user, time_ms, previous_ms });
        }
        let largest_ms = (self.rules.largest_gap_days * DAY_MS) as i64;
        let gap_ms = time_ms - previous_ms;
        if gap_ms > largest_ms {
            return Err(SynthesisError::ClockJump { place, user, gap_ms, largest_ms });
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, place: Place) -> Result<()> {
        let time_ms = event.time_ms;
        match event.action {
            Action::Search { search, query } => self.search(search, &query, time_ms, place)?,
            Action::Result { search, document, stage, .. } => {
                let shown = self.shown(&search, document, stage, place)?;
                shown.stage = shown.stage.max(stage);
            }
            Action::Click { search, document, .. } => {
                let shown = self.shown(&search, document, Stage::Exposed, place)?;
                (shown.stage, shown.clicked) = (Stage::Exposed, true);
            }
            Action::Dwell { search: Some(search), document, dwell_ms } => {
                let shown = self.shown(&search, document, Stage::Exposed, place)?;
                shown.dwell_ms = shown.dwell_ms.saturating_add(dwell_ms);
            }
            // How long a feed item was watched decides nothing here.
            Action::Dwell { search: None, .. } => {}
            Action::Feed { document, .. } => {
                self.history.feed.push(FeedItem { document: document.into_owned(), time_ms });
            }
        }
        Ok(())
    }

    fn search(&mut self, id: Cow<'_, str>, query: &str, time_ms: i64, place: Place) -> Result<()> {
        let id = id.into_owned();
        let entry = Entry { search: self.history.searches.len(), documents: FxHashMap::default() };
        if self.searches.insert(id.clone(), entry).is_some() {
            return Err(SynthesisError::RepeatedSearch {
                place,
                user: self.history.user.clone(),
                search: id,
            });
        }
        self.history.searches.push(Search { id, query: normal_form(query), time_ms, shown: Vec::new() });
        Ok(())
    }

    fn shown(
        &mut self,
        search: &str,
        document: Cow<'_, str>,
        stage: Stage,
        place: Place,
    ) -> Result<&mut Shown> {
        let Some(entry) = self.searches.get_mut(search) else {
            let (user, search) = (self.history.user.clone(), search.to_owned());
            return Err(SynthesisError::UnknownSearch { place, user, search });
        };
        let all = &mut self.history.searches[entry.search].shown;
        let at = match entry.documents.get(&*document) {
            Some(&at) => at,
            None => {
                entry.documents.insert(document.clone().into_owned(), all.len());
                all.push(Shown { document: document.into_owned(), stage, clicked: false, dwell_ms: 0 });
                all.len() - 1
            }
        };
        Ok(&mut all[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[&str], rules: &LogRules) -> Result<History> {
        let place = |line| Place { file: "log.jsonl".into(), line };
        let events = lines.iter().zip(1..).map(|(text, line)| (Event::parse(text).unwrap(), place(line)));
        History::of("u", events.collect(), rules)
    }

    fn search(time_ms: i64, id: &str, query: &str) -> String {
        format!(r#"{{"event":"search","user":"u","time_ms":{time_ms},"search":"{id}","query":"{query}"}}"#)
    }

    const T: i64 = 1_735_689_600_000;

    #[test]
    fn a_click_proves_that_it_was_shown() {
        let click = format!(r#"{{"event":"click","user":"u","time_ms":{T},"search":"s","document":"d"}}"#);
        let result = format!(
            r#"{{"event":"result","user":"u","time_ms":{T},"search":"s","document":"d","stage":"ranked","position":9}}"#
        );
        let found = history(&[&search(T, "s", "A  b"), &click, &result], &LogRules::default()).unwrap();
        assert_eq!(found.searches[0].query, "a b");
        let only = &found.searches[0].shown[0];
        assert!(only.clicked && only.stage == Stage::Exposed && found.searches[0].shown.len() == 1);
    }

    #[test]
    fn wrong_times_are_refused_by_file_and_line() {
        let rules = LogRules::default();
        let backwards = [search(T, "s", "a"), search(T - 1, "t", "b")];
        let lines: Vec<&str> = backwards.iter().map(String::as_str).collect();
        let said = history(&lines, &rules).unwrap_err().to_string();
        assert!(said.starts_with("log.jsonl:2: user u: time_ms"), "{said}");
        let sorted = LogRules { out_of_order: OutOfOrder::Sort, ..rules.clone() };
        assert_eq!(history(&lines, &sorted).unwrap().searches[0].query, "b");

        let jump = [search(T, "s", "a"), search(T + 367 * 86_400_000, "t", "b")];
        let said = history(&[&jump[0], &jump[1]], &rules).unwrap_err().to_string();
        assert!(said.contains("log.jsonl:2") && said.contains("jumps"), "{said}");

        let seconds = search(T / 1000, "s", "a");
        let said = history(&[&seconds], &rules).unwrap_err().to_string();
        assert!(said.contains("expected milliseconds"), "{said}");
    }

    #[test]
    fn events_belong_to_searches_that_were_made() {
        let click = format!(r#"{{"event":"click","user":"u","time_ms":{T},"search":"x","document":"d"}}"#);
        let said = history(&[&click], &LogRules::default()).unwrap_err().to_string();
        assert!(said.contains("log.jsonl:1") && said.contains("no search x"), "{said}");
        let twice = [search(T, "s", "a"), search(T, "s", "b")];
        let said = history(&[&twice[0], &twice[1]], &LogRules::default()).unwrap_err().to_string();
        assert!(said.contains("search s before"), "{said}");
    }
}
