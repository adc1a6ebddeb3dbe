//! Eigenvalues and eigenvectors of a symmetric matrix, in f64, by cyclic Jacobi rotations (Golub and Van Loan, Matrix
//! Computations, section 8.5): slower than tridiagonal QL, but short, and accurate for small eigenvalues too. 384 x 384
//! takes seconds, once per distillation.

/// Eigenvalues, largest first, and the unit eigenvectors as rows of a `size x size` matrix, in the same order. Each vector
/// has its largest element positive, so that the result does not depend on the course of the rotations.
///
/// `matrix` is row-major, symmetric, `size x size`; only finite values make sense.
///
/// # Panics
/// When `matrix` does not have `size * size` elements.
pub fn symmetric_eigen(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(matrix.len(), size * size, "a square matrix");
    let mut vectors = identity(size);
    let total: f64 = matrix.iter().map(|x| x * x).sum();
    for _sweep in 0..MAX_SWEEPS {
        if off_diagonal(&matrix, size) <= 1e-26 * total {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut matrix, &mut vectors, size, p, q);
            }
        }
    }
    sorted(&matrix, &vectors, size)
}

/// Convergence is quadratic; ten sweeps are plenty for any size that fits in memory.
const MAX_SWEEPS: usize = 30;

fn identity(size: usize) -> Vec<f64> {
    (0..size * size).map(|index| if index / size == index % size { 1.0 } else { 0.0 }).collect()
}

/// Twice the sum of squares above the diagonal.
fn off_diagonal(matrix: &[f64], size: usize) -> f64 {
    (0..size)
        .map(|row| matrix[row * size + row + 1..(row + 1) * size].iter().map(|x| 2.0 * x * x).sum::<f64>())
        .sum()
}

/// One rotation in the plane of p and q that makes `matrix[p][q]` zero. Rows are rotated as slices and copied over to the
/// columns, which is faster than walking down two columns twice.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let (app, aqq, apq) = (matrix[p * size + p], matrix[q * size + q], matrix[p * size + q]);
    if apq == 0.0 {
        return;
    }
    let theta = (aqq - app) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cosine = 1.0 / t.hypot(1.0);
    let sine = t * cosine;
    rotate_rows(matrix, size, p, q, cosine, sine);
    rotate_rows(vectors, size, p, q, cosine, sine);
    matrix[p * size + p] = app - t * apq;
    matrix[q * size + q] = aqq + t * apq;
    matrix[p * size + q] = 0.0;
    matrix[q * size + p] = 0.0;
    for other in (0..size).filter(|&other| other != p && other != q) {
        matrix[other * size + p] = matrix[p * size + other];
        matrix[other * size + q] = matrix[q * size + other];
    }
}

fn rotate_rows(matrix: &mut [f64], size: usize, p: usize, q: usize, cosine: f64, sine: f64) {
    let (upper, lower) = matrix.split_at_mut(q * size);
    for (x, y) in upper[p * size..(p + 1) * size].iter_mut().zip(&mut lower[..size]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

fn sorted(matrix: &[f64], vectors: &[f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| matrix[b * size + b].total_cmp(&matrix[a * size + a]));
    let values = order.iter().map(|&row| matrix[row * size + row]).collect();
    let rows = order.iter().flat_map(|&row| with_sign(&vectors[row * size..(row + 1) * size]));
    (values, rows.collect())
}

fn with_sign(vector: &[f64]) -> Vec<f64> {
    let largest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(1.0);
    vector.iter().map(|x| x * largest.signum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_by_two_by_hand() {
        let (values, vectors) = symmetric_eigen(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12);
        assert!((vectors[0] - 0.5f64.sqrt()).abs() < 1e-12 && (vectors[1] - 0.5f64.sqrt()).abs() < 1e-12);
    }

    /// A V = V diag(w), V orthogonal, the trace kept: on a 40 x 40 matrix of known, partly equal eigenvalues.
    #[test]
    fn it_takes_the_matrix_apart() {
        let size = 40;
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        let half: Vec<f64> = (0..size * 12).map(|_| next()).collect();
        // A product of rank 12: 28 eigenvalues are zero.
        let matrix: Vec<f64> = (0..size * size)
            .map(|i| (0..12).map(|k| half[i / size * 12 + k] * half[i % size * 12 + k]).sum())
            .collect();
        let (values, vectors) = symmetric_eigen(matrix.clone(), size);
        let row = |r: usize| &vectors[r * size..(r + 1) * size];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for (r, value) in values.iter().enumerate() {
            for i in 0..size {
                let applied = dot(&matrix[i * size..(i + 1) * size], row(r));
                assert!((applied - value * row(r)[i]).abs() < 1e-11);
                let expected = if r == i { 1.0 } else { 0.0 };
                assert!((dot(row(r), row(i)) - expected).abs() < 1e-12);
            }
        }
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        assert!(values[12..].iter().all(|value| value.abs() < 1e-12) && values[11] > 1e-3);
    }
}
