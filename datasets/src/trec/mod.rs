//! TREC's files: judgments (`qrels`), runs, topics and documents with markup.

mod fields;
mod judgments;
mod markup;
mod run;
mod run_queries;

#[cfg(not(target_arch = "wasm32"))]
pub use judgments::read_judgments;
pub use judgments::{JudgmentFile, JudgmentOptions, parse_judgments};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use markup::one_line;
pub use markup::{parse_documents, parse_topics, text_of_markup};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use run::Bytes;
pub use run::{RunFile, RunOptions};
