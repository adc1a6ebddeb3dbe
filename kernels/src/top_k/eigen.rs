//! The eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then implicit QR steps with
//! Wilkinson's shift (Golub and Van Loan, "Matrix Computations", sections 8.3.1 to 8.3.3).
//!
//! What is made of them must hold for any orthogonal matrix ([`Rotation`](super::rotation::Rotation) measures how
//! orthogonal this one is), so steps are bounded rather than convergence demanded.

/// Steps allowed for each eigenvalue; three or fewer are usual.
const STEPS: usize = 60;

/// The eigenvectors of a symmetric matrix `[size x size]`, one a row, those of the largest eigenvalues first, and
/// the eigenvalues.
pub(super) fn eigenvectors(matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut tridiagonal = reduce(matrix, size);
    tridiagonal.diagonalise();
    let Tridiagonal { diagonal, vectors, .. } = tridiagonal;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    let rows = order.iter().flat_map(|row| &vectors[row * size..][..size]).copied().collect();
    (rows, order.into_iter().map(|row| diagonal[row]).collect())
}

/// A matrix on its way: `vectors^T T vectors` with `T` symmetric and zero off its three diagonals.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Entry `k` stands between rows `k` and `k + 1`.
    beside: Vec<f64>,
    /// `[size x size]`, orthogonal.
    vectors: Vec<f64>,
}

/// Reflects each column in turn onto its first two entries from the diagonal on.
fn reduce(mut matrix: Vec<f64>, size: usize) -> Tridiagonal {
    let mut reflections = Vec::new();
    for pivot in 0..size.saturating_sub(2) {
        let column: Vec<f64> = (pivot + 1..size).map(|row| matrix[row * size + pivot]).collect();
        let Some((normal, image)) = reflection(column) else { continue };
        reflect_both_sides(&mut matrix, size, pivot + 1, &normal);
        matrix[(pivot + 1) * size + pivot] = image;
        reflections.push((pivot + 1, normal));
    }
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|row| vectors[row * size + row] = 1.0);
    for (first, normal) in reflections.iter().rev() {
        reflect_rows(&mut vectors[first * size..], size, normal);
    }
    Tridiagonal {
        diagonal: (0..size).map(|row| matrix[row * size + row]).collect(),
        beside: (1..size).map(|row| matrix[row * size + row - 1]).collect(),
        vectors: transposed(&vectors, size),
    }
}

/// The normal, of length the square root of 2, of the reflection that leaves `column` only its first entry, and that
/// entry. None where there is nothing to do.
fn reflection(mut column: Vec<f64>) -> Option<(Vec<f64>, f64)> {
    let largest = column[1..].iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return None;
    }
    let image = -length(&column).copysign(column[0]);
    column[0] -= image;
    let factor = std::f64::consts::SQRT_2 / length(&column);
    column.iter_mut().for_each(|value| *value *= factor);
    Some((column, image))
}

/// Replaces the square from row and column `first` on by `H square H` for `H = 1 - n n^T`.
fn reflect_both_sides(matrix: &mut [f64], size: usize, first: usize, normal: &[f64]) {
    let rows = || matrix.chunks_exact(size).skip(first).map(|row| &row[first..]);
    let mut image: Vec<f64> = rows().map(|row| dot(row, normal)).collect();
    let half = 0.5 * dot(&image, normal);
    image.iter_mut().zip(normal).for_each(|(image, normal)| *image -= half * normal);
    let rows = matrix.chunks_exact_mut(size).skip(first).map(|row| &mut row[first..]);
    for ((row, of_normal), of_image) in rows.zip(normal).zip(&image) {
        for ((value, normal), image) in row.iter_mut().zip(normal).zip(&image) {
            *value -= of_normal * image + of_image * normal;
        }
    }
}

/// Applies `1 - n n^T` to the rows.
fn reflect_rows(rows: &mut [f64], size: usize, normal: &[f64]) {
    let mut image = vec![0.0; size];
    for (row, factor) in rows.chunks_exact(size).zip(normal) {
        image.iter_mut().zip(row).for_each(|(image, value)| *image += factor * value);
    }
    for (row, factor) in rows.chunks_exact_mut(size).zip(normal) {
        row.iter_mut().zip(&image).for_each(|(value, image)| *value -= factor * image);
    }
}

impl Tridiagonal {
    /// Turns neighbouring rows until nothing is left beside the diagonal.
    fn diagonalise(&mut self) {
        let mut end = self.diagonal.len().saturating_sub(1);
        let mut steps = STEPS * self.diagonal.len();
        while end > 0 && steps > 0 {
            if self.is_negligible(end - 1) {
                end -= 1;
                continue;
            }
            let start = (0..end).rev().find(|row| self.is_negligible(*row)).map_or(0, |row| row + 1);
            self.step(start, end);
            steps -= 1;
        }
    }

    fn is_negligible(&self, row: usize) -> bool {
        let around = self.diagonal[row].abs() + self.diagonal[row + 1].abs();
        self.beside[row].abs() <= f64::EPSILON * around
    }

    /// One implicit QR step on rows `start` to `end`, none of whose neighbours are negligible.
    fn step(&mut self, start: usize, end: usize) {
        let half = 0.5 * (self.diagonal[end - 1] - self.diagonal[end]);
        let beside = self.beside[end - 1];
        let shift = self.diagonal[end] - beside * (beside / (half + half.hypot(beside).copysign(half)));
        let (mut kept, mut cleared) = (self.diagonal[start] - shift, self.beside[start]);
        for row in start..end {
            let radius = kept.hypot(cleared);
            let (cosine, sine) = if radius > 0.0 { (kept / radius, cleared / radius) } else { (1.0, 0.0) };
            if row > start {
                self.beside[row - 1] = radius;
            }
            let (a, b, c) = (self.diagonal[row], self.beside[row], self.diagonal[row + 1]);
            let twice = 2.0 * cosine * sine * b;
            self.diagonal[row] = cosine * cosine * a + twice + sine * sine * c;
            self.diagonal[row + 1] = sine * sine * a - twice + cosine * cosine * c;
            self.beside[row] = cosine * sine * (c - a) + (cosine * cosine - sine * sine) * b;
            kept = self.beside[row];
            if row + 1 < end {
                cleared = sine * self.beside[row + 1];
                self.beside[row + 1] *= cosine;
            }
            self.turn(row, cosine, sine);
        }
    }

    fn turn(&mut self, row: usize, cosine: f64, sine: f64) {
        let size = self.diagonal.len();
        let (upper, lower) = self.vectors[row * size..][..2 * size].split_at_mut(size);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            (*upper, *lower) = (cosine * *upper + sine * *lower, cosine * *lower - sine * *upper);
        }
    }
}

fn transposed(matrix: &[f64], size: usize) -> Vec<f64> {
    (0..size * size).map(|at| matrix[at % size * size + at / size]).collect()
}

/// Dealt to eight sums, so that they can be added several at a time.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn length(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `vectors matrix vectors^T` is diagonal with the eigenvalues, and `vectors vectors^T` is 1.
    fn check(matrix: &[f64], size: usize) {
        let (vectors, values) = eigenvectors(matrix.to_vec(), size);
        let largest = matrix.iter().fold(1e-300f64, |largest, value| largest.max(value.abs()));
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
        for (i, left) in vectors.chunks_exact(size).enumerate() {
            let image: Vec<f64> = matrix.chunks_exact(size).map(|row| dot(row, left)).collect();
            for (j, right) in vectors.chunks_exact(size).enumerate() {
                let (value, product) = if i == j { (values[i], 1.0) } else { (0.0, 0.0) };
                assert!((dot(&image, right) - value).abs() < 1e-12 * size as f64 * largest, "{i} {j}");
                assert!((dot(left, right) - product).abs() < 1e-13 * size as f64, "{i} {j}");
            }
        }
    }

    #[test]
    fn worked_out_by_hand() {
        let (vectors, values) = eigenvectors(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15);
        assert!((vectors[0] - vectors[1]).abs() < 1e-15 && (vectors[2] + vectors[3]).abs() < 1e-15);
        assert_eq!(eigenvectors(vec![5.0], 1), (vec![1.0], vec![5.0]));
    }

    #[test]
    fn any_symmetric_matrix() {
        for size in [1, 2, 3, 5, 16, 33] {
            let sines: Vec<f64> = (0..size * size).map(|at| (at as f64 * 1.7).sin()).collect();
            let moment: Vec<f64> = (0..size * size)
                .map(|at| (0..size).map(|k| sines[at / size * size + k] * sines[at % size * size + k]).sum())
                .collect();
            check(&moment, size);
            let tiny: Vec<f64> = moment.iter().map(|value| value * 1e-120).collect();
            check(&tiny, size);
            check(&vec![1.0; size * size], size);
            check(&vec![0.0; size * size], size);
            let identity: Vec<f64> = (0..size * size).map(|at| f64::from(at % (size + 1) == 0)).collect();
            check(&identity, size);
        }
    }
}
