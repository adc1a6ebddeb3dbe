//! What a processor could do at most: products of bytes on registers alone, by the fastest instruction of each set. For
//! measurements, which state it beside what they find.

use core::arch::x86_64::{__m256i, __m512i, _mm512_dpbusd_epi32};
use std::hint::black_box;

use super::maddubs::Register;
use crate::amx::{Step, TILE_GROUPS, TILE_ROWS, Tiles};
use crate::device::InstructionSet;

/// Sums in registers, none of which waits for another.
const CHAINS: usize = 12;

/// Does some products of bytes, `rounds` times, and adds them up as far as the same instruction does; how many products that
/// were. `None` for sets that this processor lacks, and those whose limit is not measured (NEON, WebAssembly).
///
/// # Panics
/// From 2^25 rounds of AMX on, whose sums 32 bits do not hold.
#[must_use]
pub fn products(set: InstructionSet, rounds: usize) -> Option<u64> {
    if !set.is_available() {
        return None;
    }
    // SAFETY: the set was just found.
    let in_a_round = unsafe {
        match set {
            InstructionSet::Avx2 => narrow(rounds),
            InstructionSet::Avx512 => wide(rounds),
            InstructionSet::Avx512Vnni => vnni(rounds),
            InstructionSet::Avx512Amx => tiled(rounds),
            InstructionSet::Neon | InstructionSet::Simd128 => return None,
        }
    };
    Some(in_a_round as u64 * rounds as u64)
}

#[target_feature(enable = "avx2")]
fn narrow(rounds: usize) -> usize {
    // SAFETY: AVX2 is there.
    unsafe { in_16_bits::<__m256i>(rounds) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn wide(rounds: usize) -> usize {
    // SAFETY: AVX-512 is there.
    unsafe { in_16_bits::<__m512i>(rounds) }
}

/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn in_16_bits<V: Register>(rounds: usize) -> usize {
    // SAFETY: by this function's contract.
    unsafe {
        let weights = black_box(V::splat(0x0102_0304));
        let mut sums = [V::splat(0x0506_0708); CHAINS].map(black_box);
        for _ in 0..rounds {
            for sum in &mut sums {
                // Of what came out before: of anything else, the compiler would take it out of the loop.
                *sum = V::multiply(*sum, weights);
            }
        }
        black_box(sums);
    }
    CHAINS * V::LANES * size_of::<i32>()
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni(rounds: usize) -> usize {
    // SAFETY: AVX-512 is there.
    let (codes, weights) = unsafe { black_box((__m512i::splat(0x0506_0708), __m512i::splat(0x0102_0304))) };
    let mut sums = [codes; CHAINS].map(black_box);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, codes, weights);
        }
    }
    black_box(sums);
    CHAINS * <__m512i as Register>::LANES * size_of::<i32>()
}

/// Codes and weights come from the first-level cache here: a tile is loaded while others are multiplied.
///
/// # Safety
/// The processor has AMX.
unsafe fn tiled(rounds: usize) -> usize {
    const INPUTS: usize = 4 * TILE_GROUPS;
    assert!(rounds < 1 << 25);
    let tile = [1u8; TILE_ROWS * INPUTS];
    let mut sums = [0i32; 2 * TILE_ROWS * 2 * TILE_ROWS];
    let step = Step {
        upper: tile.as_ptr(),
        lower: tile.as_ptr(),
        stride: INPUTS,
        left: tile.as_ptr(),
        right: tile.as_ptr(),
        line: INPUTS,
    };
    let columns = 2 * TILE_ROWS;
    // SAFETY: AMX is there; tiles of 16 rows of 64 bytes are, 32 values to start from, and room for 32 x 32 sums.
    unsafe {
        let tiles = Tiles::new(TILE_ROWS, TILE_ROWS, TILE_GROUPS);
        tiles.start(sums.as_ptr());
        for _ in 0..rounds {
            tiles.add_unsigned_products(step);
        }
        let to = sums.as_mut_ptr();
        tiles.store(to, to.add(TILE_ROWS * columns), columns * size_of::<i32>());
    }
    debug_assert!(sums.iter().all(|&sum| sum as usize == rounds * INPUTS));
    sums.len() * INPUTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of this machine (AMX on its simulator) counts its products by the round.
    #[test]
    fn products_are_counted() {
        for set in InstructionSet::all_available() {
            let found = products(set, 3);
            let of_a_round = match set {
                InstructionSet::Avx2 => 12 * 32,
                InstructionSet::Avx512 | InstructionSet::Avx512Vnni => 12 * 64,
                InstructionSet::Avx512Amx => 32 * 32 * 64,
                _ => 0,
            };
            assert_eq!(found, Some(3 * of_a_round), "{set}");
        }
        assert_eq!(products(InstructionSet::Simd128, 3), None);
    }
}
