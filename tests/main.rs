//! The tests of what a user does.
