//! Readers and checks for what graded relevance is measured on: collections (BEIR, TREC, SMART, Chorus, Quati),
//! judgments, runs and labelled pairs; manifests of public collections; the embedded sample.
//!
//! Files in, values out. Whatever is wrong with a file comes back as an [`Error`] that names it, the line, and what
//! was expected there; nothing panics on bad input, nothing half-written is left behind, and nothing reads beyond the
//! memory budget it was given. The parsers of bytes (`trec::parse_judgments`, `trec::RunFile::from_bytes`,
//! `pairs::parse`) and the manifests compile for `wasm32-unknown-unknown`; everything that opens a file is native.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod check;
pub mod collection;
pub mod error;
pub mod manifest;
pub mod pairs;
pub mod ratings;
mod records;
mod sample;
pub mod table;
mod text;
pub mod trec;

#[cfg(not(target_arch = "wasm32"))]
pub mod archive;
#[cfg(not(target_arch = "wasm32"))]
mod beir;
#[cfg(not(target_arch = "wasm32"))]
mod chorus;
#[cfg(not(target_arch = "wasm32"))]
pub mod import;
#[cfg(not(target_arch = "wasm32"))]
pub mod open;
#[cfg(not(target_arch = "wasm32"))]
mod quati;
#[cfg(not(target_arch = "wasm32"))]
mod recorded;
#[cfg(not(target_arch = "wasm32"))]
mod smart;
#[cfg(not(target_arch = "wasm32"))]
mod source;
#[cfg(not(target_arch = "wasm32"))]
pub mod store;
#[cfg(not(target_arch = "wasm32"))]
mod trec_folder;

#[cfg(not(target_arch = "wasm32"))]
pub use beir::documents;
pub use collection::{Collection, Document, Format, Query};
pub use error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
pub use open::{OpenOptions, open};
pub use ratings::Ratings;
pub use sample::{parse_sample, sample};
#[cfg(not(target_arch = "wasm32"))]
pub use source::Lines;
