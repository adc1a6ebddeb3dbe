//! Agreement statistics against scikit-learn, krippendorff, scipy and statsmodels on random cases, and against the
//! published agreement of human raters. The fixtures come from benchmarks/references/agreement/make_fixtures.py.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use relevance::agreement::{
    Confusion, Metric, RatedPair, Report, Statistic, Weights, accuracy, cohen_kappa, fleiss_kappa,
    kendall_tau_b, krippendorff_alpha, macro_f1, mean_absolute_error, pearson, per_grade, raters_report,
    spearman, tau_ap, tau_ap_symmetric,
};
use relevance::resampling::Bootstrap;
use relevance::undefined::Undefined;
use relevance::{Grade, RatingTable};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn cases(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

fn grades(case: &Value) -> Vec<Grade> {
    serde_json::from_value(case.clone()).unwrap()
}

fn numbers(case: &Value) -> Vec<f64> {
    serde_json::from_value(case.clone()).unwrap()
}

/// The reference has no value exactly where we have none, and otherwise the same one.
fn assert_agrees(ours: Result<f64, Undefined>, reference: &Value, what: &str) {
    match (ours, reference.as_f64()) {
        (Ok(ours), Some(reference)) => {
            assert!((ours - reference).abs() < TOLERANCE, "{what}: {ours} but {reference}");
        }
        (Err(_), None) => {}
        (ours, reference) => panic!("{what}: {ours:?} but {reference:?}"),
    }
}

#[test]
fn two_raters_agree_with_the_references() {
    let cases = cases(include_str!("fixtures/agreement_pairs.json"));
    assert!(cases.len() >= 200);
    for (number, case) in cases.iter().enumerate() {
        let (human, predicted) = (grades(&case["human"]), grades(&case["predicted"]));
        let pairs: Vec<(Grade, Grade)> = human.iter().copied().zip(predicted.iter().copied()).collect();
        let confusion = Confusion::of(&pairs);
        assert_eq!(confusion.grades(), grades(&case["grades"]), "case {number}");
        assert_eq!(serde_json::to_value(&confusion).unwrap(), case["confusion"], "case {number}");

        let mut table = RatingTable::new(2);
        pairs.iter().for_each(|&(human, predicted)| table.push(&[Some(human), Some(predicted)]));
        let [x, y] = [&human, &predicted].map(|side| side.iter().map(|&g| f64::from(g)).collect::<Vec<_>>());
        let ours = [
            ("cohen_kappa", cohen_kappa(&confusion, Weights::Plain)),
            ("cohen_kappa_linear", cohen_kappa(&confusion, Weights::Linear)),
            ("cohen_kappa_quadratic", cohen_kappa(&confusion, Weights::Quadratic)),
            ("krippendorff_alpha_nominal", krippendorff_alpha(&table, Metric::Nominal)),
            ("krippendorff_alpha_ordinal", krippendorff_alpha(&table, Metric::Ordinal)),
            ("krippendorff_alpha_interval", krippendorff_alpha(&table, Metric::Interval)),
            ("krippendorff_alpha_ratio", krippendorff_alpha(&table, Metric::Ratio)),
            ("fleiss_kappa", fleiss_kappa(&table)),
            ("kendall_tau_b", kendall_tau_b(&x, &y)),
            ("spearman", spearman(&x, &y)),
            ("pearson", pearson(&x, &y)),
            ("mae", mean_absolute_error(&confusion)),
            ("accuracy", accuracy(&confusion)),
            ("macro_f1", macro_f1(&confusion)),
        ];
        for (name, value) in ours {
            assert_agrees(value, &case[name], &format!("case {number}, {name}"));
        }
        for (at, row) in per_grade(&confusion).into_iter().enumerate() {
            assert_agrees(row.precision, &case["precision"][at], &format!("case {number}, precision {at}"));
            assert_agrees(row.recall, &case["recall"][at], &format!("case {number}, recall {at}"));
            assert_agrees(row.f1, &case["f1"][at], &format!("case {number}, f1 {at}"));
        }
        let rated: Vec<RatedPair> = pairs
            .iter()
            .zip(0..)
            .map(|(&(human, predicted), query)| RatedPair { query, human, predicted })
            .collect();
        let report = Report::of(&rated, &Bootstrap::new(2, 0.95, 0).unwrap());
        for (statistic, estimate) in &report.measures {
            assert_agrees(
                estimate.value,
                &case[statistic.name()],
                &format!("case {number}, report of {statistic}"),
            );
        }
    }
}

#[test]
fn many_raters_agree_with_the_references() {
    let cases = cases(include_str!("fixtures/agreement_raters.json"));
    assert!(cases.len() >= 200);
    for (number, case) in cases.iter().enumerate() {
        let rows: Vec<Vec<Option<Grade>>> = serde_json::from_value(case["ratings"].clone()).unwrap();
        let mut table = RatingTable::new(rows[0].len());
        rows.iter().for_each(|row| table.push(row));
        let metrics = [
            ("nominal", Metric::Nominal),
            ("ordinal", Metric::Ordinal),
            ("interval", Metric::Interval),
            ("ratio", Metric::Ratio),
        ];
        for (name, metric) in metrics {
            assert_agrees(krippendorff_alpha(&table, metric), &case[name], &format!("case {number}, {name}"));
        }
        if case["complete"] == true {
            assert_agrees(fleiss_kappa(&table), &case["fleiss_kappa"], &format!("case {number}, Fleiss"));
        }
    }
}

#[test]
fn scores_and_rankings_agree_with_the_references() {
    for (number, case) in cases(include_str!("fixtures/agreement_scores.json")).iter().enumerate() {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        assert_agrees(kendall_tau_b(&x, &y), &case["kendall_tau_b"], &format!("case {number}, tau-b"));
        assert_agrees(spearman(&x, &y), &case["spearman"], &format!("case {number}, Spearman"));
        assert_agrees(pearson(&x, &y), &case["pearson"], &format!("case {number}, Pearson"));
        let (truth, estimate) = (numbers(&case["truth"]), numbers(&case["estimate"]));
        assert_agrees(tau_ap(&truth, &estimate), &case["tau_ap"], &format!("case {number}, tau-ap"));
        let symmetric = tau_ap_symmetric(&truth, &estimate);
        assert_agrees(symmetric, &case["tau_ap_symmetric"], &format!("case {number}, symmetric tau-ap"));
    }
}

#[test]
fn the_report_keeps_the_contract_of_the_command_line() {
    let pairs = [(0, 3, 3), (0, 0, 1), (1, 2, 2), (1, 0, 0), (2, 3, 2), (2, 1, 1)];
    let pairs = pairs.map(|(query, human, predicted)| RatedPair { query, human, predicted });
    let json = serde_json::to_value(Report::of(&pairs, &Bootstrap::default())).unwrap();
    let promised = [
        "cohen_kappa",
        "cohen_kappa_linear",
        "cohen_kappa_quadratic",
        "krippendorff_alpha_ordinal",
        "krippendorff_alpha_nominal",
        "krippendorff_alpha_interval",
        "kendall_tau_b",
        "spearman",
        "mae",
        "accuracy",
        "macro_f1",
    ];
    for name in promised {
        let value = json["measures"][name].as_f64().unwrap();
        let (lower, upper) = (&json["intervals"][name]["lower"], &json["intervals"][name]["upper"]);
        assert!(lower.as_f64().unwrap() <= value && value <= upper.as_f64().unwrap(), "{name}");
    }
    assert_eq!(json["pairs"], 6);
    assert_eq!(json["unparsed"], 0);
    assert_eq!(json["queries"], 3);
    assert_eq!(
        json["confusion"],
        serde_json::json!([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])
    );
    assert_eq!(json["per_grade"][3]["recall"], 0.5);
    assert_eq!(json["bootstrap"]["resamples"], 1000);
}

#[test]
fn an_undefined_value_is_null_beside_its_reason() {
    let pairs = [RatedPair { query: 0, human: 1, predicted: 1 }; 4];
    let json = serde_json::to_value(Report::of(&pairs, &Bootstrap::default())).unwrap();
    assert!(json["measures"]["cohen_kappa"].is_null());
    assert_eq!(json["undefined"]["cohen_kappa"], "one_category");
    assert_eq!(json["undefined"]["spearman"], "constant_side");
    assert_eq!(json["measures"]["accuracy"], 1.0);
    assert!(json["intervals"]["accuracy"].is_null(), "one query cannot be resampled");
    assert!(json["undefined"].get("accuracy").is_none());
}

/// The three raters of Chorus' broad query set, and the query of each row.
fn chorus() -> Option<(RatingTable, Vec<u32>)> {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    if !std::path::Path::new(shared).exists() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    let file = format!("{shared}/chorus/Broad_Query_Set_individual_ratings.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    let (mut table, mut queries, mut names) = (RatingTable::new(3), Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        // Text may hold commas, the four grades at the end do not.
        let ratings: Vec<Option<Grade>> =
            line.rsplit(',').skip(1).take(3).map(|grade| grade.parse().ok()).collect();
        table.push(&ratings);
        let query = line.split(',').next().unwrap().to_owned();
        let known = names.iter().position(|name| *name == query);
        queries.push(known.unwrap_or(names.len()) as u32);
        if known.is_none() {
            names.push(query);
        }
    }
    Some((table, queries))
}

#[test]
fn the_human_raters_of_chorus_agree_as_published() {
    let Some((table, queries)) = chorus() else { return };
    assert_eq!(table.len(), 3188);
    let report = raters_report(&table, &queries, &Bootstrap::default()).unwrap();
    let expected = [
        (Statistic::KrippendorffAlphaNominal, 0.643),
        (Statistic::KrippendorffAlphaOrdinal, 0.770),
        (Statistic::KrippendorffAlphaInterval, 0.771),
    ];
    for (statistic, published) in expected {
        let estimate = report.measures.iter().find(|(named, _)| *named == statistic).unwrap().1;
        let (value, interval) = (estimate.value.unwrap(), estimate.interval.unwrap());
        println!("{statistic} {value:.4} [{:.4}, {:.4}]", interval.lower, interval.upper);
        assert!((value - published).abs() < 5e-4, "{statistic}: {value}");
        assert!(interval.lower < value && value < interval.upper);
        assert!(interval.upper - interval.lower < 0.2, "{statistic}: {interval:?}");
    }
    let quadratic = |(named, _): &&(Statistic, _)| *named == Statistic::CohenKappaQuadratic;
    for pair in &report.rater_pairs {
        let kappa = pair.measures.iter().find(quadratic).unwrap().1.value.unwrap();
        assert!((0.735..0.805).contains(&kappa), "raters {} and {}: {kappa}", pair.first, pair.second);
    }
}
