//! One user's life: sessions, queries, looking, opening, watching, rewording, and the feed.

use std::borrow::Cow;

use super::bubble::{Mark, Way};
use super::parameters::Clicks;
use super::{Intent, Platform, Tally, Trace, stream, write};
use crate::draws::Draws;
use crate::log::{Action, Event, Stage};
use crate::normal_form;

/// Sessions of one user lie at least this far apart, so that their searches do not mix.
const BETWEEN_SESSIONS_MS: i64 = 7_200_000;
const DAY_MS: f64 = 86_400_000.0;
/// How often another wording is tried before the user gives up.
const WORDING_ATTEMPTS: usize = 8;

struct Life<'p> {
    platform: &'p Platform,
    draws: Draws,
    name: String,
    interests: Vec<usize>,
    searches: u32,
    events: Vec<Event<'p>>,
    tally: Tally,
    reached: Vec<Mark>,
    queries: Vec<(String, usize)>,
}

pub(super) fn live(platform: &Platform, number: usize) -> Trace {
    let mut life = Life::new(platform, number);
    for start_ms in life.session_starts() {
        life.session(start_ms);
    }
    life.into_trace()
}

impl<'p> Life<'p> {
    fn new(platform: &'p Platform, number: usize) -> Self {
        let mut draws = stream(platform.seed, number);
        let population = &platform.parameters.population;
        let interests = (0..population.intents_per_user)
            .map(|_| platform.used[draws.zipf(platform.used.len())])
            .collect();
        let name = format!("u{number:08}");
        Self {
            platform,
            draws,
            name,
            interests,
            searches: 0,
            events: Vec::new(),
            tally: Tally { users: 1, ..Tally::default() },
            reached: Vec::new(),
            queries: Vec::new(),
        }
    }

    fn session_starts(&mut self) -> Vec<i64> {
        let population = &self.platform.parameters.population;
        let sessions = 1 + self.draws.geometric(population.mean_further_sessions);
        let length_ms = population.days * DAY_MS;
        let mut starts: Vec<i64> =
            (0..sessions).map(|_| population.start_ms + (self.draws.unit() * length_ms) as i64).collect();
        starts.sort_unstable();
        for at in 1..starts.len() {
            starts[at] = starts[at].max(starts[at - 1] + BETWEEN_SESSIONS_MS);
        }
        starts
    }

    /// A session: one intent, one or more searches, the feed around them.
    fn session(&mut self, start_ms: i64) {
        let intent = self.interests[self.draws.below(self.interests.len())];
        self.feed(intent, start_ms);
        let reformulation = &self.platform.parameters.reformulation;
        let mut said: Vec<String> = Vec::new();
        let mut now_ms = start_ms;
        for attempt in 0..=reformulation.most {
            let Some(query) = self.word(intent, &said) else { break };
            if attempt > 0 {
                self.tally.reformulations += 1;
                self.tally.reformulations_within_90_s += u64::from(now_ms - start_ms <= 90_000);
            }
            let (satisfied, end_ms) = self.search(intent, &query, now_ms, attempt > 0);
            said.push(query);
            if satisfied || !self.draws.chance(reformulation.probability) {
                break;
            }
            now_ms = end_ms + 1 + (self.draws.exponential(reformulation.mean_delay_s) * 1000.0) as i64;
        }
    }

    /// Words for an intent that were not said in this session: first perhaps too few, later all of them, in other words
    /// or with others beside. `None` when nothing new comes to mind.
    fn word(&mut self, intent: usize, said: &[String]) -> Option<String> {
        let intent = &self.platform.catalogue.intents[intent];
        for _ in 0..WORDING_ATTEMPTS {
            let query = match said {
                [] => first_words(intent, self.platform.parameters.wording.vague, &mut self.draws),
                _ => other_words(intent, &mut self.draws),
            };
            let is_new = !said.contains(&query) && !self.platform.withheld.contains(&query);
            if !query.is_empty() && is_new {
                return Some(query);
            }
        }
        None
    }

    /// One search. Returns whether the user was satisfied, and when it ended.
    fn search(&mut self, intent: usize, query: &str, start_ms: i64, later: bool) -> (bool, i64) {
        self.searches += 1;
        let search = format!("{}-{}", self.name, self.searches);
        self.tally.searches += 1;
        self.queries.push((query.to_owned(), intent));
        let (id, text) = (Cow::Owned(search.clone()), Cow::Owned(query.to_owned()));
        self.log(start_ms, Action::Search { search: id, query: text });
        let retriever = &self.platform.parameters.retriever;
        let found = self.platform.index.search(query, retriever.recalled);
        self.tally.searches_without_results += u64::from(found.is_empty());
        let mut exposed = Vec::new();
        for (at, hit) in found.iter().enumerate() {
            self.mark(intent, hit.document, Way::Recalled);
            // Of filtered documents the place in pre-ranking is logged.
            let stage = match at {
                at if at < retriever.exposed => Stage::Exposed,
                at if at < retriever.ranked => Stage::Ranked,
                _ => Stage::Filtered,
            };
            let grade = self.platform.catalogue.intents[intent].grade(hit.document);
            match stage {
                Stage::Exposed => {
                    exposed.push((hit.document, grade));
                    count(&mut self.tally.exposed_by_grade, grade);
                    self.tally.exposed += 1;
                    let way = if later { Way::ExposedLater } else { Way::ExposedFirst };
                    self.mark(intent, hit.document, way);
                }
                Stage::Ranked => self.tally.ranked += 1,
                Stage::Filtered => self.tally.filtered += 1,
            }
            let search = Cow::Owned(search.clone());
            let (document, position) = (self.id(hit.document), at as u32 + 1);
            self.log(start_ms, Action::Result { search, document, stage, position });
        }
        self.look(&search, &exposed, start_ms)
    }

    /// Down the list: look, open, watch; stop when satisfied.
    fn look(&mut self, search: &str, exposed: &[(u32, i32)], start_ms: i64) -> (bool, i64) {
        let clicks = &self.platform.parameters.clicks;
        let mut now_ms = start_ms + 1000;
        for (at, &(document, grade)) in exposed.iter().enumerate() {
            let examined = libm::pow((at + 1) as f64, -clicks.examination_decay);
            if !self.draws.chance(examined) {
                continue;
            }
            now_ms += 500;
            if !self.draws.chance(Clicks::at(&clicks.open_by_grade, grade)) {
                continue;
            }
            self.tally.clicks += 1;
            count(&mut self.tally.clicks_by_grade, grade);
            let (id, position) = (Cow::Owned(search.to_owned()), Some(at as u32 + 1));
            self.log(now_ms, Action::Click { search: id, document: self.id(document), position });
            let median_s = Clicks::at(&clicks.median_dwell_s_by_grade, grade);
            let dwell_s = (median_s * libm::exp(clicks.dwell_spread * self.draws.normal())).min(3600.0);
            let dwell_ms = (dwell_s * 1000.0) as u64;
            now_ms += dwell_ms as i64;
            let id = Some(Cow::Owned(search.to_owned()));
            self.log(now_ms, Action::Dwell { search: id, document: self.id(document), dwell_ms });
            if self.draws.chance(Clicks::at(&clicks.satisfied_by_grade, grade)) {
                return (true, now_ms);
            }
        }
        (false, now_ms)
    }

    fn feed(&mut self, intent: usize, start_ms: i64) {
        let feed = &self.platform.parameters.feed;
        for _ in 0..self.draws.geometric(feed.mean_items) {
            let offset_ms = (2.0 * self.draws.unit() - 1.0) * feed.window_s * 1000.0;
            let document = self.feed_document(intent);
            let Some(document) = document else { continue };
            self.tally.feed_items += 1;
            let is_of_interest =
                |&interest: &usize| self.platform.catalogue.intents[interest].grade(document) > 0;
            self.tally.feed_items_on_interest += u64::from(self.interests.iter().any(is_of_interest));
            for at in 0..self.interests.len() {
                self.mark(self.interests[at], document, Way::Fed);
            }
            let action = Action::Feed { document: self.id(document), dwell_ms: None };
            self.log(start_ms + offset_ms as i64, action);
        }
    }

    fn feed_document(&mut self, intent: usize) -> Option<u32> {
        let catalogue = &self.platform.catalogue;
        let feed = &self.platform.parameters.feed;
        let draw = self.draws.unit();
        let of = match draw {
            draw if draw < feed.on_intent => Some(intent),
            draw if draw < feed.on_intent + feed.on_other_interest => {
                Some(self.interests[self.draws.below(self.interests.len())])
            }
            _ => None,
        };
        let liked = |intent: usize| {
            let grades = &catalogue.intents[intent].grades;
            grades.iter().filter(|entry| entry.1 > 0).map(|entry| entry.0).collect::<Vec<u32>>()
        };
        match of {
            Some(intent) => self.draws.pick(&liked(intent)).copied(),
            None => Some(self.draws.below(catalogue.documents.len()) as u32),
        }
    }

    fn mark(&mut self, intent: usize, document: u32, way: Way) {
        let grade = self.platform.catalogue.intents[intent].grade(document);
        if grade >= self.platform.parameters.retriever.relevant_from {
            self.reached.push(Mark { intent: intent as u32, document, way });
        }
    }

    fn id(&self, document: u32) -> Cow<'p, str> {
        Cow::Borrowed(&self.platform.catalogue.documents[document as usize].id)
    }

    fn log(&mut self, time_ms: i64, action: Action<'p>) {
        self.events.push(Event { user: Cow::Owned(self.name.clone()), time_ms, action });
    }

    /// The events by time; a stable sort keeps a search before its results.
    fn into_trace(mut self) -> Trace {
        self.events.sort_by_key(|event| event.time_ms);
        let mut lines = Vec::new();
        for event in &self.events {
            write(&mut lines, &mut self.tally, event);
        }
        Trace { lines, tally: self.tally, reached: self.reached, queries: self.queries }
    }
}

fn count(by_grade: &mut Vec<u64>, grade: i32) {
    let at = usize::try_from(grade).unwrap_or(0);
    by_grade.resize(by_grade.len().max(at + 1), 0);
    by_grade[at] += 1;
}

fn first_words(intent: &Intent, vague: f64, draws: &mut Draws) -> String {
    let mut words = spoken(intent, draws);
    if words.len() > 1 && draws.chance(vague) {
        words.remove(draws.below(words.len()));
    }
    normal_form(&words.join(" "))
}

fn other_words(intent: &Intent, draws: &mut Draws) -> String {
    let mut words = spoken(intent, draws);
    if let Some(related) = draws.pick(&intent.related) {
        if draws.chance(0.5) && words.len() > 1 {
            let at = draws.below(words.len());
            words[at] = related.clone();
        } else if draws.chance(0.7) {
            words.push(related.clone());
        }
    }
    normal_form(&words.join(" "))
}

/// Every part of the intent, each in one of its words.
fn spoken(intent: &Intent, draws: &mut Draws) -> Vec<String> {
    intent.parts.iter().filter_map(|words| draws.pick(words).cloned()).collect()
}
