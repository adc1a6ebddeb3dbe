//! A run's way through its steps, the same for encoders and labelers: where it starts, what is said of a step, and what is
//! kept after it.

use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use trainer::checkpoint::{self, Origin};
use trainer::{StepReport, Trainer};

use super::folder::{Found, RunFolder};
use crate::arguments::Options;
use crate::progress;
use crate::recipe::training::TrainingTable;

/// Where progress is a line on stderr rather than a bar, how many of them there are.
const LINES: u64 = 10;

/// Steps over which the shown loss is averaged: that of one batch says more about the batch than about the run.
const MEAN_OVER: usize = 50;

/// What a run is, as far as its steps are concerned.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Where it is kept.
    pub folder: &'a RunFolder,
    /// What it learns by and from.
    pub origin: Origin<'a>,
    /// When it is saved and measured.
    pub table: &'a TrainingTable,
    /// For progress.
    pub options: &'a Options,
}

/// What happened over the steps of this process.
pub struct Course<'a> {
    plan: Plan<'a>,
    bar: ProgressBar,
    started: Instant,
    first_step: u64,
    steps: u64,
    /// Pairs learned from.
    pub pairs: u64,
    /// The loss of every step, by its number from 1.
    pub losses: Vec<(u64, f64)>,
}

impl<'a> Course<'a> {
    /// Puts the trainer where an earlier process left off. A new run leaves its first checkpoint before its first step: a
    /// disk without room for one is not found out about hours later.
    ///
    /// # Errors
    /// When the checkpoint is damaged or of another recipe, data or model, or the disk refuses the first one.
    pub fn start(trainer: &mut Trainer, found: &Found, plan: Plan<'a>) -> anyhow::Result<Self> {
        let steps = trainer.options().schedule.steps;
        if let Found::Checkpoint(bytes) = found {
            checkpoint::restore(trainer, plan.origin, bytes)
                .with_context(|| plan.folder.checkpoint().display().to_string())?;
            progress::say(plan.options, format!("goes on after step {} of {steps}", trainer.steps_taken()));
        } else if plan.table.checkpoint_every > 0 {
            plan.folder.save(&checkpoint::to_bytes(trainer, plan.origin)?)?;
        }
        let first_step = trainer.steps_taken();
        let bar = progress::bar(plan.options, "training", steps);
        bar.set_position(first_step);
        bar.reset_eta();
        if first_step == steps {
            bar.finish_and_clear();
        }
        Ok(Self { plan, bar, started: Instant::now(), first_step, steps, pairs: 0, losses: Vec::new() })
    }

    /// Notes a step over `pairs` pairs, shows it, and saves the run where that is due: after the last step too, for what
    /// follows may take long. Says whether held-out queries are to be measured now.
    ///
    /// # Errors
    /// When the disk refuses the checkpoint; the one before is still there then.
    pub fn took(&mut self, trainer: &mut Trainer, report: StepReport, pairs: u64) -> anyhow::Result<bool> {
        self.pairs += pairs;
        self.losses.push((report.step, report.loss));
        self.show(report);
        let is_last = report.step == self.steps;
        let is_due = |every: u64| every > 0 && report.step.is_multiple_of(every);
        let every = self.plan.table.checkpoint_every;
        if is_due(every) || (is_last && every > 0) {
            self.plan.folder.save(&checkpoint::to_bytes(trainer, self.plan.origin)?)?;
        }
        if is_last {
            self.bar.finish_and_clear();
        }
        Ok(is_due(self.plan.table.evaluate_every) && !is_last)
    }

    fn show(&self, report: StepReport) {
        let line = self.line(report);
        self.bar.set_message(line.clone());
        self.bar.inc(1);
        let is_line = report.step.is_multiple_of(self.steps.div_ceil(LINES)) || report.step == self.steps;
        if self.bar.is_hidden() && is_line {
            let (step, steps, left) = (report.step, self.steps, self.seconds_left(report.step));
            progress::say(self.plan.options, format!("step {step} of {steps}: {line}, {left:.0} s left"));
        }
    }

    fn line(&self, report: StepReport) -> String {
        let (mean, over) = running_mean(&self.losses);
        let (loss, rate, speed) = (report.loss, report.learning_rate, self.pairs_per_second());
        let mean = match over {
            1 => format!("loss {loss:.4}"),
            _ => format!("loss {mean:.4} (mean of {over} steps; this one {loss:.4})"),
        };
        format!("{mean}, learning rate {rate:.1e}, {speed:.0} pairs/s")
    }

    fn seconds_left(&self, step: u64) -> f64 {
        let done = (step - self.first_step).max(1) as f64;
        self.started.elapsed().as_secs_f64() / done * (self.steps - step) as f64
    }

    fn pairs_per_second(&self) -> f64 {
        self.pairs as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Puts what the run's record says of its steps into `record`. Losses and speed are those of this process.
    pub fn describe(&self, trainer: &Trainer, record: &mut Value) {
        record["steps"] = trainer.steps_taken().into();
        record["first_loss"] = json!(self.losses.first().map(|(_, loss)| loss));
        record["last_loss"] = json!(self.losses.last().map(|(_, loss)| loss));
        record["losses"] = json!(self.losses);
        record["seconds"] = json!(self.started.elapsed().as_secs_f64());
        record["pairs_per_second"] = json!(self.pairs_per_second());
    }

    /// How many steps this process took, and how fast.
    pub fn speed(&self) -> String {
        let (steps, seconds) = (self.losses.len(), self.started.elapsed().as_secs_f64());
        format!("{steps} steps in {seconds:.1} s, {:.0} pairs/s", self.pairs_per_second())
    }
}

/// The mean of the last losses, and over how many it was taken.
fn running_mean(losses: &[(u64, f64)]) -> (f64, usize) {
    let last = &losses[losses.len().saturating_sub(MEAN_OVER)..];
    (last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len().max(1) as f64, last.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_loss_is_the_mean_of_the_last_steps() {
        let losses: Vec<(u64, f64)> = (1..=60).map(|step| (step, step as f64)).collect();
        assert_eq!(running_mean(&losses[..1]), (1.0, 1));
        assert_eq!(running_mean(&losses[..4]), (2.5, 4));
        // 11 to 60.
        assert_eq!(running_mean(&losses), (35.5, 50));
    }
}
