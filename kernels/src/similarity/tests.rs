//! One suite for every device and instruction set present: the same bits as the definition.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Finite f32 of any magnitude, denormals, zeros and the largest values included.
pub(crate) fn any_finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -1.0f32..1.0,
        1 => any::<f32>().prop_filter("finite", |value| value.is_finite()),
        1 => prop::sample::select(vec![0.0, -0.0, 1e-45, -1e-40, f32::MAX, f32::MIN, 1e-20, -3e19]),
    ]
}

fn devices() -> impl Iterator<Item = Device> {
    Device::ALL.into_iter().filter(|device| dot_on(*device).is_ok())
}

#[test]
fn hand_computed() {
    let (queries, documents) = ([1.0, 2.0, 0.0, 0.0], [3.0, 4.0, -2.0, 1.0, 0.0, 0.0]);
    for device in devices() {
        let run = |metric| {
            let queries = Matrix::new("queries", &queries, 2, 2).unwrap();
            let documents = Matrix::new("documents", &documents, 3, 2).unwrap();
            scores(queries, documents, metric, device, 1).unwrap()
        };
        assert_eq!(run(Metric::Dot), [11.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let expected = (11.0 / 125.0f64.sqrt()) as f32;
        assert_eq!(run(Metric::Cosine), [expected, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn similarities_beyond_f32_are_infinite_and_minus_zero_is_not_written() {
    for device in devices() {
        let dot = dot_on(device).unwrap();
        let huge = [f32::MAX, f32::MAX];
        assert_eq!(round(Metric::Dot, dot(&huge, &huge), 1.0, 1.0), f32::INFINITY);
        let cancelling = [f32::MAX, f32::MIN];
        assert_eq!(round(Metric::Dot, dot(&huge, &cancelling), 1.0, 1.0), 0.0);
        let tiny = round(Metric::Dot, dot(&[1e-45], &[-1e-45]), 1.0, 1.0);
        assert_eq!(tiny.to_bits(), 0.0f32.to_bits());
        let norm = dot(&[1e-45], &[1e-45]).sqrt();
        assert_eq!(round(Metric::Cosine, dot(&[1e-45], &[1e-45]), norm, norm), 1.0);
    }
}

#[test]
fn bad_input_is_refused_with_its_numbers() {
    let values = [1.0, 2.0, 3.0, f32::NAN];
    let matrix = |rows, columns| Matrix::new("m", &values[..rows * columns], rows, columns).unwrap();
    let run = |q, d| scores(q, d, Metric::Dot, Device::Scalar, 1).unwrap_err().to_string();
    assert_eq!(run(matrix(1, 2), matrix(1, 3)), "queries has 2 columns, documents has 3");
    assert_eq!(run(matrix(0, 2), matrix(1, 2)), "queries is empty: 0 rows of 2 columns");
    let bad = run(matrix(1, 2), matrix(2, 2));
    assert_eq!(bad, "documents: row 1, column 1 is NaN; every value must be finite");
}

#[test]
fn every_instruction_set_sums_to_the_same_bits() {
    for set in InstructionSet::all_available() {
        let dot = simd::dot_with(set);
        for columns in [0, 1, 7, 15, 16, 17, 31, 33, 127, 384, 507] {
            let left: Vec<f32> = (0..columns).map(|j| ((j * 37 + 11) as f32).sin() * 3.0).collect();
            let right: Vec<f32> = (0..columns).map(|j| ((j * 53 + 5) as f32).cos() / 7.0).collect();
            let expected = scalar::dot(&left, &right);
            assert_eq!(dot(&left, &right).to_bits(), expected.to_bits(), "{set}, {columns} columns");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 8 } else { 256 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_values_give_the_same_bits(pairs in prop::collection::vec((any_finite(), any_finite()), 0..200)) {
        let (left, right): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let expected = scalar::dot(&left, &right);
        for device in devices() {
            prop_assert_eq!(dot_on(device).unwrap()(&left, &right).to_bits(), expected.to_bits());
        }
        for set in InstructionSet::all_available() {
            prop_assert_eq!(simd::dot_with(set)(&left, &right).to_bits(), expected.to_bits());
        }
    }
}
