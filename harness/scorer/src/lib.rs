//! (written next)
pub mod lexical;
