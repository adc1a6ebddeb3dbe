//! On how many queries is the system better, equal, worse?

use serde::Serialize;

/// Queries by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WinTieLoss {
    /// The system is better.
    pub wins: usize,
    /// Neither is.
    pub ties: usize,
    /// The baseline is better.
    pub losses: usize,
}

/// Counts differences above `tolerance`, within it, and below its negative.
pub fn win_tie_loss(differences: &[f64], tolerance: f64) -> WinTieLoss {
    let wins = differences.iter().filter(|d| **d > tolerance).count();
    let losses = differences.iter().filter(|d| **d < -tolerance).count();
    WinTieLoss { wins, ties: differences.len() - wins - losses, losses }
}
