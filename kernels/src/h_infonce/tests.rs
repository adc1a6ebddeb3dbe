//! One suite for every implementation: the plain f32 loops, and the strips on each instruction set this
//! processor has as well as on portable lanes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::matrix::Real;

#[cfg(feature = "cuda")]
#[path = "cuda_tests.rs"]
mod cuda_tests;

/// A device, and for SIMD the instruction set.
#[derive(Clone, Copy, Debug)]
enum Runner {
    Scalar,
    Simd(Option<InstructionSet>),
}

fn runners() -> Vec<Runner> {
    let sets = InstructionSet::all_available().map(Some).chain([None]);
    std::iter::once(Runner::Scalar).chain(sets.map(Runner::Simd)).collect()
}

/// The batch every test is about.
#[derive(Clone, Debug)]
struct Batch {
    queries: Vec<f32>,
    documents: Vec<f32>,
    width: usize,
    offsets: Vec<usize>,
    listed: Vec<u32>,
    labels: Vec<u8>,
    weights: Option<Vec<f32>>,
    options: Options,
}

/// Loss per query, gradients of queries and documents, gradient of the inverse temperature.
struct Output<T> {
    loss: Vec<f64>,
    queries: Vec<T>,
    documents: Vec<T>,
    inverse_temperature: f64,
}

impl Batch {
    fn labels(&self) -> SparseLabels<'_> {
        let (queries, documents) = (self.queries.len() / self.width, self.documents.len() / self.width);
        let weights = self.weights.as_deref();
        SparseLabels::new(queries, documents, &self.offsets, &self.listed, &self.labels, weights).unwrap()
    }

    fn queries(&self) -> Matrix<'_, f32> {
        Matrix::new("queries", &self.queries, self.queries.len() / self.width, self.width).unwrap()
    }

    fn documents(&self) -> Matrix<'_, f32> {
        Matrix::new("documents", &self.documents, self.documents.len() / self.width, self.width).unwrap()
    }

    fn run(&self, runner: Runner) -> Output<f32> {
        let factor = check_embeddings(self.queries(), self.documents(), self.labels(), self.options).unwrap();
        let (queries, documents, labels) = (self.queries(), self.documents(), self.labels());
        let (loss, q, d) = match runner {
            Runner::Scalar => {
                let plain = scalar::embeddings(queries, documents, labels, terms(self.options, factor));
                (plain.loss, plain.queries, plain.documents)
            }
            Runner::Simd(set) => {
                let fast = simd::embeddings(set, queries, documents, labels, self.options, factor);
                let alone = simd::embedding_loss(set, queries, documents, labels, self.options, factor);
                assert_eq!(fast.loss, alone, "the loss alone is the loss with gradients");
                (fast.loss, fast.queries, fast.documents)
            }
        };
        let inverse_temperature = f64::from(self.options.temperature) * inner_product(queries, &q);
        Output { loss, queries: q, documents: d, inverse_temperature }
    }

    fn truth(&self) -> Output<f64> {
        self.truth_at(
            &widen(&self.queries),
            &widen(&self.documents),
            f64::from(1.0 / self.options.temperature),
        )
    }

    /// The f64 twin for other embeddings and another temperature.
    fn truth_at(&self, queries: &[f64], documents: &[f64], inverse_temperature: f64) -> Output<f64> {
        let labels = self.labels();
        let q = Matrix::new("queries", queries, queries.len() / self.width, self.width).unwrap();
        let d = Matrix::new("documents", documents, documents.len() / self.width, self.width).unwrap();
        let factor = factor(labels, self.options);
        let terms = scalar::Terms { inverse_temperature, anchors: self.options.anchors, factor };
        let output = scalar::embeddings(q, d, labels, terms);
        let inner: f64 = output.queries.iter().zip(queries).map(|(a, b)| a * b).sum();
        Output {
            loss: output.loss,
            queries: output.queries,
            documents: output.documents,
            inverse_temperature: inner / inverse_temperature,
        }
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// A reproducible stream of numbers (SplitMix64).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Uniform in -1..1.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// `queries x documents`, unit-length rows, up to 12 listed pairs a query of every kind.
fn batch(queries: usize, documents: usize, width: usize, seed: u64) -> Batch {
    let mut stream = Stream(seed);
    let (mut offsets, mut listed, mut labels) = (vec![0], Vec::new(), Vec::new());
    for query in 0..queries {
        // Some queries list everything, some nothing.
        let pairs = match query % 5 {
            4 => 0,
            3 if documents <= 40 => documents,
            _ => 1 + stream.below(documents.min(12)),
        };
        let mut row: Vec<u32> = (0..documents as u32).collect();
        for at in 0..pairs {
            let other = at + stream.below(documents - at);
            row.swap(at, other);
        }
        row.truncate(pairs);
        row.sort_unstable();
        for document in row {
            listed.push(document);
            labels.push([0, 1, 1, 2, 3, 4, 5, 5, 15, IGNORED][stream.below(10)]);
        }
        offsets.push(listed.len());
    }
    let weights =
        seed.is_multiple_of(2).then(|| labels.iter().map(|_| stream.below(4) as f32 * 0.75).collect());
    Batch {
        queries: unit_rows(queries, width, &mut stream),
        documents: unit_rows(documents, width, &mut stream),
        width,
        offsets,
        listed,
        labels,
        weights,
        options: Options { temperature: 0.05, reduction: Reduction::Sum, anchors: Anchors::ALL },
    }
}

fn unit_rows(rows: usize, width: usize, stream: &mut Stream) -> Vec<f32> {
    let mut values: Vec<f32> = (0..rows * width).map(|_| stream.signed()).collect();
    for row in values.chunks_mut(width) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-3);
        row.iter_mut().for_each(|value| *value /= length);
    }
    values
}

/// The largest distance to the truth.
fn error<T: Real>(values: &[T], truth: &[f64]) -> f64 {
    assert_eq!(values.len(), truth.len());
    values.iter().zip(truth).map(|(value, truth)| (value.to_f64() - truth).abs()).fold(0.0, f64::max)
}

fn largest(truth: &[f64]) -> f64 {
    truth.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// What roundings of f32 may do to a batch, to first order. A score's error is some roundings of the longest
/// lengths' product over the temperature, `S`; it shifts the logarithm of every probability, so that a term of
/// mass `m` moves by `(4 + 2 S) epsilon m`. Which order of sums comes off better within that is chance.
struct Slack {
    rounding: f64,
    /// The largest mass of a query's anchors: their weights times the reduction's factor.
    mass: f64,
    /// What one unit of mass adds to a gradient at most.
    query_gradient: f64,
    document_gradient: f64,
}

impl Slack {
    /// A few roundings of the largest value, and no more: for batches that are the same on every run.
    const FEW_ROUNDINGS: Self =
        Self { rounding: 4.0 * f32::EPSILON as f64, mass: 0.0, query_gradient: 0.0, document_gradient: 0.0 };

    fn of(batch: &Batch) -> Self {
        let (labels, options) = (batch.labels(), batch.options);
        let inverse = f64::from(1.0 / options.temperature);
        let longest = |rows: Matrix<'_, f32>| {
            let lengths = rows.iter_rows().map(|row| widen(row).iter().map(|v| v * v).sum::<f64>().sqrt());
            lengths.fold(0.0, f64::max)
        };
        let (query, document) = (longest(batch.queries()), longest(batch.documents()));
        let mass = |pairs: &[usize]| {
            let anchors = (pairs[0]..pairs[1]).filter(|at| options.anchors.contains(batch.labels[*at]));
            factor(labels, options)
                * anchors.map(|at| batch.weights.as_ref().map_or(1.0, |w| f64::from(w[at]))).sum::<f64>()
        };
        Self {
            rounding: f64::from(f32::EPSILON) * (4.0 + 2.0 * inverse * query * document),
            mass: batch.offsets.windows(2).map(mass).fold(0.0, f64::max),
            query_gradient: 2.0 * inverse * document,
            document_gradient: 2.0 * inverse * query,
        }
    }
}

/// Every implementation's error is at most twice the plain f32 one's, and a few roundings of the largest value.
#[track_caller]
fn assert_as_good_as_plain_f32(batch: &Batch) {
    assert_within(batch, &Slack::FEW_ROUNDINGS);
}

/// Every implementation's error is at most twice the plain f32 one's and this slack.
#[track_caller]
fn assert_within(batch: &Batch, slack: &Slack) {
    let truth = batch.truth();
    let plain = batch.run(Runner::Scalar);
    for runner in runners() {
        let fast = batch.run(runner);
        let check = |what: &str, fast: f64, plain: f64, scale: f64| {
            let allowed = 2.0 * plain + slack.rounding * scale;
            assert!(fast <= allowed, "{runner:?}: {what} is off by {fast:e}; {allowed:e} is allowed");
        };
        let (fast_loss, plain_loss) = (error(&fast.loss, &truth.loss), error(&plain.loss, &truth.loss));
        check("loss", fast_loss, plain_loss, largest(&truth.loss).max(slack.mass));
        let scale = largest(&truth.queries).max(slack.mass * slack.query_gradient);
        check("queries", error(&fast.queries, &truth.queries), error(&plain.queries, &truth.queries), scale);
        let (fast_d, plain_d) =
            (error(&fast.documents, &truth.documents), error(&plain.documents, &truth.documents));
        let document_scale = largest(&truth.documents).max(slack.mass * slack.document_gradient);
        check("documents", fast_d, plain_d, document_scale);
        let plain_t = (plain.inverse_temperature - truth.inverse_temperature).abs();
        let fast_t = (fast.inverse_temperature - truth.inverse_temperature).abs();
        let scale = scale
            * f64::from(batch.options.temperature)
            * widen(&batch.queries).iter().map(|q| q.abs()).sum::<f64>();
        check("inverse temperature", fast_t, plain_t, scale);
    }
}

const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 2, 1),
    (1, 7, 31),
    (7, 1, 33),
    (7, 31, 1),
    (31, 33, 7),
    (33, 127, 33),
    (127, 33, 127),
    (127, 507, 31),
    (507, 127, 7),
    (300, 260, 127),
    (64, 480, 507),
];

#[test]
fn every_device_is_as_good_as_plain_f32_on_odd_and_aligned_shapes() {
    // Miri walks through the small ones.
    let shapes = SHAPES.into_iter().take(if cfg!(miri) { 6 } else { SHAPES.len() });
    for (seed, (queries, documents, width)) in shapes.enumerate() {
        assert_as_good_as_plain_f32(&batch(queries, documents, width, seed as u64));
    }
}

#[test]
fn every_device_is_as_good_as_plain_f32_under_every_reduction_and_choice_of_anchors() {
    for reduction in [Reduction::Sum, Reduction::MeanOverQueries, Reduction::MeanOverAnchors] {
        for anchors in [Anchors::ALL, Anchors::at_least(4), Anchors::from_mask(0b10), Anchors::from_mask(0)] {
            let mut batch = batch(40, 60, 24, 8);
            batch.options = Options { temperature: 0.2, reduction, anchors };
            assert_as_good_as_plain_f32(&batch);
        }
    }
}

#[test]
fn scores_of_ten_thousand_and_a_temperature_of_a_hundredth_stay_finite() {
    for temperature in [0.01, 1.0] {
        let mut batch = batch(33, 127, 31, 6);
        batch.options.temperature = temperature;
        batch.queries.iter_mut().for_each(|value| *value *= 1e4);
        assert_as_good_as_plain_f32(&batch);
        for runner in runners() {
            let output = batch.run(runner);
            assert!(output.loss.iter().all(|loss| loss.is_finite()), "{runner:?}");
            assert!(
                output.queries.iter().chain(&output.documents).all(|value| value.is_finite()),
                "{runner:?}"
            );
        }
    }
}

#[test]
fn the_twin_agrees_with_finite_differences() {
    for seed in 0..4 {
        let mut batch = batch(7, 13, 5, seed);
        batch.options.temperature = 0.25;
        let (queries, documents) = (widen(&batch.queries), widen(&batch.documents));
        let inverse = f64::from(1.0 / batch.options.temperature);
        let truth = batch.truth_at(&queries, &documents, inverse);
        let value = |q: &[f64], d: &[f64], inverse| batch.truth_at(q, d, inverse).loss.iter().sum::<f64>();
        let slope = |loss: &dyn Fn(f64) -> f64| {
            // Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h.
            let h = 1e-3;
            (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h)
        };
        let close = |analytic: f64, numeric: f64| {
            assert!(
                (analytic - numeric).abs() <= 1e-7 * (1.0 + analytic.abs()),
                "{analytic} against {numeric}"
            );
        };
        for at in 0..queries.len() {
            let moved = |h: f64| {
                let mut queries = queries.clone();
                queries[at] += h;
                value(&queries, &documents, inverse)
            };
            close(truth.queries[at], slope(&moved));
        }
        for at in 0..documents.len() {
            let moved = |h: f64| {
                let mut documents = documents.clone();
                documents[at] += h;
                value(&queries, &documents, inverse)
            };
            close(truth.documents[at], slope(&moved));
        }
        close(truth.inverse_temperature, slope(&|h| value(&queries, &documents, inverse + h)));
    }
}

/// The cases of `fixtures.txt`, which `benchmarks/references/losses/make_fixtures.py` wrote: names to values.
fn fixtures() -> Vec<(String, std::collections::HashMap<&'static str, Vec<f64>>)> {
    let cases = include_str!("fixtures.txt").split("case ").skip(1);
    let read = |case: &'static str| {
        let (name, lines) = case.split_once('\n').unwrap();
        let values = |line: &'static str| {
            let mut words = line.split(' ');
            (words.next().unwrap(), words.map(|word| word.parse().unwrap()).collect())
        };
        (name.to_owned(), lines.lines().filter(|line| !line.is_empty()).map(values).collect())
    };
    cases.map(read).collect()
}

#[test]
fn pytorch_gives_the_same_losses_and_gradients() {
    let cases = fixtures();
    assert_eq!(cases.len(), 5);
    for (name, case) in cases {
        let narrow = |key: &str| case[key].iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let inverse_temperature = case["inverse_temperature"][0];
        let batch = Batch {
            queries: narrow("queries"),
            documents: narrow("documents"),
            width: case["shape"][2] as usize,
            offsets: case["offsets"].iter().map(|offset| *offset as usize).collect(),
            listed: case["listed"].iter().map(|document| *document as u32).collect(),
            labels: case["labels"].iter().map(|label| *label as u8).collect(),
            weights: Some(narrow("weights")),
            options: Options {
                temperature: 1.0 / inverse_temperature as f32,
                reduction: Reduction::Sum,
                anchors: Anchors::from_mask(case["anchors"][0] as u16),
            },
        };
        let compare = |who: &str, loss: f64, gradients: [(Vec<f64>, &str); 3], tolerance: f64| {
            assert_near(loss, case["loss"][0], tolerance * case["loss"][0]);
            for (gradient, key) in gradients {
                let off = error(&gradient, &case[key]);
                assert!(off <= tolerance * largest(&case[key]), "{name}, {who}: {key} is off by {off:e}");
            }
        };
        let gradients = |output: Output<f64>| {
            [
                (output.queries, "query_gradient"),
                (output.documents, "document_gradient"),
                (vec![output.inverse_temperature], "inverse_temperature_gradient"),
            ]
        };
        let truth = batch.truth_at(&case["queries"], &case["documents"], inverse_temperature);
        compare("twin", truth.loss.iter().sum(), gradients(truth), 1e-12);
        for runner in runners() {
            let Output { loss, queries, documents, inverse_temperature } = batch.run(runner);
            let (queries, documents) = (widen(&queries), widen(&documents));
            let output = Output { loss: Vec::new(), queries, documents, inverse_temperature };
            compare(&format!("{runner:?}"), loss.iter().sum(), gradients(output), 2e-5);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let batch = if cfg!(miri) { batch(9, 245, 3, 2) } else { batch(507, 700, 100, 2) };
    let on = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let output = batch.run(Runner::Simd(InstructionSet::best()));
            (output.loss, output.queries, output.documents, output.inverse_temperature)
        })
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert_eq!(one, on(threads), "{threads} threads");
    }
}

// --- one list with given scores -----------------------------------------------------------------------------

/// A single list: a score and a label for each document.
fn list_loss(runner: Runner, scores: &[f32], labels: &[u8], options: Options) -> (Loss, Vec<f32>) {
    let documents: Vec<u32> = (0..scores.len() as u32).collect();
    let offsets = [0, scores.len()];
    let labels = SparseLabels::new(1, scores.len(), &offsets, &documents, labels, None).unwrap();
    run_scores(runner, Matrix::new("scores", scores, 1, scores.len()).unwrap(), labels, options)
}

fn run_scores(
    runner: Runner,
    scores: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
) -> (Loss, Vec<f32>) {
    let factor = check_scores(scores, labels, options).unwrap();
    let (loss, gradient) = match runner {
        Runner::Scalar => scalar::scores(scores, labels, terms(options, factor)),
        Runner::Simd(set) => {
            let (loss, gradient) = simd::scores(set, scores, labels, options, factor);
            assert_eq!(loss, simd::score_loss(set, scores, labels, options, factor));
            (loss, gradient)
        }
    };
    (finish(loss, labels, options), gradient)
}

#[track_caller]
fn assert_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} is not {expected} within {tolerance}");
}

const LIST_SCORES: [f32; 7] = [0.8, 0.7, 0.6, 0.5, 0.2, 0.1, 0.0];
const LIST_LABELS: [u8; 7] = [5, 4, 4, 3, 2, 1, 0];

#[test]
fn the_terms_of_a_graded_list_are_those_worked_out_by_hand() {
    let terms = [1.601_227, 1.244_344, 1.316_542, 1.104_485, 1.001_943, 0.644_397, 0.0];
    for runner in runners() {
        let options = Options { temperature: 1.0, reduction: Reduction::Sum, anchors: Anchors::ALL };
        let (loss, _) = list_loss(runner, &LIST_SCORES, &LIST_LABELS, options);
        assert_near(loss.value, 6.912_937, 2e-6);
        assert_eq!(loss.anchors, 6);
        for (label, expected) in
            [(5, terms[0]), (4, terms[1] + terms[2]), (3, terms[3]), (1, terms[5]), (0, 0.0)]
        {
            let options = Options { anchors: Anchors::from_mask(1 << label), ..options };
            assert_near(list_loss(runner, &LIST_SCORES, &LIST_LABELS, options).0.value, expected, 2e-6);
        }
        let sharp = Options { temperature: 0.05, ..options };
        assert_near(list_loss(runner, &LIST_SCORES, &LIST_LABELS, sharp).0.value, 0.563_269, 2e-6);
    }
}

#[test]
fn listing_the_lowest_label_or_leaving_it_out_is_the_same() {
    for runner in runners() {
        let options = Options { temperature: 0.5, ..Options::default() };
        let scores = Matrix::new("scores", &LIST_SCORES, 1, 7).unwrap();
        let listed: Vec<u32> = (0..6).collect();
        let sparse = SparseLabels::new(1, 7, &[0, 6], &listed, &LIST_LABELS[..6], None).unwrap();
        let (with, with_gradient) = list_loss(runner, &LIST_SCORES, &LIST_LABELS, options);
        let (without, without_gradient) = run_scores(runner, scores, sparse, options);
        assert_near(with.value, without.value, 1e-6);
        assert!(error(&with_gradient, &widen(&without_gradient)) < 1e-6);
    }
}

#[test]
fn the_lowest_level_and_equal_labels_contribute_exactly_nothing() {
    for runner in runners() {
        for labels in [[3; 7], [0; 7], [IGNORED; 7]] {
            let (loss, gradient) = list_loss(runner, &LIST_SCORES, &labels, Options::default());
            assert_eq!((loss.value, loss.anchors), (0.0, 0), "{runner:?}");
            assert_eq!(gradient, [0.0; 7], "{runner:?}");
        }
    }
}

#[test]
fn an_ignored_document_has_no_influence() {
    for runner in runners() {
        let labels = [5, IGNORED, 4, IGNORED, 2, 1, 0];
        let (loss, gradient) = list_loss(runner, &LIST_SCORES, &labels, Options::default());
        let mut other = LIST_SCORES;
        (other[1], other[3]) = (9.0, -9.0);
        assert_eq!((loss, gradient.clone()), list_loss(runner, &other, &labels, Options::default()));
        assert_eq!((gradient[1], gradient[3]), (0.0, 0.0));
    }
}

#[test]
fn the_gradient_of_the_scores_sums_to_nothing_and_matches_the_twin() {
    for columns in [1usize, 7, 16, 31, 33, 127, 507] {
        let mut stream = Stream(columns as u64);
        let values: Vec<f32> = (0..9 * columns).map(|_| stream.signed()).collect();
        let scores = Matrix::new("scores", &values, 9, columns).unwrap();
        let batch = batch(9, columns, 2, 4);
        let options = Options { temperature: 0.1, reduction: Reduction::MeanOverAnchors, ..batch.options };
        let wide = widen(&values);
        let factor = factor(batch.labels(), options);
        let inverse_temperature = f64::from(1.0f32 / 0.1);
        let terms = scalar::Terms { inverse_temperature, anchors: Anchors::ALL, factor };
        let (truth_loss, truth) =
            scalar::scores(Matrix::new("scores", &wide, 9, columns).unwrap(), batch.labels(), terms);
        for runner in runners() {
            let (loss, gradient) = run_scores(runner, scores, batch.labels(), options);
            assert!(error(&loss.per_query, &truth_loss) <= 2e-6, "{runner:?} {columns}");
            assert!(error(&gradient, &truth) <= 2e-6, "{runner:?} {columns}");
            for row in gradient.chunks(columns) {
                assert!(row.iter().map(|value| f64::from(*value)).sum::<f64>().abs() < 1e-5, "{runner:?}");
            }
        }
    }
}

#[test]
fn two_levels_are_infonce() {
    let mut batch = batch(31, 31, 33, 1);
    batch.offsets = (0..=31).collect();
    batch.listed = (0..31).collect();
    batch.labels = vec![1; 31];
    batch.weights = None;
    batch.options.reduction = Reduction::MeanOverQueries;
    // Cross-entropy of each query's own document, written without levels.
    let expected: f64 = batch
        .queries()
        .iter_rows()
        .enumerate()
        .map(|(i, query)| {
            let score = |document: &[f32]| {
                query.iter().zip(document).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / 0.05
            };
            let sum: f64 = batch.documents().iter_rows().map(|document| score(document).exp()).sum();
            (sum.ln() - score(batch.documents().row(i))) / 31.0
        })
        .sum();
    for runner in runners() {
        assert_near(batch.run(runner).loss.iter().sum(), expected, 1e-6 * expected);
    }
}

#[test]
fn weights_give_the_weighted_infonce_of_ssra() {
    let cosines = [0.9, 0.1, 0.2, 0.3, 0.7, 0.4, 0.0, 0.5, 0.6];
    let scores = Matrix::new("scores", &cosines, 3, 3).unwrap();
    let labels =
        SparseLabels::new(3, 3, &[0, 1, 2, 3], &[0, 1, 2], &[1, 1, 1], Some(&[3.0, 1.0, 0.0])).unwrap();
    for runner in runners() {
        let (loss, gradient) = run_scores(runner, scores, labels, Options::default());
        // The plain loops lose digits to largest + log(sum) - score, which nearly cancels.
        assert_near(loss.value, 9.376_982e-4, if matches!(runner, Runner::Scalar) { 2e-6 } else { 3e-10 });
        assert_eq!(gradient[6..], [0.0; 3], "a weight of 0 gives no gradient of its own");
    }
}

#[test]
fn a_query_without_anchors_has_no_loss_and_no_gradient() {
    let batch = batch(10, 60, 8, 3);
    for runner in runners() {
        let output = batch.run(runner);
        for query in (0..10).filter(|query| query % 5 == 4) {
            assert_eq!(output.loss[query], 0.0);
            assert_eq!(output.queries[query * 8..][..8], [0.0; 8], "{runner:?}");
        }
    }
}

#[test]
fn the_gradient_of_the_temperature_is_the_chain_rule() {
    assert_eq!(temperature_gradient(3.0, 0.5), -12.0);
}

// --- bad input ----------------------------------------------------------------------------------------------

fn refusal(result: Result<SparseLabels<'_>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn tables_that_do_not_fit_are_refused_with_their_numbers() {
    let new = |offsets: &'static [usize], documents: &'static [u32], labels: &'static [u8], weights| {
        refusal(SparseLabels::new(2, 4, offsets, documents, labels, weights))
    };
    assert_eq!(new(&[0, 1], &[0], &[1], None), "labels: 2 offsets for 2 queries; expected 3");
    assert_eq!(new(&[], &[], &[], None), "labels: 0 offsets for 2 queries; expected 3");
    assert_eq!(new(&[1, 1, 1], &[0], &[1], None), "labels: offset 0 is 1; expected 0");
    assert_eq!(
        new(&[0, 1, 0], &[0], &[1], None),
        "labels: offset 2 is 0; expected at least 1, the offset before it"
    );
    assert_eq!(new(&[0, 1, 3], &[0], &[1], None), "labels: offset 2 is 3; expected 1, the number of entries");
    assert_eq!(new(&[0, 1, 2], &[0, 1], &[1], None), "labels: 2 documents but 1 labels");
    assert_eq!(new(&[0, 0, 1], &[0], &[1], Some(&[])), "labels: 1 documents but 0 weights");
    assert_eq!(new(&[0, 1, 2], &[0, 4], &[1, 1], None), "labels: query 1, entry 1 names document 4 of 4");
    for documents in [&[2, 1], &[2, 2]] {
        let message = new(&[0, 0, 2], documents, &[1, 1], None);
        assert!(message.ends_with("after 2; expected ascending order, each document once"), "{message}");
    }
    assert_eq!(
        new(&[0, 0, 1], &[1], &[16], None),
        "labels: query 1, entry 0: label 16; expected 0 to 15, or 255 for ignored"
    );
    for weight in [&[-1.0f32], &[f32::NAN], &[f32::INFINITY]] {
        let message = new(&[0, 0, 1], &[1], &[1], Some(weight));
        assert!(message.contains("expected a finite number of at least 0"), "{message}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_with_their_numbers() {
    let ones = [1.0f32; 12];
    let matrix = |rows, columns| Matrix::new("m", &ones[..rows * columns], rows, columns).unwrap();
    let labels = |queries, documents| {
        SparseLabels::new(queries, documents, &[0; 4][..queries + 1], &[], &[], None).unwrap()
    };
    let refuse = |q, d, labels, temperature| {
        let options = Options { temperature, ..Options::default() };
        let error = loss_and_gradients(q, d, labels, options, Device::Scalar).unwrap_err();
        let alone = loss(q, d, labels, options, Device::Scalar).unwrap_err();
        assert_eq!(alone.to_string(), error.to_string());
        error.to_string()
    };
    let (q, d, fit) = (matrix(2, 3), matrix(4, 3), labels(2, 4));
    assert_eq!(refuse(matrix(3, 2), d, fit, 1.0), "queries has 2 columns, documents has 3");
    assert_eq!(refuse(q, d, labels(3, 4), 1.0), "queries has 2 queries, labels has 3");
    assert_eq!(refuse(q, d, labels(2, 3), 1.0), "documents has 4 documents, labels has 3");
    assert_eq!(refuse(matrix(0, 3), d, labels(0, 4), 1.0), "queries is empty: 0 rows of 3 columns");
    assert_eq!(refuse(q, matrix(0, 3), labels(2, 0), 1.0), "documents is empty: 0 rows of 3 columns");
    assert_eq!(refuse(matrix(2, 0), matrix(4, 0), fit, 1.0), "queries is empty: 2 rows of 0 columns");
    for temperature in [0.0, -0.05, f32::NAN, f32::INFINITY, 1e-40] {
        let message = refuse(q, d, fit, temperature);
        assert!(message.starts_with("temperature is "), "{message}");
    }
    let mut bad = ones;
    bad[4] = f32::NAN;
    let bad = Matrix::new("m", &bad[..6], 2, 3).unwrap();
    assert_eq!(refuse(bad, d, fit, 1.0), "queries: row 1, column 1 is NaN; every value must be finite");
    assert!(refuse(q, d, fit, 2e-38).starts_with("the largest score there could be is"), "overflow");
    let scores = matrix(2, 4);
    let error = score_loss(scores, labels(3, 4), Options::default(), Device::Scalar).unwrap_err();
    assert_eq!(error.to_string(), "scores has 2 queries, labels has 3");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let one = Matrix::new("m", &[1.0f32], 1, 1).unwrap();
    let labels = SparseLabels::new(1, 1, &[0, 0], &[], &[], None).unwrap();
    if Device::Cuda.available().is_err() {
        let error = loss(one, one, labels, Options::default(), Device::Cuda).unwrap_err();
        assert!(matches!(error, Error::Device { device: Device::Cuda, .. }), "{error}");
    }
}

#[test]
fn the_public_functions_run_the_device_asked_for() {
    let batch = batch(20, 30, 16, 5);
    let truth = batch.truth();
    for device in [Device::Scalar, Device::Simd].into_iter().filter(|device| device.available().is_ok()) {
        let (q, d, labels) = (batch.queries(), batch.documents(), batch.labels());
        let output = loss_and_gradients(q, d, labels, batch.options, device).unwrap();
        assert_near(output.loss.value, truth.loss.iter().sum(), 1e-4);
        assert_eq!(output.loss, loss(q, d, labels, batch.options, device).unwrap());
        assert_near(output.inverse_temperature, truth.inverse_temperature, 1e-4);
        let scores: Vec<f32> = q
            .iter_rows()
            .flat_map(|q| {
                d.iter_rows().map(|d| q.iter().zip(d).map(|(a, b)| a * b).sum()).collect::<Vec<f32>>()
            })
            .collect();
        let scores = Matrix::new("scores", &scores, 20, 30).unwrap();
        let from_scores = score_loss_and_gradients(scores, labels, batch.options, device).unwrap();
        assert_near(from_scores.loss.value, output.loss.value, 1e-4);
        assert_near(from_scores.inverse_temperature, output.inverse_temperature, 1e-4);
        assert_eq!(from_scores.loss, score_loss(scores, labels, batch.options, device).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 64 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_is_computed_as_well_as_in_plain_f32(
        queries in 1usize..40, documents in 1usize..70, width in 1usize..40, seed: u64,
        temperature in 0.01f32..3.0, anchors: u16,
    ) {
        let mut batch = batch(queries, documents, width, seed);
        batch.options.temperature = temperature;
        batch.options.anchors = Anchors::from_mask(anchors);
        // Of any batch the plain loops' error may be small by luck: what f32 may do is allowed.
        assert_within(&batch, &Slack::of(&batch));
    }

    #[test]
    fn no_table_makes_the_check_panic(
        queries in 0usize..4, documents in 0usize..5,
        offsets in prop::collection::vec(0usize..6, 0..6),
        listed in prop::collection::vec(0u32..6, 0..6),
        labels in prop::collection::vec(any::<u8>(), 0..6),
        weights in prop::option::of(prop::collection::vec(any::<f32>(), 0..6)),
    ) {
        let table = SparseLabels::new(queries, documents, &offsets, &listed, &labels, weights.as_deref());
        if let Ok(table) = table {
            prop_assert_eq!(table.pairs(), listed.len());
            prop_assert!(table.anchors(Anchors::ALL) <= listed.len());
        }
    }

    #[test]
    fn no_value_makes_the_loss_panic(
        values in prop::collection::vec(any::<f32>(), 12), temperature: f32,
    ) {
        let (queries, documents) = values.split_at(4);
        let queries = Matrix::new("queries", queries, 2, 2).unwrap();
        let documents = Matrix::new("documents", documents, 4, 2).unwrap();
        let labels = SparseLabels::new(2, 4, &[0, 2, 3], &[0, 3, 1], &[2, 1, 3], None).unwrap();
        let options = Options { temperature, ..Options::default() };
        for device in [Device::Scalar, Device::auto()] {
            if let Ok(output) = loss_and_gradients(queries, documents, labels, options, device) {
                prop_assert!(output.loss.value.is_finite(), "{device}");
                prop_assert!(device == Device::Scalar || output.loss.value >= 0.0, "{device}");
            }
        }
    }
}
