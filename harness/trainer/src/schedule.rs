//! How the learning rate goes over a run: warm-up from 0, then constant, linear to 0, or half a cosine to 0.

use serde::{Deserialize, Serialize};

/// The shape after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// A straight line to 0 at the last step.
    #[default]
    Linear,
    /// Half a cosine to 0 at the last step.
    Cosine,
}

/// The learning rate by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the rising line.
    pub warmup_steps: u64,
    /// Steps of the run.
    pub steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of `step`, counted from 0: `peak * step / warmup_steps` in the warm-up, as transformers' schedulers count.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let rest = (self.steps.saturating_sub(self.warmup_steps)).max(1) as f64;
        let gone = ((step - self.warmup_steps) as f64 / rest).min(1.0);
        self.peak
            * match self.decay {
                Decay::Constant => 1.0,
                Decay::Linear => 1.0 - gone,
                Decay::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * gone)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls() {
        let schedule = |decay| Schedule { peak: 2.0, warmup_steps: 4, steps: 12, decay };
        let linear = schedule(Decay::Linear);
        let rates: Vec<_> = [0, 1, 4, 8, 12, 99].map(|step| linear.rate(step)).into();
        assert_eq!(rates, [0.0, 0.5, 2.0, 1.0, 0.0, 0.0]);
        assert!((schedule(Decay::Cosine).rate(8) - 1.0).abs() < 1e-12);
        assert!(schedule(Decay::Cosine).rate(12).abs() < 1e-12);
        assert_eq!(schedule(Decay::Constant).rate(11), 2.0);
        let none = Schedule { peak: 2.0, warmup_steps: 0, steps: 0, decay: Decay::Linear };
        assert_eq!(none.rate(0), 2.0);
    }
}
