//! Run history: what every evaluation leaves behind, and what can be said from two of them. A [`Record`](record::Record)
//! is a JSON file of a [`History`](history::History), which is a folder; [`compare`] sets two side by side, [`gate`]
//! decides whether the second is worse, [`verdict`] says it.

pub mod answers;
pub mod clock;
mod commit;
pub mod compare;
pub mod gate;
pub mod history;
mod index;
pub mod measured;
pub mod page;
pub mod record;
pub mod schema;
pub mod speed;
pub mod verdict;

pub use history::{History, RecordFlags};
pub use record::Record;
