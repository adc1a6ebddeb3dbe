//! The tests of what a user does, as one program: one link step, one file a subject.

#![allow(clippy::unwrap_used)]

// The floors of the house: who may lean on whom.
mod architecture;
// The built binary, a folder of its own for every test, and what it answered.
mod graded;

// `graded evaluate`: the default, collections, run files, labelled pairs, comparisons.
mod evaluate;
// `graded train`: the sample's recipe, killed and resumed, what is refused.
mod train;
// `graded agree`: two raters, several, two sets of judgments.
mod agree;
// `graded label`, `graded model calibrate`, `graded agree --labeler`.
mod label;
// Run history: records, comparisons, the gate, speed, pages.
mod runs;
// `graded serve`: loopback, a fixed table of files, refusals.
mod serve;
// `graded simulate`, `graded synthesize`: logs in, graded pairs out.
mod synthesize;
// A server that misbehaves, and live models against it: `graded label --labeler judge.toml`.
mod fake_model;
mod live;
// Models in this process: `kind = "local"`.
mod local;
// `graded data import-log`: public logs of other schemas.
mod import_log;
// The papers' pipelines end to end: data, a model trained on them, its evaluation.
mod papers;
// `graded data`, `graded model`, `graded recipe`, `graded doctor`, completions and manual.
mod commands;
// What scripts rely on: exit codes, stdout and stderr, nothing half-written.
mod contract;
// Public collections and trec_eval's expected outputs, read from beside the checkout.
mod shared;
