//! `graded` for JavaScript: measures, agreement, the scorer and retrieval, in a page, a worker or node.
//!
//! Bindings only: every number comes from the crate that owns it natively, so a page shows the bits that the command
//! line prints, and nothing here adds, divides or rounds. Results are JSON texts in the form of `graded ... --format
//! json`; numbers are written with the digits that give the same bits back, and `JSON.parse` gives them back.
//!
//! What is wrong with an input becomes a JavaScript `Error` with the library's own message.

#[cfg(all(target_arch = "wasm32", not(target_feature = "simd128")))]
compile_error!(
    "the module is built with +simd128 for the whole graph (.cargo/config.toml); RUSTFLAGS replaces that"
);

mod agreement;
mod evaluation;
mod labeler;
mod options;
mod pairs;
mod retriever;
mod scorer;

pub use agreement::agree;
pub use evaluation::evaluate;
pub use labeler::Labeler;
pub use pairs::Pairs;
pub use retriever::{Hits, Retriever};
pub use scorer::Scorer;
