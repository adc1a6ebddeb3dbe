//! What stops a run that has gone wrong, with what to try: NaN, an exploding loss, vectors that collapse, a loss that
//! never moves.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainerError};

/// The limits. Each can be loosened in a recipe; none is silent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardOptions {
    /// Steps over which the loss is averaged before it is judged.
    pub window: u64,
    /// The loss may be this many times what it was at first.
    pub explosion: f64,
    /// The effective rank of a batch's vectors may not fall below this: 1 is a single direction, 1.01 a mean cosine of 0.995.
    pub least_rank: f64,
    /// The standard deviation of a batch's scores may not fall below this.
    pub least_deviation: f64,
    /// After four windows the loss must have moved by this, relative to itself.
    pub least_change: f64,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self { window: 25, explosion: 5.0, least_rank: 1.01, least_deviation: 1e-4, least_change: 1e-6 }
    }
}

/// Watches one run.
#[derive(Clone, Debug)]
pub struct Guards {
    options: GuardOptions,
    losses: Vec<f64>,
}

impl Guards {
    /// Nothing seen yet.
    pub fn new(options: GuardOptions) -> Self {
        Self { options, losses: Vec::new() }
    }

    /// Looks at the loss of `step` (counted from 1) and at the vectors it came from.
    ///
    /// # Errors
    /// What is wrong, and what to try.
    pub fn watch(
        &mut self,
        step: u64,
        loss: f64,
        learning_rate: f64,
        queries: &[f32],
        documents: &[f32],
        width: usize,
    ) -> Result<()> {
        if !loss.is_finite() {
            return Err(TrainerError::NotFinite { step, what: "the loss".into(), value: loss });
        }
        // Vectors are a matter of a few hundred products, looked at now and then.
        if step.is_multiple_of(self.options.window.max(1)) || step == 1 {
            match queries.is_empty() {
                true => self.watch_outputs(step, documents, width)?,
                false => self.watch_vectors(step, queries, documents, width)?,
            }
        }
        self.watch_loss(step, loss, learning_rate)
    }

    fn watch_loss(&mut self, step: u64, loss: f64, learning_rate: f64) -> Result<()> {
        self.losses.push(loss);
        let window = self.options.window.max(1) as usize;
        let (Some(first), Some(start)) = (self.losses.get(..window), self.losses.len().checked_sub(window))
        else {
            return Ok(());
        };
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(first), mean(&self.losses[start..]));
        // A small first loss may double many times over and still be small: the floor is one hundredth.
        let times = last / first.abs().max(0.01);
        if self.losses.len() >= 2 * window && times > self.options.explosion {
            return Err(TrainerError::Exploded { step, loss: last, first, times, learning_rate });
        }
        if self.losses.len() == 4 * window {
            let extremes =
                self.losses.iter().fold((f64::MAX, f64::MIN), |(low, high), &l| (low.min(l), high.max(l)));
            let change = (extremes.1 - extremes.0) / extremes.1.abs().max(f64::MIN_POSITIVE);
            if change < self.options.least_change {
                return Err(TrainerError::Stuck { step, loss, change, learning_rate });
            }
        }
        Ok(())
    }

    /// Of a labeler: whether its outputs tell any pair from another. At first a fresh head may not.
    fn watch_outputs(&self, step: u64, outputs: &[f32], width: usize) -> Result<()> {
        let count = outputs.len() / width.max(1);
        if count < 4 || step == 1 {
            return Ok(());
        }
        let column = |at: usize| outputs.iter().skip(at).step_by(width).map(|&x| f64::from(x));
        let spread = |at: usize| {
            let mean = column(at).sum::<f64>() / count as f64;
            (column(at).map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64).sqrt()
        };
        let deviation = (0..width).map(spread).fold(0.0, f64::max);
        match deviation < self.options.least_deviation {
            true => Err(TrainerError::GradesAlike { step, count, deviation }),
            false => Ok(()),
        }
    }

    fn watch_vectors(&self, step: u64, queries: &[f32], documents: &[f32], width: usize) -> Result<()> {
        const MOST: usize = 128;
        let documents = &documents[..documents.len().min(MOST * width)];
        let queries = &queries[..queries.len().min(MOST * width)];
        let count = documents.len() / width;
        if count < 4 || queries.is_empty() {
            return Ok(());
        }
        let rank = effective_rank(documents, width);
        if rank < self.options.least_rank {
            return Err(TrainerError::Collapsed { step, count, rank, most: count.min(width) });
        }
        let (scores, deviation) = score_deviation(queries, documents, width);
        if deviation < self.options.least_deviation {
            return Err(TrainerError::ScoresAlike { step, count: scores, deviation });
        }
        Ok(())
    }
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The participation ratio `(sum of l)^2 / sum of l^2` of the eigenvalues `l` of `X X^T`, from its trace and its squares
/// alone: 1 when all rows are parallel, `min(rows, width)` when they are as different as can be.
pub fn effective_rank(rows: &[f32], width: usize) -> f64 {
    let rows: Vec<_> = rows.chunks_exact(width).collect();
    let trace: f64 = rows.iter().map(|row| dot(row, row)).sum();
    let squares: f64 = rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b).powi(2))).sum();
    if squares > 0.0 { trace * trace / squares } else { 0.0 }
}

/// How many scores there are, and their standard deviation.
fn score_deviation(queries: &[f32], documents: &[f32], width: usize) -> (usize, f64) {
    let scores: Vec<f64> = queries
        .chunks_exact(width)
        .flat_map(|query| documents.chunks_exact(width).map(move |document| dot(query, document)))
        .collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / scores.len() as f64;
    (scores.len(), variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_rows(count: usize, width: usize, spread: f32) -> Vec<f32> {
        let value = |at: usize| {
            spread * (((at * 7919) % 1009) as f32 / 504.5 - 1.0)
                + f32::from(u8::from(at.is_multiple_of(width)))
        };
        let mut rows: Vec<f32> = (0..count * width).map(value).collect();
        rows.chunks_exact_mut(width).for_each(|row| {
            crate::encoder::pooling::normalize(row);
        });
        rows
    }

    fn run(losses: impl Iterator<Item = f64>, spread: f32) -> Result<()> {
        let mut guards = Guards::new(GuardOptions { window: 5, ..Default::default() });
        let (queries, documents) = (unit_rows(4, 16, spread), unit_rows(8, 16, spread));
        (1..)
            .zip(losses)
            .try_for_each(|(step, loss)| guards.watch(step, loss, 1e-3, &queries, &documents, 16))
    }

    #[test]
    fn a_run_that_learns_is_left_alone() {
        assert_eq!(run((0..100).map(|step| 3.0 / (1.0 + step as f64)), 1.0), Ok(()));
    }

    #[test]
    fn each_way_of_going_wrong_has_its_message() {
        assert!(matches!(
            run([1.0, f64::NAN].into_iter(), 1.0),
            Err(TrainerError::NotFinite { step: 2, .. })
        ));
        let exploding = run((0..100).map(|step| 1.0 + step as f64), 1.0);
        assert!(matches!(exploding, Err(TrainerError::Exploded { .. })), "{exploding:?}");
        let stuck = run(std::iter::repeat_n(2.0, 100), 1.0);
        assert!(matches!(stuck, Err(TrainerError::Stuck { step: 20, .. })), "{stuck:?}");
        let collapsed = run(std::iter::once(1.0), 1e-4);
        assert!(matches!(collapsed, Err(TrainerError::Collapsed { step: 1, .. })), "{collapsed:?}");
        assert!(stuck.is_err_and(|error| error.to_string().contains("higher learning rate")));
    }

    #[test]
    fn a_labeler_that_answers_everything_alike_is_stopped() {
        let mut guards = Guards::new(GuardOptions { window: 5, ..Default::default() });
        let mut watch = |step, outputs: &[f32]| guards.watch(step, 1.0 / step as f64, 1e-3, &[], outputs, 2);
        let (alike, unlike) = ([0.5, -0.5].repeat(6), [0.5, -0.5, 0.5, -0.25].repeat(3));
        assert_eq!(watch(1, &alike), Ok(()), "a fresh head");
        (2..5).for_each(|step| assert_eq!(watch(step, &unlike), Ok(())));
        assert_eq!(watch(5, &unlike), Ok(()));
        assert!(matches!(watch(10, &alike), Err(TrainerError::GradesAlike { step: 10, count: 6, .. })));
    }

    #[test]
    fn rank_of_known_rows() {
        assert!((effective_rank(&[1.0, 0.0, 0.0, 1.0], 2) - 2.0).abs() < 1e-12);
        assert!((effective_rank(&[1.0, 0.0, 1.0, 0.0], 2) - 1.0).abs() < 1e-12);
    }
}
