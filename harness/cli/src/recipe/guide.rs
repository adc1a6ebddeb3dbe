//! `[guide]` of a training recipe: an encoder that says which ungraded documents are no negatives.

use serde::{Deserialize, Serialize};
use trainer::batch::{GuideRule, Margin, Reference};
use trainer::losses::Loss;

use super::SystemChoice;
use crate::exit::Usage;

/// `[guide]` as written and as meant: everything but the encoder has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuideTable {
    /// `embedded`, a pulled model, or a bundle's path.
    pub encoder: String,
    /// Which of a query's positives is the measure: `lowest` or `highest`.
    #[serde(default)]
    pub reference: Reference,
    /// The lowest grade of a positive.
    #[serde(default = "lowest_positive")]
    pub positive_from: u8,
    /// How far below a positive's score a negative must stay: `{ absolute = 0.05 }`, `{ relative = 0.05 }`.
    #[serde(default = "no_margin")]
    pub margin: Margin,
}

fn no_margin() -> Margin {
    GuideRule::default().margin
}

fn lowest_positive() -> u8 {
    GuideRule::default().positive_from
}

impl GuideTable {
    /// The rule without the encoder's name.
    pub fn rule(&self) -> GuideRule {
        GuideRule { margin: self.margin, reference: self.reference, positive_from: self.positive_from }
    }

    /// Refuses what is no encoder, a rule without meaning, and a loss that would not notice: one over the query's own
    /// list, without mined documents in it.
    ///
    /// # Errors
    /// Says which key is at fault.
    pub fn check(&self, loss: &Loss, is_mined: bool) -> anyhow::Result<()> {
        if !matches!(SystemChoice::parse(&self.encoder), Ok(SystemChoice::Encoder(_))) {
            let found = &self.encoder;
            return Err(Usage::error(format!("guide.encoder: expected an encoder, found {found}")));
        }
        self.rule().check().map_err(|error| Usage::error(format!("guide: {error}")))?;
        if !is_mined && !loss.looks_at_unlisted() {
            return Err(Usage::error(format!(
                "guide: {} compares the documents of a query's own list, and none of them is mined; there is nothing to mask",
                loss.name()
            )));
        }
        Ok(())
    }
}
