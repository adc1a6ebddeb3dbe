//! Significance tests against scipy and statsmodels on random cases, exact enumerations included. The fixtures come
//! from benchmarks/references/agreement/make_fixtures.py and benchmarks/references/significance/make_fixtures.py.
#![allow(clippy::unwrap_used)]

use relevance::significance::{
    Alternative, Design, Distribution, Randomization, Wilcoxon, benjamini_hochberg, bonferroni, cohens_d,
    differences, holm, paired_t_test, randomization_test, sign_test, wilcoxon_signed_rank,
};
use relevance::undefined::Undefined;
use serde_json::Value;

fn cases(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

fn numbers(case: &Value) -> Vec<f64> {
    serde_json::from_value(case.clone()).unwrap()
}

fn assert_agrees(ours: Result<f64, Undefined>, reference: &Value, what: &str) {
    match (ours, reference.as_f64()) {
        (Ok(ours), Some(reference)) => {
            assert!((ours - reference).abs() < 1e-9, "{what}: {ours} but {reference}")
        }
        (Err(_), None) => {}
        (ours, reference) => panic!("{what}: {ours:?} but {reference:?}"),
    }
}

const ALTERNATIVES: [(&str, Alternative); 3] =
    [("two-sided", Alternative::TwoSided), ("greater", Alternative::Greater), ("less", Alternative::Less)];

#[test]
fn p_values_agree_with_the_references() {
    let cases = cases(include_str!("fixtures/significance.json"));
    for (number, case) in cases.iter().enumerate() {
        let d = differences(&numbers(&case["a"]), &numbers(&case["b"])).unwrap();
        assert_agrees(
            paired_t_test(&d, Alternative::TwoSided).map(|test| test.t),
            &case["t"],
            &format!("case {number}, t"),
        );
        assert_agrees(cohens_d(&d), &case["cohens_d"], &format!("case {number}, d"));
        for (name, alternative) in ALTERNATIVES {
            let (expected, what) = (&case[name], |test: &str| format!("case {number}, {test} {name}"));
            assert_agrees(
                paired_t_test(&d, alternative).map(|test| test.p),
                &expected["t_test"],
                &what("t-test"),
            );
            assert_agrees(
                sign_test(&d, alternative).map(|test| test.p),
                &expected["sign_test"],
                &what("signs"),
            );
            let wilcoxon = |distribution| {
                wilcoxon_signed_rank(&d, Wilcoxon { alternative, distribution }).map(|test| test.p)
            };
            assert_agrees(wilcoxon(Distribution::Normal), &expected["wilcoxon_normal"], &what("normal"));
            assert_agrees(
                wilcoxon(Distribution::NormalCorrected),
                &expected["wilcoxon_corrected"],
                &what("corrected"),
            );
            for exact in ["wilcoxon_exact", "wilcoxon_enumerated"] {
                if expected[exact].is_number() {
                    assert_agrees(wilcoxon(Distribution::Auto), &expected[exact], &what(exact));
                }
            }
            if expected["sign_flips"].is_number() {
                let settings = Randomization { permutations: 1 << 14, seed: 0, alternative };
                let test = randomization_test(&d, &settings).unwrap();
                assert!(test.exact);
                assert_agrees(Ok(test.p), &expected["sign_flips"], &what("all signs"));
            }
        }
    }
}

#[test]
fn drawn_signs_come_near_the_exact_share() {
    let cases = cases(include_str!("fixtures/significance.json"));
    let small = cases.iter().filter(|case| case["two-sided"]["sign_flips"].is_number());
    let mut compared = 0;
    for case in small {
        let d = differences(&numbers(&case["a"]), &numbers(&case["b"])).unwrap();
        if d.iter().filter(|d| **d != 0.0).count() < 12 {
            continue;
        }
        let exact = case["two-sided"]["sign_flips"].as_f64().unwrap();
        let settings = Randomization { permutations: 4_000, seed: 3, alternative: Alternative::TwoSided };
        let test = randomization_test(&d, &settings).unwrap();
        // Five standard errors of a share of 4,000.
        let margin = 5.0 * (exact * (1.0 - exact) / 4_000.0).sqrt() + 1e-3;
        assert!(!test.exact && (test.p - exact).abs() < margin, "{} but {exact}", test.p);
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn adjusted_p_values_agree_with_statsmodels() {
    for case in cases(include_str!("fixtures/multiple_testing.json")) {
        let p = numbers(&case["p"]);
        for (name, ours) in
            [("bonferroni", bonferroni(&p)), ("holm", holm(&p)), ("fdr_bh", benjamini_hochberg(&p))]
        {
            let expected = numbers(&case[name]);
            let near = ours.iter().zip(&expected).all(|(ours, expected)| (ours - expected).abs() < 1e-12);
            assert!(near && ours.len() == expected.len(), "{name} of {p:?}: {ours:?} but {expected:?}");
        }
    }
}

/// Runs on the same queries, from benchmarks/references/significance/make_fixtures.py.
#[test]
fn comparisons_of_runs_agree_with_ranx_and_scipy() {
    let cases = cases(include_str!("fixtures/runs.json"));
    let mut compared = [0, 0];
    for (number, case) in cases.iter().enumerate() {
        let d = differences(&numbers(&case["baseline"]), &numbers(&case["system"])).unwrap();
        let p = |alternative| paired_t_test(&d, alternative).map(|test| test.p);
        assert_agrees(p(Alternative::TwoSided), &case["ranx_student"], &format!("case {number}, ranx t"));
        assert_agrees(p(Alternative::Less), &case["scipy_t_less"], &format!("case {number}, scipy t"));
        let ours = randomization_test(&d, &Randomization::default()).unwrap();
        // ranx compares sums without allowing for rounding, so where few queries moved it misses sums equal to the one
        // seen; scipy allows for it.
        let moved = d.iter().filter(|d| **d != 0.0).count();
        for (reference, least_moved) in [("scipy_flips", 0), ("ranx_fisher", 10)] {
            if moved < least_moved {
                continue;
            }
            let theirs = case[reference].as_f64().unwrap();
            // Both sides draw 10,000 times: five standard errors of a difference of two shares.
            let share = f64::midpoint(ours.p, theirs).clamp(1e-4, 1.0 - 1e-4);
            let margin = 5.0 * (2.0 * share * (1.0 - share) / 10_000.0).sqrt() + 2e-4;
            assert!((ours.p - theirs).abs() < margin, "case {number}, {reference}: {} but {theirs}", ours.p);
            compared[usize::from(least_moved > 0)] += 1;
        }
    }
    assert!(compared[0] == 100 && compared[1] >= 50, "{compared:?}");
}

#[test]
fn sample_sizes_agree_with_the_noncentral_t_distribution() {
    for case in cases(include_str!("fixtures/power.json")) {
        let number = |name: &str| case[name].as_f64().unwrap();
        let design = Design::new(number("level"), number("power"), Alternative::Less).unwrap();
        let ours = design.queries_needed(1.0, number("effect")).unwrap() as f64;
        assert!((ours - number("queries")).abs() <= 2.0, "{case}: {ours}");
    }
}
