//! Two records side by side: what changed, by how much, and whether that means anything.
//!
//! Values are compared only where both were measured on the same judgments, documents and rules. Where those differ the
//! comparison is refused, part by part; by force it is made over the queries whose judgments are the same in both, from
//! the recorded values of each query.

use relevance::agreement::{RatedPair, Statistic, changes};
use relevance::resampling::Bootstrap;
use relevance::significance::{self, Alternative, Comparison, Randomization, Settings, holm};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::answers::Documents;
use super::record::{Agreement, Measured, Record, System, Timing, Unit, short};
use super::speed;
use crate::exit::Usage;
use crate::report::signs::ndcg_up_while_ap_falls;

/// How many of the queries that fell most are named.
const WORST: usize = 5;

/// More labelled pairs than this do not fit the memory that a comparison may take.
const MOST_PAIRS: u64 = 1 << 27;

/// What is to be compared, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The candidate's system; otherwise all that both have.
    pub system: Option<String>,
    /// The baseline's system, where it has another name.
    pub baseline_system: Option<String>,
    /// The measures, as they print; empty: all that both have.
    pub measures: Vec<String>,
    /// Compare what both have in common, whatever differs.
    pub force: bool,
    /// What the tests ask.
    pub alternative: Alternative,
    /// The level of the intervals of labels; those of measures have 95 %.
    pub level: f64,
    /// Of everything drawn at random.
    pub seed: u64,
}

/// A record with its digest.
pub type Sealed = (Record, String);

/// Two records, compared.
#[derive(Clone, Debug, Serialize)]
pub struct RunComparison {
    /// The earlier, or the one that is to be held.
    pub baseline: Side,
    /// The one in question.
    pub candidate: Side,
    /// What differs in data and rules; empty unless the comparison was forced.
    pub differences: Vec<String>,
    /// Queries that both judge alike.
    pub queries: usize,
    /// System by system.
    pub systems: Vec<SystemComparison>,
    /// Systems only the baseline has.
    pub lost_systems: Vec<String>,
    /// Systems only the candidate has.
    pub new_systems: Vec<String>,
    /// Labels with labels.
    pub labels: Option<LabelComparison>,
    /// Times and counts.
    pub timings: Vec<TimingComparison>,
    /// Times and counts only the baseline has.
    pub lost_timings: Vec<String>,
}

/// Where a side comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The first digits of its digest.
    pub id: String,
    /// The collection, or the file.
    pub dataset: String,
    /// What the clock said.
    pub recorded_at: String,
    /// The commit that was checked out.
    pub commit: Option<String>,
}

/// One system, before and after.
#[derive(Clone, Debug, Serialize)]
pub struct SystemComparison {
    /// Its name in the candidate.
    pub system: String,
    /// Its name in the baseline.
    pub baseline_system: String,
    /// Measure by measure.
    pub measures: Vec<MeasureComparison>,
    /// Measures only the baseline has.
    pub lost_measures: Vec<String>,
    /// Queries that the baseline answers and the candidate does not.
    pub lost_queries: Vec<String>,
    /// Judged share of the first ten ranks, before and after.
    pub judged_in_top_10: [f64; 2],
    /// Whether all rankings are the same to the last bit, where both were kept.
    pub same_rankings: Option<bool>,
    /// Signs of failure in how the measures changed.
    pub signs: Vec<String>,
    /// The queries that fell most by the first measure, with their first documents.
    pub worst_queries: Vec<QueryChange>,
}

/// One measure, before and after, over the same queries.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureComparison {
    /// As it prints.
    pub measure: String,
    /// How many queries.
    pub queries: usize,
    /// The mean before.
    pub baseline: f64,
    /// The mean after.
    pub candidate: f64,
    /// After less before.
    pub difference: f64,
    /// The bootstrap interval of the difference.
    pub interval: Option<[f64; 2]>,
    /// Of the randomization test.
    pub randomization_p: Option<f64>,
    /// Of the paired t-test.
    pub t_test_p: Option<f64>,
    /// Of the randomization test, adjusted over everything compared together.
    pub holm_p: Option<f64>,
    /// The difference in standard deviations of the differences.
    pub cohens_d: Option<f64>,
    /// Queries that gained.
    pub wins: usize,
    /// Queries that stayed.
    pub ties: usize,
    /// Queries that fell.
    pub losses: usize,
    /// The whole comparison.
    #[serde(skip)]
    pub comparison: Comparison,
    /// Query, value before, value after.
    #[serde(skip)]
    pub values: Vec<(String, f64, f64)>,
}

/// One query that changed.
#[derive(Clone, Debug, Serialize)]
pub struct QueryChange {
    /// Its id.
    pub query: String,
    /// By which measure.
    pub measure: String,
    /// The value before.
    pub baseline: f64,
    /// The value after.
    pub candidate: f64,
    /// The first documents before.
    pub before: Documents,
    /// The first documents after.
    pub after: Documents,
}

/// Labels, before and after.
#[derive(Clone, Debug, Serialize)]
pub struct LabelComparison {
    /// Statistic by statistic.
    pub measures: Vec<StatisticChange>,
    /// The level of the intervals.
    pub level: f64,
    /// Pairs with both grades, before and after.
    pub pairs: [u64; 2],
    /// Labels that could not be read, before and after.
    pub unparsed: [u64; 2],
    /// The grades of the confusion tables before and after.
    pub grades: [Vec<i32>; 2],
    /// The tables: rows are human grades.
    pub confusion: [Vec<Vec<u64>>; 2],
}

/// One statistic of labels, before and after.
#[derive(Clone, Debug, Serialize)]
pub struct StatisticChange {
    /// Its name.
    pub measure: String,
    /// Before.
    pub baseline: Option<f64>,
    /// After.
    pub candidate: Option<f64>,
    /// After less before, over the queries compared.
    pub difference: Option<f64>,
    /// Its interval, queries resampled together.
    pub interval: Option<[f64; 2]>,
    /// Whether less of it is better.
    pub less_is_better: bool,
}

/// A time or count, before and after.
#[derive(Clone, Debug, Serialize)]
pub struct TimingComparison {
    /// Of what.
    pub name: String,
    /// In which unit.
    pub unit: Unit,
    /// The median before.
    pub baseline: f64,
    /// The median after.
    pub candidate: f64,
    /// After over before.
    pub ratio: f64,
    /// How far the repeats of either side lie apart, as a share of its median: the larger of the two.
    pub noise: f64,
    /// How many repeats, before and after.
    pub repeats: [usize; 2],
    /// Why the two cannot be compared, where they cannot.
    pub incomparable: Option<String>,
}

/// Compares pairs of baseline and candidate; Holm's adjustment is over all of them together.
///
/// # Errors
/// When a pair is not of the same data and rules and `wanted` does not force it, or has nothing in common.
pub fn compare(pairs: &[(Sealed, Sealed)], wanted: &Wanted) -> anyhow::Result<Vec<RunComparison>> {
    let compared = pairs.iter().map(|(baseline, candidate)| one(baseline, candidate, wanted));
    let mut compared = compared.collect::<anyhow::Result<Vec<_>>>()?;
    let measures = |runs: &mut Vec<RunComparison>, each: &mut dyn FnMut(&mut MeasureComparison)| {
        let systems = runs.iter_mut().flat_map(|run| &mut run.systems);
        systems.flat_map(|system| &mut system.measures).for_each(each);
    };
    let mut all = Vec::new();
    measures(&mut compared, &mut |measure| all.extend(measure.randomization_p));
    let mut adjusted = holm(&all).into_iter();
    measures(&mut compared, &mut |measure| {
        measure.holm_p = measure.randomization_p.and_then(|_| adjusted.next());
        if let Some(p) = measure.holm_p {
            measure.comparison.holm_p = Ok(p);
        }
    });
    Ok(compared)
}

fn one(baseline: &Sealed, candidate: &Sealed, wanted: &Wanted) -> anyhow::Result<RunComparison> {
    let (before, after) = (&baseline.0, &candidate.0);
    if before.kind != after.kind {
        let kinds = format!("an {} cannot be compared with an {}", before.kind, after.kind);
        return Err(Usage::error(
            kinds.replace("an training", "a training").replace("an benchmark", "a benchmark"),
        ));
    }
    let common = common_queries(before, after);
    let differences = differences(before, after, &common);
    refuse(before, after, &differences, &common, wanted)?;
    let (pairs, lost_systems, new_systems) = pair_systems(before, after, wanted)?;
    let systems = pairs
        .iter()
        .map(|(old, new)| compare_systems(old, new, before, &common, wanted))
        .collect::<anyhow::Result<_>>()?;
    let labels = match (&before.agreement, &after.agreement) {
        (Some(old), Some(new)) => compare_labels(old, new, &common, wanted)?,
        _ => None,
    };
    let (timings, lost_timings) = compare_timings(before, after);
    Ok(RunComparison {
        baseline: side(baseline),
        candidate: side(candidate),
        differences,
        queries: common.len(),
        systems,
        lost_systems,
        new_systems,
        labels,
        timings,
        lost_timings,
    })
}

fn side((record, digest): &Sealed) -> Side {
    Side {
        id: short(digest).to_owned(),
        dataset: record.dataset.clone(),
        recorded_at: record.recorded_at.clone(),
        commit: record.commit.clone(),
    }
}

/// The places, in the baseline and in the candidate, of queries that both judge alike.
fn common_queries(before: &Record, after: &Record) -> Vec<(usize, usize)> {
    let places: FxHashMap<&str, usize> = after.queries.iter().map(String::as_str).zip(0..).collect();
    let judged = |record: &Record, at: usize| record.judgments_of_queries.get(at).cloned();
    let both = before.queries.iter().enumerate().filter_map(|(at, query)| {
        let other = *places.get(query.as_str())?;
        (judged(before, at) == judged(after, other)).then_some((at, other))
    });
    both.collect()
}

/// Rules that change what a value means.
const RULES: [&str; 3] = ["ties", "self_hits", "intersect"];

/// What keeps the two from being compared, part by part.
fn differences(before: &Record, after: &Record, common: &[(usize, usize)]) -> Vec<String> {
    let mut found = Vec::new();
    for (part, old) in before.fingerprints.iter().filter(|(part, _)| *part != "recipe") {
        let Some(new) = after.fingerprints.get(part).filter(|new| *new != old) else { continue };
        let detail =
            if part == "judgments" { judgments_detail(before, after, common) } else { String::new() };
        found.push(format!("{part} differ ({} and {}{detail})", short(old), short(new)));
    }
    for rule in RULES {
        if let (Some(old), Some(new)) = (before.settings.get(rule), after.settings.get(rule))
            && old != new
        {
            found.push(format!("{rule}: {old} and {new}"));
        }
    }
    found
}

fn judgments_detail(before: &Record, after: &Record, common: &[(usize, usize)]) -> String {
    let names = |record: &Record| record.queries.iter().cloned().collect::<std::collections::HashSet<_>>();
    let (old, new) = (names(before), names(after));
    let shared = old.intersection(&new).count();
    let counts = [
        (shared - common.len().min(shared), "judged differently"),
        (old.len() - shared, "only in the baseline"),
        (new.len() - shared, "only in the candidate"),
    ];
    let said =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} queries {what}"));
    let said = said.collect::<Vec<_>>().join(", ");
    if said.is_empty() { said } else { format!(": {said}") }
}

fn refuse(
    before: &Record,
    after: &Record,
    differences: &[String],
    common: &[(usize, usize)],
    wanted: &Wanted,
) -> anyhow::Result<()> {
    let has_queries = !before.queries.is_empty() || !after.queries.is_empty();
    if !differences.is_empty() && !wanted.force {
        let what = differences.join("; ");
        let datasets = match before.dataset == after.dataset {
            true => before.dataset.clone(),
            false => format!("baseline {}, candidate {}", before.dataset, after.dataset),
        };
        let common = format!("--force compares the {} queries both judge alike", common.len());
        return Err(Usage::error(format!("not measured on the same data ({datasets}): {what}; {common}")));
    }
    if has_queries && common.is_empty() {
        return Err(Usage::error(format!(
            "nothing in common: no query of {} and {} has the same judgments in both",
            before.dataset, after.dataset
        )));
    }
    Ok(())
}

type SystemPairs<'r> = Vec<(&'r System, &'r System)>;

fn pair_systems<'r>(
    before: &'r Record,
    after: &'r Record,
    wanted: &Wanted,
) -> anyhow::Result<(SystemPairs<'r>, Vec<String>, Vec<String>)> {
    if wanted.system.is_some() || wanted.baseline_system.is_some() {
        let name = wanted.system.as_ref().or(wanted.baseline_system.as_ref()).map_or("", String::as_str);
        let old = wanted.baseline_system.as_deref().unwrap_or(name);
        return Ok((vec![(named(before, old)?, named(after, name)?)], Vec::new(), Vec::new()));
    }
    if let ([old], [new]) = (before.systems.as_slice(), after.systems.as_slice()) {
        return Ok((vec![(old, new)], Vec::new(), Vec::new()));
    }
    let in_both = |old: &'r System| after.system(&old.name).map(|new| (old, new));
    let pairs = before.systems.iter().filter_map(in_both).collect::<Vec<_>>();
    let without = |ours: &Record, theirs: &Record| {
        let alone = ours.systems.iter().filter(|system| theirs.system(&system.name).is_none());
        alone.map(|system| system.name.clone()).collect::<Vec<_>>()
    };
    if pairs.is_empty() && !before.systems.is_empty() {
        let names =
            |record: &Record| record.systems.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
        return Err(Usage::error(format!(
            "no system in common: {} before, {} after; name them with --baseline-system and --system",
            names(before),
            names(after)
        )));
    }
    Ok((pairs, without(before, after), without(after, before)))
}

fn named<'r>(record: &'r Record, name: &str) -> anyhow::Result<&'r System> {
    record.system(name).ok_or_else(|| {
        let names = record.systems.iter().map(|system| system.name.as_str()).collect::<Vec<_>>().join(", ");
        Usage::error(format!("no system {name} in the record of {}; it has {names}", record.dataset))
    })
}

fn compare_systems(
    old: &System,
    new: &System,
    before: &Record,
    common: &[(usize, usize)],
    wanted: &Wanted,
) -> anyhow::Result<SystemComparison> {
    let asked = |measure: &&Measured| wanted.measures.is_empty() || wanted.measures.contains(&measure.name);
    let of_new = |name: &str| new.measures.iter().find(|measure| measure.name == name);
    let has = || old.measures.iter().map(|measure| measure.name.as_str()).collect::<Vec<_>>().join(", ");
    let of_old = |name: &String| old.measures.iter().any(|measure| measure.name == *name);
    if let Some(unknown) = wanted.measures.iter().find(|name| !of_old(name)) {
        return Err(Usage::error(format!("{}: the baseline has no {unknown}; it has {}", old.name, has())));
    }
    let (mut rows, mut lost_measures) = (Vec::new(), Vec::new());
    for measure in old.measures.iter().filter(asked) {
        match of_new(&measure.name) {
            Some(other) => rows.push(paired(measure, other, common)),
            None => lost_measures.push(measure.name.clone()),
        }
    }
    if rows.is_empty() {
        return Err(Usage::error(format!("{}: no measure in common; the baseline has {}", old.name, has())));
    }
    let settings = Settings {
        randomization: Randomization {
            seed: wanted.seed,
            alternative: wanted.alternative,
            ..Randomization::default()
        },
        bootstrap: Bootstrap::default().with_seed(wanted.seed),
    };
    let columns = rows.iter().map(|row| (row.before.as_slice(), row.after.as_slice())).collect::<Vec<_>>();
    let found = significance::compare(&columns, &settings)
        .map_err(|reason| Usage::error(format!("{}: nothing can be compared: {reason}", old.name)))?;
    let measures =
        rows.iter().zip(found).map(|(row, found)| measured(row, found, before)).collect::<Vec<_>>();
    let lost = new.missing.iter().filter(|query| !old.missing.contains(query)).cloned();
    Ok(SystemComparison {
        system: new.name.clone(),
        baseline_system: old.name.clone(),
        lost_measures,
        lost_queries: lost.collect(),
        judged_in_top_10: [old.judged_in_top_10, new.judged_in_top_10],
        same_rankings: old.rankings.as_ref().zip(new.rankings.as_ref()).map(|(old, new)| old == new),
        signs: signs(&measures),
        worst_queries: worst(&rows[0], old, new, before),
        measures,
    })
}

fn signs(measures: &[MeasureComparison]) -> Vec<String> {
    let changes = measures.iter().map(|one| (one.measure.as_str(), one.difference));
    ndcg_up_while_ap_falls(changes).into_iter().collect()
}

/// One measure's values on the queries both sides have: places of the queries, and both columns.
struct Row<'r> {
    name: &'r str,
    places: Vec<(usize, usize)>,
    before: Vec<f64>,
    after: Vec<f64>,
}

fn paired<'r>(old: &'r Measured, new: &Measured, common: &[(usize, usize)]) -> Row<'r> {
    let mut row = Row { name: &old.name, places: Vec::new(), before: Vec::new(), after: Vec::new() };
    for &(at, other) in common {
        let value = |column: &[Option<f64>], at: usize| column.get(at).copied().flatten();
        if let (Some(before), Some(after)) = (value(&old.values, at), value(&new.values, other)) {
            row.places.push((at, other));
            row.before.push(before);
            row.after.push(after);
        }
    }
    row
}

fn measured(row: &Row<'_>, found: Comparison, before: &Record) -> MeasureComparison {
    let values = row.places.iter().zip(row.before.iter().zip(&row.after));
    MeasureComparison {
        measure: row.name.to_owned(),
        queries: found.queries,
        baseline: found.baseline_mean,
        candidate: found.system_mean,
        difference: found.mean_difference,
        interval: found.interval.ok().map(|interval| [interval.lower, interval.upper]),
        randomization_p: found.randomization.ok().map(|test| test.p),
        t_test_p: found.t_test.ok().map(|test| test.p),
        holm_p: found.holm_p.ok(),
        cohens_d: found.cohens_d.ok(),
        wins: found.outcomes.wins,
        ties: found.outcomes.ties,
        losses: found.outcomes.losses,
        comparison: found,
        values: values.map(|((at, _), (old, new))| (before.queries[*at].clone(), *old, *new)).collect(),
    }
}

/// The queries that fell most, worst first; equal falls in the order of the judgments.
fn worst(row: &Row<'_>, old: &System, new: &System, before: &Record) -> Vec<QueryChange> {
    let mut fallen = (0..row.places.len()).filter(|&at| row.after[at] < row.before[at]).collect::<Vec<_>>();
    fallen.sort_by(|&a, &b| (row.after[a] - row.before[a]).total_cmp(&(row.after[b] - row.before[b])));
    let change = |at: usize| {
        let (here, there) = row.places[at];
        QueryChange {
            query: before.queries[here].clone(),
            measure: row.name.to_owned(),
            baseline: row.before[at],
            candidate: row.after[at],
            before: old.top.get(here).cloned().unwrap_or_default(),
            after: new.top.get(there).cloned().unwrap_or_default(),
        }
    };
    fallen.into_iter().take(WORST).map(change).collect()
}

fn compare_labels(
    old: &Agreement,
    new: &Agreement,
    common: &[(usize, usize)],
    wanted: &Wanted,
) -> anyhow::Result<Option<LabelComparison>> {
    if old.cells.is_empty() || new.cells.is_empty() {
        return Err(Usage::error("agreements of several raters keep no pairs: they cannot be compared"));
    }
    if old.pairs.max(new.pairs) > MOST_PAIRS {
        return Err(Usage::error(format!("expected at most {MOST_PAIRS} labelled pairs to compare")));
    }
    let bootstrap = Bootstrap::new(4_000, wanted.level, wanted.seed)
        .ok_or_else(|| Usage::error("the level must lie between 0 and 1"))?;
    let pairs = |agreement: &Agreement, place: fn(&(usize, usize)) -> usize| {
        let mut pairs = Vec::new();
        for (query, both) in (0..).zip(common) {
            for &(human, predicted, count) in agreement.cells.get(place(both)).into_iter().flatten() {
                pairs.extend((0..count).map(|_| RatedPair { query, human, predicted }));
            }
        }
        pairs
    };
    let (before, after) = (pairs(old, |both| both.0), pairs(new, |both| both.1));
    let value = |agreement: &Agreement, name: &str| {
        agreement.measures.iter().find(|measure| measure.name == name).and_then(|measure| measure.value)
    };
    let asked = |statistic: &Statistic| {
        wanted.measures.is_empty() || wanted.measures.iter().any(|name| name == statistic.name())
    };
    let found = changes(&before, &after, &bootstrap).into_iter().filter(|(statistic, _)| asked(statistic));
    let measures = found.map(|(statistic, estimate)| StatisticChange {
        measure: statistic.name().to_owned(),
        baseline: value(old, statistic.name()),
        candidate: value(new, statistic.name()),
        difference: estimate.value.ok(),
        interval: estimate.interval.ok().map(|interval| [interval.lower, interval.upper]),
        less_is_better: statistic.is_error(),
    });
    Ok(Some(LabelComparison {
        measures: measures.collect(),
        level: wanted.level,
        pairs: [old.pairs, new.pairs],
        unparsed: [old.unparsed, new.unparsed],
        grades: [old.grades.clone(), new.grades.clone()],
        confusion: [old.confusion.clone(), new.confusion.clone()],
    }))
}

fn compare_timings(before: &Record, after: &Record) -> (Vec<TimingComparison>, Vec<String>) {
    let (mut compared, mut lost) = (Vec::new(), Vec::new());
    for old in &before.timings {
        let same = |new: &&Timing| new.name == old.name && new.unit == old.unit;
        match after.timings.iter().find(same) {
            Some(new) => compared.extend(compare_timing(old, new, before, after)),
            None => lost.push(format!("{} ({})", old.name, old.unit)),
        }
    }
    (compared, lost)
}

fn compare_timing(old: &Timing, new: &Timing, before: &Record, after: &Record) -> Option<TimingComparison> {
    let (baseline, candidate) = (speed::median(&old.values)?, speed::median(&new.values)?);
    let machine = |record: &Record| record.machine.processor.clone().unwrap_or_else(|| "unknown".to_owned());
    let (old_machine, new_machine) = match old.unit {
        Unit::Seconds => (machine(before), machine(after)),
        Unit::Instructions => (before.machine.architecture.clone(), after.machine.architecture.clone()),
    };
    Some(TimingComparison {
        name: old.name.clone(),
        unit: old.unit,
        baseline,
        candidate,
        ratio: candidate / baseline,
        noise: speed::noise(&old.values).max(speed::noise(&new.values)),
        repeats: [old.values.len(), new.values.len()],
        incomparable: (old_machine != new_machine)
            .then(|| format!("measured on {old_machine}, then on {new_machine}")),
    })
}
