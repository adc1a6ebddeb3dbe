//! The rules over real searches, read from beside the checkout: what counts as a reformulation is counted here as it
//! was counted by hand.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use synthesis::crops::{CropsParameters, HistoryAudit, candidates_of};
use synthesis::history::{History, LogRules};
use synthesis::{Action, Event, Place, normal_form};

/// The beginning of September 1997, the month of the log.
const MONTH_MS: i64 = 873_072_000_000;

/// `yymmddhhmmss` of that month.
fn time_ms(written: &str) -> i64 {
    let part = |at: usize| written[at..at + 2].parse::<i64>().unwrap();
    MONTH_MS + ((part(4) - 1) * 86_400 + part(6) * 3600 + part(8) * 60 + part(10)) * 1000
}

#[test]
fn excite_s_reformulations_are_counted_as_by_hand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/excite/excite-small.log");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: ../shared/data is absent");
        return;
    };
    let text = String::from_utf8_lossy(&bytes);
    // An empty query ends a stretch: the searches on its two sides are not consecutive.
    let mut stretches: BTreeMap<(&str, usize), Vec<(Event<'_>, Place)>> = BTreeMap::new();
    let mut stretch: BTreeMap<&str, usize> = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let mut fields = line.splitn(3, '\t');
        let (user, time, query) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        if normal_form(query).is_empty() {
            *stretch.entry(user).or_default() += 1;
            continue;
        }
        let action = Action::Search { search: number.to_string().into(), query: query.into() };
        let event = Event { user: user.into(), time_ms: time_ms(time), action };
        let key = (user, stretch.get(user).copied().unwrap_or(0));
        stretches.entry(key).or_default().push((event, Place { file: "excite".into(), line: number }));
    }
    let mut audit = HistoryAudit::default();
    for ((user, _), events) in stretches {
        let history = History::of(user, events, &LogRules::default()).unwrap();
        audit.add(&candidates_of(&history, &CropsParameters::default()).1);
    }
    let changed = audit.rewordings_within_window + audit.rewordings_after_window;
    // By words as typed there are 1,247; one pair differs in case or blanks alone.
    assert_eq!((changed, audit.rewordings_within_window), (1246, 667));
}
