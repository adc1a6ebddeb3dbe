//! Recipes: what is to be run, written down. A [`RecipeFile`] is what the file says (unknown keys refused); a
//! [`Recipe`] is what will be done (complete, every name parsed). Flags of the command line are laid over the file
//! before it is completed, so that every evaluation, with or without a file, runs a recipe that has a digest.

mod checked;
mod guide;
mod labeler;
pub mod training;
mod written;

pub use checked::{Recipe, Source, SystemChoice};
pub use guide::GuideTable;
pub use labeler::LabelerRecipe;
pub use training::{TrainingFile, TrainingRecipe};
pub use written::{Claim, RecipeFile, parse, read, read_text};

/// The recipe of the embedded default.
pub const SAMPLE: &str = include_str!("../../../recipes/sample.toml");
