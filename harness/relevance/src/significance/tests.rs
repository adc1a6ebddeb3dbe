//! Every test against its definition written out, and what must hold for any data.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::resampling::Bootstrap;

const ALTERNATIVES: [Alternative; 3] = [Alternative::TwoSided, Alternative::Greater, Alternative::Less];

fn some_differences(most: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-9i32..10).prop_map(|d| f64::from(d) / 16.0), 1..most)
}

/// The p-value over all signs, one choice of signs at a time.
fn all_signs(differences: &[f64], alternative: Alternative) -> f64 {
    let observed: f64 = differences.iter().sum();
    let extreme = |choice: u32| {
        let sign = |at: usize| if choice >> at & 1 == 1 { -1.0 } else { 1.0 };
        let sum: f64 = differences.iter().enumerate().map(|(at, d)| sign(at) * d).sum();
        match alternative {
            Alternative::TwoSided => sum.abs() >= observed.abs(),
            Alternative::Greater => sum >= observed,
            Alternative::Less => sum <= observed,
        }
    };
    let choices = 1u32 << differences.len();
    f64::from((0..choices).filter(|&choice| extreme(choice)).count() as u32) / f64::from(choices)
}

/// The exact signed-rank p-value, one choice of signs at a time.
fn signed_ranks(differences: &[f64], alternative: Alternative) -> f64 {
    let moved: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let rank = |d: f64| {
        let below = moved.iter().filter(|other| other.abs() < d.abs()).count() as f64;
        let equal = moved.iter().filter(|other| other.abs() == d.abs()).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    let ranks: Vec<f64> = moved.iter().map(|&d| rank(d)).collect();
    let observed: f64 = moved.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, rank)| rank).sum();
    let choices = 1u32 << moved.len();
    let sum = |choice: u32| {
        ranks.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1).map(|(_, r)| r).sum::<f64>()
    };
    let share = |holds: &dyn Fn(f64) -> bool| {
        (0..choices).filter(|&choice| holds(sum(choice))).count() as f64 / f64::from(choices)
    };
    alternative.of_tails(share(&|sum| sum <= observed), share(&|sum| sum >= observed))
}

proptest! {
    #[test]
    fn the_exact_randomization_test_is_its_definition(d in some_differences(12)) {
        for alternative in ALTERNATIVES {
            let settings = Randomization { permutations: 1 << 12, seed: 0, alternative };
            let test = randomization_test(&d, &settings).unwrap();
            prop_assert!(test.exact);
            prop_assert_eq!(test.p, all_signs(&d, alternative));
        }
    }

    #[test]
    fn drawn_signs_are_the_definition_on_the_same_bits(d in some_differences(40), seed in any::<u64>()) {
        for alternative in ALTERNATIVES {
            // Three permutations cannot be all of them, save for one difference or none.
            let settings = Randomization { permutations: 3, seed, alternative };
            let test = randomization_test(&d, &settings).unwrap();
            if !test.exact {
                prop_assert_eq!(Ok(test.as_extreme), randomization::plain::as_extreme(&d, &settings));
            }
        }
    }

    #[test]
    fn the_exact_signed_rank_test_is_its_definition(d in some_differences(11)) {
        prop_assume!(d.iter().any(|d| *d != 0.0));
        for alternative in ALTERNATIVES {
            let test = wilcoxon_signed_rank(&d, Wilcoxon { alternative, ..Wilcoxon::default() }).unwrap();
            prop_assert!((test.p - signed_ranks(&d, alternative)).abs() < 1e-12);
        }
    }

    #[test]
    fn swapping_the_systems_mirrors_every_test(d in some_differences(60)) {
        let swapped: Vec<f64> = d.iter().map(|d| -d).collect();
        let same = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let sides = [
            (Alternative::TwoSided, Alternative::TwoSided),
            (Alternative::Greater, Alternative::Less),
        ];
        for (one, other) in sides {
            if let (Ok(a), Ok(b)) = (paired_t_test(&d, one), paired_t_test(&swapped, other)) {
                prop_assert!(same(a.p, b.p) && same(a.t, -b.t));
            }
            if let (Ok(a), Ok(b)) = (sign_test(&d, one), sign_test(&swapped, other)) {
                prop_assert!(same(a.p, b.p) && a.wins == b.losses);
            }
            let wilcoxon = |d: &[f64], alternative| wilcoxon_signed_rank(d, Wilcoxon { alternative, ..Wilcoxon::default() });
            if let (Ok(a), Ok(b)) = (wilcoxon(&d, one), wilcoxon(&swapped, other)) {
                prop_assert!(same(a.p, b.p) && a.w_plus == b.w_minus);
            }
            let randomization = |d: &[f64], alternative| {
                randomization_test(d, &Randomization { permutations: 500, seed: 5, alternative }).unwrap().p
            };
            prop_assert!(same(randomization(&d, one), randomization(&swapped, other)));
        }
    }

    #[test]
    fn adjusted_p_values_keep_their_order_and_never_shrink(p in prop::collection::vec(0.0f64..=1.0, 0..20)) {
        let (bonferroni, holm, bh) = (bonferroni(&p), holm(&p), benjamini_hochberg(&p));
        for i in 0..p.len() {
            let at_most = |a: f64, b: f64| a <= b + 1e-15;
            prop_assert!(p[i] <= bh[i] && at_most(bh[i], holm[i]));
            prop_assert!(at_most(holm[i], bonferroni[i]) && bonferroni[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || (holm[i] <= holm[j] && bh[i] <= bh[j]));
            }
        }
    }
}

/// Differences of 300 queries with a small advantage for the system.
fn advantage() -> Vec<f64> {
    (0..300u32).map(|q| f64::from(q.wrapping_mul(2_654_435_761) >> 20) / 4_096.0 - 0.46).collect()
}

#[test]
fn randomization_depends_on_the_seed_and_not_on_the_threads() {
    let rows: Vec<Vec<f64>> =
        (0..5).map(|m| advantage().iter().map(|d| d + f64::from(m) / 100.0).collect()).collect();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| randomization_tests(&rows, &Randomization::default()).unwrap())
    };
    assert_eq!(with_threads(1), with_threads(3));
    let alone = randomization_test(&rows[3], &Randomization::default());
    assert_eq!(with_threads(2)[3], alone, "measures share signs, not results");
    let other_seed = Randomization { seed: 1, ..Randomization::default() };
    assert_ne!(
        randomization_test(&rows[0], &other_seed),
        randomization_test(&rows[0], &Randomization::default())
    );
}

#[test]
fn the_tests_see_the_same_advantage() {
    let d = advantage();
    let t = paired_t_test(&d, Alternative::TwoSided).unwrap().p;
    let randomization =
        randomization_test(&d, &Randomization { permutations: 50_000, ..Randomization::default() }).unwrap();
    assert!((t - randomization.p).abs() < 0.005, "{t} {}", randomization.p);
    assert!(!randomization.exact && randomization.p > 0.0);
    let interval = mean_difference(&d, &Bootstrap::default()).interval.unwrap();
    let half = (interval.upper - interval.lower) / 2.0;
    let standard_error = standard_deviation(&d).unwrap() / (d.len() as f64).sqrt();
    assert!((half / standard_error - 1.96).abs() < 0.15, "{half} {standard_error}");
}

#[test]
fn a_p_value_of_draws_is_never_zero() {
    let test =
        randomization_test(&[1.0; 64], &Randomization { permutations: 99, ..Randomization::default() })
            .unwrap();
    assert_eq!((test.as_extreme, test.p), (0, 0.01));
    let nothing = randomization_test(&[0.0; 64], &Randomization::default()).unwrap();
    assert_eq!((nothing.p, nothing.exact, nothing.permutations), (1.0, true, 1));
}

#[test]
fn equal_sums_count_as_extreme_whatever_the_rounding() {
    // 0.1 + 0.2 and 0.3 differ in the last bit; both orders of signs give the same sum on paper.
    let d = [0.1, 0.2, -0.3, 0.3, 0.6];
    let settings = Randomization { permutations: 32, ..Randomization::default() };
    let whole: Vec<f64> = d.iter().map(|d: &f64| (d * 10.0).round()).collect();
    assert_eq!(randomization_test(&d, &settings).unwrap().p, all_signs(&whole, Alternative::TwoSided));
}

#[test]
fn large_samples_go_normal_and_stay_near_the_exact_p_value() {
    let d: Vec<f64> = advantage()[..50].to_vec();
    let exact = wilcoxon_signed_rank(&d, Wilcoxon::default()).unwrap();
    let normal = Wilcoxon { distribution: Distribution::Normal, ..Wilcoxon::default() };
    let near = wilcoxon_signed_rank(&d, normal).unwrap();
    assert!(exact.exact && !near.exact && (exact.p - near.p).abs() < 0.01, "{exact:?} {near:?}");
    assert!(!wilcoxon_signed_rank(&advantage(), Wilcoxon::default()).unwrap().exact);
}

#[test]
fn what_has_no_answer_says_why() {
    assert_eq!(differences(&[1.0], &[]), Err(Undefined::UnequalLengths));
    assert_eq!(differences(&[], &[]), Err(Undefined::NoPairs));
    assert_eq!(differences(&[1.0], &[f64::INFINITY]), Err(Undefined::NotFinite));
    assert_eq!(paired_t_test(&[1.0], Alternative::TwoSided), Err(Undefined::OnePair));
    assert_eq!(paired_t_test(&[0.5, 0.5], Alternative::TwoSided), Err(Undefined::ConstantDifferences));
    assert_eq!(sign_test(&[0.0, 0.0], Alternative::TwoSided), Err(Undefined::NoDifferences));
    assert_eq!(wilcoxon_signed_rank(&[0.0], Wilcoxon::default()), Err(Undefined::NoDifferences));
    assert_eq!(randomization_test(&[], &Randomization::default()), Err(Undefined::NoPairs));
    assert_eq!(randomization_test(&[f64::NAN], &Randomization::default()), Err(Undefined::NotFinite));
    assert_eq!(hedges_g(&[1.0, 2.0]), Err(Undefined::TwoPairs));
    let estimate = mean_difference(&[0.25], &Bootstrap::default());
    assert_eq!((estimate.value, estimate.interval), (Ok(0.25), Err(Undefined::OneCluster)));
    let rows = [vec![1.0], vec![1.0, 2.0]];
    assert_eq!(randomization_tests(&rows, &Randomization::default()), Err(Undefined::UnequalLengths));
    assert_eq!(mean_differences(&rows, &Bootstrap::default()), Err(Undefined::UnequalLengths));
}

#[test]
fn effects_have_their_sizes() {
    let d = [1.0, 2.0, 3.0, 4.0];
    let deviation = (5.0f64 / 3.0).sqrt();
    assert!((cohens_d(&d).unwrap() - 2.5 / deviation).abs() < 1e-12);
    // J(3) = Gamma(1.5) / (sqrt(1.5) Gamma(1)) = 0.886226925 / 1.224744871.
    let correction = 0.886_226_925_452_758 / 1.224_744_871_391_589;
    assert!((hedges_g(&d).unwrap() - correction * 2.5 / deviation).abs() < 1e-12);
    assert_eq!(win_tie_loss(&[0.2, 0.0, -0.1, 1e-12], 1e-9), WinTieLoss { wins: 1, ties: 2, losses: 1 });
}

#[test]
fn a_side_by_side_holds_everything_a_table_needs() {
    let baseline: Vec<f64> = (0..40).map(|q| f64::from(q % 7) / 10.0).collect();
    let better: Vec<f64> =
        baseline.iter().enumerate().map(|(q, s)| s + [0.2, 0.1, -0.05, 0.0][q % 4]).collect();
    let pairs: [(&[f64], &[f64]); 2] = [(&baseline, &better), (&baseline, &baseline)];
    let [improved, itself] = compare(&pairs, &Settings::default()).unwrap()[..] else {
        panic!("two comparisons")
    };
    assert_eq!(improved.outcomes, WinTieLoss { wins: 20, ties: 10, losses: 10 });
    assert!((improved.mean_difference - 0.0625).abs() < 1e-12);
    let p = improved.randomization.unwrap().p;
    assert!(p < 0.001 && improved.holm_p == Ok(2.0 * p));
    assert_eq!((itself.randomization.unwrap().p, itself.holm_p), (1.0, Ok(1.0)));
    assert_eq!(itself.t_test, Err(Undefined::ConstantDifferences));
    let interval = improved.interval.unwrap();
    assert!(0.0 < interval.lower && interval.upper < 0.1, "{interval:?}");
}
