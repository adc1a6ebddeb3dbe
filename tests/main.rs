//! The tests of what a user does, as one program: one link step, one file a subject.

#![allow(clippy::unwrap_used)]

// The floors of the house: who may lean on whom.
mod architecture;
