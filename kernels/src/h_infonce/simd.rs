//! The fast path: strips of queries against blocks of documents, three matrix products, one set of scores.
//!
//! ```text
//! for each strip of queries (up to 256):
//!   scores     each block of 240 documents:  S^T = 1/tau D Q^T; per query the block's max and sum of exps
//!   levels     each query:                   merge the blocks, solve the levels (levels.rs)
//!   documents  each block:                   G^T = exp((S^T - m) + c), listed pairs overwritten; dD += 1/tau G^T Q
//!   queries    each slab of columns:         dQ = 1/tau G D, block by block in order
//! ```
//!
//! Scores are kept transposed (a row per document), so that a vector runs across queries: maxima, sums and
//! exponentials need no horizontal step, and `G^T` serves both products where it lies. The strip is computed
//! once, where a plain two-pass scheme would compute it again for the backward pass: 6 B N d operations for value
//! and gradients instead of 8. Each step is cut among threads along a dimension nothing is summed over, so the
//! number of threads changes no bit.

use super::Options;
use super::labels::{Row, SparseLabels};
use super::levels::{self, Outcome, Unlisted};
use super::product::{Into, Left, Panels, multiply, panel_width};
use crate::device::InstructionSet;
use crate::matrix::Matrix;
use crate::vector::{Vector, exp, for_each_set};
use crate::workers::{count, share};

/// Documents in a block: with 256 queries its scores take 240 KiB.
const BLOCK: usize = 240;

/// Queries in a strip, at most.
const STRIP_QUERIES: usize = 256;

/// Queries in a strip, at least: fewer would make the document gradient a matter of memory traffic.
const STRIP_QUERIES_MIN: usize = 64;

/// Scores in a strip (8 MiB), as long as that allows [`STRIP_QUERIES_MIN`] queries.
const STRIP_SCORES: usize = 1 << 21;

/// Loss per query and gradients of both sides.
pub(super) struct Embeddings {
    pub loss: Vec<f64>,
    pub queries: Vec<f32>,
    pub documents: Vec<f32>,
}

/// Loss per query alone.
pub(super) fn embedding_loss(
    set: Option<InstructionSet>,
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    factor: f64,
) -> Vec<f64> {
    let mut strip = Strip::new(set, queries, documents, labels, options, factor);
    let mut loss = Vec::with_capacity(queries.rows());
    for first in (0..queries.rows()).step_by(strip.queries_per_strip) {
        strip.score(first);
        strip.solve_levels();
        loss.extend(strip.outcomes.iter().map(|outcome| outcome.loss));
    }
    loss
}

/// Loss per query and both gradients.
pub(super) fn embeddings(
    set: Option<InstructionSet>,
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    factor: f64,
) -> Embeddings {
    let width = queries.columns();
    let mut strip = Strip::new(set, queries, documents, labels, options, factor);
    let mut output = Embeddings {
        loss: Vec::with_capacity(queries.rows()),
        queries: vec![0.0; queries.rows() * width],
        documents: vec![0.0; documents.rows() * width],
    };
    for first in (0..queries.rows()).step_by(strip.queries_per_strip) {
        strip.score(first);
        strip.solve_levels();
        output.loss.extend(strip.outcomes.iter().map(|outcome| outcome.loss));
        strip.pull_documents(&mut output.documents);
        let rows = strip.outcomes.len() * width;
        strip.pull_queries(&mut output.queries[first * width..][..rows]);
    }
    output
}

/// One strip of queries, its scores against every document, and what the steps leave for each other.
struct Strip<'a> {
    set: Option<InstructionSet>,
    queries: Matrix<'a, f32>,
    documents: Matrix<'a, f32>,
    labels: SparseLabels<'a>,
    options: Options,
    factor: f64,
    queries_per_strip: usize,
    /// First query of the strip.
    first: usize,
    /// Queries of the strip, rounded up to whole panels.
    lanes: usize,
    /// The strip's queries as columns, for the scores.
    query_columns: Panels,
    /// The strip's queries as rows, for the gradient of the documents.
    query_rows: Panels,
    /// `S^T`, later `G^T`: `[N x lanes]`.
    scores: Vec<f32>,
    /// Max and sum of exps of each block: `[blocks x 2 lanes]`.
    partials: Vec<f32>,
    /// Of each query of the strip.
    outcomes: Vec<Outcome>,
    /// Of each lane: its unlisted documents' largest score, and the shift of their gradients.
    largest: Vec<f32>,
    shifts: Vec<f32>,
    /// d loss / d s of the strip's listed pairs.
    listed: Vec<f32>,
}

impl<'a> Strip<'a> {
    fn new(
        set: Option<InstructionSet>,
        queries: Matrix<'a, f32>,
        documents: Matrix<'a, f32>,
        labels: SparseLabels<'a>,
        options: Options,
        factor: f64,
    ) -> Self {
        Strip {
            set,
            queries,
            documents,
            labels,
            options,
            factor,
            queries_per_strip: queries_per_strip(documents.rows()),
            first: 0,
            lanes: 0,
            query_columns: Panels::new(set),
            query_rows: Panels::new(set),
            scores: Vec::new(),
            partials: Vec::new(),
            outcomes: Vec::new(),
            largest: Vec::new(),
            shifts: Vec::new(),
            listed: Vec::new(),
        }
    }

    fn inverse_temperature(&self) -> f32 {
        1.0 / self.options.temperature
    }

    /// Scores of the strip that starts at query `first`, with each block's maxima and sums.
    fn score(&mut self, first: usize) {
        let last = self.queries.rows().min(first + self.queries_per_strip);
        let queries = self.queries.rows_in(first..last);
        self.first = first;
        self.lanes = queries.rows().next_multiple_of(panel_width(self.set));
        self.query_columns.fill_from_columns(queries.columns(), queries.iter_rows());
        self.query_rows.fill_from_rows(queries.columns(), queries.iter_rows());
        self.scores.resize(self.documents.rows() * self.lanes, 0.0);
        self.partials.resize(self.documents.rows().div_ceil(BLOCK) * 2 * self.lanes, 0.0);
        self.outcomes.clear();
        self.outcomes.resize(queries.rows(), Outcome { loss: 0.0, shift: f32::NEG_INFINITY });
        let mut scores = std::mem::take(&mut self.scores);
        let mut partials = std::mem::take(&mut self.partials);
        let blocks = scores.chunks_mut(BLOCK * self.lanes).zip(partials.chunks_mut(2 * self.lanes));
        share(count(0), blocks.enumerate(), |(block, (scores, partials))| {
            self.score_block(block * BLOCK, scores, partials);
        });
        self.scores = scores;
        self.partials = partials;
    }

    fn score_block(&self, first_document: usize, scores: &mut [f32], partials: &mut [f32]) {
        let lanes = self.lanes;
        let block = self.block(first_document);
        let left =
            Left { values: block.values(), rows: block.rows(), row_stride: block.stride(), depth_stride: 1 };
        // The padding of the last panel is written too: its columns are zeros.
        multiply(self.set, self.inverse_temperature(), left, &self.query_columns, Into::Set, scores, lanes);
        let hidden = self.hide_listed(first_document, scores);
        let (largest, sums) = partials.split_at_mut(lanes);
        column_log_sum_exp(self.set, scores, lanes, largest, sums);
        for (at, score) in hidden {
            scores[at] = score;
        }
    }

    fn block(&self, first_document: usize) -> Matrix<'a, f32> {
        self.documents.rows_in(first_document..self.documents.rows().min(first_document + BLOCK))
    }

    /// Sets the listed pairs of a block to minus infinity; returns what was there.
    fn hide_listed(&self, first_document: usize, scores: &mut [f32]) -> Vec<(usize, f32)> {
        let mut hidden = Vec::new();
        for lane in 0..self.outcomes.len() {
            for (_, document) in
                entries_in(self.labels.row(self.first + lane), first_document..first_document + BLOCK)
            {
                let at = (document - first_document) * self.lanes + lane;
                hidden.push((at, std::mem::replace(&mut scores[at], f32::NEG_INFINITY)));
            }
        }
        hidden
    }

    /// From scores to outcomes, and the gradients of the listed pairs.
    fn solve_levels(&mut self) {
        let offsets = &self.labels.offsets()[self.first..=self.first + self.outcomes.len()];
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let mut listed = std::mem::take(&mut self.listed);
        listed.clear();
        listed.resize(offsets[outcomes.len()] - offsets[0], 0.0);
        self.largest.clear();
        self.largest.resize(self.lanes, 0.0);
        self.shifts.clear();
        self.shifts.resize(self.lanes, f32::NEG_INFINITY);
        let mut largest = std::mem::take(&mut self.largest);
        let rows = split_rows(&mut listed, offsets).into_iter().zip(&mut outcomes).zip(&mut largest);
        share(count(0), rows.enumerate(), |(lane, ((gradient, outcome), largest))| {
            let row = self.labels.row(self.first + lane);
            let scores: Vec<f32> = row
                .documents
                .iter()
                .map(|&document| self.scores[document as usize * self.lanes + lane])
                .collect();
            let unlisted = self.merge_blocks(lane);
            *largest = unlisted.largest;
            *outcome = levels::solve(row, &scores, unlisted, self.options.anchors, self.factor, gradient);
        });
        for (shift, outcome) in self.shifts.iter_mut().zip(&outcomes) {
            *shift = outcome.shift;
        }
        self.outcomes = outcomes;
        self.listed = listed;
        self.largest = largest;
    }

    fn merge_blocks(&self, lane: usize) -> Unlisted {
        let blocks =
            || self.partials.chunks(2 * self.lanes).map(|block| (block[lane], block[self.lanes + lane]));
        let largest = blocks().fold(f32::NEG_INFINITY, |largest, (max, _)| largest.max(max));
        if largest == f32::NEG_INFINITY {
            return Unlisted { largest: 0.0, sum: 0.0 };
        }
        let sum = blocks()
            .filter(|(_, sum)| *sum > 0.0)
            .map(|(max, sum)| f64::from(sum) * (f64::from(max) - f64::from(largest)).exp())
            .sum();
        Unlisted { largest, sum }
    }

    /// Turns scores into their gradients and adds the strip's part to the gradient of the documents.
    fn pull_documents(&mut self, gradient: &mut [f32]) {
        let width = self.documents.columns();
        let mut scores = std::mem::take(&mut self.scores);
        let blocks = scores.chunks_mut(BLOCK * self.lanes).zip(gradient.chunks_mut(BLOCK * width));
        share(count(0), blocks.enumerate(), |(block, (scores, gradient))| {
            self.differentiate_block(block * BLOCK, scores);
            let rows = gradient.len() / width;
            let left = Left { values: scores, rows, row_stride: self.lanes, depth_stride: 1 };
            multiply(
                self.set,
                self.inverse_temperature(),
                left,
                &self.query_rows,
                Into::Add,
                gradient,
                width,
            );
        });
        self.scores = scores;
    }

    fn differentiate_block(&self, first_document: usize, scores: &mut [f32]) {
        unlisted_gradients(self.set, scores, self.lanes, &self.largest, &self.shifts);
        let start = self.labels.offsets()[self.first];
        for lane in 0..self.outcomes.len() {
            let offset = self.labels.offsets()[self.first + lane] - start;
            for (entry, document) in
                entries_in(self.labels.row(self.first + lane), first_document..first_document + BLOCK)
            {
                scores[(document - first_document) * self.lanes + lane] = self.listed[offset + entry];
            }
        }
    }

    /// Writes the gradient of the strip's queries, whose `G^T` [`pull_documents`](Self::pull_documents) left.
    fn pull_queries(&self, gradient: &mut [f32]) {
        let width = self.documents.columns();
        let slab = slab_width(width, panel_width(self.set));
        let mut slabs = vec![Vec::new(); width.div_ceil(slab)];
        share(count(0), slabs.iter_mut().enumerate(), |(at, target)| {
            let columns = at * slab..width.min((at + 1) * slab);
            *target = self.pull_slab(columns);
        });
        for (at, source) in slabs.iter().enumerate() {
            let columns = width.min((at + 1) * slab) - at * slab;
            for (row, values) in gradient.chunks_exact_mut(width).zip(source.chunks_exact(columns)) {
                row[at * slab..][..columns].copy_from_slice(values);
            }
        }
    }

    /// Some columns of the gradient of the strip's queries.
    fn pull_slab(&self, columns: std::ops::Range<usize>) -> Vec<f32> {
        let rows = self.outcomes.len();
        let mut target = vec![0.0; rows * columns.len()];
        let mut panels = Panels::new(self.set);
        for (block, scores) in self.scores.chunks(BLOCK * self.lanes).enumerate() {
            let documents = self.block(block * BLOCK);
            panels.fill_from_rows(columns.len(), documents.iter_rows().map(|row| &row[columns.clone()]));
            let left = Left { values: scores, rows, row_stride: 1, depth_stride: self.lanes };
            let alpha = self.inverse_temperature();
            multiply(self.set, alpha, left, &panels, Into::Add, &mut target, columns.len());
        }
        target
    }
}

/// A multiple of 64 between [`STRIP_QUERIES_MIN`] and [`STRIP_QUERIES`].
fn queries_per_strip(documents: usize) -> usize {
    (STRIP_SCORES / documents / 64 * 64).clamp(STRIP_QUERIES_MIN, STRIP_QUERIES)
}

/// Columns each thread takes of the gradient of the queries: whole panels.
fn slab_width(width: usize, panel: usize) -> usize {
    width.div_ceil(panel).div_ceil(count(0)) * panel
}

/// The entries of a row whose documents lie in `range`, each with its place in the row.
fn entries_in(row: Row<'_>, range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let start = row.documents.partition_point(|&document| (document as usize) < range.start);
    let entries = row.documents[start..].iter().map(|&document| document as usize);
    entries
        .take_while(move |document| *document < range.end)
        .enumerate()
        .map(move |(at, document)| (start + at, document))
}

/// The slices `offsets` cuts `values` into.
fn split_rows<'v>(mut values: &'v mut [f32], offsets: &[usize]) -> Vec<&'v mut [f32]> {
    let mut rows = Vec::with_capacity(offsets.len() - 1);
    for pair in offsets.windows(2) {
        let (row, rest) = values.split_at_mut(pair[1] - pair[0]);
        rows.push(row);
        values = rest;
    }
    rows
}

/// Loss per query of given scores `[B x N]`.
pub(super) fn score_loss(
    set: Option<InstructionSet>,
    scores: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    factor: f64,
) -> Vec<f64> {
    let mut loss = vec![0.0; scores.rows()];
    share(count(0), loss.iter_mut().enumerate(), |(query, loss)| {
        let mut scratch = vec![0.0; scores.columns()];
        *loss = ScoreRow::new(set, scores.row(query), labels.row(query), options, factor)
            .solve(&mut scratch)
            .loss;
    });
    loss
}

/// Loss per query of given scores `[B x N]` and the gradient of the scores.
pub(super) fn scores(
    set: Option<InstructionSet>,
    scores: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
    factor: f64,
) -> (Vec<f64>, Vec<f32>) {
    let mut loss = vec![0.0; scores.rows()];
    let mut gradient = vec![0.0; scores.rows() * scores.columns()];
    let rows = loss.iter_mut().zip(gradient.chunks_mut(scores.columns()));
    share(count(0), rows.enumerate(), |(query, (loss, gradient))| {
        let row = ScoreRow::new(set, scores.row(query), labels.row(query), options, factor);
        *loss = row.differentiate(gradient);
    });
    (loss, gradient)
}

/// One query whose scores are given.
struct ScoreRow<'a> {
    set: Option<InstructionSet>,
    scores: &'a [f32],
    row: Row<'a>,
    options: Options,
    factor: f64,
}

/// What [`ScoreRow::solve`] finds.
struct Solved {
    loss: f64,
    largest: f32,
    shift: f32,
    listed: Vec<f32>,
}

impl<'a> ScoreRow<'a> {
    fn new(
        set: Option<InstructionSet>,
        scores: &'a [f32],
        row: Row<'a>,
        options: Options,
        factor: f64,
    ) -> Self {
        ScoreRow { set, scores, row, options, factor }
    }

    /// Solves the levels; leaves the unlisted documents' scores over the temperature in `scaled`, minus
    /// infinity in the listed ones' places.
    fn solve(&self, scaled: &mut [f32]) -> Solved {
        let inverse = 1.0 / self.options.temperature;
        for (scaled, score) in scaled.iter_mut().zip(self.scores) {
            *scaled = score * inverse;
        }
        let at = |document: &u32| *document as usize;
        let scores: Vec<f32> = self
            .row
            .documents
            .iter()
            .map(|document| std::mem::replace(&mut scaled[at(document)], f32::NEG_INFINITY))
            .collect();
        let unlisted = self.unlisted(scaled);
        let mut listed = vec![0.0; scores.len()];
        let outcome =
            levels::solve(self.row, &scores, unlisted, self.options.anchors, self.factor, &mut listed);
        Solved { loss: outcome.loss, largest: unlisted.largest, shift: outcome.shift, listed }
    }

    /// Documents in blocks of 16 lanes, as if each lane were a query; the lanes are merged in order.
    fn unlisted(&self, scaled: &[f32]) -> Unlisted {
        let lanes = 16;
        let whole = scaled.len() / lanes * lanes;
        let mut partials = [f32::NEG_INFINITY, 0.0].repeat(lanes);
        let (largest, sums) = partials.split_at_mut(lanes);
        column_log_sum_exp(self.set, &scaled[..whole], lanes, largest, sums);
        let rest = scaled[whole..].iter().map(|score| (*score, 1.0));
        let parts: Vec<(f32, f32)> = largest
            .iter()
            .copied()
            .zip(sums.iter().copied())
            .chain(rest)
            .filter(|(max, _)| *max > f32::NEG_INFINITY)
            .collect();
        let Some(largest) = parts.iter().map(|(max, _)| *max).reduce(f32::max) else {
            return Unlisted { largest: 0.0, sum: 0.0 };
        };
        let sum = parts
            .iter()
            .map(|(max, sum)| f64::from(*sum) * (f64::from(*max) - f64::from(largest)).exp())
            .sum();
        Unlisted { largest, sum }
    }

    /// The loss; `gradient` gets d loss / d scores.
    fn differentiate(&self, gradient: &mut [f32]) -> f64 {
        let solved = self.solve(gradient);
        let lanes = 16;
        let whole = gradient.len() / lanes * lanes;
        let (blocks, rest) = gradient.split_at_mut(whole);
        unlisted_gradients(self.set, blocks, lanes, &[solved.largest; 16], &[solved.shift; 16]);
        let mut last = [f32::NEG_INFINITY; 16];
        last[..rest.len()].copy_from_slice(rest);
        unlisted_gradients(self.set, &mut last, lanes, &[solved.largest; 16], &[solved.shift; 16]);
        rest.copy_from_slice(&last[..rest.len()]);
        for (document, listed) in self.row.documents.iter().zip(&solved.listed) {
            gradient[*document as usize] = *listed;
        }
        for value in gradient {
            *value *= 1.0 / self.options.temperature;
        }
        solved.loss
    }
}

for_each_set! {
    /// Per column of `scores` (rows of `lanes` values): the largest value and the sum of `exp(value - largest)`;
    /// minus infinity and 0 for a column of minus infinities.
    fn column_log_sum_exp = column_log_sum_exp_with(scores: &[f32], lanes: usize, largest: &mut [f32], sums: &mut [f32])
}

/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn column_log_sum_exp_with<V: Vector>(
    scores: &[f32],
    lanes: usize,
    largest: &mut [f32],
    sums: &mut [f32],
) {
    assert!(lanes.is_multiple_of(V::LANES) && scores.len().is_multiple_of(lanes), "rows of whole vectors");
    assert!(largest.len() == lanes && sums.len() == lanes, "one result a lane");
    for first in (0..lanes).step_by(V::LANES) {
        // SAFETY: each row has `lanes` values, of which the vector at `first` is a part; so have the results.
        unsafe {
            let mut max = V::splat(f32::NEG_INFINITY);
            for row in scores.chunks_exact(lanes) {
                max = max.max(V::load(row.as_ptr().add(first)));
            }
            max.store(largest.as_mut_ptr().add(first));
            // Minus infinity less minus infinity would be no number.
            let floor = max.max(V::splat(f32::MIN));
            let mut sum = V::splat(0.0);
            for row in scores.chunks_exact(lanes) {
                sum = sum.add(exp(V::load(row.as_ptr().add(first)).sub(floor)));
            }
            sum.store(sums.as_mut_ptr().add(first));
        }
    }
}

for_each_set! {
    /// Replaces each score by `exp((score - largest) + shift)` of its column.
    fn unlisted_gradients = unlisted_gradients_with(scores: &mut [f32], lanes: usize, largest: &[f32], shifts: &[f32])
}

/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn unlisted_gradients_with<V: Vector>(
    scores: &mut [f32],
    lanes: usize,
    largest: &[f32],
    shifts: &[f32],
) {
    assert!(lanes.is_multiple_of(V::LANES) && scores.len().is_multiple_of(lanes), "rows of whole vectors");
    assert!(largest.len() == lanes && shifts.len() == lanes, "one value a lane");
    for row in scores.chunks_exact_mut(lanes) {
        for first in (0..lanes).step_by(V::LANES) {
            // SAFETY: `row`, `largest` and `shifts` have `lanes` values each, the vector at `first` among them.
            unsafe {
                let at = row.as_mut_ptr().add(first);
                let largest = V::load(largest.as_ptr().add(first));
                let shift = V::load(shifts.as_ptr().add(first));
                exp(V::load(at).sub(largest).add(shift)).store(at);
            }
        }
    }
}

/// Sum of squares, in eight partial sums that are added in order.
pub(super) fn squared_length(row: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    for values in row.chunks(8) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.iter().sum()
}
