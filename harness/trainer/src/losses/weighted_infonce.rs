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
use super::sides::{SideGradients, Sides, dot};
use super::targets::{Listed, Targets};

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
    /// What scores this much above the pair's own is left out, in units of the similarity; `None` keeps everything.
    pub mask_margin: Option<f64>,
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
            mask_margin: Some(0.1),
            exclude_as_good: true,
            grade_weights: Vec::new(),
        }
    }
}

/// Similarities within one side `[n x n]`.
struct Within {
    values: Vec<f64>,
    size: usize,
}

/// The three score matrices with their slopes.
struct Scores {
    between: Vec<f64>,
    queries: Within,
    documents: Within,
}

/// One competitor: its score and where its slope goes.
#[derive(Clone, Copy)]
struct Competitor {
    score: f64,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// Query with document.
    Between(usize),
    /// Query with query.
    Queries(usize),
    /// Document with document.
    Documents(usize),
}

/// One pair's weighted loss and slopes with respect to the scores it met.
struct PairTerm {
    value: f64,
    slopes: Vec<(Place, f64)>,
}

impl WeightedInfonce {
    /// The weight of a grade; grades beyond the settings' table were refused before.
    fn weight(&self, grade: u8) -> f64 {
        self.grade_weights.get(usize::from(grade)).copied().unwrap_or_else(|| f64::from(grade))
    }

    /// Value and gradients with respect to the vectors as they are compared.
    pub(super) fn gradients(&self, sides: &Sides, targets: &Targets, temperature: f64) -> SideGradients {
        let pairs: Vec<(usize, Listed)> = targets
            .pairs()
            .filter(|(_, pair)| pair.own && !pair.ignored())
            .map(|(query, pair)| (query, *pair))
            .collect();
        let mut output = SideGradients::nothing(sides, 1);
        if pairs.is_empty() {
            return output;
        }
        let scores = self.scores(sides);
        let mut paired = vec![false; sides.document_count()];
        pairs.iter().for_each(|(_, pair)| paired[pair.document as usize] = true);
        let factor = 1.0 / pairs.len() as f64;
        let term = |(query, pair): &(usize, Listed)| {
            let weight = factor * self.weight(pair.grade);
            (weight != 0.0).then(|| self.pair(*query, pair, targets, &scores, &paired, weight, temperature))
        };
        let terms: Vec<Option<PairTerm>> = pairs.par_iter().map(term).collect();
        let mut slopes = Scores {
            between: vec![0.0; scores.between.len()],
            queries: Within { values: vec![0.0; scores.queries.values.len()], size: scores.queries.size },
            documents: Within {
                values: vec![0.0; scores.documents.values.len()],
                size: scores.documents.size,
            },
        };
        for ((query, _), term) in pairs.iter().zip(&terms) {
            let Some(term) = term else { continue };
            output.per_query[*query] += term.value;
            for &(place, slope) in &term.slopes {
                let (cell, score) = match place {
                    Place::Between(at) => (&mut slopes.between[at], scores.between[at]),
                    Place::Queries(at) => (&mut slopes.queries.values[at], scores.queries.values[at]),
                    Place::Documents(at) => (&mut slopes.documents.values[at], scores.documents.values[at]),
                };
                *cell += slope;
                // Slopes are with respect to scores, each over T: d value / dT = -1/T sum of slope times score.
                output.parameters[0] -= slope * score / temperature;
            }
        }
        output.value = output.per_query.iter().sum();
        (output.queries, output.documents) = sides.slopes_of_sides(&slopes.between);
        within_gradient(&slopes.queries, &sides.queries, sides.width, &mut output.queries);
        within_gradient(&slopes.documents, &sides.documents, sides.width, &mut output.documents);
        output
    }

    fn scores(&self, sides: &Sides) -> Scores {
        let none = || Within { values: Vec::new(), size: 0 };
        let within = |count: usize, row: fn(&Sides, usize) -> &[f64]| {
            let rows = (0..count).into_par_iter();
            let of_row = |a| (0..count).map(|b| dot(row(sides, a), row(sides, b))).collect::<Vec<f64>>();
            Within { values: rows.flat_map_iter(of_row).collect(), size: count }
        };
        let (queries, documents) = match self.self_contrast {
            true => {
                (within(sides.query_count(), Sides::query), within(sides.document_count(), Sides::document))
            }
            false => (none(), none()),
        };
        Scores { between: sides.scores(), queries, documents }
    }

    #[allow(clippy::too_many_arguments)]
    fn pair(
        &self,
        query: usize,
        pair: &Listed,
        targets: &Targets,
        scores: &Scores,
        paired: &[bool],
        weight: f64,
        temperature: f64,
    ) -> PairTerm {
        let (documents, own) = (paired.len(), pair.document as usize);
        let at = query * documents + own;
        let limit = self.mask_margin.map_or(f64::INFINITY, |margin| scores.between[at] + margin);
        let competitors: Vec<Competitor> = self
            .between(query, pair, targets, scores, documents)
            .chain(self.within(&scores.queries, query, |_| true, Place::Queries))
            .chain(self.within(&scores.documents, own, |other| paired[other], Place::Documents))
            .filter(|competitor| competitor.score <= limit)
            .collect();
        let logit = scores.between[at] / temperature;
        let against = log_sum_exp(competitors.iter().map(|competitor| competitor.score / temperature));
        let total = log_add_exp(logit, against);
        let slope = |score: f64| weight / temperature * (score / temperature - total).exp();
        // 1 - p without cancellation is the competitors' share.
        let mut slopes = vec![(Place::Between(at), -weight / temperature * (against - total).exp())];
        slopes.extend(competitors.iter().map(|competitor| (competitor.place, slope(competitor.score))));
        PairTerm { value: weight * (total - logit), slopes }
    }

    /// The documents of the batch that compete with a pair for its query.
    fn between<'a>(
        &self,
        query: usize,
        pair: &'a Listed,
        targets: &'a Targets,
        scores: &'a Scores,
        documents: usize,
    ) -> impl Iterator<Item = Competitor> + use<'a> {
        let mut excluded = vec![false; documents];
        excluded[pair.document as usize] = true;
        for other in targets.listed(query) {
            let as_good = self.exclude_as_good && other.grade >= pair.grade;
            excluded[other.document as usize] |= other.ignored() || as_good;
        }
        (0..documents).filter(move |&document| !excluded[document]).map(move |document| {
            let at = query * documents + document;
            Competitor { score: scores.between[at], place: Place::Between(at) }
        })
    }

    /// The others of one's own side.
    fn within<'a, K: Fn(usize) -> bool + 'a>(
        &self,
        within: &'a Within,
        own: usize,
        keep: K,
        place: fn(usize) -> Place,
    ) -> impl Iterator<Item = Competitor> + use<'a, K> {
        (0..within.size).filter(move |&other| other != own && keep(other)).map(move |other| {
            let at = own * within.size + other;
            Competitor { score: within.values[at], place: place(at) }
        })
    }
}

/// Adds the slopes of `x_a . x_b` to both `x_a` and `x_b`.
fn within_gradient(slopes: &Within, rows: &[f64], width: usize, gradient: &mut [f64]) {
    for (at, &slope) in slopes.values.iter().enumerate().filter(|(_, slope)| **slope != 0.0) {
        let (a, b) = (at / slopes.size, at % slopes.size);
        for column in 0..width {
            gradient[a * width + column] += slope * rows[b * width + column];
            gradient[b * width + column] += slope * rows[a * width + column];
        }
    }
}
