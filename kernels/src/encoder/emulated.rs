//! WebAssembly's vector instructions as `relaxed.rs` uses them, one lane after the other in plain Rust, so that its tests run
//! on every machine, under Miri too. What the instructions leave to the engine is refused: reaching it fails the test.

#![allow(non_camel_case_types)] // the names are those of `core::arch::wasm32`

/// Sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct v128([u8; 16]);

impl v128 {
    fn bytes(self) -> [i8; 16] {
        self.0.map(|byte| byte as i8)
    }
    fn halves(self) -> [i16; 8] {
        std::array::from_fn(|lane| i16::from_le_bytes([self.0[2 * lane], self.0[2 * lane + 1]]))
    }
    fn words(self) -> [i32; 4] {
        std::array::from_fn(|lane| i32::from_le_bytes(std::array::from_fn(|byte| self.0[4 * lane + byte])))
    }
    fn floats(self) -> [f32; 4] {
        self.words().map(|word| f32::from_bits(word as u32))
    }
    fn of_floats(lane: impl Fn(usize) -> f32) -> v128 {
        v128::of_words(|place| lane(place).to_bits() as i32)
    }
    fn of_halves(lane: impl Fn(usize) -> i16) -> v128 {
        v128(std::array::from_fn(|byte| lane(byte / 2).to_le_bytes()[byte % 2]))
    }
    fn of_words(lane: impl Fn(usize) -> i32) -> v128 {
        v128(std::array::from_fn(|byte| lane(byte / 4).to_le_bytes()[byte % 4]))
    }
}

pub(super) unsafe fn v128_load(from: *const v128) -> v128 {
    // SAFETY: sixteen bytes, by the caller's contract.
    v128(unsafe { from.cast::<[u8; 16]>().read_unaligned() })
}

pub(super) unsafe fn v128_load32_splat(from: *const u32) -> v128 {
    // SAFETY: four bytes, by the caller's contract.
    let word = unsafe { from.cast::<[u8; 4]>().read_unaligned() };
    v128(std::array::from_fn(|byte| word[byte % 4]))
}

pub(super) unsafe fn v128_store(to: *mut v128, value: v128) {
    // SAFETY: room for sixteen bytes, by the caller's contract.
    unsafe { to.cast::<[u8; 16]>().write_unaligned(value.0) }
}

pub(super) unsafe fn v128_store32_lane<const L: usize>(value: v128, to: *mut u32) {
    // SAFETY: room for four bytes, by the caller's contract.
    unsafe { to.cast::<i32>().write_unaligned(value.words()[L]) }
}

#[rustfmt::skip]
#[allow(clippy::too_many_arguments)] // one for each byte, as there
pub(super) const fn u8x16(
    a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8, n: u8, o: u8, p: u8,
) -> v128 {
    v128([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

pub(super) fn i8x16_splat(value: i8) -> v128 {
    v128([value as u8; 16])
}

pub(super) fn i16x8_splat(value: i16) -> v128 {
    v128::of_halves(|_| value)
}

pub(super) fn i32x4_splat(value: i32) -> v128 {
    v128::of_words(|_| value)
}

pub(super) fn f32x4_splat(value: f32) -> v128 {
    v128::of_floats(|_| value)
}

pub(super) fn f32x4_add(a: v128, b: v128) -> v128 {
    v128::of_floats(|lane| a.floats()[lane] + b.floats()[lane])
}

pub(super) fn f32x4_mul(a: v128, b: v128) -> v128 {
    v128::of_floats(|lane| a.floats()[lane] * b.floats()[lane])
}

pub(super) fn f32x4_abs(a: v128) -> v128 {
    v128::of_floats(|lane| a.floats()[lane].abs())
}

pub(super) fn f32x4_pmax(a: v128, b: v128) -> v128 {
    v128::of_floats(
        |lane| if a.floats()[lane] < b.floats()[lane] { b.floats()[lane] } else { a.floats()[lane] },
    )
}

pub(super) fn f32x4_convert_i32x4(a: v128) -> v128 {
    v128::of_floats(|lane| a.words()[lane] as f32)
}

/// # Panics
/// Where the instruction's result is the engine's to choose: a place beyond the sixteen.
pub(super) fn i8x16_relaxed_swizzle(a: v128, places: v128) -> v128 {
    v128(places.0.map(|place| a.0[usize::from(place)]))
}

pub(super) fn i16x8_add(a: v128, b: v128) -> v128 {
    v128::of_halves(|lane| a.halves()[lane].wrapping_add(b.halves()[lane]))
}

pub(super) fn i16x8_sub(a: v128, b: v128) -> v128 {
    v128::of_halves(|lane| a.halves()[lane].wrapping_sub(b.halves()[lane]))
}

pub(super) fn i32x4_add(a: v128, b: v128) -> v128 {
    v128::of_words(|lane| a.words()[lane].wrapping_add(b.words()[lane]))
}

pub(super) fn i16x8_mul(a: v128, b: v128) -> v128 {
    v128::of_halves(|lane| a.halves()[lane].wrapping_mul(b.halves()[lane]))
}

pub(super) fn u16x8_shr(a: v128, bits: u32) -> v128 {
    v128::of_halves(|lane| (a.halves()[lane] as u16 >> bits) as i16)
}

pub(super) fn i8x16_abs(a: v128) -> v128 {
    v128(a.bytes().map(|byte| byte.wrapping_abs() as u8))
}

pub(super) fn i32x4_extadd_pairwise_i16x8(a: v128) -> v128 {
    v128::of_words(|lane| i32::from(a.halves()[2 * lane]) + i32::from(a.halves()[2 * lane + 1]))
}

pub(super) fn i32x4_dot_i16x8(a: v128, b: v128) -> v128 {
    let product = |lane: usize| i32::from(a.halves()[lane]) * i32::from(b.halves()[lane]);
    v128::of_words(|lane| product(2 * lane).wrapping_add(product(2 * lane + 1)))
}

/// # Panics
/// Where the instruction's result is the engine's to choose: a byte of `b` above 127, a sum beyond 16 bits.
pub(super) fn i16x8_relaxed_dot_i8x16_i7x16(a: v128, b: v128) -> v128 {
    let product = |lane: usize| {
        assert!(b.bytes()[lane] >= 0, "an engine may take {} for {}", b.bytes()[lane], b.0[lane]);
        i16::from(a.bytes()[lane]) * i16::from(b.bytes()[lane])
    };
    v128::of_halves(|lane| match product(2 * lane).checked_add(product(2 * lane + 1)) {
        Some(sum) => sum,
        None => panic!("{} + {} are cut off", product(2 * lane), product(2 * lane + 1)),
    })
}

/// # Panics
/// As [`i16x8_relaxed_dot_i8x16_i7x16`].
pub(super) fn i32x4_relaxed_dot_i8x16_i7x16_add(a: v128, b: v128, sums: v128) -> v128 {
    i32x4_add(i32x4_extadd_pairwise_i16x8(i16x8_relaxed_dot_i8x16_i7x16(a, b)), sums)
}
