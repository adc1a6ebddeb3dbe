//! One suite for every device, instruction set and element type present: the ids and the bits of the scores
//! are those of a sort of all scores.
#![allow(clippy::unwrap_used)]

use half::{bf16, f16};
use proptest::prelude::*;

use super::bounds::{DocumentBound, QueryBound, Scan};
use super::head::Head;
use super::*;
use crate::similarity::tests::any_finite;

#[cfg(feature = "cuda")]
#[path = "cuda_tests.rs"]
mod cuda_tests;

fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::Scalar];
    engines.extend(InstructionSet::all_available().map(Engine::Simd));
    #[cfg(feature = "cuda")]
    engines.extend(cuda_tests::has_real_gpu().then_some(Engine::Cuda));
    engines
}

fn search_on(
    engine: Engine,
    queries: Matrix<'_, f32>,
    documents: &Documents<'_>,
    k: usize,
    metric: Metric,
    threads: usize,
) -> TopK {
    let mut accumulator = Accumulator::on(engine, queries, k, metric, threads).unwrap();
    accumulator.push(documents).unwrap();
    accumulator.finish().unwrap()
}

/// All scores by the definition, sorted.
fn sorted(queries: Matrix<'_, f32>, documents: &Documents<'_>, k: usize, metric: Metric) -> TopK {
    let dot = similarity::scalar::dot;
    let mut expected = TopK { k, ids: Vec::new(), scores: Vec::new() };
    let mut buffer = vec![0.0; documents.columns()];
    for query in queries.iter_rows() {
        let query_norm = dot(query, query).sqrt();
        let mut scored: Vec<(f32, u32)> = (0..documents.rows())
            .map(|row| {
                let scale = documents.values().scale(row);
                let values = documents.values().row(row, &mut buffer);
                let norm = dot(values, values).sqrt() * scale.abs();
                let product = dot(query, values) * scale;
                (similarity::round(metric, product, query_norm, norm), row as u32)
            })
            .collect();
        scored.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        expected.ids.extend(scored[..k].iter().map(|scored| scored.1));
        expected.scores.extend(scored[..k].iter().map(|scored| scored.0));
    }
    expected
}

fn assert_same(found: &TopK, expected: &TopK, context: &str) {
    let bits = |found: &TopK| found.scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
    assert_eq!(found.ids, expected.ids, "{context}");
    assert_eq!(bits(found), bits(expected), "{context}");
}

/// Documents without an 8-bit copy, with one, and with its heads. Made once for all that is searched in them: the heads'
/// rotation is what takes longest.
fn variants<'a>(documents: &Documents<'a>) -> [Documents<'a>; 3] {
    let plain = documents.clone().without_codes();
    let head = documents.columns().div_ceil(3);
    [plain.clone(), plain.clone().with_codes(), plain.with_heads_of(head)]
}

/// Every engine, both metrics, every variant.
fn check(queries: Matrix<'_, f32>, variants: &[Documents<'_>], k: usize) {
    let documents = &variants[0];
    for metric in [Metric::Dot, Metric::Cosine] {
        let expected = sorted(queries, documents, k, metric);
        for engine in engines() {
            for documents in variants {
                for threads in [1, 3] {
                    let found = search_on(engine, queries, documents, k, metric, threads);
                    let (copy, head) = (documents.has_codes(), documents.rotated_columns());
                    let context = format!("{engine:?} {metric} copy {copy} head {head:?} k {k}");
                    assert_same(&found, &expected, &context);
                }
            }
        }
    }
}

/// A reproducible stream of values in -1..1 (a linear congruential generator, upper bits).
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn matrix<T>(values: &[T], columns: usize) -> Matrix<'_, T> {
    Matrix::new("matrix", values, values.len() / columns, columns).unwrap()
}

/// The largest sizes are beyond what Miri interprets in reasonable time.
fn scaled(size: usize) -> usize {
    if cfg!(miri) { size.min(33) } else { size }
}

#[test]
fn hand_computed() {
    let (queries, documents) = ([1.0, 0.0, 1.0, 1.0], [2.0, 0.0, 0.0, 3.0, 2.0, 0.0, 1.0, 1.0]);
    let documents = Documents::new(matrix(&documents, 2)).unwrap();
    for engine in engines() {
        let found = search_on(engine, matrix(&queries, 2), &documents, 3, Metric::Dot, 1);
        assert_eq!(found.row(0), (&[0, 2, 3][..], &[2.0, 2.0, 1.0][..]), "ties by lower index");
        assert_eq!(found.row(1), (&[1, 0, 2][..], &[3.0, 2.0, 2.0][..]));
        let found = search_on(engine, matrix(&queries, 2), &documents, 1, Metric::Cosine, 1);
        assert_eq!(found.ids, [0, 3]);
        assert_eq!(found.scores, [1.0, 1.0]);
    }
}

#[test]
fn odd_shapes() {
    for columns in [1, 7, 31, 33, 127, 507] {
        for (queries, rows) in [(1, 1), (1, 507), (7, 127), (9, 31), (33, 33), (65, 507)] {
            let queries = noise(columns as u64, scaled(queries) * columns);
            let documents = noise(1000 + columns as u64, scaled(rows) * columns);
            let documents = variants(&Documents::new(matrix(&documents, columns)).unwrap());
            for k in [1, documents[0].rows().div_ceil(2), documents[0].rows()] {
                check(matrix(&queries, columns), &documents, k);
            }
        }
    }
}

/// More documents than the buffers hold, so that thresholds and every step of a compaction are at work.
#[test]
fn many_documents() {
    let rows = if cfg!(miri) { 700 } else { 20_000 };
    let documents = noise(3, rows * 16);
    let documents = variants(&Documents::new(matrix(&documents, 16)).unwrap());
    for queries in [2, 40] {
        let queries = noise(4, scaled(queries) * 16);
        for k in [1, 10, 100] {
            check(matrix(&queries, 16), &documents, k);
        }
    }
}

/// Scores that rise with every document, fall with every document, or are all the same.
#[test]
fn sorted_and_equal_documents() {
    let rows = scaled(6000);
    let rising: Vec<f32> = (0..rows).flat_map(|row| [row as f32, 1.0, -1.0]).collect();
    let falling: Vec<f32> = (0..rows).flat_map(|row| [-(row as f32), 1.0, -1.0]).collect();
    let equal = [0.3f32, -0.7, 0.1].repeat(rows);
    let zero = vec![0.0f32; 3 * rows];
    let queries = [1.0f32, 0.5, 0.25, 0.0, 0.0, 0.0, 0.1, 0.9, -3.0].repeat(4);
    for documents in [&rising, &falling, &equal, &zero] {
        let documents = variants(&Documents::new(matrix(documents, 3)).unwrap());
        check(matrix(&queries, 3), &documents, 5);
        check(matrix(&queries[..3], 3), &documents, 5);
    }
}

/// Documents a few units in the last place apart: a scan in f32 orders them wrongly, the result may not.
#[test]
fn near_ties() {
    let (rows, columns) = (scaled(3000), 33);
    let base = noise(9, columns);
    let mut documents = Vec::new();
    for row in 0..rows {
        let mut copy = base.clone();
        for step in 0..3 {
            let column = (row * 7 + step * 11) % columns;
            let bits = copy[column].to_bits();
            copy[column] = f32::from_bits(bits.wrapping_add(row as u32 % 5).wrapping_sub(2));
        }
        documents.extend(copy);
    }
    let documents = variants(&Documents::new(matrix(&documents, columns)).unwrap());
    let queries = noise(10, 12 * columns);
    check(matrix(&queries, columns), &documents, 50.min(rows));
    check(matrix(&queries[..columns], columns), &documents, 50.min(rows));
}

/// A document whose 8-bit copy loses all it has in common with the query: the residual points along the query,
/// where the error bound is attained. Every other document scores two percent less and loses nothing.
#[test]
fn a_residual_along_the_query() {
    let signs: Vec<f32> = noise(61, 100).iter().map(|value| value.signum()).collect();
    let query: Vec<f32> = std::iter::once(0.0).chain(signs.iter().copied()).collect();
    let row = |share: f32, columns: usize| {
        let values =
            signs.iter().enumerate().map(move |(j, sign)| if j < columns { sign * share } else { 0.0 });
        std::iter::once(127.0).chain(values).collect::<Vec<f32>>()
    };
    let exact = row(1.0, 48);
    let lossy = row(0.49, 100);
    let rows = scaled(4000);
    for place in [0, rows / 2, rows - 1] {
        let mut documents = exact.repeat(rows);
        documents[place * 101..][..101].copy_from_slice(&lossy);
        let documents = Documents::new(matrix(&documents, 101)).unwrap().with_codes();
        for queries in [query.clone(), query.repeat(20)] {
            for engine in engines() {
                let found = search_on(engine, matrix(&queries, 101), &documents, 2, Metric::Dot, 1);
                assert!(found.ids.chunks(2).all(|ids| ids[0] as usize == place), "{engine:?}");
                assert!(found.scores.chunks(2).all(|scores| scores[0] > 48.9 && scores[1] == 48.0));
            }
        }
    }
}

/// Two documents whose copies promise far more than they hold, as no independent errors would: the threshold
/// that is assumed from them rules out all the better ones, in later blocks, until the check finds it out.
#[test]
fn promises_that_do_not_hold() {
    let signs: Vec<f32> = noise(62, 100).iter().map(|value| value.signum()).collect();
    let query: Vec<f32> = std::iter::once(0.0).chain(signs.iter().copied()).collect();
    let row = |share: f32, columns: usize| {
        let values =
            signs.iter().enumerate().map(move |(j, sign)| if j < columns { sign * share } else { 0.0 });
        std::iter::once(127.0).chain(values).collect::<Vec<f32>>()
    };
    let rows = scaled(9000);
    let mut documents = row(0.0, 0).repeat(rows);
    for promising in [0, 1] {
        documents[promising * 101..][..101].copy_from_slice(&row(0.51, 100));
    }
    let better = [rows - 7, rows - 4, rows - 1];
    for better in better {
        documents[better * 101..][..101].copy_from_slice(&row(1.0, 70));
    }
    let documents = Documents::new(matrix(&documents, 101)).unwrap().with_codes();
    let mut queries = query.repeat(20);
    queries[5 * 101..6 * 101].copy_from_slice(&noise(63, 101)); // one that has nothing to take back
    for queries in [&queries[..101], &queries] {
        let queries = matrix(queries, 101);
        let expected = sorted(queries, &documents, 2, Metric::Dot);
        assert_eq!(expected.row(0).0, [better[0] as u32, better[1] as u32]);
        for engine in engines() {
            for threads in [1, 3] {
                let found = search_on(engine, queries, &documents, 2, Metric::Dot, threads);
                assert_same(&found, &expected, &format!("{engine:?}"));
            }
        }
    }
}

#[test]
fn every_element_type() {
    let (rows, columns) = (scaled(700), 36);
    let values = noise(21, rows * columns);
    let queries = noise(22, 11 * columns);
    let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    let brains: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    let codes: Vec<i8> = values.iter().map(|value| (*value * 128.0) as i8).collect();
    let scales: Vec<f32> = (0..rows).map(|row| [0.01, -0.02, 0.0, 1e-30, 3.0][row % 5]).collect();
    let int8 = Values::Int8 { codes: matrix(&codes, columns), scales: &scales };
    for queries in [matrix(&queries, columns), matrix(&queries[..columns], columns)] {
        check(queries, &variants(&Documents::new(matrix(&halves, columns)).unwrap()), 20);
        check(queries, &variants(&Documents::new(matrix(&brains, columns)).unwrap()), 20);
        let documents = Documents::new(int8).unwrap();
        assert!(documents.has_codes(), "int8 documents are their own copy");
        check(queries, &variants(&documents), 20);
        let expected = sorted(queries, &documents, 20, Metric::Dot);
        for engine in engines() {
            let found = search_on(engine, queries, &documents, 20, Metric::Dot, 2);
            assert_same(&found, &expected, "stored codes");
        }
    }
}

#[test]
fn strided_documents() {
    let values = noise(31, 50 * 20);
    let strided = Matrix::with_stride("documents", &values, 50, 17, 20).unwrap();
    let queries = noise(32, 10 * 17);
    check(matrix(&queries, 17), &variants(&Documents::new(strided).unwrap()), 50);
}

#[test]
fn blocks_give_the_result_of_one_call() {
    let (rows, columns) = (scaled(1500), 24);
    let values = noise(41, rows * columns);
    let queries = noise(42, 20 * columns);
    let queries = matrix(&queries, columns);
    let whole = Documents::new(matrix(&values, columns)).unwrap();
    let expected = sorted(queries, &whole, 30, Metric::Dot);
    for engine in engines() {
        let mut accumulator = Accumulator::on(engine, queries, 30, Metric::Dot, 2).unwrap();
        for block in values.chunks(columns * 211) {
            accumulator.push(&Documents::new(matrix(block, columns)).unwrap().with_codes()).unwrap();
        }
        assert_same(&accumulator.finish().unwrap(), &expected, "blocks");
    }
}

#[test]
fn bad_input_is_refused_with_its_numbers() {
    let values = [1.0f32, 2.0, 3.0, f32::INFINITY];
    let documents = Documents::new(matrix(&values[..2], 1)).unwrap();
    let queries = matrix(&values[..1], 1);
    let refuse =
        |queries, k| search(queries, &documents, k, Metric::Dot, Device::Scalar, 1).unwrap_err().to_string();
    assert_eq!(refuse(queries, 0), "k is 0; expected 1 to 2, the number of documents");
    assert_eq!(refuse(queries, 3), "k is 3; expected 1 to 2, the number of documents");
    assert_eq!(refuse(matrix(&values[..2], 2), 1), "queries has 2 columns, documents has 1");
    assert_eq!(refuse(matrix(&values[..0], 1), 1), "queries is empty: 0 rows of 1 columns");
    let bad = "queries: row 3, column 0 is inf; every value must be finite";
    assert_eq!(refuse(matrix(&values, 1), 1), bad);
    let bad = Documents::new(matrix(&values, 2)).unwrap_err().to_string();
    assert_eq!(bad, "documents: row 1, column 1 is inf; every value must be finite");
    assert!(matches!(Documents::new(matrix(&values[..0], 2)), Err(Error::Empty { .. })));
    let codes = Values::Int8 { codes: matrix(&[1, 2], 1), scales: &[1.0, f32::NAN] };
    let bad = Documents::new(codes).unwrap_err().to_string();
    assert_eq!(bad, "document scales: row 1, column 0 is NaN; every value must be finite");
    let codes = Values::Int8 { codes: matrix(&[1, 2], 1), scales: &[1.0] };
    assert!(matches!(Documents::new(codes), Err(Error::Mismatch { left_size: 2, right_size: 1, .. })));
    let halves = [f16::ONE, f16::NAN];
    assert!(matches!(Documents::new(matrix(&halves, 2)), Err(Error::NotFinite { column: 1, .. })));
    if let Err(reason) = Device::Cuda.available() {
        let refused = search(queries, &documents, 1, Metric::Dot, Device::Cuda, 1).unwrap_err();
        assert_eq!(refused, Error::Device { device: Device::Cuda, reason });
    }
    let unfinished = Accumulator::new(queries, 1, Metric::Dot, Device::Scalar, 1).unwrap();
    assert_eq!(unfinished.finish().unwrap_err(), Error::K { k: 1, documents: 0 });
}

/// The bound holds for what the kernels compute, and is not so wide that it would rule out nothing.
#[test]
fn scanned_products_stay_within_their_bound() {
    let columns = 100;
    let values = noise(51, 200 * columns);
    let documents = Documents::new(matrix(&values, columns)).unwrap().with_codes();
    let query = noise(52, columns);
    let dot = similarity::scalar::dot;
    let norm = dot(&query, &query).sqrt();
    let mut widest: f32 = 0.0;
    for row in 0..documents.rows() {
        let document = documents.values().row(row, &mut []).to_vec();
        let product: f32 = query.iter().zip(&document).map(|(a, b)| a * b).sum();
        for metric in [Metric::Dot, Metric::Cosine] {
            let bound = DocumentBound::of(&documents, row, metric, Scan::Floats);
            let score = similarity::round(metric, dot(&query, &document), norm, documents.norm(row));
            let margin = QueryBound::floats(norm, columns, metric).margin(&bound);
            let (lower, upper) = margin.interval(product * bound.weight);
            assert!(lower <= score && score <= upper, "{lower} <= {score} <= {upper}");
            if metric == Metric::Cosine {
                widest = widest.max(upper - lower);
            }
        }
    }
    assert!(widest < 3e-5, "{widest}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 4 } else { 96 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_values(
        columns in prop::sample::select(vec![1usize, 2, 4, 7, 16, 31, 33]),
        queries in 1usize..20,
        rows in 1usize..60,
        pick in any::<prop::sample::Index>(),
        values in prop::collection::vec(any_finite(), 80 * 33),
        copies in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
    ) {
        let (queries, rest) = values.split_at(queries * columns);
        let mut documents = rest[..rows * columns].to_vec();
        for (from, to) in copies {
            let (from, to) = (from.index(rows) * columns, to.index(rows) * columns);
            documents.copy_within(from..from + columns, to);
        }
        let documents = Documents::new(matrix(&documents, columns)).unwrap();
        check(matrix(queries, columns), &variants(&documents), pick.index(rows) + 1);
    }

    #[test]
    fn codes_with_any_scales(
        codes in prop::collection::vec(any::<i8>(), 40 * 8),
        scales in prop::collection::vec(any_finite(), 40),
        query in prop::collection::vec(any_finite(), 8),
    ) {
        let values = Values::Int8 { codes: matrix(&codes, 8), scales: &scales };
        check(matrix(&query, 8), &variants(&Documents::new(values).unwrap()), 7);
        let documents = Documents::new(values).unwrap();
        let expected = sorted(matrix(&query, 8), &documents, 7, Metric::Dot);
        for engine in engines() {
            let found = search_on(engine, matrix(&query, 8), &documents, 7, Metric::Dot, 1);
            assert_same(&found, &expected, "stored codes");
        }
    }
}

/// Rows whose values fall off from column to column like those of real embeddings after a rotation, here turned back
/// by reflections so that no column stands out.
fn anisotropic(seed: u64, rows: usize, columns: usize) -> Vec<f32> {
    let mut values = noise(seed, rows * columns);
    let normals: Vec<Vec<f32>> = (0..3).map(|normal| noise(900 + normal, columns)).collect();
    for row in values.chunks_mut(columns) {
        for (column, value) in row.iter_mut().enumerate() {
            *value *= 1.0 / (1.0 + column as f32 * 32.0 / columns as f32);
        }
        for normal in &normals {
            let squared: f32 = normal.iter().map(|value| value * value).sum();
            let along: f32 = row.iter().zip(normal).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(normal).for_each(|(value, normal)| *value -= 2.0 * along / squared * normal);
        }
    }
    values
}

/// What the first stage concludes of a pair, as a kernel without fused operations would: whether it may score `score`.
fn is_left(documents: &Documents<'_>, row: usize, query: &[f32], metric: Metric, score: f32) -> bool {
    let heads = documents.heads().unwrap();
    let norm = similarity::scalar::dot(query, query).sqrt();
    let mut computed = vec![0.0; heads.rotation.heads()];
    heads.rotation.rotate(matrix(query, query.len()), &mut computed);
    let mut codes = vec![0; heads.codes.stride];
    let head = Head::of(&heads.rotation, &computed, norm, &mut codes);
    let (bound, tail) = QueryBound::head(norm, &head, metric);
    let of_row = &heads.codes.values[row * heads.codes.stride..];
    let product: i32 = codes.iter().zip(of_row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    let bounds = documents.bounds(metric, Scan::Heads);
    let most = product as f32 * bounds.weights[row] + tail * bounds.tails[row];
    let limit = bound.threshold(score, &DocumentBound::of(documents, row, metric, Scan::Heads));
    most >= limit || most.is_nan() || limit.is_nan()
}

/// The bound of heads holds for every pair and leaves few of those far below a score.
#[test]
fn heads_leave_what_may_reach_a_score() {
    for columns in [1usize, 2, 7, 16, 33, 127, 507] {
        let mut values = anisotropic(71, scaled(60), columns);
        let rows = values.len() / columns;
        for (row, values) in values.chunks_mut(columns).enumerate() {
            let factor = [1.0, 0.0, 1e-10, 1e10, -1.0, 1e-14, 1e16][row % 7];
            values.iter_mut().for_each(|value| *value *= factor);
        }
        let again = values[..columns].to_vec();
        values[(rows - 1) * columns..].copy_from_slice(&again);
        let mut queries = anisotropic(72, 6, columns);
        queries.extend(values[..4 * columns].iter().map(|value| value * 0.5));
        let documents = Documents::new(matrix(&values, columns)).unwrap();
        for size in [1, columns.div_ceil(3), columns] {
            let documents = documents.clone().with_heads_of(size);
            assert!(documents.heads().is_some(), "{columns} {size}");
            for query in queries.chunks(columns) {
                let query_norm = similarity::scalar::dot(query, query).sqrt();
                for row in 0..rows {
                    let dot = similarity::scalar::dot(query, documents.values().row(row, &mut []));
                    for metric in [Metric::Dot, Metric::Cosine] {
                        let score = similarity::round(metric, dot, query_norm, documents.norm(row));
                        assert!(
                            is_left(&documents, row, query, metric, score),
                            "{columns} {size} {row} {metric}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn heads_rule_out_most_pairs() {
    let (rows, columns) = (scaled(2000), 96);
    let documents = anisotropic(73, rows, columns);
    let documents = Documents::new(matrix(&documents, columns)).unwrap().with_heads_of(32);
    let query = anisotropic(74, 1, columns);
    let expected = sorted(matrix(&query, columns), &documents, 10, Metric::Cosine);
    let left =
        (0..rows).filter(|row| is_left(&documents, *row, &query, Metric::Cosine, expected.scores[9])).count();
    assert!((10..rows / 4).contains(&left), "{left} of {rows}");
}

/// Heads are made where a sample says that they pay, and only there.
#[test]
#[cfg_attr(miri, ignore = "learns from a thousand rows")]
fn heads_are_made_where_they_pay() {
    let columns = 128;
    for (values, pays) in [(anisotropic(75, 3000, columns), true), (noise(76, 3000 * columns), false)] {
        let documents = Documents::new(matrix(&values, columns)).unwrap().with_rotated_codes();
        assert_eq!(documents.rotated_columns().is_some(), pays);
        assert!(documents.has_codes());
        let queries = anisotropic(77, 40, columns);
        let expected = sorted(matrix(&queries, columns), &documents, 20, Metric::Dot);
        for engine in engines() {
            let found = search_on(engine, matrix(&queries, columns), &documents, 20, Metric::Dot, 2);
            assert_same(&found, &expected, &format!("{engine:?}"));
        }
        assert_eq!(documents.without_codes().rotated_columns(), None);
    }
    for few in [1, 1023] {
        let values = anisotropic(78, few, columns);
        let documents = Documents::new(matrix(&values, columns)).unwrap().with_rotated_codes();
        assert_eq!(documents.rotated_columns(), None, "{few} rows are no sample");
    }
}

/// Every size of heads, over enough documents for several blocks, with copies and near copies among the best.
#[test]
fn heads_of_every_size() {
    let (rows, columns) = (scaled(6000), 40);
    let mut values = anisotropic(79, rows, columns);
    for copy in 0..rows / 50 {
        values.copy_within(0..columns, copy * 50 * columns);
        values[copy * 50 * columns + copy % columns] *= 1.0 + (copy % 3) as f32 * 1e-7;
    }
    let plain = Documents::new(matrix(&values, columns)).unwrap();
    let mut queries = anisotropic(80, 35, columns);
    queries[..columns].copy_from_slice(&values[..columns]);
    for metric in [Metric::Dot, Metric::Cosine] {
        let expected = sorted(matrix(&queries, columns), &plain, 30.min(rows), metric);
        for size in [1, 3, 4, 13, 32, 39, 40] {
            let documents = plain.clone().with_heads_of(size);
            assert_eq!(documents.rotated_columns(), Some(size));
            for engine in engines() {
                let found = search_on(engine, matrix(&queries, columns), &documents, 30.min(rows), metric, 2);
                assert_same(&found, &expected, &format!("{engine:?} {metric} {size}"));
            }
        }
    }
}

/// Several blocks, and the best documents all in the tiles that are scanned first: the threshold assumed from them
/// is too high, and the search must find that out.
#[test]
fn a_first_block_unlike_the_others() {
    let (rows, columns, k) = (scaled(20_000), 4, scaled(100).min(20));
    let mut documents = noise(5, rows * columns);
    for (row, values) in documents.chunks_mut(columns).enumerate() {
        // Far from every query, except for a few rows of tiles whatever the size of tiles and blocks.
        let near = row < 40 || (row % 997 < 3 && row < rows / 2);
        values[0] = if near { 50.0 + values[0] } else { values[0] / 8.0 };
    }
    let mut queries = noise(6, 40 * columns);
    queries.chunks_mut(columns).for_each(|query| query[0] = 1.0 + query[0].abs());
    let documents = variants(&Documents::new(matrix(&documents, columns)).unwrap());
    for k in [k, scaled(100)] {
        check(matrix(&queries, columns), &documents, k.min(rows));
    }
}

#[test]
fn ranks_in_a_sample() {
    assert_eq!(simd::assumed_rank(100, 0.01), Some(11));
    assert_eq!(simd::assumed_rank(100, 0.25), Some(51));
    assert_eq!(simd::assumed_rank(100, 1.0), None, "all documents are no sample");
    assert_eq!(simd::assumed_rank(7, 0.001), None, "too few to tell");
}
