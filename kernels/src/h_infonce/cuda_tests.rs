//! H-InfoNCE on a GPU or its simulator, against f64.
//!
//! Two references. *Rounded*: the f64 definition of the embeddings after rounding to bf16; against it the loss is
//! off by f32 sums alone, and the gradients by little more than rounding `G` to bf16 does. *Truth*: the f64
//! definition of the embeddings as given; against it nothing is worse than twice plain bf16 arithmetic, which
//! rounds the same embeddings and the same `G` and is otherwise exact.

use half::bf16;

use super::*;

/// What plain bf16 arithmetic gives.
fn plain_bf16(batch: &Batch) -> Output<f64> {
    let (queries, documents) = (rounded(&batch.queries), rounded(&batch.documents));
    let inverse = f64::from(1.0 / batch.options.temperature);
    let labels = batch.labels();
    let (rows, columns, width) = (labels.queries(), labels.documents(), batch.width);
    let mut scores = vec![0.0; rows * columns];
    for (at, score) in scores.iter_mut().enumerate() {
        let (q, d) = (&queries[at / columns * width..][..width], &documents[at % columns * width..][..width]);
        *score = q.iter().zip(d).map(|(a, b)| a * b).sum();
    }
    let terms = scalar::Terms {
        inverse_temperature: inverse,
        anchors: batch.options.anchors,
        factor: factor(labels, batch.options),
    };
    let matrix = Matrix::new("scores", &scores, rows, columns).unwrap();
    let (loss, gradient) = scalar::scores(matrix, labels, terms);
    let mut output = Output {
        loss,
        queries: vec![0.0; queries.len()],
        documents: vec![0.0; documents.len()],
        inverse_temperature: 0.0,
    };
    for (at, value) in gradient.into_iter().enumerate() {
        let value = bf16::from_f64(value / inverse).to_f64() * inverse;
        let (i, k) = (at / columns * width, at % columns * width);
        for c in 0..width {
            output.queries[i + c] += value * documents[k + c];
            output.documents[k + c] += value * queries[i + c];
        }
    }
    output
}

fn rounded(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| bf16::from_f32(*value).to_f64()).collect()
}

#[track_caller]
fn check(batch: &Batch, tiles: Option<usize>) {
    if Device::Cuda.available().is_err() {
        return;
    }
    let (queries, documents, labels) = (batch.queries(), batch.documents(), batch.labels());
    let inverse = f64::from(1.0 / batch.options.temperature);
    let near = batch.truth_at(&rounded(&batch.queries), &rounded(&batch.documents), inverse);
    let truth = batch.truth();
    let plain = plain_bf16(batch);
    for products in crate::cuda::products().unwrap() {
        let mut resident =
            cuda::Batch::upload_with(queries, documents, labels, batch.options, products).unwrap();
        if let Some(tiles) = tiles {
            resident.cut(tiles);
        }
        resident.forward().unwrap();
        resident.backward().unwrap();
        let loss = resident.loss().unwrap();
        let (q, d) = resident.gradients().unwrap();
        let (rows, columns, by) = (labels.queries(), labels.documents(), products.name());
        let context = format!("{rows} x {columns} x {} by {by}", batch.width);
        let within = |what: &str, fast: f64, plain: f64, slack: f64, scale: f64| {
            let allowed = 2.0 * plain + slack * scale;
            assert!(fast <= allowed, "{what} of {context}: off by {fast:.3e}, allowed {allowed:.3e}");
        };
        within("rounded loss", error(&loss, &near.loss), 0.0, 2e-5, largest(&near.loss));
        within(
            "loss",
            error(&loss, &truth.loss),
            error(&plain.loss, &truth.loss),
            2e-5,
            largest(&truth.loss),
        );
        for (what, fast, near, truth, plain) in [
            ("gradient of queries", &q, &near.queries, &truth.queries, &plain.queries),
            ("gradient of documents", &d, &near.documents, &truth.documents, &plain.documents),
        ] {
            within(what, error(fast, near), error(plain, near), 2e-5, largest(near));
            within(what, error(fast, truth), error(plain, truth), 2e-5, largest(truth));
        }
    }
}

#[test]
fn shapes_on_the_gpu() {
    let shapes = [
        (1, 1, 1),
        (1, 33, 7),
        (7, 31, 33),
        (31, 7, 31),
        (33, 127, 64),
        (127, 507, 33),
        (507, 127, 7),
        (129, 257, 127),
        (64, 128, 130),
        (40, 300, 330),
    ];
    for (seed, (queries, documents, width)) in shapes.into_iter().enumerate() {
        check(&batch(queries, documents, width, seed as u64), None);
    }
}

/// More than one square of gradients, whole and in part, each side; squares of several tiles.
#[test]
fn squares_on_the_gpu() {
    check(&batch(257, 300, 40, 21), Some(1));
    check(&batch(128, 256, 32, 22), Some(1));
    check(&batch(40, 800, 40, 23), Some(3));
}

#[test]
fn options_on_the_gpu() {
    let reductions = [Reduction::Sum, Reduction::MeanOverQueries, Reduction::MeanOverAnchors];
    let anchors = [Anchors::ALL, Anchors::at_least(3), Anchors::from_mask(0b10_0010)];
    for (seed, (reduction, anchors)) in reductions.into_iter().zip(anchors).enumerate() {
        for temperature in [0.02, 0.3, 5.0] {
            let mut batch = batch(33, 127, 31, 40 + seed as u64);
            batch.options = Options { temperature, reduction, anchors };
            check(&batch, None);
        }
    }
}

/// Every document of a tile listed, at its edges and over several tiles; and nobody lists anything.
#[test]
fn listed_pairs_on_the_gpu() {
    for (first, step) in [(0u32, 1), (127, 1), (0, 127), (126, 2), (1, 3)] {
        let mut batch = batch(9, 300, 20, 60 + u64::from(first));
        let row: Vec<u32> = (first..300).step_by(step).collect();
        batch.labels = (0..9 * row.len()).map(|at| [1, 0, IGNORED, 5, 2][at % 5]).collect();
        batch.weights = None;
        batch.offsets = (0..=9).map(|query| query * row.len()).collect();
        batch.listed = row.repeat(9);
        check(&batch, None);
    }
    let mut batch = batch(9, 40, 20, 70);
    (batch.listed, batch.labels, batch.weights, batch.offsets) = (vec![], vec![], None, vec![0; 10]);
    check(&batch, None);
}

/// The public functions take the same way, the loss alone is the loss with gradients, and twice is the same.
#[test]
fn the_public_functions_on_the_gpu() {
    if Device::Cuda.available().is_err() {
        return;
    }
    let batch = batch(40, 200, 48, 80);
    let run = || {
        loss_and_gradients(batch.queries(), batch.documents(), batch.labels(), batch.options, Device::Cuda)
    };
    let found = run().unwrap();
    assert_eq!(found, run().unwrap());
    let alone =
        loss(batch.queries(), batch.documents(), batch.labels(), batch.options, Device::Cuda).unwrap();
    assert_eq!(found.loss, alone);
    let truth = batch.truth();
    let plain = plain_bf16(&batch);
    let inner: f64 = plain.queries.iter().zip(widen(&batch.queries)).map(|(a, b)| a * b).sum();
    let plain = (inner * f64::from(batch.options.temperature) - truth.inverse_temperature).abs();
    let off = (found.inverse_temperature - truth.inverse_temperature).abs();
    assert!(off <= 2.0 * plain + 1e-4 * truth.inverse_temperature.abs(), "{off} {plain}");
    let scores = Matrix::new("scores", &[0.5; 8000], 40, 200).unwrap();
    let refused = score_loss(scores, batch.labels(), batch.options, Device::Cuda).unwrap_err().to_string();
    assert!(refused.contains("given score matrix"), "{refused}");
}
