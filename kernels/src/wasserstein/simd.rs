//! The same steps on vector instructions and threads.
//!
//! The inner loops are plain Rust over eight partial sums, compiled once for each instruction set. Jacobi's pairs
//! go round as in a tournament: each round pairs every column once, so its turns touch nothing in common and
//! may run on any number of threads with the same result.

use super::scalar::{Columns, SWEEPS, centre, rounding, turn};
use crate::device::InstructionSet;
use crate::workers::{count, share};

/// Work of one thread below which a second thread would not pay: values touched.
const GRAIN: usize = 1 << 14;

/// Value and d value / dP of `predicted` and `target`, both `[Q x columns]`.
pub(super) fn distance(
    set: Option<InstructionSet>,
    predicted: &[f64],
    target: &[f64],
    columns: usize,
) -> (f64, Vec<f64>) {
    let queries = predicted.len() / columns;
    let (centred_p, mean_p) = centre(predicted, columns);
    let (centred_g, mean_g) = centre(target, columns);
    let shift: Vec<f64> = mean_p.iter().zip(&mean_g).map(|(p, g)| p - g).collect();
    let mut value = dot(set, &shift, &shift);
    let mut gradient = vec![0.0; predicted.len()];
    let degrees = (queries - 1) as f64;
    let mut polar = vec![0.0; queries * queries];
    if queries > 1 {
        let (length_p, length_g) = (dot(set, &centred_p, &centred_p), dot(set, &centred_g, &centred_g));
        let null = rounding(queries, length_p, length_g);
        let columns_of_product = products(set, &centred_g, &centred_p, columns);
        let state = orthogonalise(set, columns_of_product, null);
        let norm = polar_factor(set, &state, null, &mut polar);
        value += (length_p + length_g - 2.0 * norm) / degrees;
    }
    let rows = gradient.chunks_exact_mut(columns).enumerate();
    for_each(rows, queries * columns, |(query, gradient)| {
        if queries > 1 {
            gradient.copy_from_slice(&centred_p[query * columns..][..columns]);
            let weights = &polar[query * queries..][..queries];
            for (weight, row) in weights.iter().zip(centred_g.chunks_exact(columns)) {
                add_scaled(set, -weight, row, gradient);
            }
            gradient.iter_mut().for_each(|value| *value *= 2.0 / degrees);
        }
        add_scaled(set, 2.0 / queries as f64, &shift, gradient);
    });
    (value, gradient)
}

/// For each row of `left`, its inner products with the rows of `right`.
fn products(set: Option<InstructionSet>, left: &[f64], right: &[f64], columns: usize) -> Vec<Vec<f64>> {
    let mut output = vec![Vec::new(); left.len() / columns];
    let rows = output.iter_mut().zip(left.chunks_exact(columns));
    for_each(rows, right.len(), |(output, left)| {
        *output = right.chunks_exact(columns).map(|right| dot(set, left, right)).collect();
    });
    output
}

/// A column of `W` and the same column of `V`.
struct Pair {
    turned: Vec<f64>,
    right: Vec<f64>,
}

/// Turns the pairs of a tournament, round by round, until a sweep turns none.
fn orthogonalise(set: Option<InstructionSet>, columns: Vec<Vec<f64>>, negligible: f64) -> Columns {
    let size = columns.len();
    let start = Columns::new(columns);
    let mut table: Vec<Option<Pair>> = start
        .turned
        .into_iter()
        .zip(start.right)
        .map(|(turned, right)| Some(Pair { turned, right }))
        .collect();
    // An odd column sits out one round in each sweep.
    if size % 2 == 1 {
        table.push(None);
    }
    for _ in 0..SWEEPS {
        let mut turned = false;
        for _ in 1..table.len() {
            turned |= play_round(set, &mut table, size, negligible);
            table[1..].rotate_right(1);
        }
        if !turned {
            break;
        }
    }
    let (turned, right) = table.into_iter().flatten().map(|pair| (pair.turned, pair.right)).unzip();
    Columns { turned, right }
}

/// Turns the first column with the last, the second with the last but one, and so on. Whether any was turned.
fn play_round(set: Option<InstructionSet>, table: &mut [Option<Pair>], size: usize, negligible: f64) -> bool {
    let (front, back) = table.split_at_mut(table.len() / 2);
    let mut turned = vec![false; front.len()];
    let games = front.iter_mut().zip(back.iter_mut().rev()).zip(&mut turned);
    for_each(games, 8 * size, |((a, b), turned)| {
        let (Some(a), Some(b)) = (a, b) else { return };
        let [aa, bb, ab] = gram(set, &a.turned, &b.turned);
        let Some(turn) = turn(aa, bb, ab, size, negligible) else { return };
        rotate(set, turn.cosine, turn.sine, &mut a.turned, &mut b.turned);
        rotate(set, turn.cosine, turn.sine, &mut a.right, &mut b.right);
        *turned = true;
    });
    turned.contains(&true)
}

/// Adds `U V'` of the directions that are not null to `polar`; the sum of their singular values.
fn polar_factor(set: Option<InstructionSet>, columns: &Columns, null: f64, polar: &mut [f64]) -> f64 {
    let size = columns.turned.len();
    let values: Vec<f64> = columns.turned.iter().map(|column| dot(set, column, column).sqrt()).collect();
    let rows = polar.chunks_exact_mut(size).enumerate();
    for_each(rows, size * size, |(row, target)| {
        for ((value, turned), right) in values.iter().zip(&columns.turned).zip(&columns.right) {
            if *value > null {
                add_scaled(set, turned[row] / value, right, target);
            }
        }
    });
    values.iter().filter(|value| **value > null).sum()
}

/// Defines `$name(set, arguments)`: `$body` compiled for each instruction set.
macro_rules! compiled_for_each_set {
    ($(#[$attribute:meta])* fn $name:ident = $plain:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[$attribute])*
        fn $name(set: Option<InstructionSet>, $($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                $plain($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                $plain($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            match set.filter(|set| set.is_available()) {
                // SAFETY: `is_available` saw every feature the function is compiled for.
                Some(InstructionSet::Avx512 | InstructionSet::Avx512Vnni | InstructionSet::Avx512Amx) => return unsafe { avx512($($argument),*) },
                // SAFETY: `is_available` saw every feature the function is compiled for.
                Some(InstructionSet::Avx2) => return unsafe { avx2($($argument),*) },
                _ => {}
            }
            let _ = set;
            $plain($($argument),*)
        }
    };
}

compiled_for_each_set! {
    fn dot = dot_plain(a: &[f64], b: &[f64]) -> f64
}

#[inline(always)]
fn dot_plain(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 32];
    let (a, a_rest) = a.as_chunks::<32>();
    let (b, b_rest) = b.as_chunks::<32>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..32 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += a * b;
    }
    sums.iter().sum()
}

compiled_for_each_set! {
    /// Inner products of `a` with itself, of `b` with itself, and of both.
    fn gram = gram_plain(a: &[f64], b: &[f64]) -> [f64; 3]
}

#[inline(always)]
fn gram_plain(a: &[f64], b: &[f64]) -> [f64; 3] {
    let mut sums = [[0.0; 16]; 3];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[0][lane] += a[lane] * a[lane];
            sums[1][lane] += b[lane] * b[lane];
            sums[2][lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[0][lane] += a * a;
        sums[1][lane] += b * b;
        sums[2][lane] += a * b;
    }
    sums.map(|sums| sums.iter().sum())
}

compiled_for_each_set! {
    fn rotate = rotate_plain(cosine: f64, sine: f64, x: &mut [f64], y: &mut [f64])
}

#[inline(always)]
fn rotate_plain(cosine: f64, sine: f64, x: &mut [f64], y: &mut [f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

compiled_for_each_set! {
    /// `target += weight * row`.
    fn add_scaled = add_scaled_plain(weight: f64, row: &[f64], target: &mut [f64])
}

#[inline(always)]
fn add_scaled_plain(weight: f64, row: &[f64], target: &mut [f64]) {
    for (target, value) in target.iter_mut().zip(row) {
        *target += weight * value;
    }
}

/// Runs `task` on every item; on all threads where the items are worth it.
fn for_each<I>(items: I, values_per_item: usize, task: impl Fn(I::Item) + Sync)
where
    I: ExactSizeIterator + Send,
{
    let workers = (items.len() * values_per_item / GRAIN).clamp(1, count(0));
    share(workers, items, task);
}
