//! Every statistic against its definition written out, and what must hold for any data.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::resampling::{Bootstrap, IntervalMethod};
use crate::undefined::Undefined;
use crate::{Grade, RatingTable};

/// The definitions, as plain as they can be written.
mod plain {
    use super::*;

    pub fn kappa(pairs: &[(Grade, Grade)], weight: impl Fn(usize, usize) -> f64) -> Option<f64> {
        let mut grades: Vec<Grade> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
        grades.sort_unstable();
        grades.dedup();
        let at = |grade: Grade| grades.iter().position(|g| *g == grade).unwrap();
        let observed: f64 = pairs.iter().map(|&(a, b)| weight(at(a), at(b))).sum();
        let every_two = pairs.iter().flat_map(|&(a, _)| pairs.iter().map(move |&(_, b)| (a, b)));
        let expected: f64 = every_two.map(|(a, b)| weight(at(a), at(b))).sum::<f64>() / pairs.len() as f64;
        (expected > 0.0).then(|| 1.0 - observed / expected)
    }

    /// Alpha by way of the coincidence matrix.
    pub fn alpha(table: &RatingTable, metric: Metric) -> Option<f64> {
        let mut grades: Vec<Grade> = table.rows().flatten().flatten().copied().collect();
        grades.sort_unstable();
        grades.dedup();
        let k = grades.len();
        let mut coincidences = vec![vec![0.0; k]; k];
        for row in table.rows() {
            let ratings: Vec<usize> =
                row.iter().flatten().map(|g| grades.iter().position(|x| x == g).unwrap()).collect();
            for (i, &c) in ratings.iter().enumerate() {
                for (_, &k) in ratings.iter().enumerate().filter(|&(j, _)| j != i) {
                    coincidences[c][k] += 1.0 / (ratings.len() - 1) as f64;
                }
            }
        }
        let margins: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
        let n: f64 = margins.iter().sum();
        let delta2 = |c: usize, k: usize| -> f64 {
            let (low, high) = (c.min(k), c.max(k));
            let (a, b) = (f64::from(grades[c]), f64::from(grades[k]));
            match metric {
                Metric::Nominal => f64::from(u8::from(c != k)),
                Metric::Ordinal => {
                    (margins[low..=high].iter().sum::<f64>() - (margins[c] + margins[k]) / 2.0).powi(2)
                }
                Metric::Interval => (a - b).powi(2),
                Metric::Ratio if c == k => 0.0,
                Metric::Ratio => ((a - b) / (a + b)).powi(2),
            }
        };
        let every_two = || (0..k).flat_map(|c| (0..k).map(move |k| (c, k)));
        let observed: f64 = every_two().map(|(c, k)| coincidences[c][k] * delta2(c, k)).sum();
        let expected: f64 = every_two().map(|(c, k)| margins[c] * margins[k] * delta2(c, k)).sum();
        (expected > 0.0).then(|| 1.0 - (n - 1.0) * observed / expected)
    }

    pub fn tau_b(x: &[f64], y: &[f64]) -> Option<f64> {
        let sign = |difference: f64| if difference == 0.0 { 0.0 } else { difference.signum() };
        let (mut balance, mut untied_x, mut untied_y) = (0.0, 0.0, 0.0);
        for i in 0..x.len() {
            for j in 0..i {
                let (a, b) = (sign(x[i] - x[j]), sign(y[i] - y[j]));
                balance += a * b;
                untied_x += a * a;
                untied_y += b * b;
            }
        }
        let scale = f64::sqrt(untied_x) * f64::sqrt(untied_y);
        (scale > 0.0).then(|| balance / scale)
    }

    pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
        let n = x.len() as f64;
        let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
        let moment = |a: &[f64], b: &[f64]| {
            let (mean_a, mean_b) = (mean(a), mean(b));
            a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>()
        };
        let constant = |v: &[f64]| v.iter().all(|value| *value == v[0]);
        (x.len() > 1 && !constant(x) && !constant(y))
            .then(|| moment(x, y) / (moment(x, x).sqrt() * moment(y, y).sqrt()))
    }

    pub fn ranks(v: &[f64]) -> Vec<f64> {
        let rank = |value: f64| {
            let below = v.iter().filter(|other| **other < value).count() as f64;
            let equal = v.iter().filter(|other| **other == value).count() as f64;
            below + (equal + 1.0) / 2.0
        };
        v.iter().map(|&value| rank(value)).collect()
    }

    /// AP correlation averaged over every order of the systems that the estimate leaves tied.
    pub fn tau_ap(truth: &[f64], estimate: &[f64]) -> f64 {
        let orders = orders(&(0..truth.len()).collect::<Vec<_>>());
        let fits = |order: &&Vec<usize>| order.windows(2).all(|two| estimate[two[0]] >= estimate[two[1]]);
        let values: Vec<f64> = orders.iter().filter(fits).map(|order| one_order(truth, order)).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn one_order(truth: &[f64], order: &[usize]) -> f64 {
        let right = |above: usize, below: usize| match truth[above].total_cmp(&truth[below]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        let share = |i: usize| (0..i).map(|j| right(order[j], order[i])).sum::<f64>() / i as f64;
        2.0 / (order.len() - 1) as f64 * (1..order.len()).map(share).sum::<f64>() - 1.0
    }

    fn orders(systems: &[usize]) -> Vec<Vec<usize>> {
        if systems.is_empty() {
            return vec![Vec::new()];
        }
        let first = |&system: &usize| {
            let others: Vec<usize> = systems.iter().copied().filter(|other| *other != system).collect();
            orders(&others).into_iter().map(move |order| [vec![system], order].concat())
        };
        systems.iter().flat_map(first).collect()
    }
}

fn table_of(rows: &[Vec<Option<Grade>>]) -> RatingTable {
    let mut table = RatingTable::new(rows.first().map_or(2, Vec::len));
    rows.iter().for_each(|row| table.push(row));
    table
}

fn two_columns(pairs: &[(Grade, Grade)]) -> RatingTable {
    table_of(&pairs.iter().map(|&(a, b)| vec![Some(a), Some(b)]).collect::<Vec<_>>())
}

fn same(ours: Result<f64, Undefined>, plain: Option<f64>) -> bool {
    match (ours, plain) {
        (Ok(ours), Some(plain)) => (ours - plain).abs() < 1e-9,
        (Err(_), None) => true,
        _ => false,
    }
}

const METRICS: [Metric; 4] = [Metric::Nominal, Metric::Ordinal, Metric::Interval, Metric::Ratio];
const WEIGHTS: [Weights; 3] = [Weights::Plain, Weights::Linear, Weights::Quadratic];

fn few_grades() -> impl Strategy<Value = Vec<(Grade, Grade)>> {
    prop::collection::vec((-1..4, -1..4), 1..60)
}

fn many_grades() -> impl Strategy<Value = Vec<(Grade, Grade)>> {
    prop::collection::vec((any::<i16>().prop_map(i32::from), any::<i16>().prop_map(i32::from)), 1..60)
}

fn ratings() -> impl Strategy<Value = Vec<Vec<Option<Grade>>>> {
    (2usize..6).prop_flat_map(|raters| {
        prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, 0..5), raters), 1..30)
    })
}

fn series() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    prop::collection::vec((-8i32..8, -8i32..8), 1..40)
        .prop_map(|points| points.into_iter().map(|(x, y)| (f64::from(x) / 4.0, f64::from(y) / 4.0)).unzip())
}

proptest! {
    #[test]
    fn kappa_is_its_definition(pairs in prop_oneof![few_grades(), many_grades()]) {
        let confusion = Confusion::of(&pairs);
        let step = |i: usize, j: usize| i.abs_diff(j) as f64;
        prop_assert!(same(
            cohen_kappa(&confusion, Weights::Plain),
            plain::kappa(&pairs, |i, j| f64::from(u8::from(i != j)))
        ));
        prop_assert!(same(cohen_kappa(&confusion, Weights::Linear), plain::kappa(&pairs, step)));
        prop_assert!(same(cohen_kappa(&confusion, Weights::Quadratic), plain::kappa(&pairs, |i, j| step(i, j).powi(2))));
    }

    #[test]
    fn alpha_is_its_definition(rows in ratings()) {
        let table = table_of(&rows);
        for metric in METRICS {
            prop_assert!(same(krippendorff_alpha(&table, metric), plain::alpha(&table, metric)), "{metric:?}");
        }
    }

    #[test]
    fn alpha_over_many_grades_is_its_definition(pairs in many_grades()) {
        let table = two_columns(&pairs);
        for metric in [Metric::Nominal, Metric::Ordinal, Metric::Interval] {
            prop_assert!(same(krippendorff_alpha(&table, metric), plain::alpha(&table, metric)), "{metric:?}");
        }
    }

    #[test]
    fn correlations_are_their_definitions((x, y) in series()) {
        prop_assert!(same(kendall_tau_b(&x, &y), plain::tau_b(&x, &y)));
        prop_assert!(same(pearson(&x, &y), plain::pearson(&x, &y)));
        prop_assert!(same(spearman(&x, &y), plain::pearson(&plain::ranks(&x), &plain::ranks(&y))));
    }

    #[test]
    fn tau_ap_is_the_mean_over_orders_of_ties(scores in prop::collection::vec((0i32..5, 0i32..5), 2..7)) {
        let (truth, estimate): (Vec<f64>, Vec<f64>) =
            scores.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).unzip();
        prop_assert!(same(tau_ap(&truth, &estimate), Some(plain::tau_ap(&truth, &estimate))));
    }

    #[test]
    fn it_does_not_matter_who_is_called_the_human(pairs in few_grades()) {
        let swapped: Vec<_> = pairs.iter().map(|&(a, b)| (b, a)).collect();
        let (one, other) = (Confusion::of(&pairs), Confusion::of(&swapped));
        for weights in WEIGHTS {
            prop_assert!(same(cohen_kappa(&one, weights), cohen_kappa(&other, weights).ok()));
        }
        prop_assert!(same(macro_f1(&one), macro_f1(&other).ok()));
        for (row, mirrored) in per_grade(&one).iter().zip(per_grade(&other)) {
            prop_assert_eq!(row.precision.ok(), mirrored.recall.ok());
        }
        for metric in METRICS {
            prop_assert_eq!(
                krippendorff_alpha(&two_columns(&pairs), metric),
                krippendorff_alpha(&two_columns(&swapped), metric)
            );
        }
    }

    #[test]
    fn a_rater_agrees_with_itself(grades in prop::collection::vec(0..5, 2..50)) {
        prop_assume!(grades.iter().any(|grade| *grade != grades[0]));
        let pairs: Vec<(Grade, Grade)> = grades.iter().map(|&grade| (grade, grade)).collect();
        let confusion = Confusion::of(&pairs);
        for weights in WEIGHTS {
            prop_assert_eq!(cohen_kappa(&confusion, weights), Ok(1.0));
        }
        for metric in METRICS {
            prop_assert_eq!(krippendorff_alpha(&two_columns(&pairs), metric), Ok(1.0));
        }
        prop_assert!(same(fleiss_kappa(&two_columns(&pairs)), Some(1.0)));
        prop_assert_eq!(macro_f1(&confusion), Ok(1.0));
        prop_assert_eq!(accuracy(&confusion), Ok(1.0));
        prop_assert_eq!(mean_absolute_error(&confusion), Ok(0.0));
    }

    #[test]
    fn nominal_agreement_does_not_ask_what_grades_are_called(rows in ratings()) {
        let names = [40, -7, 3, 1_000_000, 0];
        let rename = |row: &Vec<Option<Grade>>| row.iter().map(|g| g.map(|g| names[g as usize])).collect::<Vec<_>>();
        let renamed = table_of(&rows.iter().map(rename).collect::<Vec<_>>());
        let nominal = krippendorff_alpha(&table_of(&rows), Metric::Nominal);
        prop_assert!(same(krippendorff_alpha(&renamed, Metric::Nominal), nominal.ok()));
        prop_assert!(same(fleiss_kappa(&renamed), fleiss_kappa(&table_of(&rows)).ok()));
    }

    #[test]
    fn ordinal_agreement_asks_only_for_the_order(rows in ratings()) {
        let stretched = [-50, 0, 1, 2, 90];
        let stretch =
            |row: &Vec<Option<Grade>>| row.iter().map(|g| g.map(|g| stretched[g as usize])).collect::<Vec<_>>();
        let table = table_of(&rows.iter().map(stretch).collect::<Vec<_>>());
        let ordinal = krippendorff_alpha(&table_of(&rows), Metric::Ordinal);
        prop_assert!(same(krippendorff_alpha(&table, Metric::Ordinal), ordinal.ok()));
    }

    #[test]
    fn every_value_and_interval_is_a_number_or_has_a_reason(
        pairs in prop_oneof![few_grades(), prop::collection::vec((any::<i32>(), any::<i32>()), 0..40)],
        per_query in 1usize..5,
        bca in any::<bool>(),
    ) {
        let rated = rated(&pairs, per_query);
        let method = if bca { IntervalMethod::Bca } else { IntervalMethod::Percentile };
        let report = Report::of(&rated, &Bootstrap::new(40, 0.9, 7).unwrap().with_method(method));
        for (statistic, estimate) in &report.measures {
            prop_assert!(estimate.value.is_none_or_finite(), "{statistic}: {:?}", estimate.value);
            if let Ok(interval) = estimate.interval {
                prop_assert!(interval.lower.is_finite() && interval.lower <= interval.upper, "{statistic}: {interval:?}");
            }
        }
        prop_assert_eq!(report.pairs, pairs.len() as u64);
    }
}

trait NumberOrReason {
    fn is_none_or_finite(&self) -> bool;
}

impl NumberOrReason for Result<f64, Undefined> {
    fn is_none_or_finite(&self) -> bool {
        self.is_ok_and(f64::is_finite) || self.is_err()
    }
}

fn rated(pairs: &[(Grade, Grade)], per_query: usize) -> Vec<RatedPair> {
    let pair = |(at, &(human, predicted)): (usize, &(Grade, Grade))| RatedPair {
        query: (at / per_query) as u32,
        human,
        predicted,
    };
    pairs.iter().enumerate().map(pair).collect()
}

/// Pairs that agree about two times in three, on four grades.
fn noisy_pairs(count: u32) -> Vec<(Grade, Grade)> {
    let mixed = |at: u32| (at.wrapping_mul(2_654_435_761) >> 7) as Grade;
    (0..count)
        .map(|at| {
            (mixed(at) & 3, if mixed(at + count) % 3 > 0 { mixed(at) & 3 } else { mixed(2 * at + 1) & 3 })
        })
        .collect()
}

#[test]
fn intervals_depend_on_the_seed_and_on_nothing_else() {
    let pairs = rated(&noisy_pairs(900), 9);
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Report::of(&pairs, &Bootstrap::default()))
    };
    let report = with_threads(1);
    assert_eq!(report, with_threads(4));

    let mut shuffled = pairs.clone();
    shuffled.reverse();
    shuffled.iter_mut().for_each(|pair| pair.query = 1_000 - 3 * pair.query);
    assert_eq!(report, Report::of(&shuffled, &Bootstrap::default()), "the order of the file does not matter");

    let other_seed = Report::of(&pairs, &Bootstrap::default().with_seed(1));
    let lower = |report: &Report| report.get(Statistic::CohenKappa).unwrap().interval.unwrap().lower;
    assert_ne!(lower(&report), lower(&other_seed));
}

#[test]
fn intervals_hold_the_estimate_and_narrow_with_more_queries() {
    let width = |count: u32| {
        let report = Report::of(&rated(&noisy_pairs(count), 5), &Bootstrap::default());
        for (statistic, estimate) in &report.measures {
            let (value, interval) = (estimate.value.unwrap(), estimate.interval.unwrap());
            assert!(interval.lower <= value && value <= interval.upper, "{statistic}: {estimate:?}");
        }
        let interval = report.get(Statistic::KrippendorffAlphaOrdinal).unwrap().interval.unwrap();
        interval.upper - interval.lower
    };
    let (few, many) = (width(200), width(3_200));
    let ratio = few / many;
    assert!((3.0..5.5).contains(&ratio), "sixteen times the queries, a quarter of the width: {ratio}");
}

#[test]
fn clusters_drawn_whole_widen_the_interval() {
    // Ten copies of every pair: as good as ten queries of one pair when the copies are drawn together.
    let pairs: Vec<(Grade, Grade)> = noisy_pairs(60).into_iter().flat_map(|pair| [pair; 10]).collect();
    let width = |per_query| {
        let report = Report::of(&rated(&pairs, per_query), &Bootstrap::default());
        let interval = report.get(Statistic::Accuracy).unwrap().interval.unwrap();
        interval.upper - interval.lower
    };
    let ratio = width(10) / width(1);
    assert!((2.5..4.0).contains(&ratio), "about the square root of ten: {ratio}");
}

#[test]
fn what_has_no_value_says_why() {
    let empty = Confusion::of(&[]);
    assert_eq!(cohen_kappa(&empty, Weights::Plain), Err(Undefined::NoPairs));
    assert_eq!(accuracy(&empty), Err(Undefined::NoPairs));
    assert_eq!(macro_f1(&empty), Err(Undefined::NoPairs));
    assert_eq!(kendall_tau_b(&[], &[]), Err(Undefined::NoPairs));
    assert_eq!(kendall_tau_b(&[1.0], &[2.0]), Err(Undefined::OnePair));
    assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), Err(Undefined::ConstantSide));
    assert_eq!(pearson(&[1.0, f64::NAN], &[1.0, 2.0]), Err(Undefined::NotFinite));
    assert_eq!(pearson(&[1.0], &[1.0, 2.0]), Err(Undefined::UnequalLengths));
    assert_eq!(tau_ap(&[1.0], &[1.0]), Err(Undefined::OnePair));
    let lonely = table_of(&[vec![Some(1), None], vec![None, Some(2)]]);
    assert_eq!(krippendorff_alpha(&lonely, Metric::Ordinal), Err(Undefined::NoPairs));
    assert_eq!(fleiss_kappa(&lonely), Err(Undefined::NoPairs));
    let uneven = table_of(&[vec![Some(1), Some(2)], vec![None, Some(2)]]);
    assert_eq!(fleiss_kappa(&uneven), Err(Undefined::UnequalRatings));
    assert_eq!(krippendorff_alpha(&two_columns(&[(-1, 2)]), Metric::Ratio), Err(Undefined::NegativeGrade));
    assert_eq!(krippendorff_alpha(&two_columns(&[(2, 2)]), Metric::Nominal), Err(Undefined::OneCategory));
    let one_query = raters_report(&two_columns(&[(1, 2), (2, 2)]), &[5, 5], &Bootstrap::default()).unwrap();
    assert!(
        one_query.measures.iter().all(|(_, e)| e.value.is_ok() && e.interval == Err(Undefined::OneCluster))
    );
    let mismatch = raters_report(&two_columns(&[(1, 2)]), &[], &Bootstrap::default());
    assert_eq!(mismatch, Err(Undefined::UnequalLengths));
}

#[test]
fn extreme_numbers_stay_finite() {
    let x = [1e308, -1e308, 3e307, 0.0];
    assert!(pearson(&x, &[1.0, 2.0, 3.0, 4.0]).unwrap().is_finite());
    assert_eq!(
        kendall_tau_b(&[0.0, -0.0], &[1.0, 2.0]),
        Err(Undefined::ConstantSide),
        "both zeros are the same number"
    );
    let confusion = Confusion::of(&[(Grade::MIN, Grade::MAX), (Grade::MAX, Grade::MAX)]);
    assert_eq!(mean_absolute_error(&confusion), Ok(f64::from(u32::MAX) / 2.0));
}

#[test]
fn a_scale_keeps_the_levels_nobody_used() {
    let scale = crate::Scale::ssra();
    let pairs = [(0, 0), (3, 0), (3, 3)];
    let confusion = Confusion::over(&scale, &pairs).unwrap();
    assert_eq!(confusion.grades(), [0, 1, 2, 3]);
    assert_eq!(confusion.rows().map(|row| row.len()).collect::<Vec<_>>(), [4; 4]);
    assert_eq!((confusion.count(3, 0), confusion.count(0, 3), confusion.count(9, 0)), (1, 0, 0));
    let off = Confusion::over(&scale, &[(0, 4)]).unwrap_err();
    assert_eq!(off.to_string(), "grade 4 is not on the scale `ssra`");
    assert!(Report::over(&scale, &rated(&[(0, -1)], 1), &Bootstrap::default()).is_err());
    // 0, 2, 3 observed: over the scale the step from 0 to 2 is two.
    let pairs = [(0, 2), (2, 2), (3, 3), (0, 0)];
    let observed = cohen_kappa(&Confusion::of(&pairs), Weights::Linear).unwrap();
    let on_scale = cohen_kappa(&Confusion::over(&scale, &pairs).unwrap(), Weights::Linear).unwrap();
    assert!((observed - (1.0 - 2.0 / 7.0)).abs() < 1e-12, "{observed}");
    assert!((on_scale - (1.0 - 4.0 / 11.0)).abs() < 1e-12, "{on_scale}");
}

#[test]
fn unreadable_predictions_are_counted() {
    let pair = |query: &str, human, predicted| crate::LabeledPair {
        query: query.to_owned(),
        human,
        predicted,
        ..Default::default()
    };
    let pairs = [
        pair("a", Some(1), Some(1)),
        pair("a", Some(2), None),
        pair("b", None, Some(0)),
        pair("b", Some(0), Some(1)),
    ];
    let report = Report::of_labeled(&pairs, &Bootstrap::default());
    assert_eq!((report.pairs, report.unparsed, report.queries), (2, 1, 2));
}

#[test]
fn systems_ranked_alike_agree_and_the_top_weighs_more() {
    let truth = [5.0, 4.0, 3.0, 2.0, 1.0];
    assert_eq!(tau_ap(&truth, &truth), Ok(1.0));
    assert_eq!(tau_ap(&truth, &[1.0, 2.0, 3.0, 4.0, 5.0]), Ok(-1.0));
    let (top_swapped, bottom_swapped) = ([4.0, 5.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 1.0, 2.0]);
    // Ranks 2..5 hold 0/1, 2/2, 3/3, 4/4 of the systems above rightly; then 1, 1, 1, 3/4.
    assert_eq!(tau_ap(&truth, &top_swapped), Ok(0.5));
    assert_eq!(tau_ap(&truth, &bottom_swapped), Ok(0.875));
    assert_eq!(kendall_tau_b(&truth, &top_swapped), kendall_tau_b(&truth, &bottom_swapped));
}

#[test]
fn system_agreement_resamples_queries() {
    let score = |system: usize, query: usize, noise: usize| {
        system as f64 + ((system * 31 + query * 17 + noise * 7) % 13) as f64
    };
    let scores =
        |noise| (0..6).map(|s| (0..40).map(|q| score(s, q, noise)).collect()).collect::<Vec<Vec<f64>>>();
    let agreement = system_agreement(&scores(0), &scores(5), &Bootstrap::default()).unwrap();
    for estimate in [agreement.kendall_tau, agreement.tau_ap, agreement.tau_ap_symmetric] {
        let (value, interval) = (estimate.value.unwrap(), estimate.interval.unwrap());
        assert!(interval.lower <= value && value <= interval.upper && interval.lower < 1.0, "{estimate:?}");
    }
    let itself = system_agreement(&scores(0), &scores(0), &Bootstrap::default()).unwrap();
    assert_eq!(itself.kendall_tau.interval.unwrap().lower, 1.0);
    assert_eq!(
        system_agreement(&scores(0), &scores(0)[1..], &Bootstrap::default()),
        Err(Undefined::UnequalLengths)
    );
}

#[test]
fn correlations_of_scores_come_with_intervals() {
    let grades: Vec<f64> = noisy_pairs(300).iter().map(|pair| f64::from(pair.0)).collect();
    let scores: Vec<f64> =
        grades.iter().enumerate().map(|(at, g)| g + (at * 37 % 101) as f64 / 40.0).collect();
    let queries: Vec<u32> = (0..300).map(|at| at / 6).collect();
    let found = correlations(&scores, &grades, &queries, &Bootstrap::default()).unwrap();
    for estimate in [found.kendall_tau_b, found.spearman, found.pearson] {
        let (value, interval) = (estimate.value.unwrap(), estimate.interval.unwrap());
        assert!(interval.lower < value && value < interval.upper && interval.upper < 1.0, "{estimate:?}");
    }
    assert_eq!(found.spearman.value, spearman(&scores, &grades));
}
