//! Everything `graded agree` prints: all statistics of two raters (or of many), each with its interval.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeStruct, Serializer};

use super::cohen_kappa::{Weights, cohen_kappa};
use super::confusion::{Confusion, OffScale, observed};
use super::error::{accuracy, mean_absolute_error};
use super::fleiss_kappa::fleiss;
use super::krippendorff_alpha::{Metric, alpha};
use super::per_grade::{GradeRow, macro_f1, per_grade};
use super::rank_correlation::Points;
use super::rated_units::RatedUnits;
use crate::resampling::{Bootstrap, Clusters, Estimate, Interval};
use crate::undefined::Undefined;
use crate::{Grade, LabeledPair, RatingTable, Scale};

/// One pair with a human and a predicted grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatedPair {
    /// A number for its query: pairs of one query are resampled together.
    pub query: u32,
    /// The human grade.
    pub human: Grade,
    /// The predicted grade.
    pub predicted: Grade,
}

/// A statistic of agreement, named as reports and JSON name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Statistic {
    CohenKappa,
    CohenKappaLinear,
    CohenKappaQuadratic,
    KrippendorffAlphaOrdinal,
    KrippendorffAlphaNominal,
    KrippendorffAlphaInterval,
    KrippendorffAlphaRatio,
    FleissKappa,
    KendallTauB,
    Spearman,
    Pearson,
    Mae,
    Accuracy,
    MacroF1,
}

use Statistic::{
    Accuracy, CohenKappa, CohenKappaLinear, CohenKappaQuadratic, FleissKappa, KendallTauB,
    KrippendorffAlphaInterval, KrippendorffAlphaNominal, KrippendorffAlphaOrdinal, KrippendorffAlphaRatio,
    MacroF1, Mae, Pearson, Spearman,
};

/// What is reported of two raters, in this order.
pub(super) const TWO_RATERS: [Statistic; 14] = [
    CohenKappa,
    CohenKappaLinear,
    CohenKappaQuadratic,
    KrippendorffAlphaOrdinal,
    KrippendorffAlphaNominal,
    KrippendorffAlphaInterval,
    KrippendorffAlphaRatio,
    FleissKappa,
    KendallTauB,
    Spearman,
    Pearson,
    Mae,
    Accuracy,
    MacroF1,
];

/// What is reported of any number of raters, in this order.
const ALL_RATERS: [Statistic; 5] = [
    KrippendorffAlphaOrdinal,
    KrippendorffAlphaNominal,
    KrippendorffAlphaInterval,
    KrippendorffAlphaRatio,
    FleissKappa,
];

/// What is reported of every two of many raters, in this order.
const RATER_PAIR: [Statistic; 5] = [CohenKappa, CohenKappaLinear, CohenKappaQuadratic, KendallTauB, Accuracy];

/// Beyond this many grades, rows per grade have no intervals: nobody reads them and they would fill the memory.
const MOST_GRADES_WITH_INTERVALS: usize = 64;

impl Statistic {
    /// Whether less of it is better: it measures error.
    pub fn is_error(self) -> bool {
        self == Mae
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            CohenKappa => "cohen_kappa",
            CohenKappaLinear => "cohen_kappa_linear",
            CohenKappaQuadratic => "cohen_kappa_quadratic",
            KrippendorffAlphaOrdinal => "krippendorff_alpha_ordinal",
            KrippendorffAlphaNominal => "krippendorff_alpha_nominal",
            KrippendorffAlphaInterval => "krippendorff_alpha_interval",
            KrippendorffAlphaRatio => "krippendorff_alpha_ratio",
            FleissKappa => "fleiss_kappa",
            KendallTauB => "kendall_tau_b",
            Spearman => "spearman",
            Pearson => "pearson",
            Mae => "mae",
            Accuracy => "accuracy",
            MacroF1 => "macro_f1",
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table of two raters in the three forms its statistics want it in; all three count the same cells.
pub(super) struct TwoRaters {
    pub(super) confusion: Confusion,
    units: RatedUnits,
    points: Points,
}

impl TwoRaters {
    pub(super) fn new(confusion: Confusion) -> Self {
        let (units, points) = (RatedUnits::from_confusion(&confusion), Points::from_confusion(&confusion));
        Self { confusion, units, points }
    }

    /// The statistic when the cells occur as often as `table`, which has this table's cells, says.
    pub(super) fn evaluate(&self, statistic: Statistic, table: &Confusion) -> Result<f64, Undefined> {
        match statistic {
            CohenKappa => cohen_kappa(table, Weights::Plain),
            CohenKappaLinear => cohen_kappa(table, Weights::Linear),
            CohenKappaQuadratic => cohen_kappa(table, Weights::Quadratic),
            KrippendorffAlphaOrdinal => alpha(&self.units, &table.counts, Metric::Ordinal),
            KrippendorffAlphaNominal => alpha(&self.units, &table.counts, Metric::Nominal),
            KrippendorffAlphaInterval => alpha(&self.units, &table.counts, Metric::Interval),
            KrippendorffAlphaRatio => alpha(&self.units, &table.counts, Metric::Ratio),
            FleissKappa => fleiss(&self.units, &table.counts),
            KendallTauB => self.points.kendall_tau_b(&table.counts),
            Spearman => self.points.spearman(&table.counts),
            Pearson => self.points.pearson(&table.counts),
            Mae => mean_absolute_error(table),
            Accuracy => accuracy(table),
            MacroF1 => macro_f1(table),
        }
    }

    /// The statistics, then precision, recall and F1 of every grade when `grades` asks for them.
    fn all(&self, statistics: &[Statistic], grades: bool, table: &Confusion) -> Vec<Result<f64, Undefined>> {
        let named = statistics.iter().map(|&statistic| self.evaluate(statistic, table));
        let rows = if grades { per_grade(table) } else { Vec::new() };
        named.chain(rows.into_iter().flat_map(|row| [row.precision, row.recall, row.f1])).collect()
    }

    fn estimates(
        &self,
        statistics: &[Statistic],
        grades: bool,
        clusters: &Clusters,
        bootstrap: &Bootstrap,
    ) -> Vec<Estimate> {
        let values = self.all(statistics, grades, &self.confusion);
        let intervals = bootstrap.intervals(clusters, &values, |counts, out| {
            let table = Confusion { counts: counts.to_vec(), ..self.confusion.clone() };
            let replicate = self.all(statistics, grades, &table);
            out.iter_mut().zip(replicate).for_each(|(out, value)| *out = value.unwrap_or(f64::NAN));
        });
        values.into_iter().zip(intervals).map(|(value, interval)| Estimate { value, interval }).collect()
    }
}

/// How well one grade is predicted, with intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradeReport {
    /// The counts and values.
    pub row: GradeRow,
    /// Of the precision.
    pub precision_interval: Result<Interval, Undefined>,
    /// Of the recall.
    pub recall_interval: Result<Interval, Undefined>,
    /// Of F1.
    pub f1_interval: Result<Interval, Undefined>,
}

/// The agreement of predicted with human grades.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Pairs with both grades.
    pub pairs: u64,
    /// Pairs with a human grade but no predicted one: the prediction could not be read.
    pub unparsed: u64,
    /// Queries the pairs belong to, which is what the intervals resample.
    pub queries: usize,
    /// The statistics of agreement with their intervals.
    pub measures: Vec<(Statistic, Estimate)>,
    /// The confusion table.
    pub confusion: Confusion,
    /// Precision, recall and F1 per grade.
    pub per_grade: Vec<GradeReport>,
    /// The settings of the intervals.
    pub bootstrap: Bootstrap,
}

impl Report {
    /// The report of `pairs` over the grades that occur.
    pub fn of(pairs: &[RatedPair], bootstrap: &Bootstrap) -> Self {
        Self::tabulated(
            observed(pairs.iter().flat_map(|pair| [pair.human, pair.predicted])),
            pairs,
            bootstrap,
        )
    }

    /// The report of `pairs` over all levels of `scale`.
    ///
    /// # Errors
    /// A grade that the scale does not have.
    pub fn over(scale: &Scale, pairs: &[RatedPair], bootstrap: &Bootstrap) -> Result<Self, OffScale> {
        let mut grades = pairs.iter().flat_map(|pair| [pair.human, pair.predicted]);
        match grades.find(|&grade| !scale.contains(grade)) {
            Some(grade) => Err(OffScale { grade, scale: scale.name().to_owned() }),
            None => Ok(Self::tabulated(levels(scale), pairs, bootstrap)),
        }
    }

    /// The report of labelled pairs over the grades that occur. Pairs without a human grade are passed over; those
    /// with a human grade only are counted as unparsed.
    pub fn of_labeled(pairs: &[LabeledPair], bootstrap: &Bootstrap) -> Self {
        let rated = rated_pairs(pairs);
        let judged = pairs.iter().filter(|pair| pair.human.is_some()).count();
        Self { unparsed: (judged - rated.len()) as u64, ..Self::of(&rated, bootstrap) }
    }

    /// The value and interval of one statistic.
    pub fn get(&self, statistic: Statistic) -> Option<Estimate> {
        self.measures.iter().find(|(named, _)| *named == statistic).map(|&(_, estimate)| estimate)
    }

    fn tabulated(grades: Vec<Grade>, pairs: &[RatedPair], bootstrap: &Bootstrap) -> Self {
        let (two, clusters) = tabulate(grades, pairs);
        let with_grades = two.confusion.grades.len() <= MOST_GRADES_WITH_INTERVALS;
        let estimates = two.estimates(&TWO_RATERS, with_grades, &clusters, bootstrap);
        let (named, of_grades) = estimates.split_at(TWO_RATERS.len());
        Self {
            pairs: two.confusion.pairs(),
            unparsed: 0,
            queries: clusters.len(),
            measures: TWO_RATERS.into_iter().zip(named.iter().copied()).collect(),
            per_grade: grade_reports(&two.confusion, of_grades),
            confusion: two.confusion,
            bootstrap: *bootstrap,
        }
    }
}

/// The pairs that have both grades, their queries numbered in the order they first appear.
pub fn rated_pairs(pairs: &[LabeledPair]) -> Vec<RatedPair> {
    let mut numbers: FxHashMap<&str, u32> = FxHashMap::default();
    let rated = pairs.iter().filter_map(|pair| {
        let next = numbers.len() as u32;
        let query = *numbers.entry(&pair.query).or_insert(next);
        Some(RatedPair { query, human: pair.human?, predicted: pair.predicted? })
    });
    rated.collect()
}

fn levels(scale: &Scale) -> Vec<Grade> {
    scale.levels().iter().map(|level| level.grade).collect()
}

fn tabulate(grades: Vec<Grade>, pairs: &[RatedPair]) -> (TwoRaters, Clusters) {
    let sides: Vec<(Grade, Grade)> = pairs.iter().map(|pair| (pair.human, pair.predicted)).collect();
    let queries: Vec<u32> = pairs.iter().map(|pair| pair.query).collect();
    let (confusion, cell_of) = Confusion::tabulate(grades, &sides);
    let clusters = Clusters::new(&queries, &cell_of, confusion.cells.len());
    (TwoRaters::new(confusion), clusters)
}

fn grade_reports(confusion: &Confusion, estimates: &[Estimate]) -> Vec<GradeReport> {
    let mut intervals = estimates.iter().map(|estimate| estimate.interval);
    let mut next = || intervals.next().unwrap_or(Err(Undefined::TooManyGrades));
    let report =
        |row| GradeReport { row, precision_interval: next(), recall_interval: next(), f1_interval: next() };
    per_grade(confusion).into_iter().map(report).collect()
}

/// The agreement of every two raters of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct RaterPairReport {
    /// The column of one rater.
    pub first: usize,
    /// The column of the other.
    pub second: usize,
    /// Units both of them graded.
    pub pairs: u64,
    /// Cohen's kappas, tau-b and accuracy with their intervals.
    pub measures: Vec<(Statistic, Estimate)>,
}

/// The agreement of any number of raters.
#[derive(Clone, Debug, PartialEq)]
pub struct RatersReport {
    /// How many raters there are.
    pub raters: usize,
    /// How many units there are.
    pub units: usize,
    /// How many ratings there are.
    pub ratings: u64,
    /// Queries the units belong to, which is what the intervals resample.
    pub queries: usize,
    /// Krippendorff's alphas and Fleiss' kappa with their intervals.
    pub measures: Vec<(Statistic, Estimate)>,
    /// Every two raters over the units both of them graded.
    pub rater_pairs: Vec<RaterPairReport>,
    /// The settings of the intervals.
    pub bootstrap: Bootstrap,
}

/// The report of a table of ratings; `queries[i]` is a number for the query of row `i`.
///
/// # Errors
/// [`Undefined::UnequalLengths`] when `queries` is not as long as the table.
pub fn raters_report(
    table: &RatingTable,
    queries: &[u32],
    bootstrap: &Bootstrap,
) -> Result<RatersReport, Undefined> {
    if queries.len() != table.len() {
        return Err(Undefined::UnequalLengths);
    }
    let (units, pattern_of) = RatedUnits::of(table);
    let clusters = Clusters::new(queries, &pattern_of, units.patterns());
    let all = |counts: &[u64]| ALL_RATERS.map(|statistic| of_all_raters(statistic, &units, counts));
    let values = all(&units.counts);
    let intervals = bootstrap.intervals(&clusters, &values, |counts, out| {
        out.iter_mut().zip(all(counts)).for_each(|(out, value)| *out = value.unwrap_or(f64::NAN));
    });
    let estimates = values.into_iter().zip(intervals).map(|(value, interval)| Estimate { value, interval });
    Ok(RatersReport {
        raters: table.raters(),
        units: table.len(),
        ratings: table.rows().flatten().flatten().count() as u64,
        queries: clusters.len(),
        measures: ALL_RATERS.into_iter().zip(estimates).collect(),
        rater_pairs: rater_pairs(table, queries, bootstrap),
        bootstrap: *bootstrap,
    })
}

fn of_all_raters(statistic: Statistic, units: &RatedUnits, counts: &[u64]) -> Result<f64, Undefined> {
    match statistic {
        KrippendorffAlphaNominal => alpha(units, counts, Metric::Nominal),
        KrippendorffAlphaInterval => alpha(units, counts, Metric::Interval),
        KrippendorffAlphaRatio => alpha(units, counts, Metric::Ratio),
        FleissKappa => fleiss(units, counts),
        _ => alpha(units, counts, Metric::Ordinal),
    }
}

fn rater_pairs(table: &RatingTable, queries: &[u32], bootstrap: &Bootstrap) -> Vec<RaterPairReport> {
    let grades = observed(table.rows().flatten().flatten().copied());
    let every_two = (0..table.raters()).flat_map(|a| (a + 1..table.raters()).map(move |b| (a, b)));
    let report = |(first, second): (usize, usize)| {
        let both = table.rows().zip(queries).filter_map(|(row, &query)| {
            Some(RatedPair { query, human: row[first]?, predicted: row[second]? })
        });
        let (two, clusters) = tabulate(grades.clone(), &both.collect::<Vec<_>>());
        let estimates = two.estimates(&RATER_PAIR, false, &clusters, bootstrap);
        let measures = RATER_PAIR.into_iter().zip(estimates).collect();
        RaterPairReport { first, second, pairs: two.confusion.pairs(), measures }
    };
    every_two.map(report).collect()
}

/// The measures of a report as the three objects `measures`, `intervals` and `undefined`.
struct Measures<'a>(&'a [(Statistic, Estimate)]);

impl Measures<'_> {
    fn write<S: SerializeStruct>(&self, object: &mut S) -> Result<(), S::Error> {
        let named = |(statistic, estimate): &(Statistic, Estimate)| (statistic.name(), *estimate);
        object.serialize_field(
            "measures",
            &Object(self.0.iter().map(named).map(|(n, e)| (n, e.value.ok())).collect()),
        )?;
        object.serialize_field(
            "intervals",
            &Object(self.0.iter().map(named).map(|(n, e)| (n, e.interval.ok())).collect()),
        )?;
        object.serialize_field(
            "undefined",
            &Object(self.0.iter().map(named).filter_map(|(n, e)| Some((n, e.value.err()?))).collect()),
        )
    }
}

/// Named values as a JSON object in the order they stand.
struct Object<V>(Vec<(&'static str, V)>);

impl<V: Serialize> Serialize for Object<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| object.serialize_entry(name, value))?;
        object.end()
    }
}

impl Serialize for GradeReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("GradeReport", 7)?;
        object.serialize_field("grade", &self.row.grade)?;
        object.serialize_field("human", &self.row.human)?;
        object.serialize_field("predicted", &self.row.predicted)?;
        object.serialize_field("precision", &self.row.precision.ok())?;
        object.serialize_field("recall", &self.row.recall.ok())?;
        object.serialize_field("f1", &self.row.f1.ok())?;
        let intervals = [
            ("precision", self.precision_interval.ok()),
            ("recall", self.recall_interval.ok()),
            ("f1", self.f1_interval.ok()),
        ];
        object.serialize_field("intervals", &Object(intervals.to_vec()))?;
        object.end()
    }
}

impl Serialize for Report {
    /// The JSON contract of `graded agree`: an undefined value is `null`, and its reason stands under `undefined`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Report", 10)?;
        object.serialize_field("pairs", &self.pairs)?;
        object.serialize_field("unparsed", &self.unparsed)?;
        object.serialize_field("queries", &self.queries)?;
        Measures(&self.measures).write(&mut object)?;
        object.serialize_field("grades", self.confusion.grades())?;
        object.serialize_field("confusion", &self.confusion)?;
        object.serialize_field("per_grade", &self.per_grade)?;
        object.serialize_field("bootstrap", &self.bootstrap)?;
        object.end()
    }
}

/// A report and the name of what it is about: the whole document `graded agree` prints of one file of pairs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FileReport<'a> {
    /// The agreement.
    #[serde(flatten)]
    pub report: &'a Report,
    /// The file, as it was named.
    pub file: &'a str,
    /// What predicted the grades, where a labeler did.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted<'a>>,
}

/// A labeler behind predicted grades, and what it predicted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Predicted<'a> {
    /// The labeler's digest.
    pub labeler: &'a str,
    /// The digest of every score, in the order of the pairs: equal digests are equal bits.
    pub scores_digest: &'a str,
}

impl Serialize for RaterPairReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("RaterPairReport", 6)?;
        object.serialize_field("first", &self.first)?;
        object.serialize_field("second", &self.second)?;
        object.serialize_field("pairs", &self.pairs)?;
        Measures(&self.measures).write(&mut object)?;
        object.end()
    }
}

impl Serialize for RatersReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("RatersReport", 9)?;
        object.serialize_field("raters", &self.raters)?;
        object.serialize_field("units", &self.units)?;
        object.serialize_field("ratings", &self.ratings)?;
        object.serialize_field("queries", &self.queries)?;
        Measures(&self.measures).write(&mut object)?;
        object.serialize_field("rater_pairs", &self.rater_pairs)?;
        object.serialize_field("bootstrap", &self.bootstrap)?;
        object.end()
    }
}
