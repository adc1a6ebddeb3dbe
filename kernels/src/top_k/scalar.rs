//! The definition: score every document, keep the best `k`.

use super::best::{Best, Scored};
use super::{Pass, score};
use crate::similarity::scalar::dot;

/// Offers every document to every query's list.
pub(super) fn search(pass: &Pass<'_>, best: &mut [Best]) {
    let mut buffer = vec![0.0; pass.documents.columns()];
    for (query, best) in best.iter_mut().enumerate() {
        for (id, row) in (pass.first_id..).zip(0..pass.documents.rows()) {
            best.offer(Scored { score: score(pass, dot, query, row, &mut buffer), id });
        }
    }
}
