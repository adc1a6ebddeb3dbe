//! Top-k on a GPU: launches and memory around `top_k.cu`.
//!
//! Documents lie on the device as bf16 rows to scan and as given to score. They are scanned in rounds, each at
//! most four times what was seen before. After a round each query's buffer holds its exact best `k` of all
//! documents seen, scored by definition, and its threshold is the `k`-th of these scores: the next round appends
//! few ids. Where a round appends more than a buffer holds (documents sorted by score, thousands of equal ones) it
//! is taken back and done in halves; a round no larger than the free part of a buffer always fits, so that ends.
//!
//! Documents that do not fit the device come in chunks: while one is searched, another thread of the host copies
//! the next one through pinned buffers on a stream of its own.
//!
//! # The error of the scan
//! With `q'`, `r'` the bf16 roundings, `e_q = |q - q'|` and `e_r = |r - r'|` measured, not estimated,
//! `q.r - q'.r' = q.(r - r') + (q - q').r'` is at most `|q| e_r + e_q (|r| + e_r)`. Products of bf16 are exact in
//! f32. A tensor core adds sixteen of them and the sum so far at a time, and we take of it only that each of the
//! seventeen is cut to 24 bits below the largest and the result to 24 bits: an error of at most `18 x 2^-23` times
//! `|q'| |r'|` (which bounds every partial sum and product) a step, hence `2.25 d' 2^-23 |q'| |r'|` for `d'` padded
//! columns. `A = 4 (d' + 32) 2^-23` stands for it and leaves room for the roundings of weight, factor, product and
//! limit. Lengths outside `1e-15 .. 1e15` are never scanned (`bounds.rs`).

use std::ops::Range;
use std::thread;

use half::bf16;

use super::best::{Best, Scored};
use super::bounds::{DocumentBound, Scan};
use super::documents::{Documents, Values};
use super::{Accumulator, Engine, Pass, TopK};
use crate::cuda::{
    Argument, Buffer, COLUMN_STEP, Gpu, Products, Source, THREADS, TILE, Uploader, bytes_of, gpu, source,
};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::similarity::{Dot, Metric};

const SOURCE: Source = source!("top_k.cu");

/// The largest k: a buffer's keys must fit a block's shared memory.
const MOST_K: usize = 4096;
/// Entries a buffer has at least.
const LEAST_CAPACITY: usize = 1024;
/// Documents that share a bound on residual and length, as in `top_k.cu`.
const BOUND_ROWS: usize = 128;
/// Document tiles a block scans one after the other.
const TILES_PER_BLOCK: usize = 8;
/// Blocks along the second dimension of a grid, at most.
const MOST_BLOCKS: usize = 65_535;
/// Buffers of all queries searched at the same time, together.
const BUFFER_BYTES: usize = 1 << 30;
/// A round takes up to this many times the documents seen before it.
const GROWTH: usize = 3;
/// What is left free of the device's memory when documents are cut into chunks: buffers, modules, others.
const SPARE_BYTES: usize = 256 << 20;

/// Searches the documents of a pass and adds to what was found before.
pub(super) fn search(pass: &Pass<'_>, dot: Dot, best: &mut [Best]) -> Result<()> {
    let gpu = gpu()?;
    require_k(pass.k)?;
    let asked = Asked {
        queries: pass.queries,
        norms: pass.query_norms,
        k: pass.k,
        metric: pass.metric,
        products: gpu.products(),
    };
    let mut groups: Vec<Queries<'_>> = Vec::new();
    let size = group_size(pass.k);
    for (index, best) in best.chunks(size).enumerate() {
        groups.push(Queries::new(gpu, &asked, dot, index * size, best)?);
    }
    let mut uploader = gpu.uploader()?;
    let chunks = chunks(gpu, pass)?;
    let mut next =
        Some(Chunk::load(gpu, &mut uploader, pass.documents, pass.metric, pass.first_id, chunks[0].clone())?);
    for upcoming in 1..=chunks.len() {
        let Some(current) = next.take() else { break };
        next = thread::scope(|scope| {
            let loading = chunks.get(upcoming).map(|rows| {
                let uploader = &mut uploader;
                scope.spawn(move || {
                    Chunk::load(gpu, uploader, pass.documents, pass.metric, pass.first_id, rows.clone())
                })
            });
            let searched = groups.iter_mut().try_for_each(|queries| queries.search(&current));
            let loaded = loading
                .map(|loading| loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            searched.and_then(|()| loaded.transpose())
        })?;
    }
    for (queries, best) in groups.iter().zip(best.chunks_mut(size)) {
        queries.offer(best)?;
    }
    Ok(())
}

fn require_k(k: usize) -> Result<()> {
    if k <= MOST_K {
        return Ok(());
    }
    Err(Error::OutOfRange { what: "k on a GPU", value: k as f64, expected: "at most 4096" })
}

/// Entries of a query's buffer.
fn capacity(k: usize) -> usize {
    (4 * k).next_power_of_two().clamp(LEAST_CAPACITY, 4 * MOST_K)
}

fn group_size(k: usize) -> usize {
    (BUFFER_BYTES / (8 * capacity(k))).max(1)
}

fn padded(columns: usize) -> usize {
    columns.next_multiple_of(COLUMN_STEP)
}

/// The rows that lie on the device at the same time: all of them, or so many that two chunks fit.
fn chunks(gpu: &Gpu, pass: &Pass<'_>) -> Result<Vec<Range<usize>>> {
    let rows = pass.documents.rows();
    let row_bytes = row_bytes(pass.documents);
    let free = gpu.free_memory()?;
    let usable = free.saturating_sub(SPARE_BYTES.min(free / 2));
    let rows_at_a_time = if rows * row_bytes <= usable {
        rows
    } else {
        (usable / 2 / row_bytes / BOUND_ROWS).max(1) * BOUND_ROWS
    };
    Ok((0..rows).step_by(rows_at_a_time).map(|first| first..(first + rows_at_a_time).min(rows)).collect())
}

/// Device memory a document takes, in bytes.
fn row_bytes(documents: &Documents<'_>) -> usize {
    let raw = raw(documents.values());
    let scanned = if raw.scans_in_place() { 0 } else { 2 * padded(documents.columns()) };
    raw.stride * raw.value_bytes + scanned + size_of::<f32>() * 2 + size_of::<f64>()
}

/// The documents as bytes.
struct Raw<'a> {
    bytes: &'a [u8],
    kind: u32,
    value_bytes: usize,
    columns: usize,
    stride: usize,
}

impl Raw<'_> {
    /// Whether the scan can read the documents as they are.
    fn scans_in_place(&self) -> bool {
        self.kind == 2 && self.stride == self.columns && self.columns.is_multiple_of(COLUMN_STEP)
    }
}

fn raw<'a>(values: &Values<'a>) -> Raw<'a> {
    fn of<'a, T: crate::cuda::Plain>(matrix: &Matrix<'a, T>, kind: u32) -> Raw<'a> {
        Raw {
            bytes: bytes_of(matrix.values()),
            kind,
            value_bytes: size_of::<T>(),
            columns: matrix.columns(),
            stride: matrix.stride(),
        }
    }
    match values {
        Values::F32(matrix) => of(matrix, 0),
        Values::F16(matrix) => of(matrix, 1),
        Values::Bf16(matrix) => of(matrix, 2),
        Values::Int8 { codes, .. } => of(codes, 3),
    }
}

/// Documents on the device.
#[derive(Debug)]
struct Chunk {
    /// Their ids count from here.
    first_id: u32,
    rows: usize,
    columns: usize,
    kind: u32,
    stride: usize,
    values: Buffer<u8>,
    /// bf16 rows of padded columns; `None` where `values` are just that.
    scanned: Option<Buffer<u16>>,
    scales: Buffer<f32>,
    norms: Buffer<f64>,
    weights: Buffer<f32>,
    /// For each `BOUND_ROWS`: the largest weighted residual and length.
    residuals: Buffer<f32>,
    tile_norms: Buffer<f32>,
}

impl Chunk {
    fn load(
        gpu: &Gpu,
        uploader: &mut Uploader<'_>,
        documents: &Documents<'_>,
        metric: Metric,
        first_id: u32,
        rows: Range<usize>,
    ) -> Result<Chunk> {
        let raw = raw(documents.values());
        let (count, columns) = (rows.len(), documents.columns());
        let row_bytes = raw.stride * raw.value_bytes;
        let end = ((rows.end - 1) * raw.stride + columns) * raw.value_bytes;
        let bytes = &raw.bytes[rows.start * row_bytes..end];
        let mut values = gpu.buffer(bytes.len())?;
        uploader.copy(bytes, &mut values)?;
        let bounds: Vec<DocumentBound> =
            rows.clone().map(|row| DocumentBound::of(documents, row, metric, Scan::Floats)).collect();
        let weights: Vec<f32> = bounds.iter().map(|bound| bound.weight).collect();
        let tile_norms: Vec<f32> = bounds
            .chunks(BOUND_ROWS)
            .map(|tile| tile.iter().fold(0.0, |norm, bound| bound.norm.max(norm)))
            .collect();
        let scale = |row: usize| documents.values().scale(row);
        let norms: Vec<f64> = match metric {
            Metric::Dot => Vec::new(),
            Metric::Cosine => rows.clone().map(|row| documents.norm(row) * scale(row).abs()).collect(),
        };
        let scales: Vec<f32> = match documents.values() {
            Values::Int8 { scales, .. } => scales[rows.clone()].to_vec(),
            _ => Vec::new(),
        };
        let mut chunk = Chunk {
            first_id: first_id + u32::try_from(rows.start).unwrap_or(u32::MAX),
            rows: count,
            columns,
            kind: raw.kind,
            stride: raw.stride,
            values,
            scanned: None,
            scales: gpu.upload(&scales)?,
            norms: gpu.upload(&norms)?,
            weights: gpu.upload(&weights)?,
            residuals: gpu.zeros(tile_norms.len())?,
            tile_norms: gpu.upload(&tile_norms)?,
        };
        if !raw.scans_in_place() {
            chunk.prepare(gpu)?;
        }
        Ok(chunk)
    }

    fn prepare(&mut self, gpu: &Gpu) -> Result<()> {
        let padded = padded(self.columns);
        let scanned = gpu.buffer::<u16>(self.rows * padded)?;
        let kernel = gpu.kernel(&SOURCE, "top_k_prepare", THREADS, 64)?;
        // SAFETY: `values` holds `rows` rows `stride` apart, `scanned` `rows x padded` values; `weights` and
        // `residuals` are per row and bound.
        unsafe {
            kernel.launch(
                (self.rows.div_ceil(BOUND_ROWS), 1),
                &[
                    self.values.first(),
                    Argument::Count(self.kind),
                    Argument::stride(self.stride),
                    Argument::count(self.columns),
                    Argument::count(self.rows),
                    Argument::count(padded),
                    self.weights.first(),
                    scanned.first(),
                    self.residuals.first(),
                ],
            )?;
        }
        self.scanned = Some(scanned);
        gpu.synchronize()
    }

    fn scanned_at(&self, row: usize) -> Argument {
        match &self.scanned {
            Some(scanned) => scanned.at(row * padded(self.columns)),
            None => self.values.at(row * self.stride * size_of::<bf16>()),
        }
    }

    fn bytes(&self) -> usize {
        let floats = [&self.scales, &self.weights, &self.residuals, &self.tile_norms];
        self.values.bytes()
            + self.scanned.as_ref().map_or(0, Buffer::bytes)
            + self.norms.bytes()
            + floats.iter().map(|buffer| buffer.bytes()).sum::<usize>()
    }
}

/// What is searched for.
struct Asked<'a> {
    queries: Matrix<'a, f32>,
    norms: &'a [f64],
    k: usize,
    metric: Metric,
    products: Products,
}

/// A query's share of the error, rounded up.
struct QueryBound {
    factor: f32,
    on_residual: f32,
    on_norm: f32,
}

impl QueryBound {
    /// `norm` is `|q|`, `residual` `|q - q'|`.
    #[allow(clippy::cast_possible_truncation)]
    fn new(norm: f64, residual: f64, columns: usize, metric: Metric) -> QueryBound {
        if norm == 0.0 {
            return QueryBound { factor: 1.0, on_residual: 0.0, on_norm: 0.0 };
        }
        let accumulation = 4.0 * (padded(columns) + 32) as f64 / f64::from(1u32 << 23);
        if !(1e-15..=1e15).contains(&norm) || accumulation > 0.25 {
            return QueryBound { factor: f32::NAN, on_residual: 0.0, on_norm: 0.0 };
        }
        let value = if metric == Metric::Cosine { 1.0 / norm } else { 1.0 };
        let accumulated = accumulation * (norm + residual);
        let up = |bound: f64| ((bound * (1.0 + 1e-6)) as f32).next_up();
        QueryBound {
            factor: value as f32,
            on_residual: up(value * (norm + residual + accumulated)),
            on_norm: up(value * (residual + accumulated)),
        }
    }
}

/// Queries on the device with their buffers.
#[derive(Debug)]
struct Queries<'g> {
    gpu: &'g Gpu,
    count: usize,
    k: usize,
    capacity: usize,
    columns: usize,
    metric: Metric,
    products: Products,
    values: Buffer<f32>,
    rounded: Buffer<u16>,
    norms: Buffer<f64>,
    factors: Buffer<f32>,
    on_residuals: Buffer<f32>,
    on_norms: Buffer<f32>,
    thresholds: Buffer<f32>,
    ids: Buffer<u32>,
    scores: Buffer<f32>,
    settled: Buffer<u32>,
    counts: Buffer<u32>,
    overflow: Buffer<u32>,
    /// Documents searched.
    seen: usize,
}

impl<'g> Queries<'g> {
    fn new(gpu: &'g Gpu, asked: &Asked<'_>, dot: Dot, first: usize, best: &[Best]) -> Result<Queries<'g>> {
        let (count, columns, capacity) = (best.len(), asked.queries.columns(), capacity(asked.k));
        let stride = padded(columns);
        let mut values = Vec::with_capacity(count * columns);
        let mut rounded = vec![0u16; count * stride];
        let mut bounds = Vec::with_capacity(count);
        let mut left_out = vec![0.0f32; columns];
        for query in 0..count {
            let (row, norm) = (asked.queries.row(first + query), asked.norms[first + query]);
            values.extend_from_slice(row);
            let target = &mut rounded[query * stride..][..columns];
            for ((value, rounded), left) in row.iter().zip(target).zip(&mut left_out) {
                let nearest = bf16::from_f32(*value);
                *rounded = nearest.to_bits();
                // Exact: a value and its bf16 neighbour are close enough for their difference to be an f32.
                *left = value - nearest.to_f32();
            }
            let residual = dot(&left_out, &left_out).sqrt() * (1.0 + 1e-9);
            bounds.push(QueryBound::new(norm, residual, columns, asked.metric));
        }
        let of = |part: fn(&QueryBound) -> f32| gpu.upload(&bounds.iter().map(part).collect::<Vec<f32>>());
        let thresholds: Vec<f32> = best.iter().map(Best::threshold).collect();
        Ok(Queries {
            gpu,
            count,
            k: asked.k,
            capacity,
            columns,
            metric: asked.metric,
            products: asked.products,
            values: gpu.upload(&values)?,
            rounded: gpu.upload(&rounded)?,
            norms: gpu.upload(&asked.norms[first..first + count])?,
            factors: of(|bound| bound.factor)?,
            on_residuals: of(|bound| bound.on_residual)?,
            on_norms: of(|bound| bound.on_norm)?,
            thresholds: gpu.upload(&thresholds)?,
            ids: gpu.buffer(count * capacity)?,
            scores: gpu.buffer(count * capacity)?,
            settled: gpu.zeros(count)?,
            counts: gpu.zeros(count)?,
            overflow: gpu.zeros(1)?,
            seen: 0,
        })
    }

    /// Searches a chunk, in rounds.
    fn search(&mut self, chunk: &Chunk) -> Result<()> {
        let mut first = 0;
        while first < chunk.rows {
            let round = ((GROWTH * self.seen).max(self.capacity - self.k) / BOUND_ROWS).max(1) * BOUND_ROWS;
            let rows = first..(first + round).min(chunk.rows);
            first = rows.end;
            self.seen += rows.len();
            self.search_rows(chunk, rows)?;
        }
        self.gpu.synchronize()
    }

    /// One round; `rows` start where a bound does.
    fn search_rows(&mut self, chunk: &Chunk, rows: Range<usize>) -> Result<()> {
        self.scan(chunk, rows.clone())?;
        let overflowed = self.gpu.download(&self.overflow, 1)?[0] != 0;
        if !overflowed {
            self.rescore(chunk)?;
            return self.select();
        }
        self.rewind()?;
        let bounds = rows.len().div_ceil(BOUND_ROWS);
        let middle = rows.start + bounds.div_ceil(2) * BOUND_ROWS;
        self.search_rows(chunk, rows.start..middle.min(rows.end))?;
        if middle < rows.end { self.search_rows(chunk, middle..rows.end) } else { Ok(()) }
    }

    fn scan(&mut self, chunk: &Chunk, rows: Range<usize>) -> Result<()> {
        let shared = 4 * TILE * size_of::<f32>();
        let kernel = self.gpu.product_kernel(&SOURCE, self.products, "top_k_scan", shared)?;
        let tiles = rows.len().div_ceil(self.products.tile_columns());
        let per_block = TILES_PER_BLOCK.max(tiles.div_ceil(MOST_BLOCKS));
        let bound = rows.start / BOUND_ROWS;
        let padded = padded(self.columns);
        let operand = |values, rows| self.gpu.operand(self.products, values, padded, rows, padded);
        let first_id = chunk.first_id + u32::try_from(rows.start).unwrap_or(u32::MAX);
        // SAFETY: all buffers are per query, per row of the chunk from `rows.start` on or per bound from `bound` on,
        // and the grid covers `count` queries and `rows.len()` documents.
        unsafe {
            kernel.launch(
                (self.count.div_ceil(TILE), tiles.div_ceil(per_block)),
                &[
                    operand(self.rounded.first(), self.count)?,
                    operand(chunk.scanned_at(rows.start), rows.len())?,
                    Argument::count(self.count),
                    Argument::count(padded),
                    self.factors.first(),
                    self.on_residuals.first(),
                    self.on_norms.first(),
                    self.thresholds.first(),
                    Argument::count(rows.len()),
                    chunk.weights.at(rows.start),
                    chunk.residuals.at(bound),
                    chunk.tile_norms.at(bound),
                    Argument::Count(first_id),
                    Argument::count(per_block),
                    Argument::count(self.capacity),
                    self.ids.first(),
                    self.counts.first(),
                    self.overflow.first(),
                ],
            )
        }
    }

    fn rescore(&mut self, chunk: &Chunk) -> Result<()> {
        let kernel = self.gpu.kernel(&SOURCE, "top_k_rescore", THREADS, 0)?;
        // SAFETY: what is not settled was appended by a scan of this chunk, so its ids less `first_id` are rows of
        // `values`, `scales` and `norms` (the latter two only read where they have values).
        unsafe {
            kernel.launch(
                (self.count, 1),
                &[
                    self.values.first(),
                    Argument::count(self.columns),
                    self.norms.first(),
                    chunk.values.first(),
                    Argument::Count(chunk.kind),
                    Argument::stride(chunk.stride),
                    chunk.scales.first(),
                    chunk.norms.first(),
                    Argument::Count(chunk.first_id),
                    Argument::Count(u32::from(self.metric == Metric::Cosine)),
                    Argument::count(self.capacity),
                    self.ids.first(),
                    self.scores.first(),
                    self.settled.first(),
                    self.counts.first(),
                ],
            )
        }
    }

    fn select(&mut self) -> Result<()> {
        let shared = self.capacity * size_of::<u64>() + 32;
        let kernel = self.gpu.kernel(&SOURCE, "top_k_select", THREADS, shared)?;
        // SAFETY: counts are at most `capacity`, and every entry below them has an id and a score.
        unsafe {
            kernel.launch(
                (self.count, 1),
                &[
                    Argument::count(self.k),
                    Argument::count(self.capacity),
                    self.ids.first(),
                    self.scores.first(),
                    self.settled.first(),
                    self.counts.first(),
                    self.thresholds.first(),
                ],
            )
        }
    }

    fn rewind(&mut self) -> Result<()> {
        let kernel = self.gpu.kernel(&SOURCE, "top_k_rewind", THREADS, 0)?;
        let blocks = self.count.div_ceil(THREADS as usize);
        // SAFETY: both buffers are per query.
        unsafe {
            kernel.launch(
                (blocks, 1),
                &[Argument::count(self.count), self.settled.first(), self.counts.first()],
            )?;
        }
        self.gpu.clear(&mut self.overflow)
    }

    /// Hands over what was found.
    fn offer(&self, best: &mut [Best]) -> Result<()> {
        let counts = self.gpu.download(&self.counts, self.count)?;
        let ids = self.gpu.download(&self.ids, self.count * self.capacity)?;
        let scores = self.gpu.download(&self.scores, self.count * self.capacity)?;
        for (query, (best, count)) in best.iter_mut().zip(counts).enumerate() {
            let entries = query * self.capacity..query * self.capacity + count as usize;
            for (id, score) in ids[entries.clone()].iter().zip(&scores[entries]) {
                best.offer(Scored { score: *score, id: *id });
            }
        }
        Ok(())
    }
}

/// Documents that stay on the device, for many searches with one metric.
#[derive(Debug)]
pub struct DeviceDocuments {
    chunk: Chunk,
    metric: Metric,
}

impl DeviceDocuments {
    /// Copies the documents to the device.
    ///
    /// # Errors
    /// [`Error::Device`] without a GPU, [`Error::Cuda`] when they do not fit its memory.
    pub fn upload(documents: &Documents<'_>, metric: Metric) -> Result<DeviceDocuments> {
        let gpu = gpu()?;
        let mut uploader = gpu.uploader()?;
        let chunk = Chunk::load(gpu, &mut uploader, documents, metric, 0, 0..documents.rows())?;
        Ok(DeviceDocuments { chunk, metric })
    }

    /// Number of documents.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.chunk.rows
    }

    /// Bytes of device memory they take.
    #[must_use]
    pub fn device_bytes(&self) -> usize {
        self.chunk.bytes()
    }

    /// The `k` documents of highest similarity for each query: the result of [`search`](super::search), to the
    /// bit.
    ///
    /// # Errors
    /// As [`search`](super::search), [`Error::OutOfRange`] for a `k` beyond 4,096, [`Error::Cuda`].
    pub fn search(&self, queries: Matrix<'_, f32>, k: usize) -> Result<TopK> {
        self.search_with(queries, k, gpu()?.products())
    }

    /// [`DeviceDocuments::search`] by the products named.
    ///
    /// # Errors
    /// As there; [`Error::Cuda`] where the device has no such products.
    pub fn search_with(&self, queries: Matrix<'_, f32>, k: usize, products: Products) -> Result<TopK> {
        crate::similarity::require_same_columns(queries.columns(), self.chunk.columns)?;
        if k == 0 || k > self.rows() {
            return Err(Error::K { k, documents: self.rows() });
        }
        require_k(k)?;
        let gpu = gpu()?;
        gpu.require(products)?;
        let mut accumulator = Accumulator::on(Engine::Cuda, queries, k, self.metric, 0)?;
        let size = group_size(k);
        for (index, best) in accumulator.best.chunks_mut(size).enumerate() {
            let asked = Asked { queries, norms: &accumulator.query_norms, k, metric: self.metric, products };
            let mut group = Queries::new(gpu, &asked, Engine::Cuda.dot(), index * size, best)?;
            group.search(&self.chunk)?;
            group.offer(best)?;
        }
        accumulator.documents = self.rows();
        accumulator.finish()
    }
}
