//! A grade: how relevant a document is to a query, as a person (or a model) said it.

/// A relevance grade as written in a judgment file. Graded scales count up from 0 (not relevant); TREC judgment
/// files also hold negative grades (junk, or "not judged" in some tracks), so the type is signed.
///
/// What a number means is said by a [`Scale`](crate::Scale): a `3` on SSRA's scale and a `3` on CroPS' differ.
pub type Grade = i32;
