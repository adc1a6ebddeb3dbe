//! Products of matrices that fit the caches: `C (+)= alpha A B` with `B` in panels.
//!
//! The right side is copied once into panels as wide as two registers, so that the inner loop reads it
//! straight through; the left side is read in place, row-major or column-major, one value broadcast at a time.
//! A register tile of `TILE_ROWS` rows stays in registers for a whole run over the inner dimension. Every
//! element of `C` is summed over the inner dimension in ascending order whatever the blocking of rows and
//! columns, so the result does not depend on how the work is cut up among threads.

use crate::device::InstructionSet;
use crate::vector::{Vector, for_each_set, lanes};

/// Inner dimension covered by one run of the register tile: a panel of this depth stays in the first-level
/// cache.
const DEPTH: usize = 256;

/// Registers in a panel's width.
const PANEL_REGISTERS: usize = 2;

/// The widest panel, in values.
const MAX_PANEL: usize = 32;

/// Values in a panel's width under `set`.
pub(super) fn panel_width(set: Option<InstructionSet>) -> usize {
    PANEL_REGISTERS * lanes(set)
}

/// The right side `B` (`depth x columns`), cut into panels of [`panel_width`] columns, zeros where the last
/// panel has no column. Value `(k, j)` lies at `((j / width) * depth + k) * width + j % width`.
pub(super) struct Panels {
    values: Vec<f32>,
    depth: usize,
    columns: usize,
    width: usize,
}

impl Panels {
    /// Room for the panels of `set`, to be filled again and again.
    pub fn new(set: Option<InstructionSet>) -> Self {
        Panels { values: Vec::new(), depth: 0, columns: 0, width: panel_width(set) }
    }

    fn reset(&mut self, depth: usize, columns: usize) {
        self.depth = depth;
        self.columns = columns;
        self.values.clear();
        self.values.resize(columns.div_ceil(self.width) * depth * self.width, 0.0);
    }

    /// Takes `B` from its rows.
    pub fn fill_from_rows<'r>(&mut self, columns: usize, rows: impl ExactSizeIterator<Item = &'r [f32]>) {
        self.reset(rows.len(), columns);
        let (depth, width) = (self.depth, self.width);
        for (k, row) in rows.enumerate() {
            for (panel, values) in row.chunks(width).enumerate() {
                self.values[(panel * depth + k) * width..][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Takes `B` from its columns: the transpose of the rows given.
    pub fn fill_from_columns<'r>(&mut self, depth: usize, columns: impl ExactSizeIterator<Item = &'r [f32]>) {
        self.reset(depth, columns.len());
        let width = self.width;
        for (j, column) in columns.enumerate() {
            let panel = &mut self.values[(j / width) * depth * width..][..depth * width];
            for (row, value) in panel.chunks_exact_mut(width).zip(column) {
                row[j % width] = *value;
            }
        }
    }
}

/// The left side `A` (`rows x depth`) read in place: value `(i, k)` lies at `i * row_stride + k * depth_stride`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub row_stride: usize,
    pub depth_stride: usize,
}

/// What happens to the values already in `C`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// `C (+)= alpha A B`, value `(i, j)` of `C` at `i * stride + j`.
///
/// # Panics
/// When a side is too short for its shape: the callers' own mistake, never the input's.
pub(super) fn multiply(
    set: Option<InstructionSet>,
    alpha: f32,
    left: Left<'_>,
    right: &Panels,
    into: Into,
    target: &mut [f32],
    stride: usize,
) {
    if left.rows == 0 || right.columns == 0 {
        return;
    }
    if right.depth > 0 {
        let last = (left.rows - 1) * left.row_stride + (right.depth - 1) * left.depth_stride;
        assert!(last < left.values.len(), "left side too short");
    }
    assert!((left.rows - 1) * stride + right.columns <= target.len(), "target too short");
    assert_eq!(right.width, panel_width(set), "panels cut for another instruction set");
    multiply_checked(set, alpha, left, right, into, target, stride);
}

for_each_set! {
    fn multiply_checked = multiply_with(
        alpha: f32,
        left: Left<'_>,
        right: &Panels,
        into: Into,
        target: &mut [f32],
        stride: usize,
    )
}

/// # Safety
/// The instructions of `V` must exist; shapes as [`multiply`] checks them.
#[inline(always)]
unsafe fn multiply_with<V: Vector>(
    alpha: f32,
    left: Left<'_>,
    right: &Panels,
    into: Into,
    target: &mut [f32],
    stride: usize,
) {
    let width = PANEL_REGISTERS * V::LANES;
    let runs = right.depth.div_ceil(DEPTH).max(1);
    let run = right.depth.div_ceil(runs);
    for first in (0..right.depth.max(1)).step_by(run.max(1)) {
        let depth = run.min(right.depth - first);
        let into = if first == 0 { into } else { Into::Add };
        for panel in 0..right.columns.div_ceil(width) {
            let columns = width.min(right.columns - panel * width);
            let b = right.values[(panel * right.depth + first) * width..][..depth * width].as_ptr();
            let mut row = 0;
            while row < left.rows {
                let rows = V::TILE_ROWS.min(left.rows - row);
                // SAFETY: `multiply` checked that the last value of each side is inside its slice, and the
                // tile stays within `rows`, `depth` and `columns`; `b` has `depth * width` values.
                unsafe {
                    let tile = Tile {
                        depth,
                        alpha,
                        a: left.values.as_ptr().add(row * left.row_stride + first * left.depth_stride),
                        row_stride: left.row_stride,
                        depth_stride: left.depth_stride,
                        b,
                        c: target.as_mut_ptr().add(row * stride + panel * width),
                        stride,
                        columns,
                        into,
                    };
                    tile.run::<V>(rows);
                }
                row += rows;
            }
        }
    }
}

/// One register tile: `rows x columns` of `C`.
#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    alpha: f32,
    a: *const f32,
    row_stride: usize,
    depth_stride: usize,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    columns: usize,
    into: Into,
}

impl Tile {
    /// # Safety
    /// The instructions of `V` must exist, every pointer must be good for its side, and `rows <= 12`.
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
        // SAFETY: passed on from the caller: `a` is good for ROWS rows of `depth` values, `b` for `depth`
        // panel rows, `c` for ROWS rows of `columns` values; the scratch tile holds MAX_PANEL values a row.
        unsafe {
            let sums = self.accumulate::<V, ROWS>();
            if self.columns == PANEL_REGISTERS * V::LANES {
                write::<V, ROWS>(&sums, self.alpha, self.into, self.c, self.stride);
                return;
            }
            let mut scratch = [0.0f32; 12 * MAX_PANEL];
            write::<V, ROWS>(&sums, self.alpha, Into::Set, scratch.as_mut_ptr(), MAX_PANEL);
            for row in 0..ROWS {
                for column in 0..self.columns {
                    let value = scratch[row * MAX_PANEL + column];
                    let target = self.c.add(row * self.stride + column);
                    *target = if self.into == Into::Add { *target + value } else { value };
                }
            }
        }
    }

    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    unsafe fn accumulate<V: Vector, const ROWS: usize>(&self) -> [[V; PANEL_REGISTERS]; ROWS] {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[V::splat(0.0); PANEL_REGISTERS]; ROWS];
            // Every third row has a pointer of its own: three offsets from each need no further registers.
            let mut group = [self.a; 4];
            for (at, pointer) in group.iter_mut().enumerate() {
                *pointer = pointer.wrapping_add(at * 3 * self.row_stride);
            }
            let mut b = self.b;
            for _ in 0..self.depth {
                let right: [V; PANEL_REGISTERS] = [V::load(b), V::load(b.add(V::LANES))];
                for row in 0..ROWS {
                    let left = V::splat(*group[row / 3].add(row % 3 * self.row_stride));
                    for (sum, right) in sums[row].iter_mut().zip(right) {
                        *sum = left.mul_add(right, *sum);
                    }
                }
                b = b.wrapping_add(PANEL_REGISTERS * V::LANES);
                for pointer in &mut group {
                    *pointer = pointer.wrapping_add(self.depth_stride);
                }
            }
            sums
        }
    }
}

/// Writes `alpha` times the sums.
///
/// # Safety
/// The instructions of `V` must exist; `c` must be good for `ROWS` rows of two registers, `stride` apart.
#[inline(always)]
unsafe fn write<V: Vector, const ROWS: usize>(
    sums: &[[V; PANEL_REGISTERS]; ROWS],
    alpha: f32,
    into: Into,
    c: *mut f32,
    stride: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let alpha = V::splat(alpha);
        for (row, sums) in sums.iter().enumerate() {
            for (register, sum) in sums.iter().enumerate() {
                let target = c.add(row * stride + register * V::LANES);
                let value = match into {
                    Into::Set => sum.mul(alpha),
                    Into::Add => sum.mul_add(alpha, V::load(target)),
                };
                value.store(target);
            }
        }
    }
}
