//! The definition in plain loops, with a one-sided Jacobi singular value decomposition.

/// Sweeps a decomposition gets at most. Convergence is quadratic: ten are plenty for any size in use.
pub(super) const SWEEPS: usize = 60;

/// A square matrix whose columns are turned until they are orthogonal: `A V = W`.
pub(super) struct Columns {
    /// The columns of `W`: singular value times left singular vector.
    pub turned: Vec<Vec<f64>>,
    /// The columns of `V`: right singular vectors.
    pub right: Vec<Vec<f64>>,
}

impl Columns {
    /// `V = 1`: nothing turned yet.
    pub fn new(columns: Vec<Vec<f64>>) -> Self {
        let size = columns.len();
        let unit = |at: usize| (0..size).map(|row| if row == at { 1.0 } else { 0.0 }).collect();
        Columns { right: (0..size).map(unit).collect(), turned: columns }
    }
}

/// The turn that makes two columns orthogonal: cosine and sine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub cosine: f64,
    pub sine: f64,
}

/// The smaller of the two turns that make columns of squared lengths `a` and `b` and inner product `c`
/// orthogonal; `None` when they are, within rounding, or when one of them is within `negligible` of nothing.
pub(super) fn turn(a: f64, b: f64, c: f64, size: usize, negligible: f64) -> Option<Turn> {
    let orthogonal = f64::EPSILON * (size as f64).sqrt();
    if a.min(b).sqrt() <= negligible || c.abs() <= orthogonal * (a.sqrt() * b.sqrt()) {
        return None;
    }
    let zeta = (b - a) / (2.0 * c);
    let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    Some(Turn { cosine, sine: cosine * tangent })
}

/// Singular values and the `U V'` of the directions that are not null, row-major, from orthogonal columns.
pub(super) fn polar(columns: &Columns, null: f64) -> (f64, Vec<f64>) {
    let size = columns.turned.len();
    let mut norm = 0.0;
    let mut polar = vec![0.0; size * size];
    for (turned, right) in columns.turned.iter().zip(&columns.right) {
        let value = dot(turned, turned).sqrt();
        if value <= null {
            continue;
        }
        norm += value;
        for (row, u) in polar.chunks_exact_mut(size).zip(turned) {
            for (entry, v) in row.iter_mut().zip(right) {
                *entry += u / value * v;
            }
        }
    }
    (norm, polar)
}

/// What rounding leaves in the singular values of `E_P E_G'`.
pub(super) fn rounding(queries: usize, predicted: f64, target: f64) -> f64 {
    queries as f64 * f64::EPSILON * predicted.sqrt() * target.sqrt()
}

/// Value and d value / dP of `predicted` and `target`, both `[Q x columns]`.
pub(super) fn distance(predicted: &[f64], target: &[f64], columns: usize) -> (f64, Vec<f64>) {
    let queries = predicted.len() / columns;
    let (centred_p, mean_p) = centre(predicted, columns);
    let (centred_g, mean_g) = centre(target, columns);
    let shift: Vec<f64> = mean_p.iter().zip(&mean_g).map(|(p, g)| p - g).collect();
    let mut value = dot(&shift, &shift);
    let share = 2.0 / queries as f64;
    let mut gradient: Vec<f64> = (0..queries).flat_map(|_| shift.iter().map(|shift| share * shift)).collect();
    if queries == 1 {
        return (value, gradient);
    }
    let (length_p, length_g) = (dot(&centred_p, &centred_p), dot(&centred_g, &centred_g));
    let null = rounding(queries, length_p, length_g);
    // The columns of E_P E_G'.
    let product = centred_g
        .chunks_exact(columns)
        .map(|g| centred_p.chunks_exact(columns).map(|p| dot(p, g)).collect())
        .collect();
    let (norm, polar) = polar(&orthogonalise(product, null), null);
    let degrees = (queries - 1) as f64;
    value += (length_p + length_g - 2.0 * norm) / degrees;
    for (query, gradient) in gradient.chunks_exact_mut(columns).enumerate() {
        for (column, gradient) in gradient.iter_mut().enumerate() {
            let mut pull = centred_p[query * columns + column];
            for other in 0..queries {
                pull -= polar[query * queries + other] * centred_g[other * columns + column];
            }
            *gradient += 2.0 / degrees * pull;
        }
    }
    (value, gradient)
}

/// Rows less their mean, and the mean.
pub(super) fn centre(rows: &[f64], columns: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (rows.len() / columns) as f64;
    let mut mean = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count);
    }
    let mut centred = rows.to_vec();
    for row in centred.chunks_exact_mut(columns) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
    (centred, mean)
}

/// Turns every pair of columns in order, again and again, until a sweep turns none.
pub(super) fn orthogonalise(columns: Vec<Vec<f64>>, negligible: f64) -> Columns {
    let size = columns.len();
    let mut state = Columns::new(columns);
    for _ in 0..SWEEPS {
        let mut turned = false;
        for second in 1..size {
            for first in 0..second {
                let (a, b) = (&state.turned[first], &state.turned[second]);
                let Some(turn) = turn(dot(a, a), dot(b, b), dot(a, b), size, negligible) else { continue };
                apply(turn, &mut state.turned, first, second);
                apply(turn, &mut state.right, first, second);
                turned = true;
            }
        }
        if !turned {
            break;
        }
    }
    state
}

fn apply(turn: Turn, columns: &mut [Vec<f64>], first: usize, second: usize) {
    let (head, tail) = columns.split_at_mut(second);
    for (x, y) in head[first].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (turn.cosine * *x - turn.sine * *y, turn.sine * *x + turn.cosine * *y);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
