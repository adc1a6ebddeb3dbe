//! Did a measure get worse, by more than one is ready to overlook? The decision of a gate, from one [`Comparison`].
//!
//! *Worse* needs both: the drop seen is larger than the margin, and the one-sided randomization test, Holm-adjusted, says
//! that a drop this large is no accident of signs. The test is of "no difference", where exchanging the two systems'
//! values is exact; shifting differences by the margin first would ask for a symmetry that scores with many ties lack.
//! *Unclear* is what the data cannot rule out: the interval of the difference reaches beyond the margin. Then it is said
//! how many queries would tell: of a drop seen within the margin, to set it apart from one of the margin; of a larger one,
//! to set it apart from none.

use serde::Serialize;

use super::{Comparison, Design};

/// What one is ready to overlook: a margin in the measure's own units, at a level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// Drops up to this much are overlooked; 0 or more.
    pub margin: f64,
    /// The level of the test.
    pub level: f64,
    /// Of the number of queries needed. Where several measures are tested together, its level is the test's divided by
    /// their number.
    pub design: Design,
}

/// What the data say about a drop beyond the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Change {
    /// The drop is larger than the margin, and significant.
    Worse,
    /// A drop beyond the margin can be neither shown nor ruled out.
    Unclear {
        /// How many queries would tell; absent where no number would (the drop seen is exactly the margin).
        queries_needed: Option<u64>,
    },
    /// A drop beyond the margin is ruled out.
    NoWorse,
}

/// The decision on one measure. The comparison's randomization test must have been made with
/// [`Alternative::Less`](super::Alternative::Less).
pub fn change(comparison: &Comparison, tolerance: &Tolerance) -> Change {
    let drop = -comparison.mean_difference;
    let significant = comparison.holm_p.is_ok_and(|p| p < tolerance.level);
    if significant && drop > tolerance.margin {
        return Change::Worse;
    }
    let reaches = comparison.interval.map_or(drop, |interval| -interval.lower);
    if reaches <= tolerance.margin {
        return Change::NoWorse;
    }
    let deviation = comparison.standard_deviation.unwrap_or(0.0);
    let apart = if drop > tolerance.margin { drop } else { tolerance.margin - drop };
    Change::Unclear { queries_needed: tolerance.design.queries_needed(deviation, apart) }
}
