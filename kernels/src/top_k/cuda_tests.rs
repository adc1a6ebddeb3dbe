//! Top-k on a GPU or its simulator: the ids and bits of a sort of all scores. A real GPU runs the suite of
//! `tests.rs` as well; for the simulator that is too much.

use super::*;
use crate::Device;
use crate::cuda::Products;

/// A GPU that is not the simulator.
pub(super) fn has_real_gpu() -> bool {
    crate::cuda::device_name().is_ok_and(|name| name != "simulated GPU")
}

fn check_on_gpu(queries: Matrix<'_, f32>, documents: &Documents<'_>, k: usize) {
    if Device::Cuda.available().is_err() {
        return;
    }
    for metric in [Metric::Dot, Metric::Cosine] {
        let expected = sorted(queries, documents, k, metric);
        let context = format!("{metric}, {} x {} k {k}", queries.rows(), documents.rows());
        assert_same(&search_on(Engine::Cuda, queries, documents, k, metric, 1), &expected, &context);
        // The search above takes the fastest products, this one those that every device has.
        let resident = cuda::DeviceDocuments::upload(documents, metric).unwrap();
        let found = resident.search_with(queries, k, Products::Portable).unwrap();
        assert_same(&found, &expected, &context);
    }
}

#[test]
fn shapes_on_the_gpu() {
    let shapes = [
        (1, 1, 1, 1),
        (7, 31, 33, 31),
        (31, 127, 7, 10),
        (33, 507, 31, 100),
        (127, 33, 64, 1),
        (129, 1300, 127, 7),
    ];
    for (seed, (queries, rows, columns, k)) in shapes.into_iter().enumerate() {
        let values = noise(seed as u64, rows * columns);
        let queries = noise(100 + seed as u64, queries * columns);
        check_on_gpu(matrix(&queries, columns), &Documents::new(matrix(&values, columns)).unwrap(), k);
    }
}

/// Every round appends more than a buffer holds, or the whole corpus ties.
#[test]
fn sorted_and_equal_on_the_gpu() {
    let rows = 4000;
    let rising: Vec<f32> = (0..rows).flat_map(|row| [row as f32, 1.0, -1.0]).collect();
    let falling: Vec<f32> = (0..rows).flat_map(|row| [-(row as f32), 1.0, -1.0]).collect();
    let equal = [0.3f32, -0.7, 0.1].repeat(rows);
    let zero = vec![0.0f32; 3 * rows];
    let queries = [1.0f32, 0.5, 0.25, 0.0, 0.0, 0.0, -0.1, 0.9, -3.0];
    for documents in [&rising, &falling, &equal, &zero] {
        check_on_gpu(matrix(&queries, 3), &Documents::new(matrix(documents, 3)).unwrap(), 5);
    }
}

/// Scores closer together than bf16 can tell, in the order the scan gets wrong.
#[test]
fn near_ties_on_the_gpu() {
    let (rows, columns) = (2000, 40);
    let base = noise(9, columns);
    let mut documents = noise(11, rows * columns);
    for row in documents.chunks_mut(columns) {
        row.iter_mut().zip(&base).for_each(|(value, base)| *value = base * (1.0 + 1e-4 * *value));
    }
    let queries = noise(10, 20 * columns);
    check_on_gpu(matrix(&queries, columns), &Documents::new(matrix(&documents, columns)).unwrap(), 50);
}

#[test]
fn element_types_on_the_gpu() {
    let (rows, columns) = (600, 36);
    let values = noise(21, rows * columns);
    let queries = noise(22, 5 * columns);
    let queries = matrix(&queries, columns);
    let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    let brains: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    let codes: Vec<i8> = values.iter().map(|value| (*value * 128.0) as i8).collect();
    let scales: Vec<f32> = (0..rows).map(|row| [0.01, -0.02, 0.0, 1e-30, 3.0][row % 5]).collect();
    check_on_gpu(queries, &Documents::new(matrix(&halves, columns)).unwrap(), 20);
    check_on_gpu(queries, &Documents::new(matrix(&brains, columns)).unwrap(), 20);
    let int8 = Values::Int8 { codes: matrix(&codes, columns), scales: &scales };
    check_on_gpu(queries, &Documents::new(int8).unwrap(), 20);
    // Read in place: no padding, no gaps.
    let brains: Vec<bf16> = noise(23, 700 * 64).into_iter().map(bf16::from_f32).collect();
    let queries = noise(24, 130 * 64);
    check_on_gpu(matrix(&queries, 64), &Documents::new(matrix(&brains, 64)).unwrap(), 20);
}

/// Lengths no scan can be trusted with, among ordinary ones; rows with gaps.
#[test]
fn extreme_lengths_on_the_gpu() {
    let mut values = noise(31, 300 * 20);
    for (row, values) in values.chunks_mut(20).enumerate() {
        let factor = [1.0, 1e-20, 1e20, 0.0, 1e-38, 1e30][row % 6];
        values.iter_mut().for_each(|value| *value *= factor);
    }
    let strided = Matrix::with_stride("documents", &values, 300, 17, 20).unwrap();
    let mut queries = noise(32, 4 * 17);
    queries[17..34].iter_mut().for_each(|value| *value *= 1e-20);
    queries[34..51].iter_mut().for_each(|value| *value *= 1e25);
    check_on_gpu(matrix(&queries, 17), &Documents::new(strided).unwrap(), 60);
}

#[test]
fn too_large_a_k_is_refused() {
    if Device::Cuda.available().is_err() {
        return;
    }
    let documents = noise(1, 5000);
    let documents = Documents::new(matrix(&documents, 1)).unwrap();
    let refused = search(matrix(&[1.0], 1), &documents, 4097, Metric::Dot, Device::Cuda, 1).unwrap_err();
    assert_eq!(refused.to_string(), "k on a GPU is 4097; expected at most 4096");
}
