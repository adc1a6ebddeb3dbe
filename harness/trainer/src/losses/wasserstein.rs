//! WS2, SyCL's Wasserstein loss between what the model says and what the grades say (arXiv 2503.23239).
//!
//! Formula, symbols and "where we differ" stand in [`kernels::wasserstein`], which computes it in f64. Here its rows are
//! laid out for lists of any length:
//!
//! ```text
//! P  rows of softmax(z) over the batch's documents, z = scores over the temperature
//! G  rows of softmax(grade / grade_temperature) over the query's own documents and, with columns = "batch", all others
//!    as grade 0; nothing for them with "own_list"
//! value = WS2(P, G) + hybrid * 1/Q sum over queries of KL(G_i || P_i)
//! ```
//!
//! The **hybrid** term is ours. WS2 alone does not change when queries exchange their rows, so a model that gives every
//! query another query's documents can reach 0; start from an encoder that matches already, or set `hybrid` above 0.
//! (Trove has the KL as a loss of its own, over the same two tables.)
//!
//! Further differences: a document graded for a query counts with that grade wherever it came from; ignored pairs get no
//! mass on either side; queries without a document of their own take no part; SyCL compares inner products, as we do
//! unless told otherwise.

use kernels::wasserstein::loss_to_target;
use kernels::{Device, Matrix};
use serde::{Deserialize, Serialize};

use super::Similarity;
use super::error::LossError;
use super::exponentials::{log_sum_exp, softmax};
use super::lists::{LogitGradients, Logits};
use super::targets::{Candidate, Scope, Targets};

/// The settings of WS2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wasserstein {
    /// How query and document are compared.
    pub similarity: Similarity,
    /// Scores are divided by it; above 0.
    pub temperature: f64,
    /// Whether the temperature is learned.
    pub learn_temperature: bool,
    /// Grades are divided by it; above 0.
    pub grade_temperature: f64,
    /// What the columns of the two tables are.
    pub columns: TableColumns,
    /// The weight of the term that looks at each query alone; at least 0.
    pub hybrid: f64,
}

/// What the columns of WS2's tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableColumns {
    /// All documents of the batch; those a query does not list have grade 0 (SyCL).
    #[default]
    Batch,
    /// All documents of the batch; those a query does not list are to get nothing.
    OwnList,
    /// No in-batch documents: column j is the j-th of each query's own list, highest grade first. Equally long lists.
    Lists,
}

impl Default for Wasserstein {
    fn default() -> Self {
        Wasserstein {
            similarity: Similarity::Dot,
            temperature: 1.0,
            learn_temperature: false,
            grade_temperature: 1.0,
            columns: TableColumns::Batch,
            hybrid: 0.0,
        }
    }
}

/// How far below the lowest logit a pair stands that is to get no mass: `exp` of it is 0.
const NO_MASS: f64 = 800.0;

/// The two tables, row by row over the queries that take part.
struct Tables {
    queries: Vec<usize>,
    /// Document of each column, or `None` for a pair that takes no part.
    documents: Vec<Vec<Option<usize>>>,
    target: Vec<f64>,
    columns: usize,
}

impl Wasserstein {
    pub(super) fn gradients(
        &self,
        logits: Logits<'_>,
        targets: &Targets,
        device: Device,
    ) -> Result<LogitGradients, LossError> {
        let mut output =
            LogitGradients { value: 0.0, per_query: Vec::new(), logits: vec![0.0; logits.values.len()] };
        let tables = self.tables(logits, targets)?;
        let rows = tables.queries.len();
        if rows == 0 {
            return Ok(output);
        }
        let table = tables.logits(logits);
        let target = Matrix::new("target", &tables.target, rows, tables.columns)?;
        let ws2 = loss_to_target(Matrix::new("logits", &table, rows, tables.columns)?, target, 1.0, device)?;
        output.value = ws2.value;
        let mut slopes = ws2.logits;
        if self.hybrid > 0.0 {
            output.value += self.hybrid * divergence(&table, &tables, self.hybrid, &mut slopes);
        }
        for ((query, documents), slopes) in
            tables.queries.iter().zip(&tables.documents).zip(slopes.chunks_exact(tables.columns))
        {
            for (document, slope) in documents.iter().zip(slopes) {
                if let Some(document) = document {
                    output.logits[query * logits.documents + document] = *slope;
                }
            }
        }
        Ok(output)
    }

    fn tables(&self, logits: Logits<'_>, targets: &Targets) -> Result<Tables, LossError> {
        let mut tables = Tables {
            queries: Vec::new(),
            documents: Vec::new(),
            target: Vec::new(),
            columns: logits.documents,
        };
        for query in 0..logits.queries() {
            let own = targets.candidates(query, Scope::List);
            if own.is_empty() {
                continue;
            }
            if self.columns == TableColumns::Lists {
                if tables.queries.is_empty() {
                    tables.columns = own.len();
                } else if tables.columns != own.len() {
                    let (length, first) = (own.len(), tables.columns);
                    return Err(LossError::UnequalLists { query, length, first });
                }
            }
            tables.queries.push(query);
            self.push_row(&mut tables, query, targets, own);
        }
        Ok(tables)
    }

    fn push_row(&self, tables: &mut Tables, query: usize, targets: &Targets, mut own: Vec<Candidate>) {
        if self.columns == TableColumns::Lists {
            own.sort_by_key(|candidate| std::cmp::Reverse(candidate.grade));
            let grades: Vec<f64> = own.iter().map(|c| f64::from(c.grade) / self.grade_temperature).collect();
            tables.target.extend(softmax(&grades));
            tables.documents.push(own.iter().map(|candidate| Some(candidate.document)).collect());
            return;
        }
        let mut documents = vec![None; tables.columns];
        let mut grades = vec![f64::NEG_INFINITY; tables.columns];
        for candidate in targets.candidates(query, Scope::Batch) {
            documents[candidate.document] = Some(candidate.document);
            if candidate.own || self.columns == TableColumns::Batch {
                grades[candidate.document] = f64::from(candidate.grade) / self.grade_temperature;
            }
        }
        tables.target.extend(softmax(&grades));
        tables.documents.push(documents);
    }
}

impl Tables {
    fn logits(&self, logits: Logits<'_>) -> Vec<f64> {
        let mut table = Vec::with_capacity(self.target.len());
        for (&query, documents) in self.queries.iter().zip(&self.documents) {
            let row = logits.row(query);
            let lowest =
                documents.iter().flatten().map(|&document| row[document]).fold(f64::INFINITY, f64::min);
            table.extend(documents.iter().map(|document| document.map_or(lowest - NO_MASS, |at| row[at])));
        }
        table
    }
}

/// The mean of KL(G_i || P_i); `weight` times its slope is added to `slopes`.
fn divergence(logits: &[f64], tables: &Tables, weight: f64, slopes: &mut [f64]) -> f64 {
    let share = 1.0 / tables.queries.len() as f64;
    let rows = logits.chunks_exact(tables.columns).zip(tables.target.chunks_exact(tables.columns));
    let mut total = 0.0;
    for ((logits, target), slopes) in rows.zip(slopes.chunks_exact_mut(tables.columns)) {
        let normaliser = log_sum_exp(logits.iter().copied());
        for ((z, g), slope) in logits.iter().zip(target).zip(slopes) {
            if *g > 0.0 {
                total += share * g * (g.ln() - (z - normaliser));
            }
            *slope += weight * share * ((z - normaliser).exp() - g);
        }
    }
    total
}
