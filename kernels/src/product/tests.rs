//! One suite for the definition, every instruction set present and the portable lanes: against sums in f64.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// The definition, and the fast path on each set.
fn runners() -> Vec<Option<Option<InstructionSet>>> {
    let sets = InstructionSet::all_available().map(Some).chain([None]);
    std::iter::once(None).chain(sets.map(Some)).collect()
}

/// A product with its operands, each perhaps given transposed and with gaps between its rows.
#[derive(Clone, Debug)]
struct Case {
    shape: [usize; 3],
    turned: [bool; 2],
    gap: usize,
    factor: f32,
    base: usize,
}

impl Case {
    fn new(shape: [usize; 3]) -> Self {
        Case { shape, turned: [false; 2], gap: 0, factor: 1.0, base: 0 }
    }

    fn base<'a>(&self, row: &'a [f32]) -> Base<'a> {
        [Base::Zero, Base::Target, Base::Row(row)][self.base]
    }

    fn side(&self, side: usize) -> Side {
        let [rows, inner, columns] = self.shape;
        let (rows, columns) = if side == 0 { (rows, inner) } else { (inner, columns) };
        let (lines, length) = if self.turned[side] { (columns, rows) } else { (rows, columns) };
        let stride = length + self.gap;
        // What lies in a gap would show.
        let value = |at: usize| if at % stride < length { drawn(at + 7 * side) } else { f32::NAN };
        Side { values: (0..lines * stride).map(value).collect(), lines, length, turned: self.turned[side] }
    }

    /// The target's values, gaps included, before (`stride` apart) and after.
    fn run(&self, set: Option<Option<InstructionSet>>, threads: usize) -> (Vec<f32>, Vec<f32>) {
        let [rows, _, columns] = self.shape;
        let stride = columns + self.gap;
        let hidden = if self.base == 1 { 3 } else { usize::MAX };
        let before = (0..rows * stride).map(|at| if hidden == 3 { drawn(at + hidden) } else { f32::NAN });
        let before: Vec<f32> = before.collect();
        let (left, right, row) = (self.side(0), self.side(1), row(columns));
        let mut values = before.clone();
        let target = Target { values: &mut values, stride, base: self.base(&row) };
        product_with(set, left.operand(self.gap), right.operand(self.gap), self.factor, target, threads)
            .unwrap();
        (before, values)
    }

    /// Holds each value to its sum in f64, by the bound on a sum's roundings, and the gaps to what they held.
    fn check(&self, set: Option<Option<InstructionSet>>) {
        let [rows, inner, columns] = self.shape;
        let (before, after) = self.run(set, 1);
        let (left, right, row) = (self.side(0), self.side(1), row(columns));
        let (left, right) = (left.operand(self.gap), right.operand(self.gap));
        let stride = columns + self.gap;
        for (at, (&old, &value)) in before.iter().zip(&after).enumerate() {
            let (i, j) = (at / stride, at % stride);
            if j >= columns {
                assert_eq!(old.to_bits(), value.to_bits(), "{set:?} {self:?}: the gap of row {i}");
                continue;
            }
            let base = [0.0, f64::from(old), f64::from(row[j])][self.base];
            let terms = (0..inner).map(|k| f64::from(left.at(i, k)) * f64::from(right.at(k, j)));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            let (exact, size) = (base + f64::from(self.factor) * sum, f64::from(self.factor.abs()) * size);
            let bound = (inner + 4) as f64 * f64::from(f32::EPSILON) * (size + base.abs());
            assert!(
                i < rows && (f64::from(value) - exact).abs() <= bound,
                "{set:?} {self:?}: {i} {j} {value} {exact}"
            );
        }
    }
}

struct Side {
    values: Vec<f32>,
    lines: usize,
    length: usize,
    turned: bool,
}

impl Side {
    fn operand(&self, gap: usize) -> Operand<'_> {
        let matrix = Matrix::with_stride("side", &self.values, self.lines, self.length, self.length + gap);
        let operand = Operand::from(matrix.unwrap());
        if self.turned { operand.transposed() } else { operand }
    }
}

fn drawn(at: usize) -> f32 {
    ((at * 7919 + 13) % 1009) as f32 / 311.0 - 1.6
}

fn row(columns: usize) -> Vec<f32> {
    (0..columns).map(|at| drawn(at + 5)).collect()
}

#[test]
fn hand_computed() {
    let (left, right) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
    let operand = |values| Operand::from(Matrix::new("side", values, 2, 2).unwrap());
    let run = |set, left, right, base| {
        let mut values = [1.0; 4];
        product_with(set, left, right, 0.5, Target { values: &mut values, stride: 2, base }, 1).unwrap();
        values
    };
    let (a, b) = (operand(&left), operand(&right));
    for set in runners() {
        assert_eq!(run(set, a, b, Base::Zero), [9.5, 11.0, 21.5, 25.0]);
        assert_eq!(run(set, a, b, Base::Target), [10.5, 12.0, 22.5, 26.0]);
        assert_eq!(run(set, a, b, Base::Row(&[1.0, -1.0])), [10.5, 10.0, 22.5, 24.0]);
        assert_eq!(run(set, a, b.transposed(), Base::Zero), [8.5, 11.5, 19.5, 26.5]);
        assert_eq!(run(set, a.transposed(), b, Base::Zero), [13.0, 15.0, 19.0, 22.0]);
    }
}

#[test]
fn every_orientation_and_base_at_the_edges_of_tiles_panels_strips_and_runs() {
    let shapes =
        [[1, 1, 1], [12, 16, 32], [13, 5, 33], [49, 385, 65], [48, 384, 96], [241, 3, 257], [7, 800, 1]];
    let shapes = if cfg!(miri) { &shapes[..3] } else { &shapes };
    for set in runners() {
        for (at, &shape) in shapes.iter().enumerate() {
            for turned in [[false, false], [false, true], [true, false], [true, true]] {
                let gap = at % 3;
                Case { turned, gap, factor: 0.25, base: at % 3, ..Case::new(shape) }.check(set);
            }
        }
    }
}

#[test]
fn an_inner_dimension_of_0_leaves_the_base() {
    for set in runners() {
        let sides = [Matrix::new("left", &[], 2, 0).unwrap(), Matrix::new("right", &[], 0, 3).unwrap()];
        let [left, right] = sides.map(Operand::from);
        for (base, expected) in [(Base::Zero, 0.0), (Base::Target, 4.0), (Base::Row(&[2.0; 3]), 2.0)] {
            let mut values = [4.0; 6];
            let target = Target { values: &mut values, stride: 3, base };
            product_with(set, left, right, 1.0, target, 1).unwrap();
            assert_eq!(values, [expected; 6], "{set:?} {base:?}");
        }
    }
}

#[test]
fn nan_and_infinity_spread_to_their_rows_and_columns_alone() {
    for set in runners() {
        let (mut left, right) = (vec![1.0; 40 * 3], vec![0.0; 3 * 40]);
        (left[5 * 3 + 1], left[9 * 3]) = (f32::NAN, f32::INFINITY);
        let mut values = vec![7.0; 40 * 40];
        let operand =
            |values, rows, columns| Operand::from(Matrix::new("side", values, rows, columns).unwrap());
        let target = Target { values: &mut values, stride: 40, base: Base::Zero };
        product_with(set, operand(&left, 40, 3), operand(&right, 3, 40), 1.0, target, 1).unwrap();
        for (row, values) in values.chunks_exact(40).enumerate() {
            let spoiled = row == 5 || row == 9;
            assert!(
                values.iter().all(|value| if spoiled { value.is_nan() } else { *value == 0.0 }),
                "{set:?} {row}"
            );
        }
    }
}

#[test]
fn bad_shapes_are_refused_with_their_numbers() {
    let values = [0.0; 12];
    let operand =
        |rows, columns| Operand::from(Matrix::new("m", &values[..rows * columns], rows, columns).unwrap());
    let run = |left, right, length: usize, stride, base| {
        let mut values = vec![0.0; length];
        let target = Target { values: &mut values, stride, base };
        product(left, right, 1.0, target, Device::Scalar, 1).unwrap_err().to_string()
    };
    let (left, right) = (operand(2, 3), operand(3, 4));
    let said = run(left, operand(2, 4), 8, 4, Base::Zero);
    assert_eq!(said, "left has 3 values along the inner dimension, right has 2");
    let said = run(left, right, 7, 4, Base::Zero);
    assert_eq!(said, "target: 2 rows of 4 columns with stride 4 need 8 values, got 7");
    assert_eq!(run(left, right, 8, 3, Base::Zero), "target: stride 3 is smaller than the 4 columns of a row");
    assert_eq!(run(left, right, 8, 4, Base::Row(&[0.0; 3])), "base has 3 columns, right has 4");
}

#[test]
#[cfg(not(target_arch = "wasm32"))]
fn the_bits_do_not_depend_on_the_threads() {
    let shape = if cfg!(miri) { [13, 5, 40] } else { [500, 900, 600] };
    for set in runners().into_iter().skip(1) {
        for turned in [[false, true], [true, false]] {
            let case = Case { turned, base: 1, factor: 0.3, ..Case::new(shape) };
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| case.run(set, 0)).1
            };
            assert!(run(1) == run(3), "{set:?}: one thread and three");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 2 } else { 64 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_shape_is_within_the_bound_of_its_roundings(
        shape in [1..80usize, 0..90usize, 1..80usize],
        turned in any::<[bool; 2]>(),
        gap in 0..5usize,
        factor in -2.0f32..2.0,
        base in 0..3usize,
    ) {
        for set in runners() {
            Case { shape, turned, gap, factor, base }.check(set);
        }
    }
}
