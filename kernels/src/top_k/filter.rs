//! The scan of documents that have heads, in two stages: a tile of heads against a tile of queries, and the full product of
//! the 8-bit copies for each pair that the bound of the heads does not rule out.
//!
//! A block is as many documents as fit the second-level cache with heads and copies. The queries are kept twice: their heads
//! packed for the first stage, and their codes row after row for the second. That takes the pairs which a whole block
//! leaves of a tile of queries, one after the other, and asks ahead for the rows of those to come. What it leaves is a
//! candidate as in any other scan of codes, so thresholds, buffers and final scores know nothing of heads.

use std::ops::Range;

use super::Pass;
use super::bounds::{DocumentBound, DocumentBounds, QueryBound, Scan};
use super::documents::{AlignedCodes, Codes};
use super::head::{Head, Heads};
use super::kernels::{Block, HeadKernels, MAX_LANES, Tails};
use crate::device::InstructionSet;
use crate::matrix::Matrix;

/// Queries that are rotated together.
const QUERIES_AT_A_TIME: usize = 256;

/// What the first stage knows of the queries searched at the same time.
pub(super) struct Filter<'p> {
    pub kernels: HeadKernels,
    pub heads: &'p Heads,
    pub codes: &'p Codes<'p>,
    documents: &'p DocumentBounds,
    /// Columns of a head as scanned.
    columns: usize,
    /// The heads' codes, packed into tiles.
    packed: Vec<i8>,
    bounds: Vec<QueryBound>,
    /// Per query, up to a whole tile: what a document's tail is multiplied by.
    tails: Vec<f32>,
    /// The codes of all columns, row after row, up to a whole tile.
    rows: AlignedCodes,
    row_columns: usize,
}

impl<'p> Filter<'p> {
    /// The filter of some of the queries of a pass whose documents have heads; `None` where they have not.
    /// `row_columns` is the length of a query's row of codes, for which room is made.
    pub fn new(
        pass: &'p Pass<'p>,
        set: InstructionSet,
        members: &[usize],
        row_columns: usize,
    ) -> Option<Filter<'p>> {
        let (heads, codes) = (pass.documents.heads()?, pass.documents.codes()?);
        let kernels = HeadKernels::new(set);
        let columns = heads.codes.stride;
        let padded = members.len().next_multiple_of(kernels.width);
        let mut filter = Filter {
            kernels,
            heads,
            codes,
            documents: pass.documents.bounds(pass.metric, Scan::Heads),
            columns,
            packed: vec![0; padded * columns],
            bounds: Vec::with_capacity(members.len()),
            tails: vec![0.0; padded],
            rows: AlignedCodes::zeros(padded * row_columns),
            row_columns,
        };
        filter.take_queries(pass, members);
        Some(filter)
    }

    /// Rotates, measures and packs the queries, some at a time.
    fn take_queries(&mut self, pass: &Pass<'_>, members: &[usize]) {
        let (rotation, columns) = (&self.heads.rotation, pass.queries.columns());
        let mut codes = vec![0; self.columns];
        for (part, members) in members.chunks(QUERIES_AT_A_TIME).enumerate() {
            let rows: Vec<f32> = members.iter().flat_map(|query| pass.queries.row(*query)).copied().collect();
            let mut computed = vec![0.0; members.len() * rotation.heads()];
            if let Ok(rows) = Matrix::new("queries", &rows, members.len(), columns) {
                rotation.rotate(rows, &mut computed);
            }
            for (member, (query, head)) in members.iter().zip(computed.chunks(rotation.heads())).enumerate() {
                let index = part * QUERIES_AT_A_TIME + member;
                let norm = pass.query_norms[*query];
                let head = Head::of(rotation, head, norm, &mut codes);
                let (bound, tail) = QueryBound::head(norm, &head, pass.metric);
                self.bounds.push(bound);
                self.tails[index] = tail;
                self.pack(index, &codes);
            }
        }
    }

    fn pack(&mut self, index: usize, codes: &[i8]) {
        let (width, offset) = (self.kernels.width, self.kernels.code_offset);
        let tile = &mut self.packed[index / width * width * self.columns..];
        for (group, codes) in codes.chunks(4).enumerate() {
            let place = (group * width + index % width) * 4;
            for (packed, code) in tile[place..][..4].iter_mut().zip(codes) {
                *packed = code.wrapping_add(offset);
            }
        }
    }

    /// Keeps the codes of all columns of a query, raised as the kernels read them.
    pub fn keep_row(&mut self, index: usize, codes: &[i8]) {
        self.rows[index * self.row_columns..][..self.row_columns].copy_from_slice(codes);
    }

    /// The bytes that a scan reads of a document.
    pub fn document_bytes(&self) -> usize {
        self.columns + self.row_columns
    }
}

/// Whole tiles of documents, and what is read of them.
pub(super) struct Tiles<'p> {
    /// The row of each document, tile after tile.
    rows: Vec<u32>,
    heads: Vec<TileOfHeads<'p>>,
    /// The largest errors of their heads.
    worst: DocumentBound,
    /// Per row of all documents: what the product of all columns is multiplied by.
    weights: &'p [f32],
}

/// What the first stage reads of a tile.
struct TileOfHeads<'p> {
    codes: &'p [i8],
    sums: &'p [i32],
    weights: &'p [f32],
    tails: &'p [f32],
}

impl<'p> Tiles<'p> {
    /// No tiles yet; `full` are the bounds of the scan of all columns.
    pub fn new(full: &'p DocumentBounds) -> Tiles<'p> {
        Tiles { rows: Vec::new(), heads: Vec::new(), worst: DocumentBound::ZERO, weights: &full.weights }
    }

    /// Adds the tile of these rows.
    #[allow(clippy::cast_possible_truncation)] // `Documents` has no more rows than 32-bit ids
    pub fn push(&mut self, filter: &Filter<'p>, rows: Range<usize>) {
        let (codes, bounds) = (&filter.heads.codes, filter.documents);
        self.worst = self.worst.worst(&bounds.worst(rows.clone()));
        self.heads.push(TileOfHeads {
            codes: &codes.values[rows.start * codes.stride..],
            sums: &codes.sums[rows.clone()],
            weights: &bounds.weights[rows.clone()],
            tails: &bounds.tails[rows.clone()],
        });
        self.rows.extend(rows.map(|row| row as u32));
    }
}

/// What a thread needs to sift tiles.
#[derive(Default)]
pub(super) struct Sieve {
    limits: Vec<f32>,
    /// The pairs that the heads leave, and their weighted products of all columns.
    places: Vec<u32>,
    products: Vec<f32>,
    /// Pairs left since the last time that was asked.
    left: usize,
}

impl Sieve {
    /// How many pairs were left since this was last asked.
    pub fn take_left(&mut self) -> usize {
        std::mem::take(&mut self.left)
    }

    /// The pairs of the tiles and of the tile of queries from `first` on that may reach their limits: row, query of the
    /// tile, weighted product of all columns. `known` are the scores to reach, `limits` the products for that.
    pub fn sift<'s>(
        &'s mut self,
        filter: &Filter<'_>,
        first: usize,
        tiles: &'s Tiles<'_>,
        known: impl Iterator<Item = f32>,
        limits: &'s [f32],
    ) -> impl Iterator<Item = (usize, usize, f32)> + 's {
        let width = filter.kernels.width;
        self.limits.clear();
        let bounds = filter.bounds[first..].iter().zip(known);
        self.limits.extend(bounds.map(|(bound, known)| bound.threshold(known, &tiles.worst)));
        self.limits.resize(width, f32::INFINITY);
        let count = self.compare_heads(filter, first, tiles);
        self.left += count;
        let rows = Block {
            queries: &filter.rows[first * filter.row_columns..][..width * filter.row_columns],
            documents: &filter.codes.values,
            stride: filter.codes.stride,
            columns: filter.row_columns,
            code_sums: &filter.codes.sums,
        };
        let (places, products) = (&self.places[..count], &mut self.products[..count]);
        filter.kernels.pairs(&rows, tiles.weights, &tiles.rows, places, products);
        places.iter().zip(&*products).filter_map(move |(place, product)| {
            let query = *place as usize & (width - 1);
            #[allow(clippy::neg_cmp_op_on_partial_ord)] // NaN must pass
            (!(*product < limits[query]))
                .then(|| (tiles.rows[*place as usize / width] as usize, query, *product))
        })
    }

    /// Lists the pairs that the heads leave; how many.
    #[allow(clippy::cast_possible_truncation)] // of a block, and as many queries as fit a tile
    fn compare_heads(&mut self, filter: &Filter<'_>, first: usize, tiles: &Tiles<'_>) -> usize {
        let (width, columns) = (filter.kernels.width, filter.columns);
        let most = tiles.rows.len() * width + MAX_LANES;
        if self.places.len() < most {
            self.places.resize(most, 0);
            self.products.resize(most, 0.0);
        }
        let mut count = 0;
        for (number, tile) in tiles.heads.iter().enumerate() {
            let block = Block {
                queries: &filter.packed[first * columns..][..width * columns],
                documents: tile.codes,
                stride: columns,
                columns,
                code_sums: tile.sums,
            };
            let tails = Tails { documents: tile.tails, queries: &filter.tails[first..] };
            let first = (number * filter.kernels.documents * width) as u32;
            let places = &mut self.places[count..];
            count += filter.kernels.filter(&block, tile.weights, tails, &self.limits, first, places);
        }
        count
    }
}
