//! Fisher's randomization test for paired scores: if the systems did not differ, every difference could as well have
//! the other sign (Fisher 1935; Smucker, Allan and Carterette 2007, CIKM).
//!
//! The statistic is the sum of the differences, equivalent to their mean. Over all `2^n` signs of the `n` non-zero
//! differences when those are no more than the permutations asked for, `p` is the share of signs with a sum at least as
//! extreme as the one seen, exactly. Otherwise `m` random signs are drawn and `p = (b + 1) / (m + 1)` with `b` of them
//! as extreme: the data themselves count as one, so `p` is never 0 and the test keeps its level (Phipson and Smyth
//! 2010). Sums that differ from the one seen by less than rounding can explain count as equal to it.
//!
//! Signs are drawn as bits, eight queries to a byte, one byte per permutation. All sums that eight differences can make
//! stand in a table of 256, so a permutation costs one look-up per eight queries and measure, with no branch and no
//! dependence on the machine: the order of every addition is fixed. All measures share the signs, as they share the
//! queries. Block `k` of permutations reads stream `k` of ChaCha8, whatever the number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;
use serde::Serialize;

use super::{Alternative, common_length, sound};
use crate::undefined::Undefined;

/// The settings of the test: 10,000 permutations, seed 0, two-sided, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Randomization {
    /// Random signs to draw; all signs are taken instead when they are no more than this.
    pub permutations: u32,
    /// The seed of the draws.
    pub seed: u64,
    /// Which differences count as evidence.
    pub alternative: Alternative,
}

impl Default for Randomization {
    fn default() -> Self {
        Self { permutations: 10_000, seed: 0, alternative: Alternative::TwoSided }
    }
}

/// The outcome of a randomization test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RandomizationTest {
    /// The p-value.
    pub p: f64,
    /// Signs looked at.
    pub permutations: u64,
    /// Those with a sum as extreme as the one seen; the data themselves are among them only when exact.
    pub as_extreme: u64,
    /// Whether all signs were looked at.
    pub exact: bool,
}

/// Permutations in a block: their sums stay in the nearest cache.
const BLOCK: usize = 2_048;

/// The queries whose signs make up one byte.
const GROUP: usize = 8;

/// The randomization test of differences.
///
/// # Errors
/// [`Undefined::NoPairs`], [`Undefined::NotFinite`].
pub fn randomization_test(
    differences: &[f64],
    settings: &Randomization,
) -> Result<RandomizationTest, Undefined> {
    outcomes(&[differences], differences.len(), settings)[0]
}

/// The randomization tests of several measures of the same queries: `measures[m][q]` is the difference of measure `m` on
/// query `q`. Where signs are drawn, all measures see the same ones.
///
/// # Errors
/// [`Undefined::UnequalLengths`] when the measures have different numbers of queries. What else may be wrong is said per
/// measure, as by [`randomization_test`].
pub fn randomization_tests<Row: AsRef<[f64]> + Sync>(
    measures: &[Row],
    settings: &Randomization,
) -> Result<Vec<Result<RandomizationTest, Undefined>>, Undefined> {
    Ok(outcomes(measures, common_length(measures)?, settings))
}

fn outcomes<Row: AsRef<[f64]>>(
    measures: &[Row],
    queries: usize,
    settings: &Randomization,
) -> Vec<Result<RandomizationTest, Undefined>> {
    let observed: Vec<Result<Observed<'_>, Undefined>> =
        measures.iter().map(|row| Observed::new(row.as_ref(), settings.alternative)).collect();
    let drawn: Vec<&Observed<'_>> =
        observed.iter().flatten().filter(|measure| !measure.fits(settings.permutations)).collect();
    let mut as_extreme = drawn_signs(&drawn, queries, settings).into_iter();
    let outcome = |measure: &Result<Observed<'_>, Undefined>| match measure {
        Err(why) => Err(*why),
        Ok(measure) if measure.fits(settings.permutations) => Ok(all_signs(measure)),
        Ok(_) => Ok(of_draws(as_extreme.next().unwrap_or(0), settings.permutations)),
    };
    observed.iter().map(outcome).collect()
}

fn of_draws(as_extreme: u64, permutations: u32) -> RandomizationTest {
    let p = (as_extreme + 1) as f64 / (f64::from(permutations) + 1.0);
    RandomizationTest { p, permutations: permutations.into(), as_extreme, exact: false }
}

/// The differences of one measure and what counts as extreme.
struct Observed<'a> {
    differences: &'a [f64],
    sum: f64,
    rounding: f64,
    alternative: Alternative,
}

impl<'a> Observed<'a> {
    fn new(differences: &'a [f64], alternative: Alternative) -> Result<Self, Undefined> {
        sound(differences)?;
        let size: f64 = differences.iter().map(|d| d.abs()).sum();
        let rounding = 1e-14 * (differences.len() as f64).sqrt().max(1.0) * size;
        Ok(Self { differences, sum: differences.iter().sum(), rounding, alternative })
    }

    /// Whether all signs are no more than `permutations`.
    fn fits(&self, permutations: u32) -> bool {
        let nonzero = self.differences.iter().filter(|d| **d != 0.0).count();
        nonzero < 32 && 1u64 << nonzero <= u64::from(permutations)
    }

    fn is_extreme(&self, sum: f64) -> bool {
        match self.alternative {
            Alternative::TwoSided => sum.abs() >= self.sum.abs() - self.rounding,
            Alternative::Greater => sum >= self.sum - self.rounding,
            Alternative::Less => sum <= self.sum + self.rounding,
        }
    }

    fn count_extreme(&self, sums: &[f64]) -> u64 {
        sums.iter().filter(|sum| self.is_extreme(**sum)).count() as u64
    }
}

/// All signs of the non-zero differences: permutation `p` flips difference `q` where bit `q` of `p` is set.
fn all_signs(observed: &Observed<'_>) -> RandomizationTest {
    let moved: Vec<f64> = observed.differences.iter().copied().filter(|d| *d != 0.0).collect();
    let permutations = 1usize << moved.len();
    let mut as_extreme = 0;
    for start in (0..permutations).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(permutations);
        let mut sums = vec![0.0; block.len()];
        for (group, differences) in moved.chunks(GROUP).enumerate() {
            let signs: Vec<u8> = block.clone().map(|number| (number >> (GROUP * group)) as u8).collect();
            add_signed(&signed_sums(differences), &signs, &mut sums);
        }
        as_extreme += observed.count_extreme(&sums);
    }
    let permutations = permutations as u64;
    RandomizationTest { p: as_extreme as f64 / permutations as f64, permutations, as_extreme, exact: true }
}

/// How many random signs are as extreme as what was seen, per measure.
fn drawn_signs(measures: &[&Observed<'_>], queries: usize, settings: &Randomization) -> Vec<u64> {
    if measures.is_empty() {
        return Vec::new();
    }
    let permutations = settings.permutations as usize;
    let block = |number: usize| {
        let size = BLOCK.min(permutations - number * BLOCK);
        let signs = random_signs(settings.seed, number, size, queries);
        measures.iter().map(|measure| count_in_block(measure, &signs, size)).collect::<Vec<u64>>()
    };
    let blocks = 0..permutations.div_ceil(BLOCK);
    #[cfg(not(target_arch = "wasm32"))]
    let counts: Vec<Vec<u64>> = blocks.into_par_iter().map(block).collect();
    #[cfg(target_arch = "wasm32")]
    let counts: Vec<Vec<u64>> = blocks.map(block).collect();
    (0..measures.len()).map(|measure| counts.iter().map(|block| block[measure]).sum()).collect()
}

/// One byte per group of queries and permutation, the permutations of a group side by side.
fn random_signs(seed: u64, block: usize, permutations: usize, queries: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(block as u64);
    let mut signs = vec![0; permutations * queries.div_ceil(GROUP)];
    rng.fill_bytes(&mut signs);
    signs
}

fn count_in_block(measure: &Observed<'_>, signs: &[u8], permutations: usize) -> u64 {
    let mut sums = vec![0.0; permutations];
    for (differences, signs) in measure.differences.chunks(GROUP).zip(signs.chunks(permutations)) {
        add_signed(&signed_sums(differences), signs, &mut sums);
    }
    measure.count_extreme(&sums)
}

/// The sum of up to eight differences under every choice of signs: bit `i` set flips difference `i`.
fn signed_sums(differences: &[f64]) -> [f64; 256] {
    let mut sums = [0.0; 256];
    let mut filled = 1;
    for &d in differences {
        let (plain, flipped) = sums.split_at_mut(filled);
        plain.iter_mut().zip(flipped).for_each(|(plain, flipped)| {
            *flipped = *plain - d;
            *plain += d;
        });
        filled *= 2;
    }
    // Bits beyond the last difference change nothing.
    (filled..256).for_each(|at| sums[at] = sums[at % filled]);
    sums
}

fn add_signed(table: &[f64; 256], signs: &[u8], sums: &mut [f64]) {
    sums.iter_mut().zip(signs).for_each(|(sum, &signs)| *sum += table[usize::from(signs)]);
}

#[cfg(test)]
pub(super) mod plain {
    //! The definition: flip every difference by its bit and add up.

    use super::*;

    /// How many of the same random signs are as extreme as what was seen.
    pub(in super::super) fn as_extreme(
        differences: &[f64],
        settings: &Randomization,
    ) -> Result<u64, Undefined> {
        let observed = Observed::new(differences, settings.alternative)?;
        let permutations = settings.permutations as usize;
        let extreme = |permutation: usize| {
            let (block, at) = (permutation / BLOCK, permutation % BLOCK);
            let size = BLOCK.min(permutations - block * BLOCK);
            let signs = random_signs(settings.seed, block, size, differences.len());
            let sign =
                |q: usize| if signs[q / GROUP * size + at] >> (q % GROUP) & 1 == 1 { -1.0 } else { 1.0 };
            observed.is_extreme(differences.iter().enumerate().map(|(q, d)| sign(q) * d).sum())
        };
        Ok((0..permutations).filter(|&permutation| extreme(permutation)).count() as u64)
    }
}
