//! Public logs of other schemas as events of ours.
//!
//! | name | a line | becomes |
//! |---|---|---|
//! | `excite` | `USER<tab>yymmddhhmmss<tab>QUERY` (the Excite query log of 1997 and 1999) | a `search` |
//! | `movielens` | `userId,movieId,rating,timestamp` (`ratings.csv`; further columns are ignored) | an item of the `feed` |
//!
//! Excite has no clicks and no time zone: times are taken as UTC, which moves none against another. MovieLens says when a
//! film was rated, not when it was recommended or watched; the rating itself has no place in the schema and is left out.

use std::borrow::Cow;

use clap::ValueEnum;
use serde::Serialize;
use synthesis::{Action, Event, normal_form};

use crate::runs::clock;

/// A schema that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// Queries with user and time: USER, yymmddhhmmss, QUERY, separated by tabs
    Excite,
    /// MovieLens' ratings.csv, each rating an item of a feed
    Movielens,
}

/// What lines came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Lines, the header and blank ones left out.
    pub lines: u64,
    /// Those that became events.
    pub events: u64,
    /// Those without a query: left out.
    pub without_query: u64,
}

impl Schema {
    /// The file's usual name in a folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Excite => "excite-small.log",
            Self::Movielens => "ratings.csv",
        }
    }

    /// Whether the first line names the columns.
    pub fn has_header(self) -> bool {
        self == Self::Movielens
    }

    /// The event of line `number`; `None` where a search has no words.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub fn event(self, line: &str, number: u64) -> Result<Option<Event<'_>>, String> {
        match self {
            Self::Excite => excite(line, number),
            Self::Movielens => movielens(line).map(Some),
        }
    }
}

fn excite(line: &str, number: u64) -> Result<Option<Event<'_>>, String> {
    let mut fields = line.splitn(3, '\t');
    let (Some(user), Some(time), Some(query)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("expected user, time and query, separated by tabs".to_owned());
    };
    let time_ms = excite_time(time).ok_or_else(|| format!("expected yymmddhhmmss, found {time:?}"))?;
    if normal_form(query).is_empty() {
        return Ok(None);
    }
    let search = Cow::Owned(format!("s{number}"));
    let query = Cow::Owned(query.trim().replace(char::is_control, " "));
    Ok(Some(Event { user: Cow::Borrowed(user), time_ms, action: Action::Search { search, query } }))
}

/// `970916105432`: milliseconds since 1970.
fn excite_time(written: &str) -> Option<i64> {
    let is_time = written.len() == 12 && written.bytes().all(|byte| byte.is_ascii_digit());
    let part = |at: usize| is_time.then(|| written[at..at + 2].parse::<u32>().ok()).flatten();
    let century = if part(0)? >= 70 { 19 } else { 20 };
    let is_date = (1..=12).contains(&part(2)?) && (1..=31).contains(&part(4)?);
    let is_clock = part(6)? < 24 && part(8)? < 60 && part(10)? < 60;
    let stamp = format!("{century}{}T{}.000000Z", &written[..6], &written[6..]);
    clock::parse(&stamp).filter(|_| is_date && is_clock).map(|microseconds| microseconds / 1000)
}

fn movielens(line: &str) -> Result<Event<'_>, String> {
    let fields: Vec<&str> = line.split(',').collect();
    let &[user, document, rating, time, ..] = &fields[..] else {
        return Err("expected userId,movieId,rating,timestamp".to_owned());
    };
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    let Some(seconds) = time.parse::<i64>().ok().filter(|_| is_number(rating)) else {
        return Err(format!("expected a rating and seconds since 1970, found {rating:?} and {time:?}"));
    };
    let time_ms = seconds.checked_mul(1000).ok_or_else(|| format!("{seconds}: out of range"))?;
    let action = Action::Feed { document: Cow::Borrowed(document), dwell_ms: None };
    Ok(Event { user: Cow::Borrowed(user), time_ms, action })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(schema: Schema, line: &str) -> String {
        let mut out = Vec::new();
        schema.event(line, 7).unwrap().unwrap().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_become_events() {
        assert_eq!(
            written(Schema::Excite, "2A9E\t970916105432\t+md foods \"x\""),
            "{\"event\":\"search\",\"user\":\"2A9E\",\"time_ms\":874407272000,\"search\":\"s7\",\"query\":\"+md foods \\\"x\\\"\"}\n"
        );
        assert_eq!(
            written(Schema::Movielens, "1,31,2.5,1260759144,,,,"),
            "{\"event\":\"feed\",\"user\":\"1\",\"time_ms\":1260759144000,\"document\":\"31\"}\n"
        );
        assert_eq!(Schema::Excite.event("u\t970916105432\t ", 1), Ok(None));
    }

    #[test]
    fn what_is_no_line_of_the_schema_says_why() {
        for (schema, line) in [
            (Schema::Excite, "u 970916105432 q"),
            (Schema::Excite, "u\t971316105432\tq"),
            (Schema::Excite, "u\t97091610543\tq"),
            (Schema::Excite, "u\t97091625\u{e9}543\tq"),
            (Schema::Movielens, "1,2,3"),
            (Schema::Movielens, "1,2,good,4"),
            (Schema::Movielens, "1,2,3,99999999999999999"),
        ] {
            assert!(schema.event(line, 1).unwrap_err().len() > 10, "{line}");
        }
    }
}
