//! A launch for each kernel of `transformer.cu`. Addresses are trusted: [`super::cuda`] sees to it that every buffer has
//! the rows and columns that stand beside it.

use std::sync::Arc;

use crate::cuda::{Argument, Gpu, Source, THREADS};
use crate::error::Result;

use super::Precision;
use super::blas::{Blas, Product};
use super::dropout::{Dropout, Site};
use super::packed::{Group, Packed, Scatter};
use super::pool::{Pool, Room};

/// The kernels behind what names a `Value`; they multiply nothing, so one text does for every device.
macro_rules! source {
    ($name:literal, $values:literal) => {{
        const TEXT: &str = concat!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/threads.cuh")),
            include_str!($values),
            include_str!("transformer.cu")
        );
        Source { name: $name, portable: TEXT, hopper: TEXT }
    }};
}

const F32: Source = source!("transformer.cu over f32.cuh", "f32.cuh");
const BF16: Source = source!("transformer.cu over bf16.cuh", "bf16.cuh");

/// Rows of a block of most kernels: a warp each.
const ROWS: usize = (THREADS / 32) as usize;
/// Values that a block squares, as in `transformer.cu`.
const SQUARES: usize = 16_384;
/// Row blocks of a sum over columns, at most.
const PARTS: usize = 256;
/// Launches over one stream.
#[derive(Debug)]
pub(super) struct Operations {
    pub gpu: &'static Gpu,
    pub precision: Precision,
    pub pool: Arc<Pool>,
    pub blas: Blas,
}

/// The two tensors of a norm, or of a map's bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormAt {
    pub weight: Argument,
    pub bias: Argument,
    pub epsilon: f32,
}

/// Where the three embeddings lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub words: Argument,
    pub positions: Argument,
    pub segments: Argument,
}

/// What a norm's backward needs; its output can be had from it too.
#[derive(Debug)]
pub(super) struct Normed {
    pub standard: Room,
    pub inverse: Room,
}

/// A head's sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub count: usize,
    pub width: usize,
}

/// AdamW's arrays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub spans: Argument,
    pub constants: Argument,
    pub gradients: Argument,
    pub values: Argument,
    pub means: Argument,
    pub squares: Argument,
    pub copies: Argument,
}

impl Operations {
    pub fn open(gpu: &'static Gpu, precision: Precision) -> Result<Operations> {
        Ok(Operations { gpu, precision, pool: Pool::new(gpu), blas: Blas::open(gpu, precision)? })
    }

    /// Bytes of a weight or an activation.
    pub fn size(&self) -> usize {
        match self.precision {
            Precision::Bf16 => 2,
            Precision::F32 => 4,
        }
    }

    /// Room for so many activations.
    pub fn values(&self, count: usize) -> Result<Room> {
        self.pool.room(self.size() * count)
    }

    /// Room for so many f32.
    pub fn floats(&self, count: usize) -> Result<Room> {
        self.pool.room(4 * count)
    }

    /// # Safety
    /// As [`Blas::multiply`].
    pub unsafe fn multiply(&self, product: Product) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.blas.multiply(&product) }
    }

    /// # Safety
    /// The arguments are the kernel's, and every address reaches as many values as it touches.
    unsafe fn launch(
        &self,
        name: &'static str,
        grid: (usize, usize),
        shared_bytes: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        let source = match self.precision {
            Precision::Bf16 => &BF16,
            Precision::F32 => &F32,
        };
        let kernel = self.gpu.plain_kernel(source, name, shared_bytes)?;
        // SAFETY: the caller's.
        unsafe { kernel.launch(grid, arguments) }
    }

    /// Word, position and segment of each token, standardised; and the masked output.
    ///
    /// # Safety
    /// Ids, places and segments are rows of the tables; the norm has `width` values.
    pub unsafe fn embed(
        &self,
        p: &Packed,
        tables: Tables,
        norm: NormAt,
        width: usize,
    ) -> Result<(Normed, Room)> {
        let [key, threshold, scale] = mask(p.masks);
        let inputs = [
            p.ids_at(),
            p.places_at(),
            p.segments_at(),
            p.text_of_at(),
            p.keys_at(),
            Argument::count(p.tokens),
            Argument::count(width),
            Argument::Float(norm.epsilon),
            tables.words,
            tables.positions,
            tables.segments,
            norm.weight,
            norm.bias,
            key,
            threshold,
            scale,
        ];
        // SAFETY: the caller's.
        unsafe { self.standardize("transformer_embed", p.tokens, width, &inputs) }
    }

    /// Masked `raw + bias`, plus `residual`, standardised; and the output.
    ///
    /// # Safety
    /// `raw` and `residual` are `[tokens x width]`, the vectors have `width` values.
    pub unsafe fn add_norm(
        &self,
        p: &Packed,
        site: Site,
        (raw, map_bias, residual): (Argument, Argument, Argument),
        norm: NormAt,
        width: usize,
    ) -> Result<(Normed, Room)> {
        let [key, threshold, scale] = mask(p.masks);
        let inputs = [
            raw,
            map_bias,
            residual,
            p.places_at(),
            p.text_of_at(),
            p.keys_at(),
            Argument::count(p.tokens),
            Argument::count(width),
            Argument::Float(norm.epsilon),
            norm.weight,
            norm.bias,
            key,
            Argument::Stride(site.number()),
            threshold,
            scale,
        ];
        // SAFETY: the caller's.
        unsafe { self.standardize("transformer_add_norm", p.tokens, width, &inputs) }
    }

    /// Launches a kernel that standardises a row of `width` values for each token: what it keeps and its output.
    ///
    /// # Safety
    /// `inputs` are the kernel's arguments but for its three outputs, and as [`Self::launch`].
    unsafe fn standardize(
        &self,
        name: &'static str,
        tokens: usize,
        width: usize,
        inputs: &[Argument],
    ) -> Result<(Normed, Room)> {
        let normed = Normed { standard: self.values(tokens * width)?, inverse: self.floats(tokens)? };
        let hidden = self.values(tokens * width)?;
        let outputs = [normed.standard.first(), normed.inverse.first(), hidden.first()];
        let grid = (tokens.div_ceil(ROWS), 1);
        // SAFETY: the caller's; the outputs have a row for each token.
        unsafe { self.launch(name, grid, 4 * ROWS * width, &[inputs, &outputs].concat()) }?;
        Ok((normed, hidden))
    }

    /// A norm's output from what its forward kept; `masks` where it is the embeddings'.
    ///
    /// # Safety
    /// `normed` is of these tokens, the norm has `width` values.
    pub unsafe fn scale(
        &self,
        p: &Packed,
        normed: &Normed,
        norm: NormAt,
        width: usize,
        masks: Option<Dropout>,
    ) -> Result<Room> {
        let hidden = self.values(p.tokens * width)?;
        let [key, threshold, scale] = mask(masks);
        let arguments = [
            normed.standard.first(),
            norm.weight,
            norm.bias,
            p.places_at(),
            p.text_of_at(),
            p.keys_at(),
            Argument::count(p.tokens),
            Argument::count(width),
            key,
            threshold,
            scale,
            hidden.first(),
        ];
        // SAFETY: the caller's; `hidden` has a row for each token.
        unsafe { self.launch("transformer_scale", (p.tokens.div_ceil(ROWS), 1), 0, &arguments) }?;
        Ok(hidden)
    }

    /// `from` with what falls away at `site` gone, into `to`, which may be the same.
    ///
    /// # Safety
    /// Both are `[tokens x width]`.
    pub unsafe fn mask(
        &self,
        p: &Packed,
        site: Site,
        from: Argument,
        to: Argument,
        width: usize,
    ) -> Result<()> {
        let [key, threshold, scale] = mask(p.masks);
        let arguments = [
            from,
            p.places_at(),
            p.text_of_at(),
            p.keys_at(),
            Argument::count(p.tokens),
            Argument::count(width),
            key,
            Argument::Stride(site.number()),
            threshold,
            scale,
            to,
        ];
        // SAFETY: the caller's.
        unsafe { self.launch("transformer_mask", (p.tokens.div_ceil(ROWS), 1), 0, &arguments) }
    }

    /// The slope of a norm's output becomes that of its input.
    ///
    /// # Safety
    /// `slope` is `[tokens x width]`, `weight` has `width` values, `normed` is of these tokens.
    pub unsafe fn norm_backward(
        &self,
        slope: Argument,
        normed: &Normed,
        weight: Argument,
        tokens: usize,
        width: usize,
    ) -> Result<()> {
        let arguments = [
            slope,
            normed.standard.first(),
            normed.inverse.first(),
            weight,
            Argument::count(tokens),
            Argument::count(width),
        ];
        // SAFETY: the caller's.
        unsafe { self.launch("transformer_norm_backward", (tokens.div_ceil(ROWS), 1), 0, &arguments) }
    }

    /// `gradient` `[columns]` += the sum over rows of `left`, times `right` where there is one.
    ///
    /// # Safety
    /// Both are `[rows x columns]`.
    pub unsafe fn add_column_sums(
        &self,
        left: Argument,
        right: Option<Argument>,
        (rows, columns): (usize, usize),
        gradient: Argument,
    ) -> Result<()> {
        let each = rows.div_ceil(PARTS).max(64);
        let parts = rows.div_ceil(each);
        let partials = self.floats(parts * columns)?;
        let blocks = columns.div_ceil(THREADS as usize);
        let sums = [
            left,
            right.unwrap_or(Argument::Address(0)),
            Argument::count(rows),
            Argument::count(columns),
            Argument::count(each),
            partials.first(),
        ];
        let ends = [partials.first(), Argument::count(parts), Argument::count(columns), gradient];
        // SAFETY: the caller's; `partials` has a row for each part.
        unsafe {
            self.launch("transformer_column_sums", (blocks, parts), 0, &sums)?;
            self.launch("transformer_add_partials", (blocks, 1), 0, &ends)
        }
    }

    /// GELU of `raw + bias`.
    ///
    /// # Safety
    /// `raw` is `[rows x columns]`, `bias` has `columns` values.
    pub unsafe fn gelu(&self, raw: Argument, bias: Argument, rows: usize, columns: usize) -> Result<Room> {
        let activated = self.values(rows * columns)?;
        let arguments = [raw, bias, Argument::count(rows), Argument::count(columns), activated.first()];
        // SAFETY: the caller's; the output is as large.
        unsafe { self.launch("transformer_gelu", (rows, 1), 0, &arguments) }?;
        Ok(activated)
    }

    /// The same again; and the slope of its output becomes that of its input.
    ///
    /// # Safety
    /// `raw` and `slope` are `[rows x columns]`, `bias` has `columns` values.
    pub unsafe fn gelu_backward(
        &self,
        raw: Argument,
        bias: Argument,
        slope: Argument,
        rows: usize,
        columns: usize,
    ) -> Result<Room> {
        let activated = self.values(rows * columns)?;
        let arguments =
            [raw, bias, Argument::count(rows), Argument::count(columns), activated.first(), slope];
        // SAFETY: the caller's; the output is as large.
        unsafe { self.launch("transformer_gelu_backward", (rows, 1), 0, &arguments) }?;
        Ok(activated)
    }

    /// Rows of `parts` times the heads' values, plus `bias`, as padded matrices `[parts][texts x heads][padded x head width]`.
    ///
    /// # Safety
    /// `rows` is `[tokens x parts heads width]`, and so is one row of `bias`.
    pub unsafe fn split_heads(
        &self,
        p: &Packed,
        group: Group,
        heads: Heads,
        parts: usize,
        (rows, bias): (Argument, Option<Argument>),
    ) -> Result<Room> {
        let split = self.values(parts * group.texts * group.padded * heads.count * heads.width)?;
        let bias = bias.unwrap_or(Argument::Address(0));
        let mut arguments = vec![rows, bias];
        arguments.extend(group_arguments(p, group, heads, parts));
        arguments.push(split.first());
        // SAFETY: the caller's; the output has a matrix for each text, head and part.
        unsafe { self.launch("transformer_split_heads", (group.texts * group.padded, 1), 0, &arguments) }?;
        Ok(split)
    }

    /// The way back, into the group's rows of `rows`.
    ///
    /// # Safety
    /// As [`Operations::split_heads`].
    pub unsafe fn merge_heads(
        &self,
        p: &Packed,
        group: Group,
        heads: Heads,
        parts: usize,
        (split, rows): (Argument, Argument),
    ) -> Result<()> {
        let mut arguments = vec![split];
        arguments.extend(group_arguments(p, group, heads, parts));
        arguments.push(rows);
        // SAFETY: the caller's.
        unsafe { self.launch("transformer_merge_heads", (group.texts * group.padded, 1), 0, &arguments) }
    }

    /// Softmax of a group's scores, masked. `fresh`: `log_sums` `[tokens x heads]` are written; else read.
    ///
    /// # Safety
    /// `scores` is `[texts heads padded x padded]`.
    pub unsafe fn softmax(
        &self,
        p: &Packed,
        group: Group,
        heads: usize,
        site: Site,
        (scores, log_sums, fresh): (Argument, Argument, bool),
    ) -> Result<Room> {
        let rows = group.texts * heads * group.padded;
        let weights = self.values(rows * group.padded)?;
        let [key, threshold, scale] = mask(p.masks);
        let arguments = [
            scores,
            p.offsets_at(),
            p.keys_at(),
            Argument::count(group.first),
            Argument::count(group.texts),
            Argument::count(group.padded),
            Argument::count(heads),
            Argument::Count(u32::from(fresh)),
            key,
            Argument::Stride(site.number()),
            threshold,
            scale,
            log_sums,
            weights.first(),
        ];
        // SAFETY: the caller's; the output is as large as the scores.
        unsafe { self.launch("transformer_softmax", (rows.div_ceil(ROWS), 1), 0, &arguments) }?;
        Ok(weights)
    }

    /// The slopes of a group's scores from those of its masked weights.
    ///
    /// # Safety
    /// `scores` and `slopes` are `[texts heads padded x padded]`, `log_sums` `[tokens x heads]`.
    pub unsafe fn softmax_backward(
        &self,
        p: &Packed,
        group: Group,
        heads: usize,
        site: Site,
        (scores, log_sums, slopes): (Argument, Argument, Argument),
    ) -> Result<Room> {
        let rows = group.texts * heads * group.padded;
        let score_slopes = self.values(rows * group.padded)?;
        let [key, threshold, scale] = mask(p.masks);
        let arguments = [
            scores,
            log_sums,
            slopes,
            p.offsets_at(),
            p.keys_at(),
            Argument::count(group.first),
            Argument::count(group.texts),
            Argument::count(group.padded),
            Argument::count(heads),
            key,
            Argument::Stride(site.number()),
            threshold,
            scale,
            score_slopes.first(),
        ];
        // SAFETY: the caller's; the output is as large as the scores.
        unsafe { self.launch("transformer_softmax_backward", (rows.div_ceil(ROWS), 1), 0, &arguments) }?;
        Ok(score_slopes)
    }

    /// Pooled vectors `[texts x width]`.
    ///
    /// # Safety
    /// `hidden` is `[tokens x width]`.
    pub unsafe fn pool(&self, p: &Packed, hidden: Argument, width: usize) -> Result<Room> {
        let pooled = self.floats(p.texts * width)?;
        let arguments = [hidden, p.weights.first(), p.offsets_at(), Argument::count(width), pooled.first()];
        // SAFETY: the caller's; the output has a row for each text.
        unsafe { self.launch("transformer_pool", (p.texts, 1), 0, &arguments) }?;
        Ok(pooled)
    }

    /// The slopes of all tokens from those of the pooled vectors.
    ///
    /// # Safety
    /// `pooled` is f32 `[texts x width]`.
    pub unsafe fn spread(&self, p: &Packed, pooled: Argument, width: usize) -> Result<Room> {
        let slope = self.values(p.tokens * width)?;
        let arguments = [
            pooled,
            p.weights.first(),
            p.text_of_at(),
            Argument::count(p.tokens),
            Argument::count(width),
            slope.first(),
        ];
        // SAFETY: the caller's; the output has a row for each token.
        unsafe { self.launch("transformer_spread", (p.tokens.div_ceil(ROWS), 1), 0, &arguments) }?;
        Ok(slope)
    }

    /// Rows of `gradient` += the slopes of the tokens that took them.
    ///
    /// # Safety
    /// `slope` is `[tokens x width]`; every target is a row of `gradient`.
    pub unsafe fn scatter(
        &self,
        scatter: &Scatter,
        slope: Argument,
        width: usize,
        gradient: Argument,
    ) -> Result<()> {
        let partials = self.floats(scatter.runs() * width)?;
        let all = [&scatter.rows[..], &scatter.run_starts, &scatter.group_starts, &scatter.targets].concat();
        let words = self.gpu.upload(&all)?;
        let runs = scatter.rows.len();
        let groups = runs + scatter.run_starts.len();
        let targets = groups + scatter.group_starts.len();
        let gather = [slope, words.at(0), words.at(runs), Argument::count(width), partials.first()];
        let add = [partials.first(), words.at(groups), words.at(targets), Argument::count(width), gradient];
        // SAFETY: the caller's; runs and groups lie within what they number.
        unsafe {
            self.launch("transformer_gather_sums", (scatter.runs(), 1), 0, &gather)?;
            self.launch("transformer_scatter_sums", (scatter.targets.len(), 1), 0, &add)
        }
    }

    /// The sum of the squares of `count` f32, in f64, in an order of its own.
    ///
    /// # Safety
    /// `values` reaches as far.
    pub unsafe fn square_sum(&self, values: Argument, count: usize) -> Result<f64> {
        let blocks = count.div_ceil(SQUARES);
        let partials = self.gpu.buffer::<f64>(blocks)?;
        let arguments = [values, Argument::count(count), partials.first()];
        // SAFETY: the caller's; a partial sum for each block.
        unsafe { self.launch("transformer_square_sums", (blocks, 1), 8 * ROWS, &arguments) }?;
        Ok(self.gpu.download(&partials, blocks)?.iter().sum())
    }

    /// One step of AdamW over `spans` spans.
    ///
    /// # Safety
    /// Every span lies within the arrays and names one of the constants.
    pub unsafe fn adamw(&self, spans: usize, memory: Memory) -> Result<()> {
        let Memory { spans: at, constants, gradients, values, means, squares, copies } = memory;
        let arguments = [at, constants, gradients, values, means, squares, copies];
        // SAFETY: the caller's.
        unsafe { self.launch("transformer_adamw", (spans, 1), 0, &arguments) }
    }

    /// Weights as the products read them.
    ///
    /// # Safety
    /// Both reach `count` values.
    pub unsafe fn round(&self, values: Argument, count: usize, copies: Argument) -> Result<()> {
        let blocks = count.div_ceil(THREADS as usize).clamp(1, 64 * self.gpu.multiprocessors);
        let arguments = [values, Argument::stride(count), copies];
        // SAFETY: the caller's.
        unsafe { self.launch("transformer_round", (blocks, 1), 0, &arguments) }
    }
}

/// Key, threshold and scale of what falls away; nothing does without masks.
fn mask(masks: Option<Dropout>) -> [Argument; 3] {
    let nothing = Dropout { key: 0, threshold: 0, scale: 1.0 };
    let Dropout { key, threshold, scale } = masks.unwrap_or(nothing);
    [Argument::Stride(key), Argument::Count(threshold), Argument::Float(scale)]
}

fn group_arguments(p: &Packed, group: Group, heads: Heads, parts: usize) -> [Argument; 7] {
    [
        p.offsets_at(),
        Argument::count(group.first),
        Argument::count(group.texts),
        Argument::count(group.padded),
        Argument::count(heads.count),
        Argument::count(heads.width),
        Argument::count(parts),
    ]
}
