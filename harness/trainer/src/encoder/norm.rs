//! Layer norm (Ba, Kiros and Hinton 2016, arXiv 1607.06450) over rows, with its backward by hand.
//!
//! ```text
//! x^ = (x - mean x) / s,   s = sqrt(var x + epsilon)        y = w x^ + b
//! g = w dy        dx = (g - mean g - x^ mean(g x^)) / s     dw = sum over rows of x^ dy     db = sum over rows of dy
//! ```

use rayon::prelude::*;

use super::buffers::Buffer;
use super::parameters::{Gradients, Handle, Parameters};
use super::vectorized::{lane_sum, vectorized};

/// Rows handed to one thread at a time.
const ROWS: usize = 64;

/// The two parameters of a norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// `w`, one per column.
    pub weight: Handle,
    /// `b`, one per column.
    pub bias: Handle,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What a norm's backward needs of its forward; the output can be had from it too.
#[derive(Debug, Default)]
pub struct Normed {
    /// `x^`, `rows x columns`.
    pub standard: Buffer,
    /// `1 / s`, one per row.
    pub inverse_deviation: Vec<f32>,
}

impl Norm {
    /// Standardises the rows of `sums`, which become [`Normed::standard`].
    pub fn forward(&self, mut sums: Buffer, columns: usize) -> Normed {
        let mut inverse_deviation = vec![0.0; sums.len() / columns];
        let blocks = sums.par_chunks_mut(ROWS * columns).zip(inverse_deviation.par_chunks_mut(ROWS));
        blocks.for_each(|(rows, inverse)| standardize(rows, inverse, columns, self.epsilon));
        Normed { standard: sums, inverse_deviation }
    }

    /// `y` of what [`Norm::forward`] gave.
    pub fn scale(&self, parameters: &Parameters, normed: &Normed) -> Buffer {
        let (weight, bias) = (parameters.values(self.weight), parameters.values(self.bias));
        let block = ROWS * weight.len();
        let mut output = Buffer::stale(normed.standard.len());
        let blocks = output.par_chunks_mut(block).zip(normed.standard.par_chunks(block));
        blocks.for_each(|(rows, standard)| scale_rows(rows, standard, weight, bias));
        output
    }

    /// `dy` becomes `dx`; the parameters' gradients are added to.
    pub fn backward(
        &self,
        parameters: &Parameters,
        gradients: &mut Gradients,
        normed: &Normed,
        dy: &mut [f32],
    ) {
        let weight = parameters.values(self.weight);
        if let Some(gradient) = gradients.of(self.weight) {
            add_products(gradient, &normed.standard, dy);
        }
        if let Some(gradient) = gradients.of(self.bias) {
            add_rows(gradient, dy);
        }
        let columns = weight.len();
        let blocks = dy.par_chunks_mut(ROWS * columns).zip(normed.standard.par_chunks(ROWS * columns));
        blocks
            .zip(normed.inverse_deviation.par_chunks(ROWS))
            .for_each(|((dy, standard), inverse)| to_input(dy, standard, inverse, weight));
    }
}

vectorized! {
    fn standardize(rows: &mut [f32], inverse: &mut [f32], columns: usize, epsilon: f32) {
        for (row, inverse) in rows.chunks_exact_mut(columns).zip(inverse) {
            let mean = lane_sum([row], |[value]| value) / columns as f32;
            let variance = lane_sum([row], |[value]| (value - mean) * (value - mean)) / columns as f32;
            *inverse = 1.0 / (variance + epsilon).sqrt();
            for value in row.iter_mut() {
                *value = (*value - mean) * *inverse;
            }
        }
    }
}

vectorized! {
    fn scale_rows(rows: &mut [f32], standard: &[f32], weight: &[f32], bias: &[f32]) {
        let columns = weight.len();
        for (row, standard) in rows.chunks_exact_mut(columns).zip(standard.chunks_exact(columns)) {
            for (((value, standard), weight), bias) in row.iter_mut().zip(standard).zip(weight).zip(bias) {
                *value = *standard * *weight + *bias;
            }
        }
    }
}

vectorized! {
    fn to_input(dy: &mut [f32], standard: &[f32], inverse: &[f32], weight: &[f32]) {
        let columns = weight.len();
        for ((dy, standard), inverse) in dy.chunks_exact_mut(columns).zip(standard.chunks_exact(columns)).zip(inverse) {
            for (value, weight) in dy.iter_mut().zip(weight) {
                *value *= *weight;
            }
            let mean = lane_sum([dy], |[value]| value) / columns as f32;
            let along = lane_sum([dy, standard], |[value, standard]| value * standard) / columns as f32;
            for (value, standard) in dy.iter_mut().zip(standard) {
                *value = (*value - mean - *standard * along) * *inverse;
            }
        }
    }
}

vectorized! {
    fn add_products(sums: &mut [f32], left: &[f32], right: &[f32]) {
        let columns = sums.len();
        for (left, right) in left.chunks_exact(columns).zip(right.chunks_exact(columns)) {
            for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
                *sum += *left * *right;
            }
        }
    }
}

vectorized! {
    /// Adds every row of `rows` to `sums`, in order.
    pub fn add_rows(sums: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += *value;
            }
        }
    }
}
