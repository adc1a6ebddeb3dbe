//! Slices in, slices out: the numeric kernels under retrieval, the losses and the scorer.
//!
//! Each operation is a folder: `mod.rs` gives formula, shapes and rules and picks the device, `scalar.rs` is
//! the definition in plain loops, `simd.rs` the same on vector instructions. This crate never hears of text,
//! files, clocks or the environment.

mod amx;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod encoder;
pub mod error;
pub mod h_infonce;
pub mod matrix;
pub mod product;
pub mod similarity;
pub mod top_k;
pub mod transformer;
mod vector;
pub mod wasserstein;
mod workers;

pub use device::{Device, InstructionSet, Unavailable};
pub use error::{Error, Result};
pub use matrix::Matrix;
