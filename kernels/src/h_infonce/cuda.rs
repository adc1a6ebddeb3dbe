//! H-InfoNCE on a GPU: launches and memory around `h_infonce.cu`.
//!
//! The embeddings are rounded to bf16 once; scores, maxima and sums are f32, levels and the loss f64. The scores
//! are computed twice, once for the loss and once for the gradients, and never lie in memory. Their gradient `G`
//! does, as bf16, one square of at most 8,448 x 8,448 (136 MiB) at a time, for the two products that pull the
//! embeddings. Besides inputs and gradients the device holds O(B + pairs) values, the square, and for each query
//! and share of the documents a maximum and a sum.

use super::Options;
use super::labels::SparseLabels;
use super::simd::Embeddings;
use crate::cuda::{Argument, Buffer, COLUMN_STEP, Gpu, Products, Source, THREADS, TILE, gpu, source};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

const SOURCE: Source = source!("h_infonce.cu");

/// Queries and documents of the square of gradients, at most.
const SQUARE: usize = 8448;
/// Blocks of the forward pass for each multiprocessor: one or two run at the same time, the rest evens out the ends.
const BLOCKS_EACH: usize = 8;
/// Shared memory for a row's shift and largest score.
const ROW_BYTES: usize = TILE * 2 * size_of::<f32>();
/// Threads of a block of the levels.
const LEVEL_THREADS: u32 = 128;

/// Loss per query alone.
pub(super) fn embedding_loss(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
) -> Result<Vec<f64>> {
    let mut batch = Batch::upload(queries, documents, labels, options)?;
    batch.forward()?;
    batch.loss()
}

/// Loss per query and both gradients.
pub(super) fn embeddings(
    queries: Matrix<'_, f32>,
    documents: Matrix<'_, f32>,
    labels: SparseLabels<'_>,
    options: Options,
) -> Result<Embeddings> {
    let mut batch = Batch::upload(queries, documents, labels, options)?;
    batch.forward()?;
    batch.backward()?;
    let (queries, documents) = batch.gradients()?;
    Ok(Embeddings { loss: batch.loss()?, queries, documents })
}

/// A batch that lies on the device: labels, embeddings, the loss and its gradients.
#[derive(Debug)]
pub struct Batch {
    gpu: &'static Gpu,
    products: Products,
    query_count: usize,
    document_count: usize,
    columns: usize,
    padded: usize,
    /// log2(e) / temperature.
    scale: f32,
    inverse_temperature: f32,
    anchors: u32,
    factor: f64,
    /// bf16 rows of `padded` values.
    queries: Buffer<u16>,
    documents: Buffer<u16>,
    offsets: Buffer<u32>,
    listed: Buffer<u32>,
    labels: Buffer<u8>,
    weights: Buffer<f32>,
    /// Scores of the listed pairs, later their gradients.
    pairs: Buffer<f32>,
    /// Of each part of the documents, for each query.
    maxima: Buffer<f32>,
    sums: Buffer<f32>,
    tiles_per_block: usize,
    parts: usize,
    /// The most queries and documents of a square, whole tiles.
    square: usize,
    largest: Buffer<f32>,
    shifts: Buffer<f32>,
    losses: Buffer<f64>,
    /// The square of `G`, `rows x stride`; with the gradients there from the first backward pass on.
    backward: Option<Backward>,
}

#[derive(Debug)]
struct Backward {
    square: Buffer<u16>,
    rows: usize,
    stride: usize,
    queries: Buffer<f32>,
    documents: Buffer<f32>,
}

impl Batch {
    /// Copies a batch to the device and rounds its embeddings. Inputs and their checks are those of
    /// [`loss_and_gradients`](super::loss_and_gradients).
    ///
    /// # Errors
    /// As there; [`Error::Device`] without a GPU, [`Error::Cuda`] when it fails, [`Error::OutOfRange`] beyond 32-bit counts.
    pub fn upload(
        queries: Matrix<'_, f32>,
        documents: Matrix<'_, f32>,
        labels: SparseLabels<'_>,
        options: Options,
    ) -> Result<Batch> {
        Batch::upload_with(queries, documents, labels, options, gpu()?.products())
    }

    /// [`Batch::upload`] for work by the products named.
    ///
    /// # Errors
    /// As there; [`Error::Cuda`] where the device has no such products.
    pub fn upload_with(
        queries: Matrix<'_, f32>,
        documents: Matrix<'_, f32>,
        labels: SparseLabels<'_>,
        options: Options,
        products: Products,
    ) -> Result<Batch> {
        let factor = super::check_embeddings(queries, documents, labels, options)?;
        let gpu = gpu()?;
        gpu.require(products)?;
        let pairs = labels.pairs();
        for (what, count) in [("documents", documents.rows()), ("labelled pairs", pairs)] {
            require_32_bits(what, count)?;
        }
        let (query_count, document_count) = (queries.rows(), documents.rows());
        let columns = queries.columns();
        let padded = columns.next_multiple_of(COLUMN_STEP);
        let tiles = document_count.div_ceil(products.tile_columns());
        let blocks = (BLOCKS_EACH * gpu.multiprocessors).div_ceil(query_count.div_ceil(TILE));
        let tiles_per_block = tiles.div_ceil(blocks);
        let parts = products.parts() * tiles.div_ceil(tiles_per_block);
        let inverse_temperature = 1.0 / options.temperature;
        let rows = (0..query_count).map(|query| labels.row(query));
        let entries: Vec<_> = rows.collect();
        let listed: Vec<u32> = entries.iter().flat_map(|row| row.documents.iter().copied()).collect();
        let levels: Vec<u8> = entries.iter().flat_map(|row| row.labels.iter().copied()).collect();
        let weights: Vec<f32> =
            entries.iter().flat_map(|row| (0..row.documents.len()).map(|entry| row.weight(entry))).collect();
        Ok(Batch {
            gpu,
            products,
            query_count,
            document_count,
            columns,
            padded,
            scale: inverse_temperature * std::f32::consts::LOG2_E,
            inverse_temperature,
            anchors: u32::from(options.anchors.mask()),
            factor,
            queries: round(gpu, queries, padded)?,
            documents: round(gpu, documents, padded)?,
            offsets: gpu.upload(&offsets(labels))?,
            listed: gpu.upload(&listed)?,
            labels: gpu.upload(&levels)?,
            weights: gpu.upload(&weights)?,
            pairs: gpu.buffer(pairs)?,
            maxima: gpu.buffer(parts * query_count)?,
            sums: gpu.buffer(parts * query_count)?,
            tiles_per_block,
            parts,
            square: square(gpu, products, columns),
            largest: gpu.buffer(query_count)?,
            shifts: gpu.buffer(query_count)?,
            losses: gpu.buffer(query_count)?,
            backward: None,
        })
    }

    /// Starts the loss: everything [`Batch::backward`] needs.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn forward(&mut self) -> Result<()> {
        self.score_listed()?;
        self.score_unlisted()?;
        self.solve_levels()
    }

    /// Squares of so many tiles, so that small batches have several.
    #[cfg(test)]
    pub(super) fn cut(&mut self, tiles: usize) {
        self.square = tiles * self.products.tile_columns();
    }

    fn score_listed(&mut self) -> Result<()> {
        let warps = (THREADS / 32) as usize;
        let kernel = self.gpu.kernel(&SOURCE, "h_infonce_listed", THREADS, 0)?;
        // SAFETY: offsets end at the number of pairs, and the listed documents are rows of `documents`.
        unsafe {
            kernel.launch(
                (self.query_count.div_ceil(warps), 1),
                &[
                    self.queries.first(),
                    self.documents.first(),
                    Argument::count(self.query_count),
                    Argument::count(self.padded),
                    Argument::Float(self.scale),
                    self.offsets.first(),
                    self.listed.first(),
                    self.pairs.first(),
                ],
            )
        }
    }

    fn score_unlisted(&mut self) -> Result<()> {
        let products = self.products;
        let kernel = self.gpu.product_kernel(&SOURCE, products, "h_infonce_forward", self.mark_bytes())?;
        // SAFETY: the grid covers all queries and documents; `maxima` and `sums` hold the parts of a row of blocks.
        unsafe {
            kernel.launch(
                (self.query_count.div_ceil(TILE), self.parts / products.parts()),
                &[
                    self.rows_of(&self.queries, 0, self.query_count)?,
                    self.rows_of(&self.documents, 0, self.document_count)?,
                    Argument::count(self.query_count),
                    Argument::count(self.document_count),
                    Argument::count(self.padded),
                    Argument::Float(self.scale),
                    self.offsets.first(),
                    self.listed.first(),
                    Argument::count(self.tiles_per_block),
                    self.maxima.first(),
                    self.sums.first(),
                ],
            )
        }
    }

    /// Shared memory for the marks of listed pairs, a bit each.
    fn mark_bytes(&self) -> usize {
        TILE * self.products.tile_columns() / 8
    }

    /// Embeddings `first` to `first + count` as rows to multiply.
    fn rows_of(&self, embeddings: &Buffer<u16>, first: usize, count: usize) -> Result<Argument> {
        let values = embeddings.at(first * self.padded);
        self.gpu.operand(self.products, values, self.padded, count, self.padded)
    }

    /// The same as columns: the sum runs over the embeddings.
    fn columns_of(&self, embeddings: &Buffer<u16>, first: usize, count: usize) -> Result<Argument> {
        let values = embeddings.at(first * self.padded);
        self.gpu.strided_operand(self.products, values, self.padded, self.padded, count)
    }

    fn solve_levels(&mut self) -> Result<()> {
        let kernel = self.gpu.kernel(&SOURCE, "h_infonce_levels", LEVEL_THREADS, 0)?;
        // SAFETY: per-query and per-pair buffers of a batch that `SparseLabels` has checked.
        unsafe {
            kernel.launch(
                (self.query_count.div_ceil(LEVEL_THREADS as usize), 1),
                &[
                    Argument::count(self.query_count),
                    Argument::count(self.parts),
                    self.maxima.first(),
                    self.sums.first(),
                    self.offsets.first(),
                    self.labels.first(),
                    self.weights.first(),
                    Argument::Count(self.anchors),
                    Argument::Double(self.factor),
                    self.pairs.first(),
                    self.largest.first(),
                    self.shifts.first(),
                    self.losses.first(),
                ],
            )
        }
    }

    /// Starts the gradients, after [`Batch::forward`].
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn backward(&mut self) -> Result<()> {
        let space = match self.backward.take() {
            Some(space) => space,
            None => self.backward_space()?,
        };
        let mut done = Ok(());
        for row in (0..self.query_count).step_by(space.rows) {
            for column in (0..self.document_count).step_by(space.stride) {
                done = done.and_then(|()| self.pull_square(&space, row, column));
            }
        }
        self.backward = Some(space);
        done
    }

    fn backward_space(&self) -> Result<Backward> {
        let rows = self.query_count.min(self.square).next_multiple_of(TILE);
        let stride = self.document_count.min(self.square).next_multiple_of(self.products.tile_columns());
        Ok(Backward {
            square: self.gpu.buffer(rows * stride)?,
            rows,
            stride,
            queries: self.gpu.buffer(self.query_count * self.columns)?,
            documents: self.gpu.buffer(self.document_count * self.columns)?,
        })
    }

    /// The square from query `row` and document `column` on.
    fn pull_square(&self, space: &Backward, row: usize, column: usize) -> Result<()> {
        let rows = (self.query_count - row).min(space.rows);
        let columns = (self.document_count - column).min(space.stride);
        let (gpu, products) = (self.gpu, self.products);
        let row_tiles = rows.div_ceil(TILE);
        let column_tiles = columns.div_ceil(products.tile_columns());
        let width_tiles = self.columns.div_ceil(products.tile_columns());
        let gradient = gpu.product_kernel(&SOURCE, products, "h_infonce_gradient", ROW_BYTES)?;
        let pull_queries = gpu.product_kernel(&SOURCE, products, "h_infonce_pull_queries", 0)?;
        let pull_documents = gpu.product_kernel(&SOURCE, products, "h_infonce_pull_documents", 0)?;
        // One wave of blocks, each with its share of a row of tiles; where two blocks overlap, one tile each.
        let tiles_per_block = if products.blocks() > 1 {
            1
        } else {
            column_tiles.div_ceil((gpu.multiprocessors / row_tiles).max(1))
        };
        // Depths beyond the last document are zero up to the end of the tile.
        let depth = columns.next_multiple_of(8);
        let square = space.square.first();
        let ends = |fresh: bool, count: usize, depth: usize, target: Argument| {
            [
                Argument::count(count),
                Argument::count(depth),
                Argument::count(self.columns),
                Argument::Float(self.inverse_temperature),
                Argument::Count(u32::from(fresh)),
                target,
            ]
        };
        // SAFETY: the square has room for whole tiles; `rows` and `columns` from `row` and `column` on lie within
        // the batch.
        unsafe {
            gradient.launch(
                (row_tiles, (space.stride / products.tile_columns()).div_ceil(tiles_per_block)),
                &[
                    self.rows_of(&self.queries, row, rows)?,
                    self.rows_of(&self.documents, column, columns)?,
                    Argument::count(row),
                    Argument::count(rows),
                    Argument::count(column),
                    Argument::count(columns),
                    Argument::count(self.padded),
                    Argument::Float(self.scale),
                    self.offsets.first(),
                    self.listed.first(),
                    self.pairs.first(),
                    self.largest.first(),
                    self.shifts.first(),
                    Argument::count(tiles_per_block),
                    Argument::count(space.stride),
                    square,
                ],
            )?;
            let mut arguments = vec![
                gpu.operand(products, square, space.stride, rows, depth)?,
                self.columns_of(&self.documents, column, columns)?,
            ];
            arguments.extend(ends(column == 0, rows, columns, space.queries.at(row * self.columns)));
            pull_queries.launch((row_tiles, width_tiles), &arguments)?;
            let mut arguments = vec![
                gpu.strided_operand(products, square, space.stride, depth, rows)?,
                self.columns_of(&self.queries, row, rows)?,
            ];
            arguments.extend(ends(row == 0, columns, rows, space.documents.at(column * self.columns)));
            pull_documents.launch((columns.div_ceil(TILE), width_tiles), &arguments)
        }
    }

    /// The loss per query, times the factor of the reduction.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn loss(&self) -> Result<Vec<f64>> {
        self.gpu.download(&self.losses, self.query_count)
    }

    /// The gradients of queries and documents, row-major without gaps; empty before [`Batch::backward`].
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn gradients(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Some(space) = &self.backward else { return Ok((Vec::new(), Vec::new())) };
        let queries = self.gpu.download(&space.queries, self.query_count * self.columns)?;
        Ok((queries, self.gpu.download(&space.documents, self.document_count * self.columns)?))
    }

    /// Bytes on the device: the embeddings with their gradients, and everything else.
    #[must_use]
    pub fn device_bytes(&self) -> (usize, usize) {
        let floats = [&self.weights, &self.pairs, &self.maxima, &self.sums, &self.largest, &self.shifts];
        let words = [&self.offsets, &self.listed];
        let (gradients, square) = self
            .backward
            .as_ref()
            .map_or((0, 0), |space| (space.queries.bytes() + space.documents.bytes(), space.square.bytes()));
        let state = floats.iter().map(|buffer| buffer.bytes()).sum::<usize>()
            + words.iter().map(|buffer| buffer.bytes()).sum::<usize>()
            + self.labels.bytes()
            + self.losses.bytes();
        (self.queries.bytes() + self.documents.bytes() + gradients, square + state)
    }
}

/// Queries and documents of the square of gradients, so that the pulls are one wave of blocks: at d = 768 on 132
/// multiprocessors three tiles of 256 cover the width, and 44 x 128 = 5,632 rows make 132 blocks.
fn square(gpu: &Gpu, products: Products, columns: usize) -> usize {
    let width_tiles = columns.div_ceil(products.tile_columns());
    let row_tiles = (products.blocks() * gpu.multiprocessors / width_tiles).max(1);
    let tile = products.tile_columns();
    (row_tiles * TILE).clamp(tile, SQUARE) / tile * tile
}

/// Starts of the queries' entries; `require_32_bits` has seen the last.
fn offsets(labels: SparseLabels<'_>) -> Vec<u32> {
    labels.offsets().iter().map(|offset| u32::try_from(*offset).unwrap_or(u32::MAX)).collect()
}

fn require_32_bits(what: &'static str, count: usize) -> Result<()> {
    // A tile beyond the last must still have a number.
    if u32::try_from(count + TILE).is_ok() {
        return Ok(());
    }
    Err(Error::OutOfRange { what, value: count as f64, expected: "a count of 32 bits" })
}

/// bf16 rows of `padded` values on the device.
fn round(gpu: &Gpu, matrix: Matrix<'_, f32>, padded: usize) -> Result<Buffer<u16>> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let values = gpu.upload(&matrix.values()[..(rows - 1) * matrix.stride() + columns])?;
    let rounded = gpu.buffer(rows * padded)?;
    let kernel = gpu.kernel(&SOURCE, "h_infonce_round", THREADS, 0)?;
    let blocks = (rows * padded).div_ceil(THREADS as usize).min(64 * gpu.multiprocessors);
    // SAFETY: `values` holds `rows` rows `stride` apart, `rounded` `rows x padded` values.
    unsafe {
        kernel.launch(
            (blocks, 1),
            &[
                values.first(),
                Argument::stride(matrix.stride()),
                Argument::count(rows),
                Argument::count(columns),
                Argument::count(padded),
                rounded.first(),
            ],
        )?;
    }
    gpu.synchronize()?;
    Ok(rounded)
}
