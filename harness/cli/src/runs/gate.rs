//! The gate: from a comparison to a decision. Fails when a measure is significantly worse by more than the margin, when
//! a single query falls by more than the severity, when coverage drops, and when something got slower than noise
//! explains; warns when the data cannot tell.

use relevance::significance::{Alternative, Change, Design, Tolerance, change};

use super::compare::{
    LabelComparison, MeasureComparison, RunComparison, Sealed, StatisticChange, SystemComparison,
    TimingComparison,
};
use super::record::{Unit, short};
use super::verdict::{Check, Figures, Level, Verdict};
use crate::exit::Usage;

/// A bound for every measure, with exceptions by name. `None`: no bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    usual: Option<f64>,
    of: Vec<(String, Option<f64>)>,
}

impl Bounds {
    /// From what was written: `0.01`, `off`, or `MEASURE=0.02`, any number of them.
    ///
    /// # Errors
    /// When a bound is no number of 0 or more.
    pub fn parse(flag: &str, written: &[String], usual: f64) -> anyhow::Result<Self> {
        let mut bounds = Self { usual: Some(usual), of: Vec::new() };
        for text in written {
            // A measure's own name may hold `=`: nDCG(gain=exp)@10=0.02.
            let (name, bound) = match text.rsplit_once('=') {
                Some((name, bound)) => (Some(name), bound),
                None => (None, text.as_str()),
            };
            let bound = match bound {
                "off" => None,
                number => Some(
                    number
                        .parse::<f64>()
                        .ok()
                        .filter(|number| *number >= 0.0 && number.is_finite())
                        .ok_or_else(|| {
                            Usage::error(format!(
                                "{flag}: expected a number of 0 or more, off, or MEASURE=NUMBER, found {text}"
                            ))
                        })?,
                ),
            };
            match name {
                Some(name) => bounds.of.push((name.to_owned(), bound)),
                None => bounds.usual = bound,
            }
        }
        Ok(bounds)
    }

    fn get(&self, measure: &str) -> Option<f64> {
        let own = self.of.iter().rev().find(|(name, _)| name == measure);
        own.map_or(self.usual, |(_, bound)| *bound)
    }
}

/// What the gate lets through.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Drops of a mean up to this are overlooked.
    pub margins: Bounds,
    /// No query may fall by more.
    pub severities: Bounds,
    /// The level of the tests.
    pub level: f64,
    /// The power that queries needed are stated for.
    pub power: f64,
    /// How much the judged share of the first ten ranks may drop.
    pub judged_drop: f64,
    /// How much longer something may take, beyond the noise, as a share.
    pub slower: f64,
    /// How many more instructions something may take, as a share.
    pub more_instructions: f64,
    /// Whether every ranking must be the same to the last bit.
    pub same_bits: bool,
}

/// Decides.
///
/// # Errors
/// When level or power are no shares.
pub fn decide(comparisons: &[RunComparison], limits: &Limits) -> anyhow::Result<Verdict> {
    let tested =
        comparisons.iter().flat_map(|run| &run.systems).map(|system| system.measures.len()).sum::<usize>();
    let design = Design::new(limits.level / tested.max(1) as f64, limits.power, Alternative::Less)
        .ok_or_else(|| Usage::error("--level and --power: expected numbers between 0 and 1"))?;
    let mut checks = Vec::new();
    for run in comparisons {
        let dataset = &run.candidate.dataset;
        for system in &run.systems {
            let new = |what: &str| Check::new(dataset, &system.system, what);
            checks.extend(system.measures.iter().map(|one| measure(one, new(&one.measure), limits, design)));
            checks.push(queries(system, new("queries"), limits));
            checks.push(coverage(system, new("coverage"), limits));
            if limits.same_bits {
                checks.push(bits(system, new("bits")));
            }
        }
        checks.extend(run.lost_systems.iter().map(|system| {
            Check::new(dataset, system, "coverage")
                .fail("the baseline has this system, the candidate does not")
        }));
        if let Some(labels) = &run.labels {
            checks.extend(labels.measures.iter().map(|one| statistic(one, dataset, limits)));
            checks.push(unparsed(labels, Check::new(dataset, "labels", "coverage")));
        }
        checks.extend(run.timings.iter().map(|one| timing(one, &run.timings, dataset, limits)));
        checks.extend(run.lost_timings.iter().map(|name| {
            Check::new(dataset, name, "speed").fail("the baseline measures this, the candidate does not")
        }));
    }
    Ok(Verdict::of(checks, comparisons.to_vec()))
}

fn measure(one: &MeasureComparison, check: Check, limits: &Limits, design: Design) -> Check {
    let check = check.with(Figures {
        baseline: Some(one.baseline),
        candidate: Some(one.candidate),
        difference: Some(one.difference),
        interval: one.interval,
        p: one.holm_p,
        outcomes: Some([one.wins, one.ties, one.losses]),
    });
    let Some(margin) = limits.margins.get(&one.measure) else { return check };
    let tolerance = Tolerance { margin, level: limits.level, design };
    let drop = -one.difference;
    match change(&one.comparison, &tolerance) {
        Change::NoWorse => check,
        Change::Worse => {
            let p = one.holm_p.unwrap_or(0.0);
            check.fail(format!("fell by {drop:.4}, more than {margin}, and that is no accident (p = {p:.4})"))
        }
        Change::Unclear { queries_needed } => {
            let reach = one.interval.map_or(drop, |interval| -interval[0]);
            let needed = match queries_needed {
                Some(needed) => format!("about {needed} queries like these {} would tell", one.queries),
                None => "no number of queries would tell".to_owned(),
            };
            let power = format!("{needed}, with probability {}", limits.power);
            check.warn(match drop > margin {
                true => format!("fell by {drop:.4}, more than {margin}, which may be chance; {power}"),
                false => {
                    format!("a drop of up to {reach:.4}, more than {margin}, cannot be ruled out; {power}")
                }
            })
        }
    }
}

/// How many fallen queries a message names.
const NAMED: usize = 5;

fn queries(system: &SystemComparison, check: Check, limits: &Limits) -> Check {
    let mut fallen = Vec::new();
    for measure in &system.measures {
        let Some(most) = limits.severities.get(&measure.measure) else { continue };
        let falls = measure.values.iter().filter(|(_, before, after)| before - after > most);
        fallen.extend(
            falls.map(|(query, before, after)| (before - after, query, &measure.measure, before, after)),
        );
    }
    if fallen.is_empty() {
        return check;
    }
    fallen.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let mut names = fallen.iter().map(|fall| fall.1).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    let said = fallen.iter().take(NAMED);
    let said = said
        .map(|(_, query, measure, before, after)| format!("{query} ({measure} {before:.4} to {after:.4})"));
    let more = if fallen.len() > NAMED { ", ..." } else { "" };
    let said = said.collect::<Vec<_>>().join(", ");
    check.fail(format!(
        "{} fall by more than the severity allows: {said}{more}",
        count(names.len(), "query", "queries")
    ))
}

fn coverage(system: &SystemComparison, check: Check, limits: &Limits) -> Check {
    let mut lost = Vec::new();
    if !system.lost_queries.is_empty() {
        let named = system.lost_queries.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if system.lost_queries.len() > NAMED { ", ..." } else { "" };
        lost.push(format!(
            "{} no longer answered: {named}{more}",
            count(system.lost_queries.len(), "query", "queries")
        ));
    }
    if !system.lost_measures.is_empty() {
        lost.push(format!("no longer measured: {}", system.lost_measures.join(", ")));
    }
    let [before, after] = system.judged_in_top_10;
    if before - after > limits.judged_drop {
        lost.push(format!(
            "judged@10 fell from {:.1} % to {:.1} %: more of what is found was judged by nobody",
            before * 100.0,
            after * 100.0
        ));
    }
    if lost.is_empty() { check } else { check.fail(lost.join("; ")) }
}

fn bits(system: &SystemComparison, check: Check) -> Check {
    match system.same_rankings {
        Some(true) => check,
        Some(false) => check.fail("the rankings or a bit of their scores differ from the baseline's"),
        None => check.fail("a record without rankings: nothing says that the bits are the same"),
    }
}

fn statistic(one: &StatisticChange, dataset: &str, limits: &Limits) -> Check {
    let check = Check::new(dataset, "labels", &one.measure).with(Figures {
        baseline: one.baseline,
        candidate: one.candidate,
        difference: one.difference,
        interval: one.interval,
        ..Figures::default()
    });
    let Some(margin) = limits.margins.get(&one.measure) else { return check };
    if one.baseline.is_some() && one.candidate.is_none() {
        return check.fail("had a value and has none any more");
    }
    let (Some(difference), Some([lower, upper])) = (one.difference, one.interval) else { return check };
    // The drop, its least and its most, whichever way is better.
    let (drop, least, most) = match one.less_is_better {
        true => (difference, lower, upper),
        false => (-difference, -upper, -lower),
    };
    if drop > margin && least > 0.0 {
        return check.fail(format!(
            "worse by {drop:.4}, more than {margin}; at least {least:.4} of it is no accident"
        ));
    }
    if most > margin {
        return check
            .warn(format!("worse by up to {most:.4} cannot be ruled out; more queries would narrow it"));
    }
    check
}

fn unparsed(labels: &LabelComparison, check: Check) -> Check {
    let share =
        |at: usize| labels.unparsed[at] as f64 / (labels.unparsed[at] + labels.pairs[at]).max(1) as f64;
    if share(1) > share(0) {
        let [before, after] = labels.unparsed;
        return check.fail(format!("{after} labels could not be read, {before} before"));
    }
    check
}

fn timing(one: &TimingComparison, all: &[TimingComparison], dataset: &str, limits: &Limits) -> Check {
    let check = Check::new(dataset, &one.name, &one.unit.to_string()).with(Figures {
        baseline: Some(one.baseline),
        candidate: Some(one.candidate),
        difference: Some(one.candidate - one.baseline),
        ..Figures::default()
    });
    if let Some(why) = &one.incomparable {
        return check.warn(format!("not compared: {why}"));
    }
    let allowed = match one.unit {
        Unit::Seconds => limits.slower + one.noise,
        Unit::Instructions => limits.more_instructions + one.noise,
    };
    if one.ratio <= 1.0 + allowed {
        return check;
    }
    let said = format!(
        "{:.2} times the baseline's {}; up to {:.2} times would pass ({:.1} % of it the noise of {} and {} repeats)",
        one.ratio,
        one.unit,
        1.0 + allowed,
        one.noise * 100.0,
        one.repeats[0],
        one.repeats[1]
    );
    let counted = all.iter().find(|other| other.name == one.name && other.unit == Unit::Instructions);
    match counted.filter(|_| one.unit == Unit::Seconds) {
        Some(counted)
            if counted.incomparable.is_none() && counted.ratio <= 1.0 + limits.more_instructions =>
        {
            check.warn(format!(
                "{said}; but the instructions are {:.3} times the baseline's: a busy machine",
                counted.ratio
            ))
        }
        _ => check.fail(said),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What to know of candidates that were not named, each with the newest record of its kind: that one is the baseline itself,
/// or that the newest record is none of them.
pub fn found_candidates(pairs: &[(Sealed, Sealed)], newest: &[Sealed]) -> Verdict {
    let mut checks = Vec::new();
    for ((baseline, candidate), newest) in pairs.iter().zip(newest) {
        let check = || Check::new(&candidate.0.dataset, "candidate", "candidate");
        if pairs.iter().all(|(_, candidate)| newest.1 != candidate.1) {
            let (found, newest, other) = (short(&candidate.1), short(&newest.1), &newest.0.dataset);
            checks.push(check().warn(format!(
                "{found} is the newest of this dataset, but {newest}, of {other}, is newer; name it, or `latest`, to judge it"
            )));
        }
        if baseline.1 == candidate.1 {
            checks
                .push(check().warn("it is the baseline itself: nothing newer of this dataset was recorded"));
        }
    }
    Verdict::of(checks, Vec::new())
}

/// The verdict on a baseline that was not there.
pub fn first_baseline(path: &str, dataset: &str) -> Verdict {
    let message = format!(
        "there was none: the candidate was written to {path}; commit it, and later runs are held to it"
    );
    let mut check = Check::new(dataset, "baseline", "baseline").fail(message);
    check.level = Level::Failure;
    Verdict::of(vec![check], Vec::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounds_hold_for_all_measures_or_for_one() {
        let written = ["0.02", "nDCG(gain=exp)@10=0.05", "RR@10=off"].map(str::to_owned);
        let bounds = Bounds::parse("--margin", &written, 0.01).unwrap();
        assert_eq!(bounds.get("AP"), Some(0.02));
        assert_eq!(bounds.get("nDCG(gain=exp)@10"), Some(0.05));
        assert_eq!(bounds.get("RR@10"), None);
        assert_eq!(Bounds::parse("--margin", &[], 0.01).unwrap().get("AP"), Some(0.01));
        for wrong in ["-1", "many", "AP=", "NaN", "inf"] {
            let error = Bounds::parse("--margin", &[wrong.to_owned()], 0.0).unwrap_err();
            assert!(error.to_string().contains("--margin"), "{error}");
        }
    }

    fn timed(unit: Unit, ratio: f64, noise: f64) -> TimingComparison {
        TimingComparison {
            name: "scan".to_owned(),
            unit,
            baseline: 1.0,
            candidate: ratio,
            ratio,
            noise,
            repeats: [5, 5],
            incomparable: None,
        }
    }

    #[test]
    fn slower_is_slower_only_beyond_noise_and_with_instructions_to_match() {
        let limits = Limits {
            margins: Bounds::parse("", &[], 0.01).unwrap(),
            severities: Bounds::parse("", &[], 0.5).unwrap(),
            level: 0.05,
            power: 0.8,
            judged_drop: 0.05,
            slower: 0.1,
            more_instructions: 0.02,
            same_bits: false,
        };
        let level = |seconds: TimingComparison, others: &[TimingComparison]| {
            timing(&seconds, others, "d", &limits).level
        };
        assert_eq!(level(timed(Unit::Seconds, 1.09, 0.0), &[]), Level::Pass);
        assert_eq!(level(timed(Unit::Seconds, 1.3, 0.0), &[]), Level::Failure);
        assert_eq!(level(timed(Unit::Seconds, 1.3, 0.25), &[]), Level::Pass);
        assert_eq!(
            level(timed(Unit::Seconds, 1.3, 0.0), &[timed(Unit::Instructions, 1.001, 0.0)]),
            Level::Warning
        );
        assert_eq!(
            level(timed(Unit::Seconds, 1.3, 0.0), &[timed(Unit::Instructions, 1.2, 0.0)]),
            Level::Failure
        );
        assert_eq!(level(timed(Unit::Instructions, 1.03, 0.0), &[]), Level::Failure);
        let elsewhere =
            TimingComparison { incomparable: Some("other".to_owned()), ..timed(Unit::Seconds, 9.0, 0.0) };
        assert_eq!(level(elsewhere, &[]), Level::Warning);
    }
}
