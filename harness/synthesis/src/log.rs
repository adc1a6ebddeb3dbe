//! The log schema: one JSON object a line, one thing that happened.
//!
//! | `event` | keys besides `user`, `time_ms` | meaning |
//! |---|---|---|
//! | `search` | `search`, `query` | the user typed a query; `search` is an id that this user has not used before |
//! | `result` | `search`, `document`, `stage`, `position` | how far the document came in this search |
//! | `click` | `search`, `document`, `position`? | the user opened a result |
//! | `dwell` | `document`, `dwell_ms`, `search`? | how long it was watched; without `search`: in the feed |
//! | `feed` | `document`, `dwell_ms`? | the recommendation feed showed it |
//!
//! `user`, `search` and `document` are strings without control characters; `time_ms` counts milliseconds since 1970;
//! `position` counts from 1. `stage` is where the document's way ended: `filtered` (found, but dropped between
//! pre-ranking and ranking), `ranked` (ranked, but not shown), `exposed` (shown). Unknown keys are refused, so that a
//! misspelt one does not go unread. A user's events stand in the order of their times; beyond that any order will do.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Where a document's way through a search ended (CroPS, arXiv 2511.15443, Table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Found, but dropped between pre-ranking and ranking.
    Filtered,
    /// Ranked, but not shown.
    Ranked,
    /// Shown.
    Exposed,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Who.
    pub user: Cow<'a, str>,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What.
    pub action: Action<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<'a> {
    /// A query was typed.
    Search {
        /// The search's id.
        search: Cow<'a, str>,
        /// The query's text.
        query: Cow<'a, str>,
    },
    /// A document came this far in a search.
    Result {
        /// The search.
        search: Cow<'a, str>,
        /// The document.
        document: Cow<'a, str>,
        /// Where its way ended.
        stage: Stage,
        /// Its rank there, from 1.
        position: u32,
    },
    /// A result was opened.
    Click {
        /// The search.
        search: Cow<'a, str>,
        /// The document.
        document: Cow<'a, str>,
        /// The rank it was shown at, where known.
        position: Option<u32>,
    },
    /// A document was watched.
    Dwell {
        /// The search it was opened from; `None`: in the feed.
        search: Option<Cow<'a, str>>,
        /// The document.
        document: Cow<'a, str>,
        /// For how long.
        dwell_ms: u64,
    },
    /// The recommendation feed showed a document.
    Feed {
        /// The document.
        document: Cow<'a, str>,
        /// For how long it was watched, where known.
        dwell_ms: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Search,
    Result,
    Click,
    Dwell,
    Feed,
}

/// A line as written: every key that some event has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    event: Kind,
    #[serde(borrow)]
    user: Cow<'a, str>,
    time_ms: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    search: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    query: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    document: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<Stage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dwell_ms: Option<u64>,
}

impl<'a> Event<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it, in words; the caller knows file and line.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let mut line: Line<'a> = serde_json::from_str(line)
            .map_err(|error| format!("expected an event of the log schema: {error}"))?;
        let user = id("user", std::mem::take(&mut line.user))?;
        let event = Self { user, time_ms: line.time_ms, action: Action::of(line)? };
        match &event.action {
            Action::Search { query, .. } if crate::normal_form(query).is_empty() => {
                Err("expected a query with at least one word".to_owned())
            }
            Action::Result { position: 0, .. } | Action::Click { position: Some(0), .. } => {
                Err("position: expected 1 or more, found 0".to_owned())
            }
            _ => Ok(event),
        }
    }

    /// Appends the event's line, line end included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = self.line();
        serde_json::to_writer(&mut *out, &line).expect("a vector can be written to, and strings are JSON");
        out.push(b'\n');
    }

    fn line(&self) -> Line<'_> {
        let mut line = Line {
            event: Kind::Search,
            user: Cow::Borrowed(&self.user),
            time_ms: self.time_ms,
            search: None,
            query: None,
            document: None,
            stage: None,
            position: None,
            dwell_ms: None,
        };
        let borrow = |text: &'_ Cow<'a, str>| Some(Cow::Owned(text.clone().into_owned()));
        match &self.action {
            Action::Search { search, query } => {
                (line.search, line.query) = (borrow(search), borrow(query));
            }
            Action::Result { search, document, stage, position } => {
                line.event = Kind::Result;
                (line.search, line.document) = (borrow(search), borrow(document));
                (line.stage, line.position) = (Some(*stage), Some(*position));
            }
            Action::Click { search, document, position } => {
                line.event = Kind::Click;
                (line.search, line.document, line.position) = (borrow(search), borrow(document), *position);
            }
            Action::Dwell { search, document, dwell_ms } => {
                line.event = Kind::Dwell;
                (line.search, line.document) = (search.as_ref().and_then(borrow), borrow(document));
                line.dwell_ms = Some(*dwell_ms);
            }
            Action::Feed { document, dwell_ms } => {
                line.event = Kind::Feed;
                (line.document, line.dwell_ms) = (borrow(document), *dwell_ms);
            }
        }
        line
    }
}

impl<'a> Action<'a> {
    /// The event's own keys, each there that must be and none that must not.
    fn of(line: Line<'a>) -> Result<Self, String> {
        let Line { event, search, query, document, stage, position, dwell_ms, .. } = line;
        let name = match event {
            Kind::Search => "search",
            Kind::Result => "result",
            Kind::Click => "click",
            Kind::Dwell => "dwell",
            Kind::Feed => "feed",
        };
        let absent = |key: &str| format!("a {name} event needs the key {key}");
        let refuse = |key: &str, found: bool| match found {
            true => Err(format!("a {name} event has no key {key}")),
            false => Ok(()),
        };
        let search = search.map(|search| id("search", search)).transpose()?;
        let document = document.map(|document| id("document", document)).transpose()?;
        refuse("query", query.is_some() && event != Kind::Search)?;
        refuse("document", document.is_some() && event == Kind::Search)?;
        refuse("search", search.is_some() && event == Kind::Feed)?;
        refuse("stage", stage.is_some() && event != Kind::Result)?;
        refuse("position", position.is_some() && !matches!(event, Kind::Result | Kind::Click))?;
        refuse("dwell_ms", dwell_ms.is_some() && !matches!(event, Kind::Dwell | Kind::Feed))?;
        let the_search = |search: Option<Cow<'a, str>>| search.ok_or_else(|| absent("search"));
        let the_document = |document: Option<Cow<'a, str>>| document.ok_or_else(|| absent("document"));
        Ok(match event {
            Kind::Search => {
                Self::Search { search: the_search(search)?, query: query.ok_or_else(|| absent("query"))? }
            }
            Kind::Result => Self::Result {
                search: the_search(search)?,
                document: the_document(document)?,
                stage: stage.ok_or_else(|| absent("stage"))?,
                position: position.ok_or_else(|| absent("position"))?,
            },
            Kind::Click => {
                Self::Click { search: the_search(search)?, document: the_document(document)?, position }
            }
            Kind::Dwell => Self::Dwell {
                search,
                document: the_document(document)?,
                dwell_ms: dwell_ms.ok_or_else(|| absent("dwell_ms"))?,
            },
            Kind::Feed => Self::Feed { document: the_document(document)?, dwell_ms },
        })
    }
}

/// An id: not empty, without control characters (it must fit into tables) and without blanks at its ends.
fn id<'a>(key: &str, found: Cow<'a, str>) -> Result<Cow<'a, str>, String> {
    if found.is_empty() || found.trim() != found || found.chars().any(char::is_control) {
        return Err(format!(
            "{key}: expected an id without control characters and outer blanks, found {found:?}"
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 6] = [
        r#"{"event":"search","user":"u1","time_ms":1735689600000,"search":"s1","query":"red wine \"stain\""}"#,
        r#"{"event":"result","user":"u1","time_ms":1735689600001,"search":"s1","document":"d1","stage":"exposed","position":1}"#,
        r#"{"event":"click","user":"u1","time_ms":1735689603000,"search":"s1","document":"d1","position":1}"#,
        r#"{"event":"dwell","user":"u1","time_ms":1735689609000,"search":"s1","document":"d1","dwell_ms":6000}"#,
        r#"{"event":"feed","user":"u1","time_ms":1735689700000,"document":"d9"}"#,
        r#"{"event":"dwell","user":"u1","time_ms":1735689709000,"document":"d9","dwell_ms":9000}"#,
    ];

    #[test]
    fn every_event_reads_and_writes_back() {
        for line in LINES {
            let event = Event::parse(line).unwrap();
            let mut out = Vec::new();
            event.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap().trim_end(), line);
        }
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (line, word) in [
            ("", "log schema"),
            ("[1]", "log schema"),
            (r#"{"event":"like","user":"u","time_ms":1}"#, "unknown variant `like`"),
            (r#"{"event":"feed","user":"u","time_ms":1}"#, "needs the key document"),
            (r#"{"event":"feed","user":"u","time_ms":1,"document":"d","search":"s"}"#, "has no key search"),
            (r#"{"event":"feed","user":"u","time_ms":1.5,"document":"d"}"#, "1.5"),
            (r#"{"event":"feed","user":"","time_ms":1,"document":"d"}"#, "user"),
            (r#"{"event":"feed","user":"u","time_ms":1,"document":"a\tb"}"#, "document"),
            (r#"{"event":"feed","user":"u","time_ms":1,"document":"d","positoin":2}"#, "positoin"),
            (r#"{"event":"search","user":"u","time_ms":1,"search":"s","query":" "}"#, "at least one word"),
            (
                r#"{"event":"click","user":"u","time_ms":1,"search":"s","document":"d","position":0}"#,
                "found 0",
            ),
        ] {
            let said = Event::parse(line).unwrap_err();
            assert!(said.contains(word), "{line}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_lines_do_not_panic(line in "\\PC*") {
            let _ = Event::parse(&line);
        }
    }
}
