//! (query, document) -> number: BM25, and models that come as bundles.
//!
//! Bytes in, scores out: the crate reads no file, clock or environment and compiles for `wasm32-unknown-unknown`.

// BM25.
pub mod lexical;

// Models.
pub mod bundle;
pub mod distill;
pub mod dual_encoder;
pub mod embedded;
pub mod encoder;
pub mod error;
pub mod labeler;
#[cfg(feature = "language-model")]
pub mod language_model;
pub mod pooling;
// The browser runs what this makes.
#[cfg(not(target_arch = "wasm32"))]
pub mod quantize;
pub mod template;
mod tokenizer_file;
pub mod tokens;
pub mod weights;

pub use bundle::{Bundle, Description};
pub use distill::{DistillOptions, distill};
pub use embedded::{EMBEDDED, embedded};
pub use encoder::{Embeddings, Encoder, EncoderOptions, Instructions, load_encoder};
pub use error::ScorerError;
pub use labeler::{Label, Labeler, Pair, load_labeler};
#[cfg(not(target_arch = "wasm32"))]
pub use quantize::{WeightBits, quantize, quantize_labeler};
pub use template::{Role, Template, join_title};
