//! The fast path: the right side in panels, a register tile of the target at a time.
//!
//! ```text
//! for each span of columns (4096) and each run of the inner dimension (384):
//!   the right side's part of both goes into panels as wide as two registers          (all threads)
//!   for each block of 256 columns and 240 rows:                                     (a thread each)
//!     for each strip of 48 rows: the left side's part is packed, 72 KiB
//!       for each tile of rows (12 with AVX-512, 18 KiB of the strip, which stay in the first-level cache):
//!         for each panel of the block (48 KiB, from the second-level cache): the register tile
//! ```
//!
//! The register tile reads a panel straight through and broadcasts one value of the left side at a time, so with two
//! registers of panel and 12 rows, 14 loads feed 24 multiply-adds. A block's panels are 384 KiB and stay in the
//! second-level cache while all its rows pass.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Base, Operand, Target};
use crate::device::InstructionSet;
use crate::vector::{Vector, for_each_set, lanes};
use crate::workers;

/// The longest run of the inner dimension.
pub(super) const DEPTH: usize = 384;

/// Columns in a block, a multiple of every panel's width.
const COLUMNS: usize = 256;

/// Columns whose panels exist at the same time: 6 MiB of them.
const SPAN: usize = 4096;

/// Rows in a block, a multiple of [`STRIP_ROWS`].
const ROWS: usize = 240;

/// Rows of the left side packed at a time, a multiple of every tile's rows and of a cache line's values: a transposed left
/// side is read in whole lines.
const STRIP_ROWS: usize = 48;

/// Panels packed by a thread at a time.
const PACKED: usize = 4;

/// Registers in a panel's width.
const REGISTERS: usize = 2;

/// The widest panel, in values.
const MAX_PANEL: usize = 32;

/// The most rows of a register tile.
const MAX_ROWS: usize = 12;

/// Bytes in a cache line: a panel starts on one, or every load of a register would touch two.
const LINE: usize = 64;

thread_local! {
    /// The panels of the last product, to be filled again: fresh memory would cost more than many a small product.
    static PANELS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// As [`super::product`], whose checks have been passed.
pub(super) fn multiply(
    set: Option<InstructionSet>,
    left: Operand<'_>,
    right: Operand<'_>,
    factor: f32,
    target: Target<'_>,
    workers: usize,
) {
    let (inner, width) = (left.columns, REGISTERS * lanes(set));
    let runs = inner.div_ceil(DEPTH).max(1);
    let run = inner.div_ceil(runs);
    let product = Product { set, left, right, factor, stride: target.stride, width };
    let values = Values(target.values.as_mut_ptr());
    // Taken out of its cell, not borrowed: a thread that waits for others may begin another product meanwhile.
    let mut storage = PANELS.take();
    for columns in cut(0..right.columns, SPAN) {
        for number in 0..runs {
            let depths = number * run..inner.min((number + 1) * run);
            let panels = aligned(&mut storage, columns.len().div_ceil(width) * depths.len() * width);
            product.pack(panels, columns.clone(), depths.clone(), workers);
            let base = if number == 0 { target.base } else { Base::Target };
            product.run(panels, columns.clone(), depths, values, base, workers);
        }
    }
    PANELS.set(storage);
}

/// `count` values that start on a cache line.
fn aligned(storage: &mut Vec<f32>, count: usize) -> &mut [f32] {
    let slack = LINE / size_of::<f32>();
    if storage.len() < count + slack {
        storage.resize(count + slack, 0.0);
    }
    let start = storage.as_ptr().align_offset(LINE).min(slack);
    &mut storage[start..][..count]
}

/// Consecutive parts of `range`, `step` long but for the last.
fn cut(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(step).map(move |start| start..end.min(start + step))
}

/// The target's values, which the blocks write without overlap.
#[derive(Clone, Copy)]
struct Values(*mut f32);

// SAFETY: blocks of different rows or columns write different values, and none reads another's.
unsafe impl Send for Values {}
// SAFETY: as above.
unsafe impl Sync for Values {}

/// A product on its way.
#[derive(Clone, Copy)]
struct Product<'a> {
    set: Option<InstructionSet>,
    left: Operand<'a>,
    right: Operand<'a>,
    factor: f32,
    stride: usize,
    /// Columns of a panel.
    width: usize,
}

impl Product<'_> {
    /// Copies the right side's `depths x columns` into panels: value `(k, j)` of a panel lies at `k * width + j`, zeros
    /// where the last one has no column.
    fn pack(&self, panels: &mut [f32], columns: Range<usize>, depths: Range<usize>, workers: usize) {
        if depths.is_empty() {
            return;
        }
        let parts = panels.chunks_mut(PACKED * depths.len() * self.width);
        let parts = parts.zip(cut(columns, PACKED * self.width));
        workers::share(workers, parts, |(panels, columns)| {
            if columns.len() % self.width != 0 {
                let last = panels.len() - depths.len() * self.width;
                panels[last..].fill(0.0);
            }
            match self.right {
                Operand { column_stride: 1, .. } => {
                    pack_rows(self.set, self.right, panels, columns, depths.clone())
                }
                _ => pack_columns(self.set, self.right, panels, columns, depths.clone()),
            }
        });
    }

    /// Multiplies the left side's `depths` with the panels of `columns`.
    fn run(
        &self,
        panels: &[f32],
        columns: Range<usize>,
        depths: Range<usize>,
        values: Values,
        base: Base<'_>,
        workers: usize,
    ) {
        let depth = depths.len();
        let blocks = cut(columns.clone(), COLUMNS)
            .flat_map(|columns| cut(0..self.left.rows, ROWS).map(move |rows| (rows, columns.clone())));
        workers::share(workers, blocks, |(rows, block)| {
            let first = (block.start - columns.start) * depth;
            let count = block.len().next_multiple_of(self.width) * depth;
            let panels = &panels[first..][..count];
            multiply_block(self.set, *self, rows, block, depths.clone(), panels, values, base);
        });
    }
}

for_each_set! {
    fn pack_rows = pack_rows_with(
        right: Operand<'_>,
        panels: &mut [f32],
        columns: Range<usize>,
        depths: Range<usize>,
    )
}

/// Fills panels from rows that lie value by value: pieces of them are copied.
///
/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn pack_rows_with<V: Vector>(
    right: Operand<'_>,
    panels: &mut [f32],
    columns: Range<usize>,
    depths: Range<usize>,
) {
    let (width, depth) = (REGISTERS * V::LANES, depths.len());
    for (at, k) in depths.enumerate() {
        let row = &right.values[k * right.row_stride + columns.start..][..columns.len()];
        for (panel, values) in row.chunks(width).enumerate() {
            let target = &mut panels[(panel * depth + at) * width..][..values.len()];
            // SAFETY: both have as many values.
            unsafe { copy::<V>(values.as_ptr(), target.as_mut_ptr(), values.len()) }
        }
    }
}

/// Copies a few values: a call of `memcpy` would take as long as the copying.
///
/// # Safety
/// The instructions of `V` must exist; `from` must be readable and `to` writable for `count` values, and neither overlaps
/// the other.
#[inline(always)]
unsafe fn copy<V: Vector>(from: *const f32, to: *mut f32, count: usize) {
    let whole = count - count % V::LANES;
    // SAFETY: by this function's contract.
    unsafe {
        for at in (0..whole).step_by(V::LANES) {
            V::load(from.add(at)).store(to.add(at));
        }
        for at in whole..count {
            *to.add(at) = *from.add(at);
        }
    }
}

for_each_set! {
    fn pack_columns = pack_columns_with(
        right: Operand<'_>,
        panels: &mut [f32],
        columns: Range<usize>,
        depths: Range<usize>,
    )
}

/// Fills panels from columns that lie value by value: they are transposed in squares of a register's width.
///
/// # Safety
/// The instructions of `V` must exist.
#[inline(always)]
unsafe fn pack_columns_with<V: Vector>(
    right: Operand<'_>,
    panels: &mut [f32],
    columns: Range<usize>,
    depths: Range<usize>,
) {
    let (width, depth) = (REGISTERS * V::LANES, depths.len());
    let Operand { values, row_stride, column_stride, .. } = right;
    for (panel, columns) in panels.chunks_exact_mut(depth * width).zip(cut(columns, width)) {
        for square in cut(columns.clone(), V::LANES) {
            for rows in cut(depths.clone(), V::LANES) {
                let source = &values[rows.start * row_stride + square.start * column_stride..];
                let target = &mut panel[(rows.start - depths.start) * width + square.start - columns.start..];
                if row_stride == 1 && square.len() == V::LANES && rows.len() == V::LANES {
                    // SAFETY: the right side has these columns and rows, the panel such a square.
                    unsafe { V::transpose(source.as_ptr(), column_stride, target.as_mut_ptr(), width) }
                    continue;
                }
                for column in 0..square.len() {
                    for row in 0..rows.len() {
                        target[row * width + column] = source[row * row_stride + column * column_stride];
                    }
                }
            }
        }
    }
}

for_each_set! {
    #[allow(clippy::too_many_arguments)]
    fn multiply_block = multiply_block_with(
        product: Product<'_>,
        rows: Range<usize>,
        columns: Range<usize>,
        depths: Range<usize>,
        panels: &[f32],
        values: Values,
        base: Base<'_>,
    )
}

/// # Safety
/// The instructions of `V` must exist; shapes as [`super::product`] checks them; `panels` are those of `columns` and
/// `depths`, and no other thread is at this block.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply_block_with<V: Vector>(
    product: Product<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    depths: Range<usize>,
    panels: &[f32],
    values: Values,
    base: Base<'_>,
) {
    let Product { left, factor, stride, .. } = product;
    let (width, depth) = (REGISTERS * V::LANES, depths.len());
    let mut packed = MaybeUninit::<[f32; STRIP_ROWS * DEPTH]>::uninit();
    for strip_rows in cut(rows, STRIP_ROWS) {
        // SAFETY: rows, columns and depths lie within the sides and the target; a panel has `depth * width` values;
        // `packed` has room for a strip's rows of a run.
        unsafe {
            let first = strip_rows.start * left.row_stride + depths.start * left.column_stride;
            let start = left.values.as_ptr().add(first);
            let mut strip = Strip { start, row_stride: left.row_stride, depth_stride: left.column_stride };
            // One or two panels are not worth a copy.
            if columns.len() > 2 * width {
                strip = strip.packed::<V>(packed.as_mut_ptr().cast(), strip_rows.len(), depth);
            }
            for rows in cut(strip_rows.clone(), V::TILE_ROWS) {
                let left = strip.below(rows.start - strip_rows.start);
                for (number, columns) in cut(columns.clone(), width).enumerate() {
                    let base = match base {
                        Base::Zero => TileBase::Zero,
                        Base::Target => TileBase::Target,
                        Base::Row(row) => TileBase::Row(row.as_ptr().add(columns.start)),
                    };
                    let tile = Tile {
                        depth,
                        factor,
                        left,
                        panel: panels.as_ptr().add(number * depth * width),
                        target: values.0.add(rows.start * stride + columns.start),
                        stride,
                        columns: columns.len(),
                        base,
                    };
                    tile.run::<V>(rows.len());
                }
            }
        }
    }
}

/// A few rows of the left side: value `(i, k)` at `start + i * row_stride + k * depth_stride`.
#[derive(Clone, Copy)]
struct Strip {
    start: *const f32,
    row_stride: usize,
    depth_stride: usize,
}

impl Strip {
    /// The strip without its first rows.
    #[inline(always)]
    fn below(self, rows: usize) -> Strip {
        Strip { start: self.start.wrapping_add(rows * self.row_stride), ..self }
    }

    /// The same values copied to `to`, in the order in which they lie.
    ///
    /// # Safety
    /// The instructions of `V` must exist; the strip is readable for `rows` rows of `depth` values, `to` writable for as
    /// many.
    #[inline(always)]
    unsafe fn packed<V: Vector>(self, to: *mut f32, rows: usize, depth: usize) -> Strip {
        let Strip { start, row_stride, depth_stride } = self;
        // SAFETY: by this function's contract.
        unsafe {
            if row_stride == 1 && depth_stride != 1 {
                for k in 0..depth {
                    copy::<V>(start.add(k * depth_stride), to.add(k * rows), rows);
                }
                return Strip { start: to, row_stride: 1, depth_stride: rows };
            }
            for row in 0..rows {
                let (from, to) = (start.add(row * row_stride), to.add(row * depth));
                if depth_stride == 1 {
                    copy::<V>(from, to, depth);
                } else {
                    (0..depth).for_each(|k| *to.add(k) = *from.add(k * depth_stride));
                }
            }
            Strip { start: to, row_stride: depth, depth_stride: 1 }
        }
    }
}

/// [`Base`] of one tile.
#[derive(Clone, Copy)]
enum TileBase {
    Zero,
    Target,
    Row(*const f32),
}

/// One register tile: at most a panel's columns of a few rows of the target.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    factor: f32,
    left: Strip,
    panel: *const f32,
    target: *mut f32,
    stride: usize,
    columns: usize,
    base: TileBase,
}

impl Tile {
    /// # Safety
    /// The instructions of `V` must exist, every pointer must be good for its side, and `rows` is at most `MAX_ROWS`.
    #[inline(always)]
    unsafe fn run<V: Vector>(self, rows: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            match rows {
                12 => self.run_rows::<V, 12>(),
                11 => self.run_rows::<V, 11>(),
                10 => self.run_rows::<V, 10>(),
                9 => self.run_rows::<V, 9>(),
                8 => self.run_rows::<V, 8>(),
                7 => self.run_rows::<V, 7>(),
                6 => self.run_rows::<V, 6>(),
                5 => self.run_rows::<V, 5>(),
                4 => self.run_rows::<V, 4>(),
                3 => self.run_rows::<V, 3>(),
                2 => self.run_rows::<V, 2>(),
                _ => self.run_rows::<V, 1>(),
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn run_rows<V: Vector, const ROWS: usize>(self) {
        // SAFETY: passed on from the caller; the scratch tile holds MAX_PANEL values a row.
        unsafe {
            for row in 0..ROWS {
                V::prefetch(self.target.wrapping_add(row * self.stride));
                V::prefetch(self.target.wrapping_add(row * self.stride + V::LANES));
            }
            let sums = self.sums::<V, ROWS>();
            if self.columns == REGISTERS * V::LANES {
                return self.write(&sums, self.target, self.stride, self.base);
            }
            let mut scratch = [0.0f32; MAX_ROWS * MAX_PANEL];
            self.write(&sums, scratch.as_mut_ptr(), MAX_PANEL, TileBase::Zero);
            for row in 0..ROWS {
                for column in 0..self.columns {
                    let target = self.target.add(row * self.stride + column);
                    let base = match self.base {
                        TileBase::Zero => 0.0,
                        TileBase::Target => *target,
                        TileBase::Row(base) => *base.add(column),
                    };
                    *target = base + scratch[row * MAX_PANEL + column];
                }
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn sums<V: Vector, const ROWS: usize>(&self) -> [[V; REGISTERS]; ROWS] {
        let Strip { start, row_stride, depth_stride } = self.left;
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[V::splat(0.0); REGISTERS]; ROWS];
            // Every third row has a pointer of its own: three offsets from each need no further registers.
            let mut group = [start; MAX_ROWS / 3];
            for (at, pointer) in group.iter_mut().enumerate() {
                *pointer = pointer.wrapping_add(at * 3 * row_stride);
            }
            let mut panel = self.panel;
            for _ in 0..self.depth {
                let right: [V; REGISTERS] = [V::load(panel), V::load(panel.add(V::LANES))];
                for row in 0..ROWS {
                    let left = V::splat(*group[row / 3].add(row % 3 * row_stride));
                    for (sum, right) in sums[row].iter_mut().zip(right) {
                        *sum = left.mul_add(right, *sum);
                    }
                }
                panel = panel.wrapping_add(REGISTERS * V::LANES);
                for pointer in &mut group {
                    *pointer = pointer.wrapping_add(depth_stride);
                }
            }
            sums
        }
    }

    /// Writes `factor` times the sums, on top of `base`.
    ///
    /// # Safety
    /// The instructions of `V` must exist; `target` must be good for `ROWS` rows of two registers, `stride` apart.
    #[inline(always)]
    unsafe fn write<V: Vector, const ROWS: usize>(
        &self,
        sums: &[[V; REGISTERS]; ROWS],
        target: *mut f32,
        stride: usize,
        base: TileBase,
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let factor = V::splat(self.factor);
            for (row, sums) in sums.iter().enumerate() {
                for (register, sum) in sums.iter().enumerate() {
                    let target = target.add(row * stride + register * V::LANES);
                    let value = match base {
                        TileBase::Zero => sum.mul(factor),
                        TileBase::Target => sum.mul_add(factor, V::load(target)),
                        TileBase::Row(row) => sum.mul_add(factor, V::load(row.add(register * V::LANES))),
                    };
                    value.store(target);
                }
            }
        }
    }
}
