//! One suite for both devices, on every instruction set this processor has.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Value and d value / dP of one implementation.
type Distance = Box<dyn Fn(&[f64], &[f64], usize) -> (f64, Vec<f64>)>;

fn distances() -> Vec<(String, Distance)> {
    let mut all: Vec<(String, Distance)> = vec![("scalar".to_owned(), Box::new(scalar::distance))];
    for set in InstructionSet::all_available().map(Some).chain([None]) {
        let fast = move |p: &[f64], g: &[f64], columns| simd::distance(set, p, g, columns);
        all.push((format!("simd {set:?}"), Box::new(fast)));
    }
    all
}

fn devices() -> impl Iterator<Item = Device> {
    [Device::Scalar, Device::Simd].into_iter().filter(|device| device.available().is_ok())
}

/// A reproducible stream of numbers in -1..1 (SplitMix64).
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `queries` lists of `list` labels 0 to 3.
fn labels(queries: usize, list: usize, seed: u64) -> Vec<f64> {
    numbers(queries * list, seed ^ 77)
        .into_iter()
        .map(|number| ((number + 1.0) * 2.0).floor().min(3.0))
        .collect()
}

fn run(logits: &[f64], labels: &[f64], list: usize, options: Options, device: Device) -> Result<Gradients> {
    let queries = labels.len() / list;
    let logits = Matrix::new("logits", logits, queries, logits.len() / queries)?;
    loss_and_gradient(logits, Matrix::new("labels", labels, queries, list)?, options, device)
}

#[track_caller]
fn assert_close(values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len());
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        assert!(
            (value - expected).abs() <= tolerance,
            "value {at}: {value} is not {expected} within {tolerance:e}"
        );
    }
}

#[test]
fn two_lists_worked_out_outside() {
    let logits = [2.0, 1.0, 0.5, -1.0, 0.0, 0.3, 1.5, -0.5];
    let labels = [3.0, 0.0, 2.0, 1.0];
    let slopes =
        [-0.14233329, 0.09084018, 0.04435360, 0.00713951, 0.02977692, 0.01293909, -0.02685128, -0.01586473];
    for device in devices() {
        let output = run(&logits, &labels, 2, Options::default(), device).unwrap();
        assert_close(&[output.value], &[0.104_007_937_1], 5e-11);
        assert_close(&output.logits, &slopes, 5e-9);
    }
}

/// `name value value ...` lines of a case of `fixtures.txt`, which
/// `benchmarks/references/losses/make_fixtures.py` wrote.
fn values(case: &str, name: &str) -> Vec<f64> {
    let line = case.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {case}")).split(' ').map(|word| word.parse().unwrap()).collect()
}

#[test]
fn pytorch_gives_the_same_losses_and_gradients() {
    let cases: Vec<&str> = include_str!("fixtures.txt").split("case ").skip(1).collect();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let target = match case.lines().find_map(|line| line.strip_prefix("target ")).unwrap() {
            "batch" => Target::Batch,
            "own_list" => Target::OwnList,
            _ => Target::Lists,
        };
        let temperatures = values(case, "temperatures");
        let options = Options { temperature: temperatures[0], label_temperature: temperatures[1], target };
        let list = values(case, "shape")[1] as usize;
        for device in devices() {
            let output =
                run(&values(case, "logits"), &values(case, "labels"), list, options, device).unwrap();
            assert_close(&[output.value], &values(case, "loss"), 1e-13);
            assert_close(&output.logits, &values(case, "gradient"), 1e-11);
        }
    }
}

#[test]
fn one_query_is_the_squared_distance_of_two_distributions() {
    for device in devices() {
        let output = run(&[0.5, -1.0, 2.0], &[0.0, 1.0, 3.0], 3, Options::default(), device).unwrap();
        let (p, g) = (softmax_rows(&[0.5, -1.0, 2.0], 3), softmax_rows(&[0.0, 1.0, 3.0], 3));
        let expected: f64 = p.iter().zip(&g).map(|(p, g)| (p - g) * (p - g)).sum();
        assert_close(&[output.value], &[expected], 1e-15);
        assert!(output.logits.iter().sum::<f64>().abs() < 1e-15, "a softmax's gradient sums to nothing");
    }
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    for (queries, list, seed) in [(1, 4, 1), (2, 3, 2), (4, 4, 3), (7, 2, 4), (9, 1, 5)] {
        for target in [Target::Batch, Target::OwnList, Target::Lists] {
            let options = Options { temperature: 0.7, label_temperature: 1.3, target };
            let columns = if target == Target::Lists { list } else { queries * list };
            // More queries than columns leave null directions, in which the norm has a kink.
            if columns <= queries && queries > 1 {
                continue;
            }
            let logits = numbers(queries * columns, seed);
            let labels = labels(queries, list, seed);
            for device in devices() {
                let output = run(&logits, &labels, list, options, device).unwrap();
                let slope = |value: &dyn Fn(f64) -> f64| {
                    let h = 1e-3;
                    (8.0 * (value(h) - value(-h)) - (value(2.0 * h) - value(-2.0 * h))) / (12.0 * h)
                };
                for at in 0..logits.len() {
                    let numeric = slope(&|h| {
                        let mut logits = logits.clone();
                        logits[at] += h;
                        run(&logits, &labels, list, options, device).unwrap().value
                    });
                    assert_close(&[output.logits[at]], &[numeric], 1e-9);
                }
                let numeric = slope(&|h| {
                    let options = Options { temperature: 1.0 / (1.0 / 0.7 + h), ..options };
                    run(&logits, &labels, list, options, device).unwrap().value
                });
                assert_close(&[output.inverse_temperature], &[numeric], 1e-9);
            }
        }
    }
}

#[test]
fn every_implementation_agrees_with_the_definition() {
    for (queries, columns) in [(1, 1), (1, 7), (2, 2), (7, 31), (31, 33), (33, 127), (64, 256), (127, 9)] {
        let p = softmax_rows(&numbers(queries * columns, 3), columns);
        let g = softmax_rows(&numbers(queries * columns, 4), columns);
        let (value, gradient) = scalar::distance(&p, &g, columns);
        for (name, distance) in distances() {
            let (other, other_gradient) = distance(&p, &g, columns);
            assert!((value - other).abs() <= 1e-13 * (1.0 + value), "{name}: {other}, not {value}");
            assert_close(&other_gradient, &gradient, 1e-9);
        }
    }
}

#[test]
fn a_decomposition_gives_its_matrix_back() {
    for size in [1, 2, 3, 7, 31, 64] {
        let values = numbers(size * size, size as u64);
        let columns: Vec<Vec<f64>> = values.chunks(size).map(<[f64]>::to_vec).collect();
        let state = scalar::orthogonalise(columns.clone(), 0.0);
        for (at, column) in columns.iter().enumerate() {
            for (row, expected) in column.iter().enumerate() {
                // A = W V'.
                let pairs = state.turned.iter().zip(&state.right);
                let entry: f64 = pairs.map(|(turned, right)| turned[row] * right[at]).sum();
                assert!((entry - expected).abs() < 1e-13 * size as f64, "{size}: ({row}, {at})");
            }
            for (other, right) in state.right.iter().enumerate() {
                let inner: f64 = state.right[at].iter().zip(right).map(|(a, b)| a * b).sum();
                let unit = if other == at { 1.0 } else { 0.0 };
                assert!((inner - unit).abs() < 1e-13 * size as f64, "V is orthogonal");
            }
        }
        let squares: f64 = values.iter().map(|value| value * value).sum();
        let singular: f64 = state.turned.iter().flatten().map(|value| value * value).sum();
        assert!((squares - singular).abs() < 1e-12 * squares, "the Frobenius norm is kept");
    }
}

#[test]
fn a_perfect_prediction_scores_nothing() {
    for target in [Target::Batch, Target::Lists] {
        let options = Options { target, ..Options::default() };
        let (queries, list) = (5, 6);
        let labels = labels(queries, list, 9);
        let g = super::target(Matrix::new("labels", &labels, queries, list).unwrap(), options).unwrap();
        let logits: Vec<f64> = g.iter().map(|g| g.ln()).collect();
        for device in devices() {
            let output = run(&logits, &labels, list, options, device).unwrap();
            assert!(output.value.abs() < 1e-14, "{device}: {}", output.value);
            assert!(output.logits.iter().all(|slope| slope.abs() < 1e-8), "{device}");
        }
    }
}

#[test]
fn identical_predictions_for_all_queries_leave_only_null_directions() {
    for device in devices() {
        let output = run(&[0.0; 64], &labels(4, 4, 2), 4, Options::default(), device).unwrap();
        assert!(output.value.is_finite() && output.logits.iter().all(|slope| slope.is_finite()), "{device}");
    }
}

#[test]
fn null_directions_pull_at_nothing() {
    // Queries 0 and 1 predict the same, hence rows 0 and 1 of E_P E_G' are equal and their difference is a null
    // direction: without it both rows of the gradient are equal too.
    let (queries, columns) = (9, 12);
    let mut logits = numbers(queries * columns, 7);
    logits.copy_within(..columns, columns);
    let p = softmax_rows(&logits, columns);
    let g = softmax_rows(&numbers(queries * columns, 8), columns);
    for (name, distance) in distances() {
        let (_, gradient) = distance(&p, &g, columns);
        for (first, second) in gradient[..columns].iter().zip(&gradient[columns..2 * columns]) {
            assert!((first - second).abs() < 1e-9, "{name}: {first} and {second}");
        }
    }
}

#[test]
fn swapping_queries_changes_nothing() {
    let (queries, columns) = (6, 10);
    let p = softmax_rows(&numbers(queries * columns, 5), columns);
    let g = softmax_rows(&numbers(queries * columns, 6), columns);
    let swapped: Vec<f64> = p.chunks(columns).rev().flatten().copied().collect();
    for (name, distance) in distances() {
        let difference = distance(&p, &g, columns).0 - distance(&swapped, &g, columns).0;
        assert!(difference.abs() < 1e-14, "{name}");
    }
}

#[test]
fn targets_put_their_mass_where_they_say() {
    let own = |target, queries: usize| {
        let labels = [3.0, 2.0, 1.0, 0.0].repeat(queries);
        let options = Options { target, ..Options::default() };
        super::target(Matrix::new("labels", &labels, queries, 4).unwrap(), options).unwrap()[0]
    };
    for (queries, expected) in [(1, 0.644), (4, 0.465), (16, 0.220), (64, 0.071), (256, 0.019)] {
        assert_close(&[own(Target::Batch, queries)], &[expected], 5e-4);
    }
    assert_close(&[own(Target::OwnList, 64), own(Target::Lists, 64)], &[0.644, 0.644], 5e-4);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (queries, columns) = if cfg!(miri) { (9, 20) } else { (65, 260) };
    let p = softmax_rows(&numbers(queries * columns, 1), columns);
    let g = softmax_rows(&numbers(queries * columns, 2), columns);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| simd::distance(InstructionSet::best(), &p, &g, columns))
    };
    let one = on(1);
    for threads in [2, 5] {
        assert_eq!(one, on(threads), "{threads} threads");
    }
}

#[test]
fn input_that_does_not_fit_is_refused_with_its_numbers() {
    let refuse = |logits: &[f64], labels: &[f64], list, options| {
        run(logits, labels, list, options, Device::Scalar).unwrap_err().to_string()
    };
    let fine = Options::default();
    assert_eq!(refuse(&[0.0; 6], &[1.0; 4], 2, fine), "logits has 3 columns, target has 4");
    let lists = Options { target: Target::Lists, ..fine };
    assert_eq!(refuse(&[0.0; 8], &[1.0; 4], 2, lists), "logits has 4 columns, target has 2");
    let mut bad = [0.0; 8];
    bad[5] = f64::INFINITY;
    assert_eq!(
        refuse(&bad, &[1.0; 4], 2, fine),
        "logits: row 1, column 1 is inf; every value must be finite"
    );
    let not_a_label = [1.0, f64::NAN, 0.0, 0.0];
    assert!(refuse(&[0.0; 8], &not_a_label, 2, fine).starts_with("labels: row 0, column 1 is NaN"));
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = refuse(&[0.0; 8], &[1.0; 4], 2, Options { temperature, ..fine });
        assert!(message.starts_with("temperature is "), "{message}");
        let message = refuse(&[0.0; 8], &[1.0; 4], 2, Options { label_temperature: temperature, ..fine });
        assert!(message.starts_with("label temperature is "), "{message}");
    }
    let cold = Options { temperature: 1e-300, ..fine };
    assert!(refuse(&[1e10; 8], &[1.0; 4], 2, cold).starts_with("a logit over the temperature is inf"));
    let matrix = |values: &'static [f64]| Matrix::new("m", values, 1, 2).unwrap();
    let refuse =
        |target| loss_to_target(matrix(&[0.0, 0.0]), target, 1.0, Device::Scalar).unwrap_err().to_string();
    assert!(refuse(matrix(&[0.5, 0.6])).starts_with("the sum of a target row is 1.1"));
    assert!(refuse(matrix(&[1.5, -0.5])).starts_with("a target probability is -0.5"));
    let none = Matrix::new("labels", &[], 0, 2).unwrap();
    let error = loss(matrix(&[0.0, 0.0]), none, fine, Device::Scalar).unwrap_err();
    assert_eq!(error.to_string(), "labels is empty: 0 rows of 2 columns");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }) })]

    #[test]
    fn no_input_makes_the_loss_panic_or_lose_its_finiteness(
        queries in 1usize..9, list in 1usize..5, temperature in 1e-3f64..1e3, seed: u64, spread in 0.0f64..1e6,
    ) {
        let logits: Vec<f64> = numbers(queries * queries * list, seed).iter().map(|z| z * spread).collect();
        let labels = labels(queries, list, seed);
        for device in devices() {
            let options = Options { temperature, ..Options::default() };
            let output = run(&logits, &labels, list, options, device).unwrap();
            prop_assert!(output.value >= -1e-12 && output.value <= 8.0, "{}", output.value);
            prop_assert!(output.logits.iter().all(|slope| slope.is_finite()));
        }
    }
}
