//! Graded losses: embeddings and labels in, value and gradients out.
