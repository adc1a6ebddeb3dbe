//! The `graded` command line.
fn main() {}
