//! Rows of a table fitted to the teacher's vectors of whole texts.
//!
//! With A the texts' token counts (a row per text, scaled so that its start vector has length 1), X the table and Y the
//! teacher's vectors in the table's coordinates, scaled to length 1, this solves the ridge regression
//!
//! ```text
//! minimise  |A X - Y|^2 + ridge |X - X0|^2      i.e.      (A'A + ridge I)(X - X0) = A'(Y - A X0)
//! ```
//!
//! from the start X0 by conjugate gradients (Hestenes and Stiefel 1952), one column of X at a time. Tokens that no text
//! holds keep their rows.

use crate::dual_encoder::DualEncoder;
use crate::encoder::{Encoder, normalize};
use crate::error::Result;
use crate::template::Role;
use crate::tokens::Tokens;

/// Steps of conjugate gradients; with a ridge near 1 the residual is small long before.
const STEPS: usize = 60;

/// The texts and the teacher that gives their vectors.
pub(super) struct Pairs<'a> {
    pub encoder: &'a DualEncoder,
    pub texts: &'a [&'a str],
    /// `dimensions x width`, orthonormal rows.
    pub components: &'a [f64],
    pub width: usize,
}

/// Changes `table` (`vocabulary x dimensions`) to the solution.
pub(super) fn refine(
    table: &mut [f32],
    dimensions: usize,
    tokens: &Tokens,
    pairs: &Pairs,
    ridge: f64,
) -> Result<()> {
    let targets = targets(pairs, dimensions)?;
    let texts: Result<Vec<Vec<u32>>> = pairs.texts.iter().map(|text| tokens.encode(text)).collect();
    let counts = Counts::scaled(texts?, table, dimensions);
    for column in 0..dimensions {
        let start: Vec<f64> = table.iter().skip(column).step_by(dimensions).map(|&x| f64::from(x)).collect();
        let target: Vec<f64> =
            targets.iter().skip(column).step_by(dimensions).map(|&x| f64::from(x)).collect();
        let fitted = solve(&counts, &start, &target, ridge);
        for (row, value) in table.chunks_exact_mut(dimensions).zip(fitted) {
            row[column] = value as f32;
        }
    }
    Ok(())
}

/// The teacher's vectors, centred over the texts, in the table's coordinates, length 1.
fn targets(pairs: &Pairs, dimensions: usize) -> Result<Vec<f32>> {
    let vectors = pairs.encoder.encode(pairs.texts, Role::Document)?;
    let mut mean = vec![0.0; pairs.width];
    for row in vectors.values.chunks_exact(pairs.width) {
        mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += f64::from(x) / pairs.texts.len() as f64);
    }
    let mut targets = super::project(&vectors.values, &mean, pairs.components, pairs.width);
    targets.chunks_exact_mut(dimensions).for_each(normalize);
    Ok(targets)
}

/// A sparse matrix of texts x tokens with one value per row.
pub(super) struct Counts {
    texts: Vec<Vec<u32>>,
    scales: Vec<f64>,
}

impl Counts {
    fn scaled(texts: Vec<Vec<u32>>, table: &[f32], dimensions: usize) -> Self {
        let length = |text: &Vec<u32>| {
            let mut sum = vec![0f64; dimensions];
            for &id in text {
                let row = &table[id as usize * dimensions..][..dimensions];
                sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            sum.iter().map(|x| x * x).sum::<f64>().sqrt()
        };
        let scales = texts
            .iter()
            .map(|text| Some(length(text)).filter(|&l| l > 1e-6).map_or(0.0, |l| 1.0 / l))
            .collect();
        Self { texts, scales }
    }

    /// A x, per text.
    fn times(&self, x: &[f64]) -> Vec<f64> {
        let sum = |text: &Vec<u32>| text.iter().map(|&id| x[id as usize]).sum::<f64>();
        self.texts.iter().zip(&self.scales).map(|(text, scale)| scale * sum(text)).collect()
    }

    /// A' y, per token.
    fn transposed_times(&self, y: &[f64], tokens: usize) -> Vec<f64> {
        let mut result = vec![0.0; tokens];
        for ((text, scale), y) in self.texts.iter().zip(&self.scales).zip(y) {
            text.iter().for_each(|&id| result[id as usize] += scale * y);
        }
        result
    }
}

/// Conjugate gradients on (A'A + ridge I) d = A'(y - A x0); gives x0 + d.
pub(super) fn solve(counts: &Counts, start: &[f64], target: &[f64], ridge: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut x = start.to_vec();
    let error: Vec<f64> = counts.times(start).iter().zip(target).map(|(have, want)| want - have).collect();
    let mut residual = counts.transposed_times(&error, start.len());
    let mut direction = residual.clone();
    let mut squares = dot(&residual, &residual);
    let enough = 1e-12 * squares;
    for _ in 0..STEPS {
        if squares <= enough {
            break;
        }
        let mut image = counts.transposed_times(&counts.times(&direction), start.len());
        image.iter_mut().zip(&direction).for_each(|(image, d)| *image += ridge * d);
        let step = squares / dot(&direction, &image);
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&image).for_each(|(r, image)| *r -= step * image);
        let next = dot(&residual, &residual);
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + next / squares * *d);
        squares = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two texts, {0} and {0, 1}, no ridge to speak of: x0 = 2 and x0 + x1 = 5.
    #[test]
    fn by_hand() {
        let counts = Counts { texts: vec![vec![0], vec![0, 1]], scales: vec![1.0, 1.0] };
        let x = solve(&counts, &[0.0, 0.0, 7.0], &[2.0, 5.0], 1e-9);
        assert!((x[0] - 2.0).abs() < 1e-5 && (x[1] - 3.0).abs() < 1e-5);
        assert_eq!(x[2], 7.0, "a token of no text keeps its row");
    }

    /// One text {0}, ridge 1: (1 + 1) d = 1 - 0, halfway.
    #[test]
    fn the_ridge_pulls_back() {
        let counts = Counts { texts: vec![vec![0]], scales: vec![1.0] };
        assert!((solve(&counts, &[0.0], &[1.0], 1.0)[0] - 0.5).abs() < 1e-12);
    }
}
