//! The inner loops of the scan, written once over [`Vector`]: a register tile of many queries against a few
//! documents, and one query against a run of documents.
//!
//! A tile keeps `P` registers of queries (one query per lane) times `R` documents in accumulators. Queries are
//! packed so that one column of all the tile's queries is contiguous; documents are read where they lie, one
//! value broadcast at a time. After the last column each similarity meets its query's threshold, and the
//! caller learns which ones did not stay below.

#![cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    )),
    allow(dead_code, unused_macros) // compiled for no instruction set, called by nobody
)]

use super::vector::Vector;
use crate::device::InstructionSet;

/// The most registers of accumulators a tile has.
pub(crate) const MAX_REGISTERS: usize = 64;
/// How many pairs before it is multiplied a row is asked for.
const PAIRS_AHEAD: usize = 8;
/// The most queries in the lanes of a register.
pub(crate) const MAX_LANES: usize = 16;

/// Documents as the kernels read them.
pub(crate) trait Element: Copy + Default {
    /// Values read at a time: rows are padded to a multiple of it.
    const GROUP: usize;
}

impl Element for f32 {
    const GROUP: usize = 1;
}

/// A code of the 8-bit copy.
impl Element for i8 {
    const GROUP: usize = 4;
}

/// What a kernel is given. Rows have `columns` values, a multiple of [`Element::GROUP`].
pub(crate) struct Block<'a, T> {
    /// `columns` x `width` values for a tile (in groups: group `g` of all queries, then group `g + 1`), or one
    /// query of `columns` values.
    pub queries: &'a [T],
    /// Rows of documents, `stride` values apart.
    pub documents: &'a [T],
    pub stride: usize,
    pub columns: usize,
    /// Per document: the sum of its codes. Empty for f32.
    pub code_sums: &'a [i32],
}

/// The products of a tile and which of them to look at.
pub(crate) struct Hits {
    /// Per document and register of queries: one bit per query not below its threshold.
    pub masks: [u32; MAX_REGISTERS],
    /// Per document and register of queries: the weighted products. Only written when a bit is set.
    pub products: [[f32; MAX_LANES]; MAX_REGISTERS],
}

impl Hits {
    pub fn new() -> Hits {
        Hits { masks: [0; MAX_REGISTERS], products: [[0.0; MAX_LANES]; MAX_REGISTERS] }
    }
}

/// What [`HeadKernels::filter`] adds to a product before it is compared: the document's tail times the query's.
#[derive(Clone, Copy)]
pub(crate) struct Tails<'a> {
    /// One per document of the tile.
    pub documents: &'a [f32],
    /// One per query of the tile.
    pub queries: &'a [f32],
}

/// Multiplies a tile, weighs the products, adds the tails' and lists the pairs not below their thresholds; how many. A pair is
/// `first + document * width + query`.
type FilterKernel = unsafe fn(
    &Block<'_, i8>,
    weights: &[f32],
    tails: Tails<'_>,
    thresholds: &[f32],
    first: u32,
    places: &mut [u32],
) -> usize;

/// Multiplies the listed pairs, document `rows[place / width]` with query `place % width`, the queries row after row, and
/// weighs the products.
type PairKernel =
    unsafe fn(&Block<'_, i8>, weights: &[f32], rows: &[u32], places: &[u32], products: &mut [f32]);

/// The kernels of an instruction set for heads.
#[derive(Clone, Copy)]
pub(crate) struct HeadKernels {
    /// Queries in a tile, a power of two.
    pub width: usize,
    /// Documents in a tile.
    pub documents: usize,
    /// What the codes of a query are raised by, wrapped around.
    pub code_offset: i8,
    filter: FilterKernel,
    pairs: PairKernel,
}

impl HeadKernels {
    /// Runs the filter on a tile: `self.width` queries, `self.documents` documents. Lists pairs at the start of `places`.
    pub fn filter(
        &self,
        block: &Block<'_, i8>,
        weights: &[f32],
        tails: Tails<'_>,
        thresholds: &[f32],
        first: u32,
        places: &mut [u32],
    ) -> usize {
        check(block, self.documents, block.columns * self.width);
        assert!(weights.len() >= self.documents && tails.documents.len() >= self.documents);
        assert!(thresholds.len() >= self.width && tails.queries.len() >= self.width);
        assert!(places.len() >= self.documents * self.width + MAX_LANES);
        // SAFETY: `HeadKernels` are only made for an available instruction set, and every slice was just found
        // long enough.
        unsafe { (self.filter)(block, weights, tails, thresholds, first, places) }
    }

    /// Multiplies pairs of `self.width` queries, `block.columns` values apart, and of the documents `rows` of the block.
    /// One product for each place.
    pub fn pairs(
        &self,
        block: &Block<'_, i8>,
        weights: &[f32],
        rows: &[u32],
        places: &[u32],
        products: &mut [f32],
    ) {
        let documents = rows.iter().max().map_or(0, |row| *row as usize + 1);
        check(block, documents, block.columns * self.width);
        assert!(weights.len() >= documents && products.len() >= places.len());
        assert!(places.iter().all(|place| (*place as usize) < rows.len() * self.width));
        // SAFETY: as above, every place is a query and one of the rows, and every row is one of the block's.
        unsafe { (self.pairs)(block, weights, rows, places, products) }
    }
}

/// Multiplies a tile, weighs the products, compares them with the thresholds; true if any is not below.
type TileKernel<T> = unsafe fn(&Block<'_, T>, weights: &[f32], thresholds: &[f32], hits: &mut Hits) -> bool;

/// Multiplies one query with as many documents as there are products.
type RowKernel<T> = unsafe fn(&Block<'_, T>, products: &mut [f32]);

/// The kernels of an instruction set for one element type.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<T> {
    /// Queries per register.
    pub lanes: usize,
    /// Registers of queries in a tile.
    pub registers: usize,
    /// Documents in a tile.
    pub documents: usize,
    /// What the codes of a query are raised by.
    pub code_offset: i32,
    tile: TileKernel<T>,
    rows: RowKernel<T>,
}

impl<T: Element> Kernels<T> {
    /// Queries in a tile.
    pub fn width(&self) -> usize {
        self.registers * self.lanes
    }

    /// Runs the tile kernel: `self.width()` queries, `self.documents` documents.
    pub fn tile(&self, block: &Block<'_, T>, weights: &[f32], thresholds: &[f32], hits: &mut Hits) -> bool {
        check(block, self.documents, block.columns * self.width());
        assert!(weights.len() >= self.documents && thresholds.len() >= self.width());
        // SAFETY: `Kernels` are only made for an available instruction set, and every slice was just found
        // long enough.
        unsafe { (self.tile)(block, weights, thresholds, hits) }
    }

    /// Runs the row kernel: one query, `products.len()` documents.
    pub fn rows(&self, block: &Block<'_, T>, products: &mut [f32]) {
        check(block, products.len(), block.columns);
        // SAFETY: as above.
        unsafe { (self.rows)(block, products) }
    }
}

fn check<T: Element>(block: &Block<'_, T>, documents: usize, queries: usize) {
    assert!(block.columns.is_multiple_of(T::GROUP) && block.stride >= block.columns);
    assert!(documents == 0 || block.documents.len() >= (documents - 1) * block.stride + block.columns);
    assert!(block.queries.len() >= queries);
    assert!(T::GROUP == 1 || block.code_sums.len() >= documents);
}

/// Calls the function of this name in the module compiled for an instruction set that is available; `amx` names the module for
/// AMX.
macro_rules! of_set {
    ($set:expr, $kernels:ident, amx $tiled:ident) => {{
        let set: InstructionSet = $set;
        assert!(set.is_available(), "{set} is not available");
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2::$kernels(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => avx512::$kernels(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Vnni => avx512_vnni::$kernels(),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Amx => $tiled::$kernels(),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => neon::$kernels(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            InstructionSet::Simd128 => simd128::$kernels(),
            #[allow(unreachable_patterns)]
            other => unreachable!("{other} was found available"),
        }
    }};
}

impl Kernels<f32> {
    /// The kernels for f32 documents on an instruction set that is available.
    pub fn floats(set: InstructionSet) -> Kernels<f32> {
        of_set!(set, floats, amx avx512_vnni)
    }
}

impl Kernels<i8> {
    /// The kernels for 8-bit copies on an instruction set that is available.
    pub fn codes(set: InstructionSet) -> Kernels<i8> {
        of_set!(set, codes, amx tiled)
    }
}

impl HeadKernels {
    /// The kernels on an instruction set that is available.
    pub fn new(set: InstructionSet) -> HeadKernels {
        of_set!(set, heads, amx avx512_vnni)
    }
}

/// The generic bodies below, compiled for one instruction set, with the registers of queries and the documents
/// of its tiles: as many accumulators as fit beside a column of queries and one broadcast value.
macro_rules! compile {
    ($module:ident, $vector:ty, $features:literal, floats $fp:literal x $fr:literal, codes $cp:literal x $cr:literal) => {
        mod $module {
            use super::*;

            pub fn floats() -> Kernels<f32> {
                let lanes = <$vector>::LANES;
                let (tile, rows) = (float_tile as TileKernel<f32>, float_rows as RowKernel<f32>);
                Kernels { lanes, registers: $fp, documents: $fr, code_offset: 0, tile, rows }
            }

            pub fn codes() -> Kernels<i8> {
                let (lanes, code_offset) = (<$vector>::LANES, <$vector>::CODE_OFFSET);
                let (tile, rows) = (code_tile as TileKernel<i8>, code_rows as RowKernel<i8>);
                Kernels { lanes, registers: $cp, documents: $cr, code_offset, tile, rows }
            }

            pub fn heads() -> HeadKernels {
                let width = $cp * <$vector>::LANES;
                let (filter, pairs) = (head_filter as FilterKernel, code_pairs as PairKernel);
                #[allow(clippy::cast_possible_truncation)] // it wraps, as the codes do
                let code_offset = <$vector>::CODE_OFFSET as i8;
                HeadKernels { width, documents: $cr, code_offset, filter, pairs }
            }

            /// # Safety
            /// The instruction set is available and the slices are long enough for the tile.
            #[target_feature(enable = $features)]
            unsafe fn head_filter(
                block: &Block<'_, i8>,
                weights: &[f32],
                tails: Tails<'_>,
                thresholds: &[f32],
                first: u32,
                places: &mut [u32],
            ) -> usize {
                // SAFETY: by this function's contract.
                unsafe { filter::<$vector, $cp, $cr>(block, weights, tails, thresholds, first, places) }
            }

            /// # Safety
            /// The instruction set is available, every place is a query of the block and one of the rows, and every
            /// row is one of the block's.
            #[target_feature(enable = $features)]
            unsafe fn code_pairs(
                block: &Block<'_, i8>,
                weights: &[f32],
                rows: &[u32],
                places: &[u32],
                products: &mut [f32],
            ) {
                // SAFETY: by this function's contract.
                unsafe { multiply_pairs::<$vector, $cp>(block, weights, rows, places, products) }
            }

            /// # Safety
            /// The instruction set is available and the slices are long enough for the tile.
            #[target_feature(enable = $features)]
            unsafe fn float_tile(block: &Block<'_, f32>, w: &[f32], t: &[f32], hits: &mut Hits) -> bool {
                // SAFETY: by this function's contract.
                unsafe { multiply_floats::<$vector, $fp, $fr>(block, w, t, hits) }
            }

            /// # Safety
            /// The instruction set is available and the slices are long enough for the tile.
            #[target_feature(enable = $features)]
            unsafe fn code_tile(block: &Block<'_, i8>, w: &[f32], t: &[f32], hits: &mut Hits) -> bool {
                // SAFETY: by this function's contract.
                unsafe { multiply_codes::<$vector, $cp, $cr>(block, w, t, hits) }
            }

            /// # Safety
            /// The instruction set is available and the slices are long enough for the products.
            #[target_feature(enable = $features)]
            unsafe fn float_rows(block: &Block<'_, f32>, products: &mut [f32]) {
                // SAFETY: by this function's contract.
                unsafe { multiply_float_rows::<$vector>(block, products) }
            }

            /// # Safety
            /// The instruction set is available and the slices are long enough for the products.
            #[target_feature(enable = $features)]
            unsafe fn code_rows(block: &Block<'_, i8>, products: &mut [f32]) {
                // SAFETY: by this function's contract.
                unsafe { multiply_code_rows::<$vector>(block, products) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use super::vector::x86;
#[cfg(target_arch = "x86_64")]
compile!(avx2, x86::Avx2, "avx2,fma", floats 2 x 6, codes 2 x 4);
#[cfg(target_arch = "x86_64")]
compile!(avx512, x86::Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt", floats 2 x 12, codes 2 x 8);
#[cfg(target_arch = "x86_64")]
compile!(
    avx512_vnni,
    x86::Avx512Vnni,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,popcnt",
    floats 2 x 12,
    codes 2 x 12
);
#[cfg(target_arch = "aarch64")]
compile!(neon, super::super::vector::neon::Neon, "neon", floats 4 x 6, codes 4 x 4);
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
compile!(simd128, super::super::vector::wasm::Simd128, "simd128", floats 2 x 4, codes 2 x 4);

/// Codes on AMX tiles: 32 documents, whose codes are signed, by 32 queries, whose codes are raised.
#[cfg(target_arch = "x86_64")]
mod tiled {
    use core::arch::x86_64::{_mm512_load_si512, _mm512_set1_epi32, _mm512_sub_epi32};

    use super::super::vector::Vector;
    use super::super::vector::x86::Avx512Vnni;
    use super::*;
    use crate::amx::{Step, TILE_GROUPS, TILE_ROWS, Tiles};

    const LANES: usize = <Avx512Vnni as Vector>::LANES;
    /// Registers of queries, and tiles of documents.
    const REGISTERS: usize = 2;
    const DOCUMENTS: usize = REGISTERS * TILE_ROWS;
    const WIDTH: usize = REGISTERS * LANES;

    /// Sums of a tile, on a cache line.
    #[repr(C, align(64))]
    struct Sums([i32; DOCUMENTS * WIDTH]);

    pub fn codes() -> Kernels<i8> {
        Kernels { registers: REGISTERS, documents: DOCUMENTS, tile: code_tile, ..avx512_vnni::codes() }
    }

    /// # Safety
    /// AMX and AVX-512 with VNNI are available and the slices are long enough for the tile.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn code_tile(block: &Block<'_, i8>, weights: &[f32], thresholds: &[f32], hits: &mut Hits) -> bool {
        // SAFETY: by this function's contract.
        unsafe { admit(&multiply(block), block.code_sums, weights, thresholds, hits) }
    }

    /// # Safety
    /// As [`code_tile`].
    unsafe fn multiply(block: &Block<'_, i8>) -> Sums {
        let groups = block.columns / i8::GROUP;
        let at_once = (1..=TILE_GROUPS).rev().find(|count| groups.is_multiple_of(*count)).unwrap_or(1);
        let mut sums = Sums([0; DOCUMENTS * WIDTH]);
        let line = WIDTH * i8::GROUP;
        let (documents, queries) =
            (block.documents.as_ptr().cast::<u8>(), block.queries.as_ptr().cast::<u8>());
        // SAFETY: AMX is there; the tiles have the shapes of what they read, which this function's contract gives.
        unsafe {
            let tiles = Tiles::new(TILE_ROWS, TILE_ROWS, at_once);
            tiles.start(sums.0.as_ptr());
            for group in (0..groups).step_by(at_once) {
                let (upper, left) = (documents.add(group * i8::GROUP), queries.add(group * line));
                tiles.add_signed_products(Step {
                    upper,
                    lower: upper.add(TILE_ROWS * block.stride),
                    stride: block.stride,
                    left,
                    right: left.add(line / REGISTERS),
                    line,
                });
            }
            let sums = sums.0.as_mut_ptr();
            tiles.store(sums, sums.add(TILE_ROWS * WIDTH), WIDTH * size_of::<i32>());
        }
        sums
    }

    /// [`super::admit`] for sums that lie in memory.
    ///
    /// # Safety
    /// As [`code_tile`].
    #[inline(always)]
    unsafe fn admit(
        sums: &Sums,
        code_sums: &[i32],
        weights: &[f32],
        thresholds: &[f32],
        hits: &mut Hits,
    ) -> bool {
        // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
        unsafe {
            let limits =
                [Avx512Vnni::load(thresholds.as_ptr()), Avx512Vnni::load(thresholds.as_ptr().add(LANES))];
            let mut any = 0;
            for document in 0..DOCUMENTS {
                for (register, limit) in limits.iter().enumerate() {
                    any |= product(sums, code_sums, weights, document, register).not_below(*limit);
                }
            }
            if any == 0 {
                return false;
            }
            // Most tiles end above: the products are made again rather than kept.
            for document in 0..DOCUMENTS {
                for (register, limit) in limits.iter().enumerate() {
                    let place = document * REGISTERS + register;
                    let product = product(sums, code_sums, weights, document, register);
                    hits.masks[place] = product.not_below(*limit);
                    product.store(hits.products[place].as_mut_ptr());
                }
            }
            true
        }
    }

    /// The weighted products of a document with a register of queries. (A closure would be compiled without the
    /// instruction set.)
    ///
    /// # Safety
    /// As [`code_tile`].
    #[inline(always)]
    unsafe fn product(
        sums: &Sums,
        code_sums: &[i32],
        weights: &[f32],
        document: usize,
        register: usize,
    ) -> Avx512Vnni {
        // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
        unsafe {
            let sums = _mm512_load_si512(sums.0.as_ptr().add(document * WIDTH + register * LANES).cast());
            let raised = Avx512Vnni::CODE_OFFSET * *code_sums.get_unchecked(document);
            let product = Avx512Vnni::to_float(_mm512_sub_epi32(sums, _mm512_set1_epi32(raised)));
            product.multiply(Avx512Vnni::splat(*weights.get_unchecked(document)))
        }
    }
}

/// # Safety
/// `V`'s instruction set is available; the block has `R` documents and `P` registers of queries.
#[inline(always)]
unsafe fn multiply_floats<V: Vector, const P: usize, const R: usize>(
    block: &Block<'_, f32>,
    weights: &[f32],
    thresholds: &[f32],
    hits: &mut Hits,
) -> bool {
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let mut sums = [[V::splat(0.0); P]; R];
        let mut queries = block.queries.as_ptr();
        let documents = block.documents.as_ptr();
        for column in 0..block.columns {
            let mut lanes = [V::splat(0.0); P];
            for (p, lanes) in lanes.iter_mut().enumerate() {
                *lanes = V::load(queries.add(p * V::LANES));
            }
            queries = queries.add(P * V::LANES);
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(*documents.add(r * block.stride + column));
                for p in 0..P {
                    sums[p] = lanes[p].multiply_add(value, sums[p]);
                }
            }
        }
        admit(sums, weights, thresholds, hits)
    }
}

/// # Safety
/// `V`'s instruction set is available; the block has `R` documents and `P` registers of queries.
#[inline(always)]
unsafe fn multiply_codes<V: Vector, const P: usize, const R: usize>(
    block: &Block<'_, i8>,
    weights: &[f32],
    thresholds: &[f32],
    hits: &mut Hits,
) -> bool {
    // SAFETY: by this function's contract.
    unsafe { admit(code_products::<V, P, R>(block), weights, thresholds, hits) }
}

/// # Safety
/// `V`'s instruction set is available; the block has `R` documents and `P` registers of queries.
#[inline(always)]
unsafe fn code_products<V: Vector, const P: usize, const R: usize>(block: &Block<'_, i8>) -> [[V; P]; R] {
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let mut sums = [[V::splat_integer(0); P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [V::splat_integer(-V::CODE_OFFSET * block.code_sums[r]); P];
        }
        let mut queries = block.queries.as_ptr();
        let documents = block.documents.as_ptr();
        for column in (0..block.columns).step_by(4) {
            let mut lanes = [V::load_quads(queries); P];
            for (p, lanes) in lanes.iter_mut().enumerate() {
                *lanes = V::load_quads(queries.add(p * 4 * V::LANES));
            }
            queries = queries.add(P * 4 * V::LANES);
            for (r, sums) in sums.iter_mut().enumerate() {
                let quad = V::splat_quad(documents.add(r * block.stride + column));
                for p in 0..P {
                    sums[p] = V::add_products(sums[p], lanes[p], quad);
                }
            }
        }
        let mut products = [[V::splat(0.0); P]; R];
        for (products, sums) in products.iter_mut().zip(&sums) {
            for (product, sum) in products.iter_mut().zip(sums) {
                *product = V::to_float(*sum);
            }
        }
        products
    }
}

/// # Safety
/// `V`'s instruction set is available; the block has `R` documents and `P` registers of queries, and so have weights,
/// tails and thresholds; `places` has room for all of them and a register beyond.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // a tile has a few hundred places
unsafe fn filter<V: Vector, const P: usize, const R: usize>(
    block: &Block<'_, i8>,
    weights: &[f32],
    tails: Tails<'_>,
    thresholds: &[f32],
    first: u32,
    places: &mut [u32],
) -> usize {
    const { assert!(P * R <= MAX_REGISTERS && V::LANES <= MAX_LANES) }
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let products = code_products::<V, P, R>(block);
        let mut limits = [V::splat(0.0); P];
        let mut query_tails = [V::splat(0.0); P];
        for p in 0..P {
            limits[p] = V::load(thresholds.as_ptr().add(p * V::LANES));
            query_tails[p] = V::load(tails.queries.as_ptr().add(p * V::LANES));
        }
        let mut masks = [[0; P]; R];
        for (r, (products, masks)) in products.iter().zip(&mut masks).enumerate() {
            let weight = V::splat(*weights.get_unchecked(r));
            let tail = V::splat(*tails.documents.get_unchecked(r));
            for p in 0..P {
                let most = products[p].multiply_add(weight, query_tails[p].multiply(tail));
                masks[p] = most.not_below(limits[p]);
            }
        }
        let mut count = 0;
        for (register, mask) in masks.as_flattened().iter().enumerate() {
            let first = first + (register * V::LANES) as u32;
            count += V::list(*mask, first, places.as_mut_ptr().add(count));
        }
        count
    }
}

/// # Safety
/// `V`'s instruction set is available; every place is one of `P` registers of queries and of the rows, and every row one of
/// the block's documents; there are as many products as places.
#[inline(always)]
#[allow(clippy::cast_precision_loss)]
unsafe fn multiply_pairs<V: Vector, const P: usize>(
    block: &Block<'_, i8>,
    weights: &[f32],
    rows: &[u32],
    places: &[u32],
    products: &mut [f32],
) {
    const PAIRS: usize = 4;
    let columns = block.columns;
    let whole = columns - columns % (4 * V::LANES);
    let width = P * V::LANES;
    // SAFETY: the pointers stay within the slices, by this function's contract.
    unsafe {
        let row_of = |place: u32| *rows.get_unchecked(place as usize / width) as usize;
        for (start, products) in (0..places.len()).step_by(PAIRS).zip(products.chunks_mut(PAIRS)) {
            for ahead in places.get(start + PAIRS_AHEAD..).unwrap_or(&[]).iter().take(PAIRS) {
                let document = block.documents.as_ptr().add(row_of(*ahead) * block.stride);
                for column in (0..columns).step_by(64) {
                    V::prefetch(document.add(column));
                }
            }
            let places = &places[start..][..products.len()];
            let mut pairs = [(block.queries.as_ptr(), 0); PAIRS];
            for (pair, (query, row)) in pairs.iter_mut().enumerate() {
                let place = places[pair.min(places.len() - 1)];
                (*query, *row) = (query.add(place as usize % width * columns), row_of(place));
            }
            let documents = pairs.map(|(_, row)| block.documents.as_ptr().add(row * block.stride));
            let mut sums = [V::splat_integer(0); PAIRS];
            for column in (0..whole).step_by(4 * V::LANES) {
                for pair in 0..PAIRS {
                    let query = V::load_quads(pairs[pair].0.add(column));
                    let document = V::load_quads(documents[pair].add(column));
                    sums[pair] = V::add_products(sums[pair], query, document);
                }
            }
            for (pair, product) in products.iter_mut().enumerate() {
                let (query, row) = pairs[pair];
                let mut sum =
                    V::total_integer(sums[pair]) - V::CODE_OFFSET * *block.code_sums.get_unchecked(row);
                for column in whole..columns {
                    let code = stored_code::<V>(*query.add(column));
                    sum += code * i32::from(*documents[pair].add(column));
                }
                *product = sum as f32 * *weights.get_unchecked(row);
            }
        }
    }
}

/// Weighs the products, compares them and reports those not below their thresholds.
///
/// # Safety
/// `V`'s instruction set is available; there are `R` weights and `P` registers of thresholds.
#[inline(always)]
unsafe fn admit<V: Vector, const P: usize, const R: usize>(
    mut products: [[V; P]; R],
    weights: &[f32],
    thresholds: &[f32],
    hits: &mut Hits,
) -> bool {
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let mut limits = [V::splat(0.0); P];
        for (p, limits) in limits.iter_mut().enumerate() {
            *limits = V::load(thresholds.as_ptr().add(p * V::LANES));
        }
        let mut any = 0;
        for (r, products) in products.iter_mut().enumerate() {
            let weight = V::splat(*weights.get_unchecked(r));
            for (product, limit) in products.iter_mut().zip(limits) {
                *product = product.multiply(weight);
                any |= product.not_below(limit);
            }
        }
        if any == 0 {
            return false;
        }
        // Most tiles end above: the masks are made again rather than kept.
        for (r, products) in products.iter().enumerate() {
            for (p, product) in products.iter().enumerate() {
                hits.masks[r * P + p] = product.not_below(limits[p]);
                product.store(hits.products[r * P + p].as_mut_ptr());
            }
        }
        true
    }
}

/// # Safety
/// `V`'s instruction set is available; the block has one query and a document per product.
#[inline(always)]
unsafe fn multiply_float_rows<V: Vector>(block: &Block<'_, f32>, products: &mut [f32]) {
    const ROWS: usize = 4;
    let whole = block.columns - block.columns % V::LANES;
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let query = block.queries.as_ptr();
        for (chunk, products) in products.chunks_mut(ROWS).enumerate() {
            let first = block.documents.as_ptr().add(chunk * ROWS * block.stride);
            let last = products.len() - 1;
            let mut sums = [V::splat(0.0); ROWS];
            for column in (0..whole).step_by(V::LANES) {
                let lanes = V::load(query.add(column));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let document = V::load(first.add(r.min(last) * block.stride + column));
                    *sum = lanes.multiply_add(document, *sum);
                }
            }
            for (r, product) in products.iter_mut().enumerate() {
                *product = sums[r].total();
                for column in whole..block.columns {
                    *product += *query.add(column) * *first.add(r * block.stride + column);
                }
            }
        }
    }
}

/// # Safety
/// `V`'s instruction set is available; the block has one query and a document per product.
#[inline(always)]
#[allow(clippy::cast_precision_loss)]
unsafe fn multiply_code_rows<V: Vector>(block: &Block<'_, i8>, products: &mut [f32]) {
    const ROWS: usize = 4;
    let whole = block.columns - block.columns % (4 * V::LANES);
    // SAFETY: the pointers stay within the slices, whose lengths this function's contract gives.
    unsafe {
        let query = block.queries.as_ptr();
        for (chunk, products) in products.chunks_mut(ROWS).enumerate() {
            let first = block.documents.as_ptr().add(chunk * ROWS * block.stride);
            let last = products.len() - 1;
            let mut sums = [V::splat_integer(0); ROWS];
            for column in (0..whole).step_by(4 * V::LANES) {
                let lanes = V::load_quads(query.add(column));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let document = V::load_quads(first.add(r.min(last) * block.stride + column));
                    *sum = V::add_products(*sum, lanes, document);
                }
            }
            for (r, product) in products.iter_mut().enumerate() {
                let mut sum = V::total_integer(sums[r]) - V::CODE_OFFSET * block.code_sums[chunk * ROWS + r];
                for column in whole..block.columns {
                    let code = stored_code::<V>(*query.add(column));
                    sum += code * i32::from(*first.add(r * block.stride + column));
                }
                *product = sum as f32;
            }
        }
    }
}

/// A query's code as the vector instructions read it: unsigned where it was raised.
#[inline(always)]
fn stored_code<V: Vector>(code: i8) -> i32 {
    if V::CODE_OFFSET == 0 { i32::from(code) } else { i32::from(code.cast_unsigned()) }
}
