//! Every loss against autograd in f64, against finite differences, and against what must hold for any batch.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::labeler::{LabelerLoss, LabelerTargets};
use super::*;

/// Fixtures written by `benchmarks/references/losses/trainer_fixtures.py`.
fn fixtures() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/losses.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// A batch as the tests keep it.
#[derive(Clone, Debug)]
struct Batch {
    width: usize,
    queries: Vec<f64>,
    documents: Vec<f64>,
    targets: Targets,
}

impl Batch {
    fn from_fixture(batch: &Value) -> Batch {
        let width = batch["width"].as_u64().unwrap() as usize;
        let (queries, documents) = (numbers(&batch["queries"]), numbers(&batch["documents"]));
        let listed = |row: &Value| Listed {
            document: row[0].as_u64().unwrap() as u32,
            grade: row[1].as_u64().unwrap() as u8,
            own: row[2] == 1,
            weight: row[3].as_f64().unwrap() as f32,
            teacher: row[4].as_f64().map(|teacher| teacher as f32),
        };
        let lists = batch["listed"].as_array().unwrap().iter();
        let lists = lists.map(|rows| rows.as_array().unwrap().iter().map(listed).collect()).collect();
        let targets = Targets::new(documents.len() / width, lists).unwrap();
        Batch { width, queries, documents, targets }
    }

    fn run<T: Real>(&self, loss: &Loss, parameters: &[f64]) -> Result<Gradients<T>, LossError> {
        let narrow = |values: &[f64]| values.iter().map(|&value| T::from_f64(value)).collect::<Vec<T>>();
        let (queries, documents) = (narrow(&self.queries), narrow(&self.documents));
        let matrix = |what, values| Matrix::new(what, values, values.len() / self.width, self.width).unwrap();
        let embeddings =
            Embeddings { queries: matrix("queries", &queries), documents: matrix("documents", &documents) };
        loss.gradients(embeddings, &self.targets, parameters)
    }
}

fn loss(settings: Value) -> Loss {
    serde_json::from_value(settings).unwrap()
}

/// Refuses values that differ by more than `tolerance` times the largest of both lists.
#[track_caller]
fn assert_relative(what: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{what}");
    let size = values.iter().chain(expected).fold(0.0f64, |size, value| size.max(value.abs()));
    for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
        let error = (value - expected).abs();
        assert!(
            error <= tolerance * size,
            "{what}, value {at}: {value}, PyTorch says {expected} ({error:e})"
        );
    }
}

fn check_cases<T: Real>(tolerance: f64) {
    let fixtures = fixtures();
    let cases = fixtures["cases"].as_array().unwrap();
    assert!(cases.len() > 200);
    for case in cases {
        let batch = Batch::from_fixture(&fixtures["batches"][case["batch"].as_str().unwrap()]);
        let loss = loss(case["loss"].clone());
        let what = format!("{loss} on {}", case["batch"]);
        let output = batch.run::<T>(&loss, &loss.starting_parameters()).unwrap();
        let value = case["value"].as_f64().unwrap();
        assert_relative(&what, &[output.value], &[value], tolerance.max(1e-15 / value.abs().max(1e-300)));
        // All slopes of a case together: relative to the largest of them, or to a thousandth of the loss where they
        // cancel to nothing.
        let wide = |values: &[T]| values.iter().map(|value| value.to_f64()).collect::<Vec<f64>>();
        let floor = vec![1e-3 * value.abs().max(1e-3)];
        let ours =
            [wide(&output.queries), wide(&output.documents), output.parameters, floor.clone()].concat();
        let theirs = ["queries", "documents", "parameters"].map(|side| numbers(&case[side])).concat();
        assert_relative(&what, &ours, &[theirs, floor].concat(), tolerance);
        if !output.per_query.is_empty() {
            assert_eq!(output.per_query.len(), batch.targets.queries(), "{what}");
            let sum: f64 = output.per_query.iter().sum();
            assert!((sum - output.value).abs() <= 1e-12 * sum.abs(), "{what}: {sum} but {}", output.value);
        }
    }
}

#[test]
fn pytorch_agrees_in_f64() {
    check_cases::<f64>(1e-10);
}

#[test]
fn pytorch_agrees_in_f32() {
    check_cases::<f32>(1e-6);
}

#[test]
fn pytorch_agrees_on_labelers() {
    for case in fixtures()["labeler"].as_array().unwrap() {
        let loss: LabelerLoss = serde_json::from_value(case["loss"].clone()).unwrap();
        let logits = numbers(&case["logits"]);
        let columns = case["columns"].as_u64().unwrap() as usize;
        let rows = logits.len() / columns;
        let grades: Vec<u8> = serde_json::from_value(case["grades"].clone()).unwrap();
        let distributions: Vec<f32> = serde_json::from_value(case["distributions"].clone()).unwrap();
        let levels = distributions.len() / rows;
        assert_eq!(loss.logits_for(levels as u8 - 1), columns);
        let targets = LabelerTargets {
            grades: Some(&grades),
            distributions: Some(Matrix::new("distributions", &distributions, rows, levels).unwrap()),
        };
        let what = format!("{loss:?}");
        let output = loss.gradients(Matrix::new("logits", &logits, rows, columns).unwrap(), targets).unwrap();
        assert_relative(&what, &[output.value], &numbers(&json!([case["value"]])), 1e-10);
        assert_relative(&what, &output.logits, &numbers(&case["gradient"]), 1e-10);
        let narrow: Vec<f32> = logits.iter().map(|&logit| logit as f32).collect();
        let output = loss.gradients(Matrix::new("logits", &narrow, rows, columns).unwrap(), targets).unwrap();
        let wide: Vec<f64> = output.logits.iter().map(|&slope| f64::from(slope)).collect();
        assert_relative(&what, &[output.value], &numbers(&json!([case["value"]])), 1e-6);
        assert_relative(&what, &wide, &numbers(&case["gradient"]), 1e-6);
    }
}

/// Queries whose inner products with the documents, which are unit axes, are `scores`.
fn batch_of_scores(scores: &[&[f64]], lists: Vec<Vec<Listed>>) -> Batch {
    let width = scores[0].len();
    let axis = |row: usize| (0..width).map(move |column| if row == column { 1.0 } else { 0.0 });
    Batch {
        width,
        queries: scores.iter().flat_map(|row| row.iter().copied()).collect(),
        documents: (0..width).flat_map(axis).collect(),
        targets: Targets::new(width, lists).unwrap(),
    }
}

fn lists(grades: &[&[(u32, u8)]]) -> Vec<Vec<Listed>> {
    grades
        .iter()
        .map(|row| row.iter().map(|&(document, grade)| Listed::own(document, grade)).collect())
        .collect()
}

#[track_caller]
fn assert_close(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
}

#[test]
fn weighted_infonce_worked_out_outside() {
    let batch = batch_of_scores(
        &[&[0.9, 0.1, 0.2], &[0.3, 0.7, 0.4], &[0.0, 0.5, 0.6]],
        lists(&[&[(0, 3)], &[(1, 1)], &[(2, 0)]]),
    );
    let loss = loss(json!({
        "name": "weighted_infonce", "similarity": "dot", "temperature": 0.05, "self_contrast": false,
        "mask_margin": null,
    }));
    assert_close(batch.run::<f64>(&loss, &[0.05]).unwrap().value, 9.376982e-4, 5e-11);
}

#[test]
fn cosent_worked_out_outside() {
    let batch = batch_of_scores(&[&[0.9, 0.5, 0.7, 0.1]], lists(&[&[(0, 3), (1, 2), (2, 1), (3, 0)]]));
    for across in ["batch", "query"] {
        let loss =
            loss(json!({"name": "cosent", "similarity": "dot", "temperature": 0.05, "across": across}));
        assert_close(batch.run::<f64>(&loss, &[0.05]).unwrap().value, 4.018_491_478_4, 5e-11);
    }
}

#[test]
fn h_infonce_worked_out_outside() {
    let scores = [0.8, 0.7, 0.6, 0.5, 0.2, 0.1, 0.0];
    let grades = [5, 4, 4, 3, 2, 1, 0];
    let listed: Vec<(u32, u8)> = (0..).zip(grades).collect();
    let batch = batch_of_scores(&[&scores], lists(&[&listed]));
    for (temperature, expected, tolerance) in [(1.0, 6.912937, 2e-6), (0.05, 0.563269, 5e-7)] {
        let loss = loss(
            json!({"name": "h_infonce", "similarity": "dot", "temperature": temperature, "mean_over": "nothing"}),
        );
        assert_close(batch.run::<f64>(&loss, &[temperature]).unwrap().value, expected, tolerance);
        assert_close(batch.run::<f32>(&loss, &[temperature]).unwrap().value, expected, tolerance);
    }
}

#[test]
fn wasserstein_worked_out_outside() {
    let batch = batch_of_scores(&[&[2.0, 1.0, 0.5, -1.0], &[0.0, 0.3, 1.5, -0.5]], vec![]);
    // "own list" of two columns each: the table of the fixture holds four columns, two lists of two.
    let batch =
        Batch { targets: Targets::new(4, lists(&[&[(0, 3), (1, 0)], &[(2, 2), (3, 1)]])).unwrap(), ..batch };
    let loss = loss(json!({"name": "wasserstein"}));
    assert_close(batch.run::<f64>(&loss, &[1.0]).unwrap().value, 0.104_007_937_1, 5e-11);
}

#[test]
fn the_hybrid_term_tells_exchanged_queries_apart() {
    // Both queries want their own document; the second batch gives each the other's.
    let grades = lists(&[&[(0, 3)], &[(1, 3)]]);
    let right = batch_of_scores(&[&[3.0, 0.0], &[0.0, 3.0]], grades.clone());
    let exchanged = batch_of_scores(&[&[0.0, 3.0], &[3.0, 0.0]], grades);
    let plain = loss(json!({"name": "wasserstein"}));
    let hybrid = loss(json!({"name": "wasserstein", "hybrid": 0.1}));
    for batch in [&right, &exchanged] {
        assert!(batch.run::<f64>(&plain, &[1.0]).unwrap().value < 1e-15, "WS2 alone sees no difference");
    }
    assert!(right.run::<f64>(&hybrid, &[1.0]).unwrap().value < 1e-15);
    assert!(exchanged.run::<f64>(&hybrid, &[1.0]).unwrap().value > 0.1);
}

/// Each loss with other settings than its defaults where that matters.
fn all_losses() -> Vec<Loss> {
    [
        json!({"name": "infonce", "symmetric": true, "temperature": 0.3}),
        json!({"name": "weighted_infonce", "temperature": 0.4}),
        json!({"name": "h_infonce", "temperature": 0.3}),
        json!({"name": "wasserstein", "similarity": "cosine", "temperature": 0.3, "hybrid": 0.2}),
        json!({"name": "kl_distillation", "temperature": 0.3}),
        json!({"name": "listnet", "temperature": 0.3, "scope": "batch", "unlisted_mass": false}),
        json!({"name": "listmle", "temperature": 0.3, "scope": "batch"}),
        json!({"name": "lambda_loss", "temperature": 0.3}),
        json!({"name": "approx_ndcg", "temperature": 0.3, "scope": "batch"}),
        json!({"name": "ranknet", "temperature": 0.3, "scope": "batch"}),
        json!({"name": "margin_mse", "similarity": "cosine", "scale": 3.0}),
        json!({"name": "cosent", "temperature": 0.3}),
        json!({"name": "rince", "temperature": 0.3, "lowest_temperature": 0.6}),
        json!({"name": "bixse", "scale": 4.0, "bias": -1.0}),
        json!({"name": "mse"}),
        json!({"name": "matryoshka", "dimensions": [2, 3], "loss": {"name": "listnet", "temperature": 0.5}}),
        json!({"name": "sum", "terms": [
            {"weight": 0.5, "loss": {"name": "ranknet", "temperature": 0.5}},
            {"weight": 2.0, "loss": {"name": "mse"}},
        ]}),
    ]
    .into_iter()
    .map(loss)
    .collect()
}

fn some_batch() -> impl Strategy<Value = Batch> {
    (1usize..5, 1usize..7).prop_flat_map(|(queries, documents)| {
        let width = 3;
        let vectors = |count: usize| prop::collection::vec(-2.0f64..2.0, count * width);
        let pair = (0u8..6, any::<bool>(), -2.0f32..2.0, 0u8..3);
        let table = prop::collection::vec(prop::collection::vec(pair, documents), queries);
        (vectors(queries), vectors(documents), table).prop_map(move |(queries, documents, table)| {
            let row = |row: Vec<(u8, bool, f32, u8)>| {
                (0u32..)
                    .zip(row)
                    // Grade 4: ignored; 5: not listed.
                    .filter(|(_, (grade, ..))| *grade < 5)
                    .map(|(document, (grade, own, teacher, weight))| Listed {
                        document,
                        grade: if grade == 4 { IGNORED } else { grade },
                        own,
                        weight: f32::from(weight),
                        teacher: Some(teacher),
                    })
                    .collect()
            };
            let targets =
                Targets::new(documents.len() / width, table.into_iter().map(row).collect()).unwrap();
            Batch { width, queries, documents, targets }
        })
    })
}

/// Distances within which a finite difference may step over a kink: equal scores, vectors near zero.
fn smooth(batch: &Batch) -> bool {
    let sides = Sides {
        queries: batch.queries.clone(),
        documents: batch.documents.clone(),
        width: batch.width,
        narrow: false,
    };
    let long = |rows: &[f64], width: usize| {
        rows.chunks_exact(width).all(|row| sides::dot(&row[..2], &row[..2]) > 0.04)
    };
    let unit = sides.unit().sides;
    let scores = unit.scores();
    let apart = scores
        .chunks_exact(sides.document_count())
        .all(|row| (0..row.len()).all(|a| (0..a).all(|b| (row[a] - row[b]).abs() > 1e-4)));
    let within = |count: usize, row: fn(&Sides, usize) -> &[f64]| {
        let mut found = Vec::new();
        for a in 0..count {
            found.extend((0..count).filter(|&b| b != a).map(|b| sides::dot(row(&unit, a), row(&unit, b))));
        }
        found
    };
    let mut all = scores.clone();
    all.extend(within(sides.query_count(), Sides::query));
    all.extend(within(sides.document_count(), Sides::document));
    // SSRA's mask cuts where another score is 0.1 above the pair's own.
    let masked = scores.iter().all(|own| all.iter().all(|other| (other - own - 0.1).abs() > 1e-4));
    long(&sides.queries, sides.width) && long(&sides.documents, sides.width) && apart && masked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gradients_are_what_differences_say(batch in some_batch(), direction in prop::collection::vec(-1.0f64..1.0, 64)) {
        prop_assume!(smooth(&batch));
        for loss in all_losses() {
            // WS2's slope has a kink where a singular value reaches 0; two rows always leave one such value exactly.
            let start = loss.starting_parameters();
            let at = |step: f64| {
                let moved = |values: &[f64], from: usize| -> Vec<f64> {
                    values.iter().enumerate().map(|(k, value)| value + step * direction[(from + k) % 64]).collect()
                };
                let batch = Batch { queries: moved(&batch.queries, 0), documents: moved(&batch.documents, 17), ..batch.clone() };
                batch.run::<f64>(&loss, &moved(&start, 41)).unwrap()
            };
            let here = at(0.0);
            let along = |values: &[f64], from: usize| -> f64 {
                values.iter().enumerate().map(|(k, value)| value * direction[(from + k) % 64]).sum()
            };
            let slope = along(&here.queries, 0) + along(&here.documents, 17) + along(&here.parameters, 41);
            let step = 1e-6;
            let difference = (at(step).value - at(-step).value) / (2.0 * step);
            let tolerance = 2e-5 * slope.abs().max(here.value.abs()).max(1.0);
            prop_assert!((slope - difference).abs() <= tolerance, "{loss}: {slope}, differences say {difference}");
        }
    }

    #[test]
    fn documents_may_stand_in_any_order(batch in some_batch()) {
        let count = batch.documents.len() / batch.width;
        let reversed = Batch {
            documents: batch.documents.chunks_exact(batch.width).rev().flatten().copied().collect(),
            targets: batch.targets.edited(|_, listed| {
                listed.iter_mut().for_each(|pair| pair.document = count as u32 - 1 - pair.document);
            }).unwrap(),
            ..batch.clone()
        };
        prop_assume!(smooth(&batch));
        for loss in all_losses() {
            let start = loss.starting_parameters();
            let (one, other) = (batch.run::<f64>(&loss, &start).unwrap(), reversed.run::<f64>(&loss, &start).unwrap());
            prop_assert!((one.value - other.value).abs() <= 1e-10 * one.value.abs().max(1.0), "{loss}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit(batch in some_batch()) {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for loss in all_losses() {
            let start = loss.starting_parameters();
            let (many, single) = (batch.run::<f32>(&loss, &start), one.install(|| batch.run::<f32>(&loss, &start)));
            prop_assert_eq!(many.unwrap(), single.unwrap());
        }
    }
}

#[test]
fn a_large_batch_has_the_same_bits_on_any_number_of_threads() {
    // More rows than one strip of a product.
    let (queries, documents, width) = (150, 300, 17);
    let vectors = |count: usize, salt: usize| -> Vec<f64> {
        (0..count * width).map(|at| ((at * 7919 + salt * 104_729) % 2003) as f64 / 1001.0 - 1.0).collect()
    };
    let own = |query: u32| {
        (0..2).map(move |k| Listed { teacher: Some(k as f32), ..Listed::own(2 * query + k, 1 + k as u8) })
    };
    let batch = Batch {
        width,
        queries: vectors(queries, 1),
        documents: vectors(documents, 2),
        targets: Targets::new(documents, (0..queries as u32).map(|query| own(query).collect()).collect())
            .unwrap(),
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for loss in all_losses().into_iter().filter(|loss| !matches!(loss, Loss::Wasserstein(_))) {
        let start = loss.starting_parameters();
        let [one, three] =
            [1, 3].map(|threads| pool(threads).install(|| batch.run::<f32>(&loss, &start).unwrap()));
        assert_eq!(one, three, "{loss}");
        assert!(one.queries.iter().any(|slope| *slope != 0.0), "{loss} moves something");
    }
}

#[test]
fn recipes_name_every_loss_and_refuse_unknown_settings() {
    for loss in all_losses() {
        let written = serde_json::to_value(&loss).unwrap();
        assert_eq!(written["name"], loss.name());
        assert_eq!(serde_json::from_value::<Loss>(written.clone()).unwrap(), loss, "{loss}");
        assert!(loss.to_string().starts_with(&format!("{}(", loss.name())), "{loss}");
        let mut misspelt = written;
        misspelt["temprature"] = json!(0.05);
        let error = serde_json::from_value::<Loss>(misspelt).unwrap_err().to_string();
        assert!(error.contains("temprature"), "{error}");
    }
    let error = serde_json::from_value::<Loss>(json!({"name": "infonce2"})).unwrap_err().to_string();
    assert!(error.contains("infonce2") && error.contains("h_infonce"), "{error}");
}

#[test]
fn settings_without_meaning_are_refused_by_name() {
    for (settings, expected) in [
        (
            json!({"name": "infonce", "temperature": 0.0}),
            "infonce: temperature is 0; expected a finite number above 0",
        ),
        (
            json!({"name": "infonce", "positive_from": 0}),
            "infonce: positive_from is 0; expected a grade of 1 to 15",
        ),
        (
            json!({"name": "rince", "lowest_temperature": 0.01}),
            "rince: lowest_temperature is 0.01; expected a finite number of at least the temperature",
        ),
        (
            json!({"name": "wasserstein", "hybrid": -1.0}),
            "wasserstein: hybrid is -1; expected a finite number of at least 0",
        ),
        (json!({"name": "lambda_loss", "depth": 0}), "lambda_loss: depth is 0; expected at least 1"),
        (
            json!({"name": "matryoshka", "dimensions": [], "loss": {"name": "mse"}}),
            "matryoshka: 0 dimensions; expected 1",
        ),
        (
            json!({"name": "matryoshka", "dimensions": [2], "loss": {"name": "bixse", "scale": 0.0}}),
            "bixse: scale is 0; expected a finite number above 0",
        ),
        (json!({"name": "sum", "terms": []}), "sum: 0 terms; expected 1"),
    ] {
        assert_eq!(loss(settings).check().unwrap_err().to_string(), expected);
    }
}

#[test]
fn batches_that_do_not_fit_the_loss_are_refused_by_query_and_document() {
    let batch = batch_of_scores(&[&[0.5, 0.25]], lists(&[&[(0, 4), (1, 0)]]));
    let of = |settings: Value| {
        let loss = loss(settings);
        batch.run::<f64>(&loss, &loss.starting_parameters()).unwrap_err().to_string()
    };
    assert_eq!(of(json!({"name": "bixse"})), "query 0, document 0: grade 4; expected 0 to 3");
    assert_eq!(
        of(json!({"name": "margin_mse"})),
        "query 0, document 0 has no teacher score, and margin_mse learns from one"
    );
    assert_eq!(
        of(json!({"name": "matryoshka", "dimensions": [3], "loss": {"name": "listnet"}})),
        "a prefix of 3 dimensions; expected 1 to 2, the embeddings' own"
    );
    let unequal = batch_of_scores(&[&[0.0; 3], &[0.0; 3]], lists(&[&[(0, 1), (1, 0)], &[(2, 1)]]));
    let table = loss(json!({"name": "wasserstein", "columns": "lists"}));
    assert_eq!(
        unequal.run::<f64>(&table, &[1.0]).unwrap_err().to_string(),
        "query 1 lists 1 documents, an earlier one 2; with columns = \"lists\" all must be equally long"
    );
    let infonce = loss(json!({"name": "infonce"}));
    assert_eq!(batch.run::<f64>(&infonce, &[]).unwrap_err(), LossError::Parameters { expected: 1, got: 0 });
    assert!(matches!(
        batch.run::<f64>(&infonce, &[-0.1]),
        Err(LossError::Setting { setting: "temperature", .. })
    ));
    let nan = Batch { queries: vec![f64::NAN, 0.0], ..batch.clone() };
    assert!(
        nan.run::<f64>(&infonce, &[0.05])
            .unwrap_err()
            .to_string()
            .contains("queries: row 0, column 0 is NaN")
    );
    let other = Batch { targets: Targets::new(3, vec![vec![]]).unwrap(), ..batch };
    assert_eq!(
        other.run::<f64>(&infonce, &[0.05]).unwrap_err().to_string(),
        "the targets are for 3 documents, the batch has 2"
    );
}

#[test]
fn targets_refuse_what_cannot_be_a_target() {
    let one = |listed: Listed| Targets::new(2, vec![vec![listed]]).unwrap_err().to_string();
    let fine = Listed::own(0, 1);
    assert_eq!(
        one(Listed { document: 2, ..fine }),
        "query 0 lists document 2; expected each of the 2 documents at most once"
    );
    assert_eq!(one(Listed { grade: 16, ..fine }), "query 0, document 0: grade 16; expected 0 to 15");
    assert_eq!(
        one(Listed { weight: -1.0, ..fine }),
        "query 0, document 0: weight -1; expected a finite number of at least 0"
    );
    assert_eq!(
        one(Listed { teacher: Some(f32::NAN), ..fine }),
        "query 0, document 0: teacher score NaN; expected a finite number"
    );
    assert!(Targets::new(2, vec![vec![fine, fine]]).is_err());
}

#[test]
fn labelers_turn_logits_back_into_grades() {
    let named = |name: &str| serde_json::from_value::<LabelerLoss>(json!({"name": name})).unwrap();
    // Above 0 for sure, above 1 as likely as not, above 2 never: grades 1 and 2, half each.
    for (name, logits) in [("coral", [50.0, 0.0, -50.0]), ("corn", [50.0, 0.0, -50.0])] {
        let distribution = named(name).distribution(&logits);
        assert_relative(name, &distribution, &[0.0, 0.5, 0.5, 0.0], 1e-12);
    }
    assert_relative("cross_entropy", &named("cross_entropy").distribution(&[0.0; 4]), &[0.25; 4], 1e-12);
}

#[test]
fn labelers_refuse_targets_that_do_not_fit() {
    let named = |name: &str| serde_json::from_value::<LabelerLoss>(json!({"name": name})).unwrap();
    let logits = [0.0f64; 6];
    let logits = Matrix::new("logits", &logits, 2, 3).unwrap();
    let grades = |grades| LabelerTargets { grades: Some(grades), distributions: None };
    let of = |name: &str, targets| named(name).gradients(logits, targets).unwrap_err().to_string();
    assert_eq!(of("coral", grades(&[0, 4])), "example 1 has grade 4; expected 0 to 3");
    assert_eq!(of("cross_entropy", grades(&[3, 0])), "example 0 has grade 3; expected 0 to 2");
    assert_eq!(of("corn", grades(&[1])), "2 examples but 1 grades");
    assert_eq!(of("distillation", grades(&[1, 0])), "distillation needs distributions, and none were given");
    let wrong = [0.5f32, 0.5, 0.5, 1.0, 0.0, 0.0];
    let distributions = Some(Matrix::new("d", &wrong, 2, 3).unwrap());
    let targets = LabelerTargets { grades: None, distributions };
    assert!(of("distillation", targets).starts_with("example 0: the target distribution sums to 1.5"));
}
