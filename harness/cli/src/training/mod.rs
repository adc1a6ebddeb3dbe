//! What a training run needs of the world: its data, its hard negatives, its evaluations, its files.

pub mod course;
pub mod data;
pub mod evaluation;
pub mod folder;
pub mod guide;
pub mod labeled;
pub mod mining;
