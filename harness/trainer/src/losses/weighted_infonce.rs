//! SSRA's label-weighted InfoNCE with its full denominator (arXiv 2509.16717; the authors' released training code).
//!
//! ```text
//! pair i                     query q_i, its document p_i, grade s_i: every listed document of a query's own
//! c(a, b)                    cosine;  T temperature
//! C_i                        what pair i competes with:  q_i.d  for every other document d of the batch
//!                                                        q_i.q  for every other query q     (self contrast)
//!                                                        p_i.p  for every other document p that is in a pair
//!                            less every c above c(q_i, p_i) + mask_margin: a suspected false negative
//! L_i                        -log( exp(c(q_i, p_i)/T) / (exp(c(q_i, p_i)/T) + sum over C_i of exp(c/T)) )
//! value                      1/B sum_i w(s_i) L_i,   B pairs,   w(s) = s
//! ```
//!
//! A document of no pair is a mined negative: it is in `q_i.d` and not in `p_i.p`. A pair of grade 0 has no loss of its
//! own, and its document competes everywhere. The mean is over pairs, not over the sum of weights. The mask looks at the
//! scores as they are and carries no gradient.
//!
//! Where we differ: each query and document of the batch counts once, however many pairs it is in (the authors' rows
//! repeat); a document the same query lists with the same grade or a higher one does not compete with the pair
//! (`exclude_as_good = false` brings it back), and one marked as ignored never does. The authors' queue of 65,536
//! documents from a frozen model is mining, and stands in `batch::mining`; its three negatives come in as documents.
//! In the authors' layout (one document a query, no repetitions) value and gradient are theirs.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Similarity;
use super::exponentials::{log_add_exp, log_sum_exp};
use super::sides::{self, SideGradients, Sides};
use super::targets::Targets;

/// The settings of SSRA's loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedInfonce {
    /// How vectors are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0. SSRA starts from 0.03 and learns it.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Whether queries compete with queries and documents with documents.
    pub self_contrast: bool,
    /// Whether what scores more than `mask_margin` above the pair's own is left out.
    pub mask: bool,
    /// That margin, in units of the similarity; at least 0.
    pub mask_margin: f64,
    /// Whether a document the query lists with the same grade or a higher one is left out.
    pub exclude_as_good: bool,
    /// The weight of each grade, from grade 0 on; empty for the grade itself.
    pub grade_weights: Vec<f64>,
}

impl Default for WeightedInfonce {
    fn default() -> Self {
        WeightedInfonce {
            similarity: Similarity::Cosine,
            temperature: 0.03,
            learn_temperature: true,
            self_contrast: true,
            mask: true,
            mask_margin: 0.1,
            exclude_as_good: true,
            grade_weights: Vec::new(),
        }
    }
}

/// Every score a pair can meet.
struct Scores {
    /// Query with document `[B x N]`.
    between: Vec<f64>,
    /// Query with query `[B x B]`; empty without self contrast.
    queries: Vec<f64>,
    /// Document with document `[N x N]`; empty without self contrast.
    documents: Vec<f64>,
}

/// What one pair knows after its denominator has been summed.
struct PairTerm {
    query: usize,
    document: usize,
    /// Documents known to have this grade or a higher one do not compete.
    as_good_from: i16,
    /// Competitors above it are suspected false negatives.
    limit: f64,
    /// The logarithm of the denominator.
    total: f64,
    /// The weighted loss.
    value: f64,
    /// d value / d score of a competitor is this times its share of the denominator.
    pull: f64,
    /// The competitors' share of the denominator: 1 less the pair's own, without cancellation.
    share: f64,
}

/// A document that a query does not list, in a row of [`knowledge`].
const UNLISTED: i16 = -1;

/// A pair that takes no part, in a row of [`knowledge`].
const BARRED: i16 = i16::MAX;

impl PairTerm {
    /// Whether a document of which `known` is known competes between query and document.
    fn meets(&self, known: i16) -> bool {
        known == UNLISTED || (known != BARRED && known < self.as_good_from)
    }

    /// Adds this pair's slopes with respect to a row of scores to `slopes`.
    fn push(&self, scores: &[f64], open: impl Fn(usize) -> bool, temperature: f64, slopes: &mut [f64]) {
        for (at, (&score, slope)) in scores.iter().zip(slopes).enumerate() {
            if score <= self.limit && open(at) {
                *slope += self.pull * (score / temperature - self.total).exp();
            }
        }
    }
}

impl WeightedInfonce {
    /// The weight of a grade; grades beyond the settings' table were refused before.
    fn weight(&self, grade: u8) -> f64 {
        self.grade_weights.get(usize::from(grade)).copied().unwrap_or_else(|| f64::from(grade))
    }

    /// Value and gradients with respect to the vectors as they are compared.
    pub(super) fn gradients(&self, sides: &Sides, targets: &Targets, temperature: f64) -> SideGradients {
        let (queries, documents) = (sides.query_count(), sides.document_count());
        let mut output = SideGradients::nothing(sides, 1);
        let known: Vec<Vec<i16>> = (0..queries).map(|query| knowledge(targets, query)).collect();
        let mut paired = vec![false; documents];
        let own = || targets.pairs().filter(|(_, pair)| pair.own && !pair.ignored());
        own().for_each(|(_, pair)| paired[pair.document as usize] = true);
        let factor = 1.0 / own().count().max(1) as f64;
        let weighted: Vec<(usize, usize, u8, f64)> = own()
            .map(|(query, pair)| {
                (query, pair.document as usize, pair.grade, factor * self.weight(pair.grade))
            })
            .filter(|(.., weight)| *weight != 0.0)
            .collect();
        if weighted.is_empty() {
            return output;
        }
        let scores = self.scores(sides);
        let term = |&(query, document, grade, weight): &(usize, usize, u8, f64)| {
            self.pair(&scores, &known[query], &paired, [query, document], grade, weight, temperature)
        };
        let terms: Vec<PairTerm> = weighted.par_iter().map(term).collect();
        terms.iter().for_each(|term| output.per_query[term.query] += term.value);
        output.value = output.per_query.iter().sum();
        let slopes = self.slopes(&scores, &terms, &known, &paired, temperature);
        let along = |scores: &[f64], slopes: &[f64]| sides::dot(scores, slopes);
        // Scores meet the temperature as score / T: d value / dT = -1/T sum of slope times score.
        output.parameters[0] = -(along(&scores.between, &slopes.between)
            + along(&scores.queries, &slopes.queries)
            + along(&scores.documents, &slopes.documents))
            / temperature;
        (output.queries, output.documents) = sides.slopes_of_sides(&slopes.between);
        if self.self_contrast {
            let add = |sum: &mut [f64], more: Vec<f64>| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
            add(&mut output.queries, sides::slopes_within(&slopes.queries, &sides.queries, sides.width));
            add(
                &mut output.documents,
                sides::slopes_within(&slopes.documents, &sides.documents, sides.width),
            );
        }
        output
    }

    fn scores(&self, sides: &Sides) -> Scores {
        let within = |rows: &[f64]| match self.self_contrast {
            true => sides::scores_within(rows, sides.width),
            false => Vec::new(),
        };
        Scores {
            between: sides.scores(),
            queries: within(&sides.queries),
            documents: within(&sides.documents),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn pair(
        &self,
        scores: &Scores,
        known: &[i16],
        paired: &[bool],
        [query, document]: [usize; 2],
        grade: u8,
        weight: f64,
        temperature: f64,
    ) -> PairTerm {
        let between = row(&scores.between, known.len(), query);
        let score = between[document];
        let mut term = PairTerm {
            query,
            document,
            as_good_from: if self.exclude_as_good { i16::from(grade) } else { BARRED },
            limit: if self.mask { score + self.mask_margin } else { f64::INFINITY },
            total: 0.0,
            value: 0.0,
            pull: weight / temperature,
            share: 0.0,
        };
        let of_documents =
            between.iter().enumerate().filter(|(at, _)| *at != document && term.meets(known[*at]));
        let mut against: Vec<f64> = of_documents.map(|(_, score)| *score).collect();
        if self.self_contrast {
            let queries = scores.between.len() / known.len();
            let others = row(&scores.queries, queries, query).iter().enumerate();
            against.extend(others.filter(|(at, _)| *at != query).map(|(_, score)| *score));
            let others = row(&scores.documents, known.len(), document).iter().enumerate();
            against.extend(others.filter(|(at, _)| *at != document && paired[*at]).map(|(_, score)| *score));
        }
        against.retain(|other| *other <= term.limit);
        let against = log_sum_exp(against.iter().map(|other| other / temperature));
        term.total = log_add_exp(score / temperature, against);
        term.value = weight * (term.total - score / temperature);
        term.share = (against - term.total).exp();
        term
    }

    /// Slopes of all scores, each row by itself: a pair reaches one row of each of the three tables.
    fn slopes(
        &self,
        scores: &Scores,
        terms: &[PairTerm],
        known: &[Vec<i16>],
        paired: &[bool],
        temperature: f64,
    ) -> Scores {
        let (queries, documents) = (known.len(), paired.len());
        let mut of_query = vec![Vec::new(); queries];
        let mut of_document = vec![Vec::new(); documents];
        for (at, term) in terms.iter().enumerate() {
            of_query[term.query].push(at);
            of_document[term.document].push(at);
        }
        let table = |scores: &[f64], columns: usize, fill: &(dyn Fn(usize, &mut [f64]) + Sync)| {
            let mut slopes = vec![0.0; scores.len()];
            slopes.par_chunks_mut(columns).enumerate().for_each(|(row, slopes)| fill(row, slopes));
            slopes
        };
        let between = |query: usize, slopes: &mut [f64]| {
            for term in of_query[query].iter().map(|at| &terms[*at]) {
                let open = |at: usize| at != term.document && term.meets(known[query][at]);
                term.push(row(&scores.between, documents, query), open, temperature, slopes);
                slopes[term.document] -= term.pull * term.share;
            }
        };
        let with_queries = |query: usize, slopes: &mut [f64]| {
            for term in of_query[query].iter().map(|at| &terms[*at]) {
                term.push(row(&scores.queries, queries, query), |at| at != query, temperature, slopes);
            }
        };
        let with_documents = |document: usize, slopes: &mut [f64]| {
            for term in of_document[document].iter().map(|at| &terms[*at]) {
                let open = |at: usize| at != document && paired[at];
                term.push(row(&scores.documents, documents, document), open, temperature, slopes);
            }
        };
        Scores {
            between: table(&scores.between, documents, &between),
            queries: table(&scores.queries, queries, &with_queries),
            documents: table(&scores.documents, documents, &with_documents),
        }
    }
}

/// What is known about each document of the batch for a query: its grade, [`UNLISTED`] or [`BARRED`].
fn knowledge(targets: &Targets, query: usize) -> Vec<i16> {
    let mut known = vec![UNLISTED; targets.documents()];
    for pair in targets.listed(query) {
        known[pair.document as usize] = if pair.ignored() { BARRED } else { i16::from(pair.grade) };
    }
    known
}

fn row(table: &[f64], columns: usize, at: usize) -> &[f64] {
    &table[at * columns..][..columns]
}
