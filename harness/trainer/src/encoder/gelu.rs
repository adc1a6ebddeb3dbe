//! GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415), the exact one, with its slope.
//!
//! ```text
//! y = x Phi(x)      dy/dx = Phi(x) + x phi(x)      Phi, phi: the standard normal distribution and its density
//! ```
//!
//! `erf` and `exp` are those of `scorer`, so that a model is trained with the arithmetic it is used with.

use rayon::prelude::*;
use scorer::encoder::bert::{erf, exp_of_negative};

use super::buffers::Buffer;
use super::vectorized::vectorized;

/// Values handed to one thread at a time.
const BLOCK: usize = 1 << 14;

/// `y` of each `x`.
pub fn gelu(values: &[f32]) -> Buffer {
    let mut output = Buffer::stale(values.len());
    output.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(y, x)| gelu_block(y, x));
    output
}

/// Takes `y` of `inputs`, and multiplies each of `slopes` (d loss / d y) by dy/dx.
pub fn gelu_backward(inputs: &mut [f32], slopes: &mut [f32]) {
    inputs.par_chunks_mut(BLOCK).zip(slopes.par_chunks_mut(BLOCK)).for_each(|(x, dy)| backward_block(x, dy));
}

#[inline(always)]
fn distribution(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

vectorized! {
    fn gelu_block(output: &mut [f32], values: &[f32]) {
        for (y, x) in output.iter_mut().zip(values) {
            *y = *x * distribution(*x);
        }
    }
}

vectorized! {
    fn backward_block(inputs: &mut [f32], slopes: &mut [f32]) {
        const DENSITY_AT_ZERO: f32 = 0.398_942_3;
        for (x, dy) in inputs.iter_mut().zip(slopes) {
            let below = distribution(*x);
            let density = DENSITY_AT_ZERO * exp_of_negative(-0.5 * *x * *x);
            *dy *= below + *x * density;
            *x *= below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_value() {
        for step in -60..=60 {
            let x = step as f32 * 0.1;
            let value = |x: f32| f64::from(gelu(&[x])[0]);
            let difference = (value(x + 0.01) - value(x - 0.01)) / 0.02;
            let (mut inputs, mut slopes) = ([x], [1.0]);
            gelu_backward(&mut inputs, &mut slopes);
            assert!((f64::from(slopes[0]) - difference).abs() < 2e-4, "at {x}: {} {difference}", slopes[0]);
            assert_eq!(f64::from(inputs[0]), value(x));
        }
    }
}
