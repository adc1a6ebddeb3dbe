//! The bootstrap: how queries are drawn again, and how an interval is read off the replicates.
//!
//! Pairs of one query are not independent, so whole queries (*clusters*) are drawn: `n` of the `n` clusters, with
//! replacement, every cluster equally likely each time. A statistic of graded data depends only on how often each
//! *pattern* of ratings occurs ("human 2, predicted 3"), so a cluster is a short list of pattern counts, and clusters
//! with the same list are one *kind*. Drawing then means: how many of the `n` draws fall on each kind, which is a
//! multinomial draw, made exactly and in integers:
//!
//! - few kinds, many draws: split the kinds in two halves, draw how many of the `n` go left (a binomial), recurse;
//! - otherwise: draw cluster numbers one by one.
//!
//! Resample `b` uses stream `b` of ChaCha8 under the seed, so replicates do not depend on the number of threads, and
//! clusters are numbered by their content, so they do not depend on the order of the file either. No floating-point
//! function takes part in the draw: native and Wasm draw the same.
//!
//! Intervals: percentile (Efron 1979) with linearly interpolated quantiles, and BCa (Efron 1987, "Better Bootstrap
//! Confidence Intervals", JASA 82) with the acceleration from the jackknife over clusters.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::undefined::Undefined;

/// How the ends of an interval are read off the replicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// The quantiles of the replicates themselves.
    #[default]
    Percentile,
    /// Bias-corrected and accelerated: quantiles shifted for the bias and the skew of the replicates.
    Bca,
}

/// The settings of a bootstrap: 1,000 resamples, level 0.95, seed 0, percentile, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bootstrap {
    resamples: u32,
    level: f64,
    seed: u64,
    method: IntervalMethod,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1_000, level: 0.95, seed: 0, method: IntervalMethod::Percentile }
    }
}

impl Bootstrap {
    /// More would fill the memory and change no printed digit.
    pub const MOST_RESAMPLES: u32 = 1_000_000;

    /// `resamples` resamples and intervals of confidence `level` (0.95 for 95 %).
    /// `None` when there are no resamples or more than [`Bootstrap::MOST_RESAMPLES`], or when the level does not lie strictly between 0 and 1.
    pub fn new(resamples: u32, level: f64, seed: u64) -> Option<Self> {
        let sound = (1..=Self::MOST_RESAMPLES).contains(&resamples) && level > 0.0 && level < 1.0;
        sound.then_some(Self { resamples, level, seed, method: IntervalMethod::Percentile })
    }

    /// The same settings with another way to read the interval.
    pub fn with_method(self, method: IntervalMethod) -> Self {
        Self { method, ..self }
    }

    /// The same settings with another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many resamples are drawn.
    pub fn resamples(&self) -> u32 {
        self.resamples
    }

    /// The confidence level, strictly between 0 and 1.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// The seed of the draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How the interval is read off the replicates.
    pub fn method(&self) -> IntervalMethod {
        self.method
    }
}

/// A confidence interval from replicates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// Resamples in which the statistic was undefined; they are left out of the quantiles.
    pub undefined_resamples: u32,
}

/// A value with its interval; either may be undefined, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The statistic over all the data.
    pub value: Result<f64, Undefined>,
    /// Its bootstrap interval.
    pub interval: Result<Interval, Undefined>,
}

/// The kinds of clusters and how many clusters there are of each.
#[derive(Clone, Debug)]
struct Strata {
    /// The clusters, numbered so that kinds are contiguous: kind `k` holds numbers `bounds[k]..bounds[k + 1]`.
    bounds: Vec<u32>,
    /// The kind of each cluster.
    kind_of: Vec<u32>,
}

/// One draw costs about this many times less than splitting one kind off.
const DRAWS_PER_SPLIT: u64 = 32;

impl Strata {
    fn new(sizes: &[u32]) -> Self {
        let mut strata = Self { bounds: vec![0], kind_of: Vec::new() };
        for (kind, &size) in (0u32..).zip(sizes) {
            strata.kind_of.extend(std::iter::repeat_n(kind, size as usize));
            strata.bounds.push(strata.kind_of.len() as u32);
        }
        strata
    }

    /// `clusters` clusters, no two alike.
    fn distinct(clusters: usize) -> Self {
        let clusters = clusters as u32;
        Self { bounds: (0..=clusters).collect(), kind_of: (0..clusters).collect() }
    }

    fn kinds(&self) -> usize {
        self.bounds.len() - 1
    }

    fn clusters(&self) -> usize {
        self.kind_of.len()
    }

    /// How many clusters there are of each kind.
    fn sizes(&self) -> Vec<u32> {
        self.bounds.windows(2).map(|bounds| bounds[1] - bounds[0]).collect()
    }

    /// Draws as many clusters as there are; `draws[k]` becomes the number that fell on kind `k`.
    fn draw(&self, rng: &mut ChaCha8Rng, draws: &mut [u32]) {
        draws.fill(0);
        self.draw_within(rng, 0..self.kinds(), self.clusters() as u64, draws);
    }

    fn draw_within(&self, rng: &mut ChaCha8Rng, kinds: Range<usize>, n: u64, draws: &mut [u32]) {
        match kinds.len() {
            0 => {}
            1 => draws[kinds.start] += n as u32,
            many if n < DRAWS_PER_SPLIT * many as u64 => self.draw_singly(rng, kinds, n, draws),
            _ => {
                let (low, high) = (self.bounds[kinds.start], self.bounds[kinds.end]);
                let middle = self.middle(&kinds);
                let left = binomial(rng, n, u64::from(self.bounds[middle] - low), u64::from(high - low));
                self.draw_within(rng, kinds.start..middle, left, draws);
                self.draw_within(rng, middle..kinds.end, n - left, draws);
            }
        }
    }

    /// The kind that starts nearest above the middle of the clusters of `kinds`, leaving a kind on either side.
    fn middle(&self, kinds: &Range<usize>) -> usize {
        let half = self.bounds[kinds.start].midpoint(self.bounds[kinds.end]);
        let inner = &self.bounds[kinds.start + 1..kinds.end];
        let above = inner.partition_point(|&bound| bound < half);
        kinds.start + 1 + above.min(inner.len() - 1)
    }

    fn draw_singly(&self, rng: &mut ChaCha8Rng, kinds: Range<usize>, n: u64, draws: &mut [u32]) {
        let (low, high) = (self.bounds[kinds.start], self.bounds[kinds.end]);
        for _ in 0..n {
            let cluster = low + below(rng, high - low);
            draws[self.kind_of[cluster as usize] as usize] += 1;
        }
    }
}

/// A whole number below `bound`, each equally likely (Lemire 2019, "Fast Random Integer Generation in an Interval"); 0 for a
/// bound of 0.
pub fn below(rng: &mut ChaCha8Rng, bound: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        let low = product as u32;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 32) as u32;
        }
    }
}

/// How many of `n` trials succeed, each with probability `part / whole` exactly; `part <= whole < 2^63`.
///
/// A trial succeeds when a uniform binary fraction lies below `part / whole`, which the first bit that differs
/// decides. All undecided trials are compared one bit at a time, so a round costs a popcount of as many random bits
/// as trials are left, and each round halves them.
fn binomial(rng: &mut ChaCha8Rng, n: u64, part: u64, whole: u64) -> u64 {
    if part == whole {
        return n;
    }
    let (mut undecided, mut successes, mut rest) = (n, 0, part);
    while undecided > 0 && rest > 0 {
        rest *= 2;
        let zeros = heads(rng, undecided);
        if rest >= whole {
            rest -= whole;
            successes += zeros;
            undecided -= zeros;
        } else {
            undecided = zeros;
        }
    }
    successes
}

/// How many of `n` fair coins show heads.
fn heads(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    let full: u64 = (0..n / 64).map(|_| u64::from(rng.next_u64().count_ones())).sum();
    match n % 64 {
        0 => full,
        left => full + u64::from((rng.next_u64() >> (64 - left)).count_ones()),
    }
}

/// Clusters as counts of patterns, like ones merged.
#[derive(Clone, Debug)]
pub(crate) struct Clusters {
    strata: Strata,
    patterns: usize,
    /// The `(pattern, count)` entries of kind `k` are `entries[starts[k]..starts[k + 1]]`.
    starts: Vec<usize>,
    entries: Vec<(u32, u32)>,
}

impl Clusters {
    /// Unit `i` belongs to cluster `clusters[i]` (any numbers) and shows pattern `pattern_of[i] < patterns`.
    pub(crate) fn new(clusters: &[u32], pattern_of: &[u32], patterns: usize) -> Self {
        let mut units: Vec<(u32, u32)> = clusters.iter().copied().zip(pattern_of.iter().copied()).collect();
        units.sort_unstable();
        let runs: Vec<(u32, (u32, u32))> =
            units.chunk_by(|a, b| a == b).map(|run| (run[0].0, (run[0].1, run.len() as u32))).collect();
        let mut rows: Vec<&[(u32, (u32, u32))]> = runs.chunk_by(|a, b| a.0 == b.0).collect();
        let pattern_counts = |row: &[(u32, (u32, u32))]| row.iter().map(|run| run.1).collect::<Vec<_>>();
        rows.sort_by(|a, b| a.iter().map(|run| run.1).cmp(b.iter().map(|run| run.1)));

        let (mut sizes, mut starts, mut entries) = (Vec::new(), vec![0], Vec::new());
        for alike in rows.chunk_by(|a, b| a.iter().map(|run| run.1).eq(b.iter().map(|run| run.1))) {
            sizes.push(alike.len() as u32);
            entries.extend(pattern_counts(alike[0]));
            starts.push(entries.len());
        }
        Self { strata: Strata::new(&sizes), patterns, starts, entries }
    }

    pub(crate) fn len(&self) -> usize {
        self.strata.clusters()
    }

    fn row(&self, kind: usize) -> &[(u32, u32)] {
        &self.entries[self.starts[kind]..self.starts[kind + 1]]
    }

    /// How often each pattern occurs when kind `k` was drawn `draws[k]` times.
    fn tally(&self, draws: &[u32], counts: &mut [u64]) {
        counts.fill(0);
        for (kind, &drawn) in draws.iter().enumerate().filter(|&(_, &drawn)| drawn > 0) {
            for &(pattern, count) in self.row(kind) {
                counts[pattern as usize] += u64::from(drawn) * u64::from(count);
            }
        }
    }
    /// The pattern counts of all clusters but one of `kind`.
    fn without_one(&self, kind: usize, all: &[u64]) -> Vec<u64> {
        let mut counts = all.to_vec();
        for &(pattern, count) in self.row(kind) {
            counts[pattern as usize] -= u64::from(count);
        }
        counts
    }
}

impl Bootstrap {
    /// The intervals of several statistics, all from the same resamples. `evaluate` gets how often each pattern
    /// occurs and writes one value per statistic, NaN where it is undefined; `values` are the statistics themselves.
    pub(crate) fn intervals(
        &self,
        clusters: &Clusters,
        values: &[Result<f64, Undefined>],
        evaluate: impl Fn(&[u64], &mut [f64]) + Sync,
    ) -> Vec<Result<Interval, Undefined>> {
        let replicate = |draws: &[u32], out: &mut [f64]| {
            let mut counts = vec![0; clusters.patterns];
            clusters.tally(draws, &mut counts);
            evaluate(&counts, out);
        };
        let mut all = vec![0; clusters.patterns];
        clusters.tally(&clusters.strata.sizes(), &mut all);
        let without_one = |kind: usize, out: &mut [f64]| evaluate(&clusters.without_one(kind, &all), out);
        self.read_intervals(&clusters.strata, values, replicate, without_one)
    }

    /// As [`Bootstrap::intervals`] for clusters that are all different: `evaluate` gets how often each was drawn.
    pub(crate) fn intervals_of_draws(
        &self,
        clusters: usize,
        values: &[Result<f64, Undefined>],
        evaluate: impl Fn(&[u32], &mut [f64]) + Sync,
    ) -> Vec<Result<Interval, Undefined>> {
        let without_one = |cluster: usize, out: &mut [f64]| {
            let mut draws = vec![1; clusters];
            draws[cluster] = 0;
            evaluate(&draws, out);
        };
        self.read_intervals(&Strata::distinct(clusters), values, &evaluate, without_one)
    }

    fn read_intervals(
        &self,
        strata: &Strata,
        values: &[Result<f64, Undefined>],
        replicate: impl Fn(&[u32], &mut [f64]) + Sync,
        without_one: impl Fn(usize, &mut [f64]),
    ) -> Vec<Result<Interval, Undefined>> {
        if strata.clusters() < 2 {
            let why = if strata.clusters() == 0 { Undefined::NoPairs } else { Undefined::OneCluster };
            return vec![Err(why); values.len()];
        }
        let (width, sizes) = (values.len().max(1), strata.sizes());
        let replicates = self.replicates(strata, width, replicate);
        let mut left_out = Vec::new();
        if self.method == IntervalMethod::Bca {
            left_out.resize(width * sizes.len(), 0.0);
            left_out.chunks_mut(width).enumerate().for_each(|(kind, out)| without_one(kind, out));
        }
        let read = |(at, &value): (usize, &Result<f64, Undefined>)| {
            self.interval(value?, column(&replicates, width, at), &column(&left_out, width, at), &sizes)
        };
        values.iter().enumerate().map(read).collect()
    }

    /// The replicates of `width` statistics, one row a resample: `evaluate` gets how often each kind was drawn.
    fn replicates(
        &self,
        strata: &Strata,
        width: usize,
        evaluate: impl Fn(&[u32], &mut [f64]) + Sync,
    ) -> Vec<f64> {
        let mut replicates = vec![0.0; width * self.resamples as usize];
        let resample = |draws: &mut Vec<u32>, (number, out): (usize, &mut [f64])| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(number as u64);
            strata.draw(&mut rng, draws);
            evaluate(draws, out);
        };
        let scratch = || vec![0; strata.kinds()];
        #[cfg(not(target_arch = "wasm32"))]
        replicates.par_chunks_mut(width).enumerate().for_each_init(scratch, resample);
        #[cfg(target_arch = "wasm32")]
        {
            let mut draws = scratch();
            replicates.chunks_mut(width).enumerate().for_each(|row| resample(&mut draws, row));
        }
        replicates
    }

    /// The interval of one statistic. `left_out[k]` is its value without one cluster of kind `k`, of which there are
    /// `sizes[k]`; only BCa looks at them. NaN stands for undefined.
    fn interval(
        &self,
        value: f64,
        mut replicates: Vec<f64>,
        left_out: &[f64],
        sizes: &[u32],
    ) -> Result<Interval, Undefined> {
        let drawn = replicates.len();
        replicates.retain(|replicate| !replicate.is_nan());
        if replicates.is_empty() {
            return Err(Undefined::NoResample);
        }
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        let (low, high) = match self.method {
            IntervalMethod::Percentile => (tail, 1.0 - tail),
            IntervalMethod::Bca => bca_levels(tail, value, &replicates, left_out, sizes)?,
        };
        Ok(Interval {
            lower: quantile(&replicates, low),
            upper: quantile(&replicates, high),
            undefined_resamples: (drawn - replicates.len()) as u32,
        })
    }
}

fn column(rows: &[f64], width: usize, at: usize) -> Vec<f64> {
    rows.iter().skip(at).step_by(width).copied().collect()
}

/// The quantile levels that BCa reads instead of `tail` and `1 - tail` (Efron 1987, equations 2.3 and 6.6).
fn bca_levels(
    tail: f64,
    value: f64,
    sorted: &[f64],
    left_out: &[f64],
    sizes: &[u32],
) -> Result<(f64, f64), Undefined> {
    let below = sorted.partition_point(|&replicate| replicate < value);
    let up_to = sorted.partition_point(|&replicate| replicate <= value);
    if up_to == 0 || below == sorted.len() {
        return Err(Undefined::OneSided);
    }
    let normal = Normal::standard();
    let bias = normal.inverse_cdf((below + up_to) as f64 / (2 * sorted.len()) as f64);
    let acceleration = acceleration(left_out, sizes);
    let shifted = |level: f64| {
        let z = bias + normal.inverse_cdf(level);
        normal.cdf(bias + z / (1.0 - acceleration * z))
    };
    Ok((shifted(tail), shifted(1.0 - tail)))
}

/// A sixth of the skewness of the jackknife values; 0 when they do not vary.
fn acceleration(left_out: &[f64], sizes: &[u32]) -> f64 {
    let defined = || {
        left_out
            .iter()
            .zip(sizes)
            .filter(|(value, _)| !value.is_nan())
            .map(|(&v, &size)| (v, f64::from(size)))
    };
    let clusters: f64 = defined().map(|(_, size)| size).sum();
    let mean = defined().map(|(value, size)| size * value).sum::<f64>() / clusters;
    let moment = |power| defined().map(|(value, size)| size * (mean - value).powi(power)).sum::<f64>();
    let spread = moment(2);
    if spread > 0.0 { moment(3) / (6.0 * spread * spread.sqrt()) } else { 0.0 }
}

/// The quantile of sorted values at `level`, linear between neighbours (definition 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * level;
    let below = (position.floor() as usize).min(sorted.len() - 1);
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rng(stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        rng.set_stream(stream);
        rng
    }

    /// Pearson's chi-squared statistic of counts against expected counts.
    fn chi_squared(seen: &[u64], expected: &[f64]) -> f64 {
        seen.iter().zip(expected).map(|(&seen, e)| (seen as f64 - e).powi(2) / e).sum()
    }

    #[test]
    fn binomial_draws_follow_the_binomial_distribution() {
        let (n, part, whole, draws) = (9u64, 3u64, 7u64, 70_000);
        let mut rng = rng(0);
        let mut seen = vec![0u64; n as usize + 1];
        (0..draws).for_each(|_| seen[binomial(&mut rng, n, part, whole) as usize] += 1);
        let p = part as f64 / whole as f64;
        let choose = |k: u64| (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
        let expected: Vec<f64> = (0..=n)
            .map(|k| f64::from(draws) * choose(k) * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32))
            .collect();
        let statistic = chi_squared(&seen, &expected);
        assert!(
            statistic < 27.9,
            "chi-squared of 9 degrees stays below 27.9 in 999 of 1,000 cases: {statistic}"
        );
    }

    #[test]
    fn large_binomial_draws_have_the_right_mean_and_variance() {
        let mut rng = rng(1);
        for (n, part, whole) in
            [(100_000u64, 1u64, 3u64), (64, 1, 2), (4_097, 4_095, 4_096), (1_000_000, 7, 1_000)]
        {
            let draws: Vec<f64> = (0..2_000).map(|_| binomial(&mut rng, n, part, whole) as f64).collect();
            let p = part as f64 / whole as f64;
            let (mean, variance) = (n as f64 * p, n as f64 * p * (1.0 - p));
            let seen_mean = draws.iter().sum::<f64>() / 2_000.0;
            let seen_variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 2_000.0;
            assert!(
                (seen_mean - mean).abs() < 4.5 * (variance / 2_000.0).sqrt(),
                "{n} {part}/{whole}: {seen_mean}"
            );
            assert!((seen_variance / variance - 1.0).abs() < 0.2, "{n} {part}/{whole}: {seen_variance}");
        }
        assert_eq!(binomial(&mut rng, 10, 0, 3), 0);
        assert_eq!(binomial(&mut rng, 10, 3, 3), 10);
    }

    #[test]
    fn whole_numbers_below_a_bound_are_equally_likely() {
        let mut rng = rng(2);
        let mut seen = vec![0u64; 11];
        (0..110_000).for_each(|_| seen[below(&mut rng, 11) as usize] += 1);
        let statistic = chi_squared(&seen, &[10_000.0; 11]);
        assert!(statistic < 29.6, "ten degrees, one case in a thousand: {statistic}");
        assert!((0..1_000).all(|_| below(&mut rng, u32::MAX) < u32::MAX));
    }

    #[test]
    fn splitting_draws_as_drawing_singly_does() {
        // Kinds of 500, 300, 1 and 199 clusters: split. The same as a thousand kinds of one: drawn singly.
        let sizes = [500u32, 300, 1, 199];
        let (split, singly) = (Strata::new(&sizes), Strata::distinct(1_000));
        let ends: Vec<usize> =
            sizes.iter().scan(0, |end, &size| Some((*end, *end += size as usize).0)).collect();
        let mut together = [[0.0f64; 4]; 2];
        let mut squares = [[0.0f64; 4]; 2];
        for number in 0..1_000 {
            let (mut kinds, mut ones) = (vec![0; 4], vec![0; 1_000]);
            split.draw(&mut rng(number), &mut kinds);
            singly.draw(&mut rng(number), &mut ones);
            assert_eq!(kinds.iter().sum::<u32>(), 1_000);
            assert_eq!(ones.iter().sum::<u32>(), 1_000);
            for kind in 0..4 {
                let ones: u32 = ones[ends[kind]..ends[kind] + sizes[kind] as usize].iter().sum();
                for (way, drawn) in [f64::from(kinds[kind]), f64::from(ones)].into_iter().enumerate() {
                    together[way][kind] += drawn;
                    squares[way][kind] += (drawn - f64::from(sizes[kind])).powi(2);
                }
            }
        }
        for (way, kind) in (0..2).flat_map(|way| (0..4).map(move |kind| (way, kind))) {
            let p = f64::from(sizes[kind]) / 1_000.0;
            let variance = 1_000.0 * p * (1.0 - p);
            let mean = together[way][kind] / 1_000.0;
            assert!(
                (mean - f64::from(sizes[kind])).abs() < 4.5 * (variance / 1_000.0).sqrt(),
                "{way} {kind}: {mean}"
            );
            let spread = squares[way][kind] / 1_000.0 / variance;
            assert!((0.75..1.25).contains(&spread), "{way} {kind}: {spread}");
        }
    }

    #[test]
    fn clusters_of_the_same_content_are_one_kind() {
        // Queries 7 and 1 hold patterns {0, 2}, query 3 holds {2, 2}; query 9 is another {2, 2}.
        let clusters = Clusters::new(&[7, 7, 3, 3, 1, 1, 9, 9], &[0, 2, 2, 2, 2, 0, 2, 2], 3);
        assert_eq!(clusters.len(), 4);
        assert_eq!(clusters.strata.sizes(), [2, 2]);
        let mut counts = vec![0; 3];
        clusters.tally(&[3, 1], &mut counts);
        assert_eq!(counts, [3, 0, 5]);
        assert_eq!(clusters.without_one(1, &counts), [3, 0, 3]);
    }

    #[test]
    fn a_resample_is_the_drawn_clusters_laid_side_by_side() {
        let (clusters_of, patterns) = ([0u32, 0, 1, 1, 1, 2, 3, 3], [0u32, 1, 1, 2, 2, 0, 3, 3]);
        let clusters = Clusters::new(&clusters_of, &patterns, 4);
        let statistic = |counts: &[u64], out: &mut [f64]| {
            let all: u64 = counts.iter().sum();
            out[0] = counts.iter().zip(0..).map(|(&n, pattern)| n * pattern).sum::<u64>() as f64 / all as f64;
        };
        let bootstrap = Bootstrap::new(50, 0.9, 4).unwrap();
        let interval = bootstrap.intervals(&clusters, &[Ok(1.25)], statistic)[0].unwrap();
        // Four kinds of one are drawn singly, and stand in the order of their content: queries 2, 0, 1, 3.
        let contents = [vec![0], vec![0, 1], vec![1, 2, 2], vec![3, 3]];
        let mut means: Vec<f64> = (0..50)
            .map(|number| {
                let mut rng = ChaCha8Rng::seed_from_u64(4);
                rng.set_stream(number);
                let drawn: Vec<u32> =
                    (0..4).flat_map(|_| contents[below(&mut rng, 4) as usize].clone()).collect();
                f64::from(drawn.iter().sum::<u32>()) / drawn.len() as f64
            })
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        assert!((interval.lower - quantile(&means, 0.05)).abs() < 1e-12);
        assert!((interval.upper - quantile(&means, 0.95)).abs() < 1e-12);
    }

    #[test]
    fn intervals_are_read_as_scipy_reads_them() {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../tests/fixtures/intervals.json")).unwrap();
        for (number, case) in cases.iter().enumerate() {
            let numbers = |name: &str| serde_json::from_value::<Vec<f64>>(case[name].clone()).unwrap();
            let method =
                if case["method"] == "bca" { IntervalMethod::Bca } else { IntervalMethod::Percentile };
            let bootstrap =
                Bootstrap::new(60, case["level"].as_f64().unwrap(), 0).unwrap().with_method(method);
            let sample = numbers("sample");
            let (n, sum) = (sample.len() as f64, sample.iter().sum::<f64>());
            let left_out: Vec<f64> = sample.iter().map(|one| (sum - one) / (n - 1.0)).collect();
            let sizes = vec![1; sample.len()];
            let interval = bootstrap.interval(sum / n, numbers("replicates"), &left_out, &sizes).unwrap();
            for (ours, name) in [(interval.lower, "lower"), (interval.upper, "upper")] {
                let scipy = case[name].as_f64().unwrap();
                assert!((ours - scipy).abs() < 1e-9, "case {number}, {name}: {ours} but {scipy}");
            }
        }
    }

    #[test]
    fn undefined_replicates_are_left_out_and_counted() {
        let bootstrap = Bootstrap::new(4, 0.5, 0).unwrap();
        let interval = bootstrap.interval(2.0, vec![3.0, f64::NAN, 1.0, 2.0], &[], &[]).unwrap();
        assert_eq!((interval.lower, interval.upper, interval.undefined_resamples), (1.5, 2.5, 1));
        assert_eq!(bootstrap.interval(2.0, vec![f64::NAN; 4], &[], &[]), Err(Undefined::NoResample));
        let bca = bootstrap.with_method(IntervalMethod::Bca);
        assert_eq!(bca.interval(9.0, vec![1.0, 2.0, 3.0], &[1.0, 2.0], &[1, 1]), Err(Undefined::OneSided));
        let still = bca.interval(1.0, vec![1.0; 9], &[1.0, 1.0], &[1, 1]).unwrap();
        assert_eq!((still.lower, still.upper), (1.0, 1.0));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert_eq!(Bootstrap::new(0, 0.95, 0), None);
        assert_eq!(Bootstrap::new(10, 1.0, 0), None);
        assert_eq!(Bootstrap::new(10, f64::NAN, 0), None);
        assert_eq!(Bootstrap::new(1_000, 0.95, 0), Some(Bootstrap::default()));
    }
}
