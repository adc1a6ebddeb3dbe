//! The float steps of the encoder, in 8 bits and in floats, each written once.
//!
//! Every function here is plain Rust: Rust neither contracts a product and a sum into one rounding nor reorders
//! additions, and only operations with one IEEE 754 answer are used (+, -, *, /, square root, conversions, bit
//! patterns; nothing from a system's library). So a function gives the same bits whatever instructions the
//! compiler makes of it, and the vector paths inline these very functions. Sums over a row run in [`LANES`]
//! interleaved partial sums, folded by halves: one order for registers of any width.

/// Partial sums of a row.
pub(super) const LANES: usize = 16;

/// Largest code of a weight, of an activation, and of a row of word embeddings.
pub(super) const CODE_LIMIT: i32 = 127;
/// Largest code of a query's or key's element: the difference of two sums of 256 products fits 32 bits.
pub(super) const KEY_LIMIT: i32 = 2047;
/// Largest code of an attention probability.
pub(super) const PROBABILITY_LIMIT: i32 = 4095;
/// Largest code of a value's element: 512 products with a probability fit 32 bits.
pub(super) const VALUE_LIMIT: i32 = 1023;

/// Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, ties to even.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The nearest whole number, ties to even, for `|x| < 2^22`.
#[inline(always)]
pub(super) fn round(x: f32) -> i32 {
    ((x + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// The larger; `a` where they do not compare.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// What to multiply values with to get codes, and codes with to get values back, where `largest` is the largest
/// magnitude and `limit` the largest code. Both are 0 where there is nothing above 1e-30.
#[inline(always)]
pub(super) fn scales(largest: f32, limit: i32) -> (f32, f32) {
    if largest > 1e-30 { (limit as f32 / largest, largest / limit as f32) } else { (0.0, 0.0) }
}

/// A sum of products of codes as the value it stands for.
#[inline(always)]
pub(super) fn dequantize(sum: i32, output_scale: f32, row_scale: f32, bias: f32) -> f32 {
    sum as f32 * output_scale * row_scale + bias
}

/// `x Phi(x)` (Hendrycks and Gimpel 2016, arXiv 1606.08415) within 9e-5 + 2e-7 |x|: a hundredth of the steps of the 8-bit
/// codes that follow, and a fifth of what the form with `tanh` is off by. Beyond +-4.15 Phi is taken as 0 and 1; between, as
/// `1/2 + u p(u^2)`, where `p` was fitted for the least largest error of the result.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    gelu_by(&GELU, x)
}

/// The constants of [`gelu`].
pub(super) struct Gelu {
    limit: f32,
    half: f32,
    /// From the highest power on.
    p: [f32; 8],
}

pub(super) const GELU: Gelu = Gelu {
    limit: 4.15,
    half: 0.5,
    p: [
        -9.399_083e-10,
        8.191_086e-8,
        -3.103_699_8e-6,
        6.778_118e-5,
        -9.572_204_4e-4,
        0.009_323_797,
        -0.065_574_735,
        0.398_493_98,
    ],
};

/// [`gelu`] by constants that the compiler need not know.
#[inline(always)]
pub(super) fn gelu_by(by: &Gelu, x: f32) -> f32 {
    let u = if x > by.limit { by.limit } else { x };
    let u = if u < -by.limit { -by.limit } else { u };
    let square = u * u;
    let p = by.p[1..].iter().fold(by.p[0], |sum, coefficient| sum * square + coefficient);
    x * (by.half + u * p)
}

/// The code of `2^y`, `y <= 0`: `2^y` is within 3e-6 of itself for `y >= -20` and 2^-20 below, which is code 0.
/// `y = n + f` with `|f| <= 1/2`; `2^f` by a polynomial fitted for the least relative error.
#[inline(always)]
pub(super) fn probability_code(y: f32) -> i32 {
    probability_code_by(&POWER, y)
}

/// [`probability_code`] by constants that the compiler need not know.
#[inline(always)]
pub(super) fn probability_code_by(by: &Power, y: f32) -> i32 {
    let y = if y > by.least { y } else { by.least };
    let shifted = y + by.round;
    let f = y - (shifted - by.round);
    let p = by.p[1..].iter().fold(by.p[0], |sum, coefficient| sum * f + coefficient);
    // What rounding added is shifted out.
    let power = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    ((power * by.limit + by.round).to_bits() as i32).wrapping_sub(by.round.to_bits() as i32)
}

/// The constants of [`probability_code`].
pub(super) struct Power {
    least: f32,
    round: f32,
    limit: f32,
    /// From the highest power on.
    p: [f32; 5],
}

pub(super) const POWER: Power = Power {
    least: -20.0,
    round: ROUND,
    limit: PROBABILITY_LIMIT as f32,
    p: [0.009_570_101, 0.055_917_86, 0.240_247_44, 0.693_121_8, 0.999_999_3],
};

/// The error function, within 4e-7 (Abramowitz and Stegun, formula 7.1.26): erf x = 1 - (a1 t + ... + a5 t^5) exp(-x^2)
/// with t = 1 / (1 + p x). Branch-free, so that a loop over it becomes vector instructions.
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> f32 {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    let magnitude = x.abs();
    let t = 1.0 / (1.0 + P * magnitude);
    let polynomial = t * (A[0] + t * (A[1] + t * (A[2] + t * (A[3] + t * A[4]))));
    (1.0 - polynomial * exp_of_negative(-magnitude * magnitude)).copysign(x)
}

/// exp for arguments at or below zero, within 2 units in the last place down to -87, where it stays: 2^n times a
/// polynomial on [-ln2/2, ln2/2].
#[inline(always)]
#[must_use]
pub fn exp_of_negative(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let series = 1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))));
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = f32::from_bits(n.wrapping_add(127).wrapping_shl(23) as u32);
    (1.0 + (r + r * r * series)) * power
}

/// `x Phi(x)` in floats, within 3e-7 (1 + |x|), by [`erf`].
#[inline(always)]
pub(super) fn gelu_by_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Logits to the numerators of a softmax, `exp((logit - largest logit) * scale)`, in place; their sum.
#[inline(always)]
pub(super) fn softmax(logits: &mut [f32], scale: f32) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks::<LANES>();
    for chunk in whole {
        for (most, &logit) in lanes.iter_mut().zip(chunk) {
            *most = larger(*most, logit);
        }
    }
    let rest = rest.iter().fold(f32::NEG_INFINITY, |most, &logit| larger(most, logit));
    let largest = lanes.into_iter().fold(rest, larger);
    logits.iter_mut().for_each(|logit| *logit = exp_of_negative((*logit - largest) * scale));
    sum_of(logits, |x| x)
}

/// `log2(e) / sqrt(head)`: attention's logits in powers of two.
#[inline(always)]
pub(super) fn logit_scale(head: usize) -> f32 {
    std::f32::consts::LOG2_E / (head as f32).sqrt()
}

/// The sum of `term(value)` in the fixed order.
#[inline(always)]
fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += term(value);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest magnitude; the order does not matter.
#[inline(always)]
pub(super) fn largest_magnitude(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value.abs());
        }
    }
    let rest = rest.iter().fold(0.0, |most, value| larger(most, value.abs()));
    lanes.into_iter().fold(rest, larger)
}

/// Layer norm (Ba et al. 2016, arXiv 1607.06450) of a row in place: `(x - mean) / sqrt(variance + epsilon) * gain +
/// bias`.
#[inline(always)]
pub(super) fn layer_norm(row: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = sum_of(row, |x| x) / count;
    let variance = sum_of(row, |x| (x - mean) * (x - mean)) / count;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for (x, (gain, bias)) in row.iter_mut().zip(gain.iter().zip(bias)) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phi by numeric integration of its density, from the side where it is small.
    fn gelu_f64(x: f64) -> f64 {
        let tail = |from: f64| {
            let steps = 4000;
            let width = 12.0 / f64::from(steps);
            let density = |z: f64| (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (0..steps)
                .map(|step| {
                    let z = from + f64::from(step) * width;
                    width / 6.0 * (density(z) + 4.0 * density(z + width / 2.0) + density(z + width))
                })
                .sum::<f64>()
        };
        x * if x < 0.0 { tail(-x) } else { 1.0 - tail(x) }
    }

    #[test]
    fn gelu_is_within_its_bound() {
        for step in -1200..=1200 {
            let x = step as f32 * 0.01;
            let error = (f64::from(gelu(x)) - gelu_f64(f64::from(x))).abs();
            assert!(error <= 9e-5 + 2e-7 * f64::from(x.abs()), "gelu({x}) is off by {error:e}");
        }
        assert_eq!(gelu(0.0), 0.0);
        assert!((gelu(1e6) - 1e6).abs() < 1.0 && gelu(-1e6).abs() < 1.0);
    }

    #[test]
    fn gelu_in_floats_is_within_its_bound() {
        for step in -1200..=1200 {
            let x = step as f32 * 0.01;
            let error = (f64::from(gelu_by_erf(x)) - gelu_f64(f64::from(x))).abs();
            assert!(error <= 3e-7 * (1.0 + f64::from(x.abs())), "gelu({x}) is off by {error:e}");
        }
        assert_eq!((gelu_by_erf(0.0), gelu_by_erf(1e6), gelu_by_erf(-1e6)), (0.0, 1e6, 0.0));
    }

    #[test]
    fn erf_at_known_points() {
        // Values of the error function to ten digits.
        let known = [(0.0, 0.0), (0.1, 0.112_462_916), (0.5, 0.520_499_878), (1.0, 0.842_700_793)];
        let more = [(1.5, 0.966_105_146), (2.0, 0.995_322_265), (3.0, 0.999_977_91), (9.0, 1.0)];
        for (x, value) in known.into_iter().chain(more) {
            assert!((f64::from(erf(x)) - value).abs() < 4e-7, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn exp_against_the_standard_library() {
        for step in 0..8700 {
            let x = -0.01 * step as f32;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_of_negative(x)) - exact).abs() <= 3e-7 * exact, "exp({x})");
        }
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), exp_of_negative(-87.0));
    }

    /// By hand: exp(0), exp(-ln 4) and what is far below, whatever the lane.
    #[test]
    fn softmax_numerators_and_their_sum() {
        for count in [3, 16, 17, 40] {
            let mut logits = vec![-1e4; count];
            (logits[1], logits[count - 1]) = (6.0, 6.0 - 2.0 * 4.0f32.ln());
            let total = softmax(&mut logits, 0.5);
            assert_eq!(logits[1], 1.0);
            assert!((logits[count - 1] - 0.25).abs() < 2e-7 && (total - 1.25).abs() < 2e-7, "{logits:?}");
            assert!(logits[0] < 1e-37, "{}", logits[0]);
        }
    }

    #[test]
    fn probability_codes_are_those_of_two_to_the_y() {
        for step in 0..30_000 {
            let y = step as f32 * -0.001;
            let exact = f64::from(y).exp2() * f64::from(PROBABILITY_LIMIT);
            let code = f64::from(probability_code(y));
            assert!((code - exact).abs() <= 0.5 + 0.02, "2^{y}: {code} for {exact}");
        }
        assert_eq!(probability_code(0.0), PROBABILITY_LIMIT);
        assert_eq!(probability_code(f32::NEG_INFINITY), 0);
    }

    #[test]
    fn rounding_is_to_even() {
        for (x, code) in [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.49, 126), (-127.0, -127)]
        {
            assert_eq!(round(x), code, "{x}");
        }
    }

    #[test]
    fn the_largest_code_is_the_limit() {
        for bits in (0x3f00_0000u32..0x4100_0000).step_by(9973) {
            let largest = f32::from_bits(bits);
            for limit in [CODE_LIMIT, VALUE_LIMIT, KEY_LIMIT] {
                let (inverse, scale) = scales(largest, limit);
                assert_eq!(round(largest * inverse), limit, "{largest}");
                assert!((limit as f32 * scale - largest).abs() <= largest * 2e-7);
            }
        }
        assert_eq!(scales(0.0, CODE_LIMIT), (0.0, 0.0));
        assert_eq!(scales(1e-38, CODE_LIMIT), (0.0, 0.0));
    }

    /// Lane 0 takes elements 0 and 16, lane 1 takes 1 and 17, ...: worked by hand where the order shows.
    #[test]
    fn sums_run_in_sixteen_lanes() {
        let mut values = vec![0.0f32; 33];
        (values[0], values[1], values[16], values[32]) = (1e8, 1.0, -1e8, 3.0);
        assert_eq!(sum_of(&values, |x| x), 4.0);
        (values[0], values[8], values[16]) = (1e8, -1e8, 1.0);
        assert_eq!(
            sum_of(&values, |x| x),
            1.0,
            "1e8 + 1 + 3 is 1e8 in lane 0; lane 8 takes it away; lane 1 stays"
        );
    }
}
