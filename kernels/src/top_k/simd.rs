//! The scan: blocks of documents shared among threads, register tiles of queries over each block, a threshold
//! and a buffer of candidates per query and thread.
//!
//! A query's threshold is a score that `k` documents are assumed to reach, lowered by the error bound of the
//! block; most tiles stay below it and cost one comparison per register. Threads raise each other's thresholds.
//! A block of tiles is spread evenly over the documents, so that the blocks seen so far are a fair sample of all,
//! and a threshold need not wait until `k` documents have been seen that reach it. When a buffer is full it is
//! compacted (`best.rs`); at the end the buffers of all threads are merged and what is left is scored by
//! definition, in the order of the documents. Where the scores then do not bear out what was assumed, the query
//! is searched again on proven thresholds alone.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::best::{Best, Candidate, Candidates, Scored};
use super::bounds::{DocumentBound, DocumentBounds, Margin, QueryBound, Scan};
use super::documents::{Documents, HAS_HEADS, Values, row_encoder};
use super::filter::{Filter, Sieve, Tiles};
use super::kernels::{Block, Element, Hits, Kernels};
use super::{Pass, score};
use crate::device::InstructionSet;
use crate::similarity::{self, Dot, Metric};
use crate::workers;

/// Documents of a block together: half of a small second-level cache.
const BLOCK_BYTES: usize = 256 << 10;
/// The same where heads are scanned and the rest of a document is read now and then.
const FILTERED_BLOCK_BYTES: usize = 512 << 10;
/// Candidate buffers of all queries that are searched at the same time, together.
const CANDIDATE_BYTES: usize = 256 << 20;
/// A scan of heads that leaves more than one pair in so many has cost more than a full one.
const MOST_LEFT: usize = 10;
/// Up to this many queries, each document is read along its row; from there on queries fill tiles.
const MOST_ROW_QUERIES: usize = 8;
/// How many documents before it is scored a row is asked for.
const PAIRS_AHEAD: usize = 4;

/// A type the documents can be scanned in.
trait Scanned: Element + Send + Sync {
    const SCAN: Scan;
    const CODES: bool = matches!(Self::SCAN, Scan::Codes);
    fn kernels(set: InstructionSet) -> Kernels<Self>;
    /// Columns of a row as scanned.
    fn columns(documents: &Documents<'_>) -> usize;
    /// Writes the scanned form of a query and says how exact it is.
    fn query(query: &[f32], norm: f64, metric: Metric, offset: i32, scanned: &mut [Self]) -> QueryBound;
    /// Appends the rows to `decoded`, where they are not scanned where they lie.
    fn decode(documents: &Documents<'_>, rows: Range<usize>, decoded: &mut Vec<Self>);
    /// The first stage, where there is one for these documents.
    fn filter<'p>(_: &'p Pass<'p>, _: InstructionSet, _: &[usize]) -> Option<Filter<'p>> {
        None
    }
    /// Hands the filter what it keeps of a scanned query.
    fn keep(_: &mut Filter<'_>, _: usize, _: &[Self]) {}
    /// The rows as scanned. What [`decode`](Self::decode) appended for them is the start of `decoded`.
    fn rows<'b>(documents: &'b Documents<'_>, rows: Range<usize>, decoded: &'b [Self]) -> Rows<'b, Self>;
}

/// Consecutive rows as scanned.
struct Rows<'b, T> {
    values: &'b [T],
    stride: usize,
    code_sums: &'b [i32],
    weights: &'b [f32],
}

impl Scanned for f32 {
    const SCAN: Scan = Scan::Floats;

    fn kernels(set: InstructionSet) -> Kernels<f32> {
        Kernels::floats(set)
    }

    fn columns(documents: &Documents<'_>) -> usize {
        documents.columns()
    }

    fn query(query: &[f32], norm: f64, metric: Metric, _: i32, scanned: &mut [f32]) -> QueryBound {
        scanned.copy_from_slice(query);
        QueryBound::floats(norm, query.len(), metric)
    }

    fn decode(documents: &Documents<'_>, rows: Range<usize>, decoded: &mut Vec<f32>) {
        if matches!(documents.values(), Values::F32(_)) {
            return;
        }
        let (start, columns) = (decoded.len(), documents.columns());
        decoded.resize(start + rows.len() * columns, 0.0);
        for (row, decoded) in rows.zip(decoded[start..].chunks_mut(columns)) {
            documents.values().row(row, decoded);
        }
    }

    fn rows<'b>(documents: &'b Documents<'_>, rows: Range<usize>, decoded: &'b [f32]) -> Rows<'b, f32> {
        let (values, stride) = match documents.values() {
            Values::F32(matrix) => {
                let rows = matrix.rows_in(rows);
                (rows.values(), rows.stride())
            }
            _ => (decoded, documents.columns()),
        };
        Rows { values, stride, code_sums: &[], weights: &[] }
    }
}

impl Scanned for i8 {
    const SCAN: Scan = Scan::Codes;

    fn kernels(set: InstructionSet) -> Kernels<i8> {
        Kernels::codes(set)
    }

    fn columns(documents: &Documents<'_>) -> usize {
        documents.columns().next_multiple_of(4)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn query(query: &[f32], norm: f64, metric: Metric, offset: i32, scanned: &mut [i8]) -> QueryBound {
        let encoded = row_encoder()(query, &mut scanned[..query.len()]);
        for code in scanned {
            *code = code.wrapping_add(offset as i8);
        }
        QueryBound::codes(norm, encoded.scale, encoded.residual, metric)
    }

    fn decode(_: &Documents<'_>, _: Range<usize>, _: &mut Vec<i8>) {}

    fn filter<'p>(pass: &'p Pass<'p>, set: InstructionSet, members: &[usize]) -> Option<Filter<'p>> {
        // Tiles multiply all columns in less time than the vector instructions take for a head.
        let pays = HAS_HEADS && set != InstructionSet::Avx512Amx;
        pays.then(|| Filter::new(pass, set, members, Self::columns(pass.documents))).flatten()
    }

    fn keep(filter: &mut Filter<'_>, index: usize, scanned: &[i8]) {
        filter.keep_row(index, scanned);
    }

    fn rows<'b>(documents: &'b Documents<'_>, rows: Range<usize>, _: &'b [i8]) -> Rows<'b, i8> {
        let Some(codes) = documents.codes() else {
            return Rows { values: &[], stride: 0, code_sums: &[], weights: &[] };
        };
        let values = &codes.values[rows.start * codes.stride..];
        Rows { values, stride: codes.stride, code_sums: &codes.sums[rows], weights: &[] }
    }
}

/// Searches the documents of a pass on an available instruction set and adds to what was found before.
pub(super) fn search(pass: &Pass<'_>, set: InstructionSet, best: &mut [Best]) {
    if pass.documents.codes().is_some() {
        search_as::<i8>(pass, set, best);
    } else {
        search_as::<f32>(pass, set, best);
    }
}

fn search_as<T: Scanned>(pass: &Pass<'_>, set: InstructionSet, best: &mut [Best]) {
    let workers = workers::count(pass.threads);
    let capacity = capacity(pass, T::CODES);
    let group = (CANDIDATE_BYTES / (workers * capacity * size_of::<Candidate>())).max(64);
    let all: Vec<usize> = (0..best.len()).collect();
    let assumed = Assumptions { share: assumed_share(T::CODES, pass.documents.columns()), sampled: true };
    for members in all.chunks(group) {
        let failed = Group::<T>::new(pass, set, members, capacity, assumed, best).search(workers, best);
        if !failed.is_empty() {
            Group::<T>::new(pass, set, &failed, capacity, Assumptions::NONE, best).search(workers, best);
        }
    }
}

/// What a search takes for granted until the scores of the best documents bear it out.
#[derive(Clone, Copy)]
struct Assumptions {
    /// Which point of its interval a score reaches ([`assumed_share`]).
    share: f32,
    /// That the documents seen so far are a fair sample of all ([`assumed_rank`]).
    sampled: bool,
}

impl Assumptions {
    const NONE: Assumptions = Assumptions { share: 0.0, sampled: false };
}

/// The rank in a sample of a `fraction` of the documents whose score `k` of all documents are assumed to reach, if
/// that rank is before `k`. Of the best `k` of all, a fair sample holds `k * fraction` give or take the square root
/// of that; the rank is four of these and a few more behind, and so hardly ever before the `k`-th best of all.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
pub(super) fn assumed_rank(k: usize, fraction: f64) -> Option<usize> {
    let expected = k as f64 * fraction;
    let rank = (expected + 4.0 * expected.sqrt()).ceil() as usize + 6;
    (rank < k).then_some(rank)
}

/// Which point of its interval a score is assumed to reach. The error of an 8-bit scan is a sum over the
/// columns, the bound its largest value; where the columns' shares are independent, the sum stays well within three
/// times the bound over the square root of the columns. Errors of an f32 scan are too small to matter.
#[allow(clippy::cast_precision_loss)]
fn assumed_share(codes: bool, columns: usize) -> f32 {
    if codes { (0.5 - 1.5 / (columns as f32).sqrt()).max(0.0) } else { 0.0 }
}

/// Candidates a query's buffer may hold before it is compacted. The wide intervals of an 8-bit scan leave
/// several times `k` documents undecided, and holding them costs less than scoring them early.
fn capacity(pass: &Pass<'_>, codes: bool) -> usize {
    let undecided = if codes { 12 } else { 4 };
    (undecided * pass.k + 512).min(pass.documents.rows() + pass.k)
}

/// Queries searched at the same time.
struct Group<'p, T> {
    pass: &'p Pass<'p>,
    dot: Dot,
    kernels: Kernels<T>,
    /// Whether queries are packed into tiles or lie one after the other.
    tiled: bool,
    /// Which queries of the pass.
    members: &'p [usize],
    /// Columns of a row as scanned.
    columns: usize,
    queries: Vec<T>,
    bounds: Vec<QueryBound>,
    documents: &'p DocumentBounds,
    /// The first stage of a scan in two.
    filter: Option<Filter<'p>>,
    /// Per query: a score that `k` documents are assumed to reach.
    thresholds: Vec<Threshold>,
    capacity: usize,
    assumed: Assumptions,
    /// Documents of a block.
    block_rows: usize,
    next_block: AtomicUsize,
}

impl<'p, T: Scanned> Group<'p, T> {
    fn new(
        pass: &'p Pass<'p>,
        set: InstructionSet,
        members: &'p [usize],
        capacity: usize,
        assumed: Assumptions,
        best: &[Best],
    ) -> Group<'p, T> {
        let kernels = T::kernels(set);
        let columns = T::columns(pass.documents);
        let tiled = members.len() > MOST_ROW_QUERIES;
        let filter = if tiled { T::filter(pass, set, members) } else { None };
        let block_rows = match &filter {
            Some(filter) => FILTERED_BLOCK_BYTES / filter.document_bytes(),
            None => BLOCK_BYTES / (columns * size_of::<T>()),
        };
        let tiles = block_rows.clamp(1, 4096) / kernels.documents;
        let mut group = Group {
            pass,
            dot: similarity::simd::dot_with(set),
            kernels,
            tiled,
            members,
            columns,
            queries: Vec::new(),
            bounds: Vec::new(),
            documents: pass.documents.bounds(pass.metric, T::SCAN),
            filter,
            thresholds: members.iter().map(|query| Threshold::new(best[*query].threshold())).collect(),
            capacity,
            assumed,
            block_rows: tiles.max(1) * kernels.documents,
            next_block: AtomicUsize::new(0),
        };
        group.take_queries();
        group
    }

    /// Brings the queries into the form the kernels read.
    fn take_queries(&mut self) {
        let width = if self.tiled { self.kernels.width() } else { 1 };
        self.queries = vec![T::default(); self.members.len().next_multiple_of(width) * self.columns];
        let mut scanned = vec![T::default(); self.columns];
        for (index, query) in self.members.iter().enumerate() {
            scanned.fill(T::default());
            let (values, norm) = (self.pass.queries.row(*query), self.pass.query_norms[*query]);
            let offset = self.kernels.code_offset;
            self.bounds.push(T::query(values, norm, self.pass.metric, offset, &mut scanned));
            if let Some(filter) = &mut self.filter {
                T::keep(filter, index, &scanned);
            }
            let tile = &mut self.queries[index / width * width * self.columns..];
            for (column, values) in scanned.chunks(T::GROUP).enumerate() {
                tile[(column * width + index % width) * T::GROUP..][..T::GROUP].copy_from_slice(values);
            }
        }
    }

    /// Searches all documents. Returns the queries for which the assumed thresholds did not hold, and leaves
    /// what was found for them before as it was.
    fn search(&self, workers: usize, best: &mut [Best]) -> Vec<usize> {
        let found = workers::run(workers, |_| Worker::new(self).run());
        let mut found: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
        let mut lists = best.iter_mut().enumerate();
        let open = self.members.iter().enumerate().filter_map(|(query, member)| {
            let (_, best) = lists.find(|(list, _)| list == member)?;
            let candidates = found.iter_mut().filter_map(Iterator::next).collect();
            Some(Open { query, best, candidates })
        });
        let mut open: Vec<Open<'_>> = open.collect();
        let failed = Mutex::new(Vec::new());
        let share = open.len().div_ceil(workers);
        workers::share(workers, open.chunks_mut(share), |open| {
            failed.lock().unwrap_or_else(PoisonError::into_inner).extend(self.close(open));
        });
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort_unstable();
        failed
    }

    /// Scores what the scan left undecided and returns the queries whose threshold did not hold.
    fn close(&self, open: &mut [Open<'_>]) -> Vec<usize> {
        let mut finals = Finals::default();
        for (slot, open) in open.iter_mut().enumerate() {
            let mut merged = Candidates::new(self.pass.k, self.assumed.share);
            open.candidates.iter_mut().for_each(|other| merged.append(other));
            finals.add(slot, open.query, merged.finish(self.pass.k, self.thresholds[open.query].get()));
        }
        self.score_undecided(&mut finals.undecided);
        let mut failed = Vec::new();
        for (open, (scored, threshold)) in open.iter_mut().zip(finals.into_scored()) {
            if !open.best.offer_all(&scored, threshold) {
                failed.push(self.members[open.query]);
            }
        }
        failed
    }

    /// Scores by definition, documents in ascending order: rows that several queries ask for are read once,
    /// and memory is walked in one direction.
    fn score_undecided(&self, undecided: &mut [Undecided]) {
        undecided.sort_unstable_by_key(|pair| (pair.id, pair.query));
        let mut buffer = vec![0.0; self.pass.documents.columns()];
        for index in 0..undecided.len() {
            if let Some(next) = undecided.get(index + PAIRS_AHEAD) {
                self.pass.documents.values().prefetch((next.id - self.pass.first_id) as usize);
            }
            let pair = &mut undecided[index];
            pair.score = self.score(pair.query as usize, pair.id, &mut buffer);
        }
    }

    /// The defined score of a document.
    fn score(&self, query: usize, id: u32, buffer: &mut [f32]) -> f32 {
        score(self.pass, self.dot, self.members[query], (id - self.pass.first_id) as usize, buffer)
    }

    #[allow(clippy::cast_possible_truncation)] // `Documents` has no more rows than 32-bit ids
    #[inline(always)]
    fn candidate(&self, row: usize, (lower, upper): (f32, f32)) -> Candidate {
        Candidate { id: self.pass.first_id + row as u32, lower, upper }
    }

    fn blocks(&self) -> usize {
        self.pass.documents.rows().div_ceil(self.block_rows)
    }

    /// The next block nobody has taken.
    fn claim(&self) -> Option<usize> {
        let block = self.next_block.fetch_add(1, Ordering::Relaxed);
        (block < self.blocks()).then_some(block)
    }

    /// The rows of a block that is read from end to end.
    fn rows_of(&self, block: usize) -> Range<usize> {
        let start = block * self.block_rows;
        start..(start + self.block_rows).min(self.pass.documents.rows())
    }

    /// The tiles of a block, by their rows: every `n`-th of all tiles, for `n` blocks.
    fn tiles_of(&self, block: usize) -> impl Iterator<Item = Range<usize>> {
        let (rows, tile) = (self.pass.documents.rows(), self.kernels.documents);
        (block * tile..rows).step_by(self.blocks() * tile).map(move |start| start..(start + tile).min(rows))
    }
}

/// A query whose documents have all been scanned.
struct Open<'b> {
    query: usize,
    best: &'b mut Best,
    /// From each worker.
    candidates: Vec<Candidates>,
}

/// A document that may be among the best of a query and has yet to be scored.
struct Undecided {
    id: u32,
    query: u32,
    /// Where the query stands among those closed together.
    slot: u32,
    score: f32,
}

/// What is left of some queries when all documents have been scanned.
#[derive(Default)]
struct Finals {
    undecided: Vec<Undecided>,
    /// Per query: what has its score, and a score that `k` documents are assumed to reach.
    scored: Vec<(Vec<Scored>, f32)>,
}

impl Finals {
    #[allow(clippy::cast_possible_truncation)] // memory holds no buffers for that many queries
    fn add(&mut self, slot: usize, query: usize, (candidates, threshold): (Vec<Candidate>, f32)) {
        let mut scored = Vec::with_capacity(candidates.len());
        for Candidate { id, lower, upper } in candidates {
            if lower == upper {
                scored.push(Scored { score: lower, id });
            } else {
                let (query, slot) = (query as u32, slot as u32);
                self.undecided.push(Undecided { id, query, slot, score: 0.0 });
            }
        }
        self.scored.push((scored, threshold));
    }

    fn into_scored(mut self) -> Vec<(Vec<Scored>, f32)> {
        for Undecided { id, slot, score, .. } in self.undecided {
            self.scored[slot as usize].0.push(Scored { score, id });
        }
        self.scored
    }
}

/// What one thread holds.
struct Worker<'g, T> {
    group: &'g Group<'g, T>,
    candidates: Vec<Candidates>,
    /// The documents of an incomplete tile.
    tail: Tail<T>,
    hits: Box<Hits>,
    products: Vec<f32>,
    limits: Vec<f32>,
    margins: Vec<Margin>,
    row: Vec<f32>,
    /// Hits of the queries of a tile, by place among them, on their way to the buffers.
    found: Vec<(usize, Candidate)>,
    /// Blocks scanned so far.
    blocks: usize,
}

/// An incomplete tile filled up with zeros.
struct Tail<T> {
    values: Vec<T>,
    code_sums: Vec<i32>,
    weights: Vec<f32>,
}

impl<T: Copy + Default> Tail<T> {
    fn new(rows: usize, columns: usize) -> Tail<T> {
        Tail {
            values: vec![T::default(); rows * columns],
            code_sums: vec![0; rows],
            weights: vec![0.0; rows],
        }
    }
}

impl<'g, T: Scanned> Worker<'g, T> {
    fn new(group: &'g Group<'g, T>) -> Worker<'g, T> {
        Worker {
            group,
            candidates: group
                .bounds
                .iter()
                .map(|_| Candidates::new(group.pass.k, group.assumed.share))
                .collect(),
            tail: Tail::new(group.kernels.documents, group.columns),
            hits: Box::new(Hits::new()),
            products: vec![0.0; group.block_rows],
            limits: vec![0.0; group.kernels.width()],
            margins: vec![Margin::NONE; group.kernels.width()],
            row: vec![0.0; group.pass.documents.columns()],
            found: Vec::new(),
            blocks: 0,
        }
    }

    fn run(mut self) -> Vec<Candidates> {
        let mut decoded = Vec::new();
        let filter = if HAS_HEADS { self.group.filter.as_ref() } else { None };
        let mut filter = filter.map(|filter| (filter, Sieve::default()));
        // Heads rule out nothing before there are thresholds, and may rule out little of unlike queries.
        let (mut heads_from, mut pause) = (2, 0);
        while let Some(block) = self.group.claim() {
            self.blocks += 1;
            decoded.clear();
            if let Some((filter, sieve)) = filter.as_mut().filter(|_| self.blocks >= heads_from) {
                self.scan_filtered(filter, sieve, block);
                let pairs = self.group.block_rows * self.group.bounds.len();
                pause = if sieve.take_left() * MOST_LEFT > pairs { 2 * pause.max(1) } else { 0 };
                heads_from = self.blocks + 1 + pause;
            } else if self.group.tiled {
                self.scan_tiles(block, &mut decoded);
            } else {
                self.scan_rows(self.group.rows_of(block), &mut decoded);
            }
        }
        self.candidates
    }

    fn scan_tiles(&mut self, block: usize, decoded: &mut Vec<T>) {
        let (group, documents) = (self.group, self.group.pass.documents);
        group.tiles_of(block).for_each(|rows| T::decode(documents, rows, decoded));
        let tile_values = group.kernels.documents * documents.columns();
        let mut worst = DocumentBound::ZERO;
        let mut tiles = Vec::with_capacity(group.block_rows / group.kernels.documents);
        for (index, rows) in group.tiles_of(block).enumerate() {
            worst = worst.worst(&group.documents.worst(rows.clone()));
            let decoded = decoded.get(index * tile_values..).unwrap_or(&[]);
            let mut values = T::rows(documents, rows.clone(), decoded);
            values.weights = &group.documents.weights[rows.clone()];
            if rows.len() < group.kernels.documents {
                self.fill_tail(&values, rows.len());
            }
            tiles.push((rows, values));
        }
        let width = group.kernels.width();
        for first_query in (0..group.bounds.len()).step_by(width) {
            let queries = first_query..(first_query + width).min(group.bounds.len());
            self.set_limits(queries.clone(), &worst);
            let packed = &group.queries[first_query * group.columns..][..width * group.columns];
            for (rows, values) in &tiles {
                if self.scan_tile(values, packed) {
                    self.collect(queries.len(), rows);
                }
            }
            self.keep_found(queries);
        }
    }

    /// As [`scan_tiles`](Self::scan_tiles), heads first.
    fn scan_filtered(&mut self, filter: &Filter<'g>, sieve: &mut Sieve, block: usize) {
        if !HAS_HEADS {
            return;
        }
        let (group, documents) = (self.group, self.group.pass.documents);
        let mut worst = DocumentBound::ZERO;
        let mut tiles = Tiles::new(group.documents);
        let mut incomplete = None;
        for rows in group.tiles_of(block) {
            worst = worst.worst(&group.documents.worst(rows.clone()));
            if rows.len() == group.kernels.documents {
                tiles.push(filter, rows);
            } else {
                let mut values = T::rows(documents, rows.clone(), &[]);
                values.weights = &group.documents.weights[rows.clone()];
                self.fill_tail(&values, rows.len());
                incomplete = Some((rows, values));
            }
        }
        let width = group.kernels.width();
        for first_query in (0..group.bounds.len()).step_by(width) {
            let queries = first_query..(first_query + width).min(group.bounds.len());
            self.set_limits(queries.clone(), &worst);
            let known = queries.clone().map(|query| group.thresholds[query].get());
            for (row, member, product) in sieve.sift(filter, first_query, &tiles, known, &self.limits) {
                if member < queries.len() {
                    let interval = self.margins[member].interval(product);
                    self.found.push((member, group.candidate(row, interval)));
                }
            }
            if let Some((rows, values)) = &incomplete {
                let packed = &group.queries[first_query * group.columns..][..width * group.columns];
                if self.scan_tile(values, packed) {
                    self.collect(queries.len(), rows);
                }
            }
            self.keep_found(queries);
        }
    }

    /// Takes the hits of a tile of queries into their buffers. Not one by one between the tiles: the buffers of all
    /// queries are far larger than a cache, and a store that misses holds up those of the next tile.
    fn keep_found(&mut self, queries: Range<usize>) {
        for (member, candidate) in self.found.drain(..) {
            self.candidates[queries.start + member].push(candidate);
        }
        queries.for_each(|query| self.make_room(query));
    }

    fn set_limits(&mut self, queries: Range<usize>, worst: &DocumentBound) {
        self.limits.fill(f32::INFINITY);
        for (lane, query) in queries.enumerate() {
            let (known, bound) = (self.group.thresholds[query].get(), &self.group.bounds[query]);
            self.limits[lane] = bound.threshold(known, worst);
            self.margins[lane] = bound.margin(worst);
        }
    }

    /// Runs the kernel on a tile of documents; whether any product is a hit.
    #[inline(always)]
    fn scan_tile(&mut self, rows: &Rows<'_, T>, packed: &[T]) -> bool {
        let group = self.group;
        let (queries, columns) = (packed, group.columns);
        let (block, weights) = if rows.weights.len() < group.kernels.documents {
            let Tail { values: documents, code_sums, weights } = &self.tail;
            (Block { queries, documents, stride: columns, columns, code_sums }, &weights[..])
        } else {
            let Rows { values: documents, stride, code_sums, weights } = *rows;
            (Block { queries, documents, stride, columns, code_sums }, weights)
        };
        group.kernels.tile(&block, weights, &self.limits, &mut self.hits)
    }

    fn fill_tail(&mut self, rows: &Rows<'_, T>, count: usize) {
        let columns = self.group.columns;
        self.tail.values.fill(T::default());
        self.tail.code_sums.fill(0);
        self.tail.weights.fill(0.0);
        self.tail.weights[..count].copy_from_slice(rows.weights);
        for (row, values) in self.tail.values.chunks_mut(columns).take(count).enumerate() {
            values.copy_from_slice(&rows.values[row * rows.stride..][..columns]);
        }
        if T::CODES {
            self.tail.code_sums[..count].copy_from_slice(rows.code_sums);
        }
    }

    /// Takes note of the hits of a tile.
    fn collect(&mut self, queries: usize, rows: &Range<usize>) {
        let (registers, lanes) = (self.group.kernels.registers, self.group.kernels.lanes);
        for (document, row) in rows.clone().enumerate() {
            for part in 0..registers {
                let register = document * registers + part;
                let mut mask = self.hits.masks[register];
                while mask != 0 {
                    let lane = mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    let member = part * lanes + lane;
                    if member < queries {
                        let interval = self.margins[member].interval(self.hits.products[register][lane]);
                        self.found.push((member, self.group.candidate(row, interval)));
                    }
                }
            }
        }
    }

    fn scan_rows(&mut self, range: Range<usize>, decoded: &mut Vec<T>) {
        let (documents, columns) = (self.group.pass.documents, self.group.columns);
        T::decode(documents, range.clone(), decoded);
        let rows = T::rows(documents, range.clone(), decoded);
        let weights = &self.group.documents.weights[range.clone()];
        let worst = &self.group.documents.worst(range.clone());
        for query in 0..self.group.bounds.len() {
            let queries = &self.group.queries[query * columns..][..columns];
            let (stride, code_sums) = (rows.stride, rows.code_sums);
            let block = Block { queries, documents: rows.values, stride, columns, code_sums };
            self.group.kernels.rows(&block, &mut self.products[..range.len()]);
            let bound = &self.group.bounds[query];
            let limit = bound.threshold(self.group.thresholds[query].get(), worst);
            let margin = bound.margin(worst);
            for (row, weight) in weights.iter().enumerate() {
                let product = self.products[row] * weight;
                #[allow(clippy::neg_cmp_op_on_partial_ord)] // NaN must pass
                if !(product < limit) {
                    let candidate = self.group.candidate(range.start + row, margin.interval(product));
                    self.candidates[query].push(candidate);
                }
            }
            self.make_room(query);
        }
    }

    /// Compacts a query's buffer when it is full; where the sample speaks of all documents, also each time that
    /// the sample has doubled.
    fn make_room(&mut self, query: usize) {
        let group = self.group;
        let rank = self.assumed_rank();
        if !(self.candidates[query].is_full() || rank.is_some() && self.blocks.is_power_of_two()) {
            return;
        }
        let assumed = rank.map_or(f32::NEG_INFINITY, |rank| self.candidates[query].reached(rank));
        let known = group.thresholds[query].get().max(assumed);
        let row = &mut self.row;
        let score = |id| group.score(query, id, row);
        let reached = self.candidates[query].compact(group.pass.k, group.capacity, known, score);
        group.thresholds[query].raise(reached);
    }

    /// The rank among the documents seen so far that stands for rank `k` among all.
    #[allow(clippy::cast_precision_loss)]
    fn assumed_rank(&self) -> Option<usize> {
        let fraction = self.blocks as f64 / self.group.blocks() as f64;
        let sampled = self.group.assumed.sampled && self.group.tiled;
        sampled.then(|| assumed_rank(self.group.pass.k, fraction)).flatten()
    }
}

/// A score that only rises, shared by all threads.
struct Threshold(AtomicU32);

impl Threshold {
    fn new(score: f32) -> Threshold {
        Threshold(AtomicU32::new(ordered(score)))
    }

    fn get(&self) -> f32 {
        let bits = self.0.load(Ordering::Relaxed);
        f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
    }

    fn raise(&self, score: f32) {
        self.0.fetch_max(ordered(score), Ordering::Relaxed);
    }
}

/// Bits that compare as unsigned integers the way the scores do.
fn ordered(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}
