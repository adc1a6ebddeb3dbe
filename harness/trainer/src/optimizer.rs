//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) as PyTorch computes it, and clipping by global norm.
//!
//! ```text
//! p <- p (1 - lr decay)                       matrices only; biases, norms and losses' own parameters do not decay
//! m <- m + (1 - b1) (g - m)                   v <- b2 v + (1 - b2) g^2
//! p <- p - lr / (1 - b1^t) * m / (sqrt v / sqrt(1 - b2^t) + epsilon)
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encoder::parameters::{Gradients, Handle, Parameters};
use crate::encoder::vectorized::vectorized;
use crate::error::{Result, TrainerError};

/// Values handed to one thread at a time.
const BLOCK: usize = 1 << 16;

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWOptions {
    /// Memory of the mean, `b1`.
    pub beta1: f64,
    /// Memory of the square, `b2`.
    pub beta2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Pull towards zero, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

impl AdamWOptions {
    /// # Errors
    /// [`TrainerError::Setting`] for a constant out of range.
    pub fn check(&self) -> Result<()> {
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(TrainerError::setting(&format!("training.{name}"), beta, "0 to below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(TrainerError::setting("training.epsilon", self.epsilon, "a number above 0"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(TrainerError::setting("training.weight_decay", self.weight_decay, "0 or more"));
        }
        Ok(())
    }
}

/// The optimizer's memory of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// `m`.
    pub mean: Vec<f32>,
    /// `v`.
    pub square: Vec<f32>,
}

/// AdamW over the trainable parameters, and over the few numbers that a loss learns (in f64).
#[derive(Clone, Debug)]
pub struct AdamW {
    options: AdamWOptions,
    /// One for each trainable parameter, in their order.
    pub moments: Vec<(Handle, Moments)>,
    /// Mean and square for each number a loss learns.
    pub loss_moments: Vec<[f64; 2]>,
    /// Steps taken.
    pub steps: u64,
}

impl AdamW {
    /// No memory yet.
    pub fn new(options: AdamWOptions, parameters: &Parameters, loss_parameters: usize) -> Self {
        let zeros = |handle| {
            let count = parameters.values(handle).len();
            (handle, Moments { mean: vec![0.0; count], square: vec![0.0; count] })
        };
        let moments = parameters.trainable().into_iter().map(zeros).collect();
        Self { options, moments, loss_moments: vec![[0.0; 2]; loss_parameters], steps: 0 }
    }

    /// One step along `gradients`, each first multiplied by `factor` (the clipping).
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        gradients: &Gradients,
        factor: f32,
        learning_rate: f64,
    ) {
        self.steps += 1;
        for (handle, moments) in &mut self.moments {
            let specification = parameters.specification(*handle);
            let (decays, rate) = (specification.decays, learning_rate * specification.rate);
            let step = Step::new(&self.options, self.steps, rate, decays, factor);
            let blocks = parameters
                .values_mut(*handle)
                .par_chunks_mut(BLOCK)
                .zip(gradients.get(*handle).par_chunks(BLOCK));
            let memory = moments.mean.par_chunks_mut(BLOCK).zip(moments.square.par_chunks_mut(BLOCK));
            blocks.zip(memory).for_each(|((values, gradient), (mean, square))| {
                update(values, gradient, mean, square, step)
            });
        }
    }

    /// The constants of the next step for a device that takes it: one for each pair of decay and rate.
    #[cfg(feature = "cuda")]
    pub(crate) fn updates(
        &mut self,
        classes: &[(bool, f64)],
        factor: f32,
        learning_rate: f64,
    ) -> Vec<kernels::transformer::Update> {
        self.steps += 1;
        let update = |&(decays, rate): &(bool, f64)| {
            let step = Step::new(&self.options, self.steps, learning_rate * rate, decays, factor);
            let Step { keep, mean_share, square_keep, square_share, rate, inverse_root, epsilon, factor } =
                step;
            kernels::transformer::Update {
                keep,
                mean_share,
                square_keep,
                square_share,
                rate,
                inverse_root,
                epsilon,
                factor,
            }
        };
        classes.iter().map(update).collect()
    }

    /// The same for the numbers a loss learns; call it after [`AdamW::step`], whose count of steps it shares.
    pub fn step_loss(&mut self, values: &mut [f64], gradients: &[f64], learning_rate: f64) {
        let AdamWOptions { beta1, beta2, epsilon, .. } = self.options;
        let (bias1, bias2) = (1.0 - power(beta1, self.steps), 1.0 - power(beta2, self.steps));
        for ((value, gradient), [mean, square]) in
            values.iter_mut().zip(gradients).zip(&mut self.loss_moments)
        {
            *mean += (1.0 - beta1) * (gradient - *mean);
            *square = beta2 * *square + (1.0 - beta2) * gradient * gradient;
            *value -= learning_rate / bias1 * *mean / (square.sqrt() / bias2.sqrt() + epsilon);
        }
    }
}

/// The constants of one step for one tensor.
#[derive(Clone, Copy)]
struct Step {
    keep: f32,
    mean_share: f32,
    square_keep: f32,
    square_share: f32,
    rate: f32,
    inverse_root: f32,
    epsilon: f32,
    factor: f32,
}

impl Step {
    fn new(options: &AdamWOptions, steps: u64, learning_rate: f64, decays: bool, factor: f32) -> Self {
        let decay = if decays { learning_rate * options.weight_decay } else { 0.0 };
        Self {
            keep: (1.0 - decay) as f32,
            mean_share: (1.0 - options.beta1) as f32,
            square_keep: options.beta2 as f32,
            square_share: (1.0 - options.beta2) as f32,
            rate: (learning_rate / (1.0 - power(options.beta1, steps))) as f32,
            inverse_root: (1.0 / (1.0 - power(options.beta2, steps)).sqrt()) as f32,
            epsilon: options.epsilon as f32,
            factor,
        }
    }
}

/// `base^steps` by repeated squaring: the same bits on every platform.
fn power(base: f64, mut steps: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while steps > 0 {
        if steps & 1 == 1 {
            result *= square;
        }
        square *= square;
        steps >>= 1;
    }
    result
}

vectorized! {
    fn update(values: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32], step: Step) {
        let memory = mean.iter_mut().zip(square.iter_mut());
        for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradient).zip(memory) {
            let gradient = *gradient * step.factor;
            *mean += step.mean_share * (gradient - *mean);
            *square = *square * step.square_keep + step.square_share * gradient * gradient;
            *value = *value * step.keep - step.rate * (*mean / (square.sqrt() * step.inverse_root + step.epsilon));
        }
    }
}

/// What gradients of this `norm` are multiplied by so that they are at most `most` long, as
/// `torch.nn.utils.clip_grad_norm_` does it; 1 without a limit.
pub fn clip_factor(norm: f64, most: Option<f64>) -> f64 {
    most.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// torch.optim.AdamW(lr=0.1) in float64 on [1, -2] with weight_decay 0.01, and on [1] without, gradients [0.5, -1]
    /// then [0.25, 3]; PyTorch's own figures.
    #[test]
    fn two_steps_as_pytorch_takes_them() {
        let mut parameters = Parameters::default();
        let handle = parameters.add("w", &[1, 2], vec![1.0, -2.0]);
        let mut optimizer = AdamW::new(AdamWOptions::default(), &parameters, 1);
        let mut gradients = Gradients::zeros(&parameters);
        let mut loss = [1.0];
        let expected = [
            ([0.5, -1.0], [0.899_000_002, -1.898_000_001], 0.900_000_002),
            ([0.25, 3.0], [0.804_883_040_475, -1.945_520_984_108], 0.806_782_040_477),
        ];
        for (step, weights, learned) in expected {
            gradients.of(handle).unwrap().copy_from_slice(&step);
            optimizer.step(&mut parameters, &gradients, 1.0, 0.1);
            optimizer.step_loss(&mut loss, &[f64::from(step[0])], 0.1);
            for (value, exact) in parameters.values(handle).iter().zip(weights) {
                assert!((f64::from(*value) - exact).abs() < 5e-7, "{value} {exact}");
            }
            assert!((loss[0] - learned).abs() < 1e-9, "{} {learned}", loss[0]);
        }
    }

    #[test]
    fn biases_do_not_decay() {
        let mut parameters = Parameters::default();
        let (matrix, bias) = (parameters.add("w", &[1, 1], vec![1.0]), parameters.add("b", &[1], vec![1.0]));
        let mut optimizer =
            AdamW::new(AdamWOptions { weight_decay: 0.5, ..Default::default() }, &parameters, 0);
        let gradients = Gradients::zeros(&parameters);
        optimizer.step(&mut parameters, &gradients, 1.0, 0.1);
        assert_eq!((parameters.values(matrix), parameters.values(bias)), (&[0.95f32][..], &[1.0f32][..]));
    }

    #[test]
    fn clipping_leaves_short_gradients_alone() {
        assert_eq!(clip_factor(0.5, Some(1.0)), 1.0);
        assert_eq!(clip_factor(9.0, None), 1.0);
        assert!((clip_factor(4.0, Some(1.0)) - 0.25).abs() < 1e-6);
    }
}
