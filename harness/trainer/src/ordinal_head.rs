//! Fits the ordinal head of a labeler: weights and thresholds by maximum likelihood, cuts for agreement.
//!
//! ```text
//! n pairs, p features x (standardised while fitting), levels 0..=m
//! P(y <= k) = F(theta_{k+1} - w.x),  F(z) = 1 / (1 + exp(-z))
//! maximise  sum_i log( F(theta_{y_i + 1} - w.x_i) - F(theta_{y_i} - w.x_i) )  -  ridge/2 |w|^2
//! ```
//!
//! with `theta_0 = -inf`, `theta_{m+1} = inf` (the proportional-odds model, McCullagh 1980). The objective is concave;
//! Newton steps are halved until it grows and the thresholds still ascend. Cuts are then moved one at a time over 512
//! quantiles of the scores to the best quadratic kappa (Cohen 1968) until none moves: a local optimum, started at the
//! thresholds.

use relevance::{Grade, Scale};
use scorer::labeler::{Feature, HeadFile, ScaleFile};

/// Newton steps at most; it takes about ten.
const MOST_STEPS: usize = 200;
/// Places where a cut may stand.
const QUANTILES: usize = 512;

/// Why no head could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The table of features does not have a row for every grade.
    #[error("{values} feature values for {grades} grades of {features} features each")]
    Shape {
        /// Values given.
        values: usize,
        /// Grades given.
        grades: usize,
        /// Features of a row.
        features: usize,
    },
    /// A grade is not one of the scale.
    #[error("pair {pair}: the grade {grade} is not on the scale {scale}")]
    Grade {
        /// Its place, from 0.
        pair: usize,
        /// The grade.
        grade: Grade,
        /// The scale's name.
        scale: String,
    },
    /// A level of the scale has no pair, so nothing says where it lies.
    #[error("no pair has the grade {grade}; every level of the scale {scale} needs some")]
    EmptyLevel {
        /// The grade.
        grade: Grade,
        /// The scale's name.
        scale: String,
    },
    /// A feature is NaN or infinite.
    #[error("pair {pair}: the feature {feature} is {value}")]
    NotFinite {
        /// Its place, from 0.
        pair: usize,
        /// The feature.
        feature: &'static str,
        /// Its value.
        value: f64,
    },
    /// The Newton steps do not settle: features that are copies of each other and no ridge, or grades that a feature
    /// separates entirely.
    #[error("the fit does not settle; expected a ridge above 0 or features that differ")]
    Unsettled,
}

/// A head for `features`, fitted to pairs with the feature values `x` `[n x p]`, row after row, and the `grades` `[n]`.
/// `ridge` holds the standardised weights to zero, in units of one pair's log-likelihood; 1 hardly does.
///
/// # Errors
/// See [`FitError`].
pub fn fit(
    scale: &Scale,
    features: &[Feature],
    x: &[f64],
    grades: &[Grade],
    ridge: f64,
) -> Result<HeadFile, FitError> {
    let levels = check(scale, features, x, grades)?;
    let p = features.len();
    let (means, deviations) = moments(x, p);
    let standard: Vec<f64> =
        x.iter().enumerate().map(|(at, x)| (x - means[at % p]) / deviations[at % p]).collect();
    let problem = Problem { x: &standard, levels: &levels, p, steps: scale.levels().len() - 1, ridge };
    let (standard_weights, mut thresholds) = problem.maximise()?;
    let weights: Vec<f64> =
        standard_weights.iter().zip(&deviations).map(|(w, deviation)| w / deviation).collect();
    let shift: f64 = weights.iter().zip(&means).map(|(weight, mean)| weight * mean).sum();
    thresholds.iter_mut().for_each(|threshold| *threshold += shift);
    let scores: Vec<f64> = x.chunks_exact(p).map(|row| dot(&weights, row)).collect();
    let cuts = Cuts::new(&scores, &levels, scale).best(&thresholds);
    Ok(HeadFile { scale: ScaleFile::of(scale), features: features.to_vec(), weights, thresholds, cuts })
}

/// The cuts on the axis of `scores` `[n]` that agree best (quadratic kappa) with the `grades` `[n]`, found by moving one at a
/// time from `start`. Grades off the scale are left out; `start` where nothing is left.
pub fn best_cuts(scale: &Scale, scores: &[f64], grades: &[Grade], start: &[f64]) -> Vec<f64> {
    let level = |grade: Grade| scale.levels().iter().position(|level| level.grade == grade);
    let known = scores.iter().zip(grades).filter_map(|(&score, &grade)| Some((score, level(grade)?)));
    let (scores, levels): (Vec<f64>, Vec<usize>) = known.unzip();
    match scores.len() {
        0 => start.to_vec(),
        _ => Cuts::new(&scores, &levels, scale).best(start),
    }
}

fn check(scale: &Scale, features: &[Feature], x: &[f64], grades: &[Grade]) -> Result<Vec<usize>, FitError> {
    let p = features.len();
    if p == 0 || x.len() != grades.len() * p {
        return Err(FitError::Shape { values: x.len(), grades: grades.len(), features: p });
    }
    if let Some((at, &value)) = x.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(FitError::NotFinite { pair: at / p, feature: features[at % p].name(), value });
    }
    let level = |(pair, &grade): (usize, &Grade)| {
        scale.levels().iter().position(|level| level.grade == grade).ok_or_else(|| FitError::Grade {
            pair,
            grade,
            scale: scale.name().to_owned(),
        })
    };
    let levels = grades.iter().enumerate().map(level).collect::<Result<Vec<_>, _>>()?;
    match (0..scale.levels().len()).find(|level| !levels.contains(level)) {
        None => Ok(levels),
        Some(level) => {
            let grade = scale.levels()[level].grade;
            Err(FitError::EmptyLevel { grade, scale: scale.name().to_owned() })
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// Mean and standard deviation of each feature; 1 for one that never changes.
fn moments(x: &[f64], p: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (x.len() / p) as f64;
    let column = |feature: usize| x.iter().skip(feature).step_by(p);
    let means: Vec<f64> = (0..p).map(|feature| column(feature).sum::<f64>() / n).collect();
    let deviation = |feature: usize| {
        let squares: f64 = column(feature).map(|x| (x - means[feature]).powi(2)).sum();
        let deviation = (squares / n).sqrt();
        if deviation > 1e-12 { deviation } else { 1.0 }
    };
    let deviations = (0..p).map(deviation).collect();
    (means, deviations)
}

struct Problem<'a> {
    x: &'a [f64],
    levels: &'a [usize],
    p: usize,
    steps: usize,
    ridge: f64,
}

/// The objective at some parameters, with its gradient and the negative of its Hessian.
struct Local {
    value: f64,
    gradient: Vec<f64>,
    curvature: Vec<f64>,
}

impl Problem<'_> {
    /// The weights and the thresholds at the maximum.
    fn maximise(&self) -> Result<(Vec<f64>, Vec<f64>), FitError> {
        let mut parameters = self.start();
        let mut here = self.at(&parameters);
        for _ in 0..MOST_STEPS {
            let step = solve(&here.curvature, &here.gradient).ok_or(FitError::Unsettled)?;
            let expected = dot(&step, &here.gradient);
            if expected < 1e-14 * here.value.abs().max(1.0) {
                return Ok((parameters[..self.p].to_vec(), parameters[self.p..].to_vec()));
            }
            let mut scale = 1.0;
            loop {
                let moved: Vec<f64> = parameters.iter().zip(&step).map(|(a, b)| a + scale * b).collect();
                let there = self.ascends(&moved).then(|| self.at(&moved));
                if let Some(there) = there.filter(|there| there.value >= here.value) {
                    (parameters, here) = (moved, there);
                    break;
                }
                scale /= 2.0;
                if scale < 1e-10 {
                    return Ok((parameters[..self.p].to_vec(), parameters[self.p..].to_vec()));
                }
            }
        }
        Err(FitError::Unsettled)
    }

    /// No weights, and the thresholds that give the levels' shares.
    fn start(&self) -> Vec<f64> {
        let n = self.levels.len() as f64;
        let mut parameters = vec![0.0; self.p];
        for step in 1..=self.steps {
            let below = self.levels.iter().filter(|&&level| level < step).count() as f64 / n;
            parameters.push(libm::log(below / (1.0 - below)));
        }
        parameters
    }

    fn ascends(&self, parameters: &[f64]) -> bool {
        parameters[self.p..].windows(2).all(|pair| pair[0] < pair[1])
    }

    fn at(&self, parameters: &[f64]) -> Local {
        let size = self.p + self.steps;
        let (weights, thresholds) = parameters.split_at(self.p);
        let mut local = Local {
            value: -0.5 * self.ridge * dot(weights, weights),
            gradient: vec![0.0; size],
            curvature: vec![0.0; size * size],
        };
        for (at, weight) in weights.iter().enumerate() {
            local.gradient[at] = -self.ridge * weight;
            local.curvature[at * size + at] = self.ridge;
        }
        for (x, &level) in self.x.chunks_exact(self.p).zip(self.levels) {
            let score = dot(weights, x);
            let upper = thresholds.get(level).map(|threshold| threshold - score);
            let lower = level.checked_sub(1).map(|below| thresholds[below] - score);
            local.add(x, level, upper, lower);
        }
        local
    }
}

impl Local {
    /// Adds one pair's log-likelihood `log(F(upper) - F(lower))` and its derivatives.
    fn add(&mut self, x: &[f64], level: usize, upper: Option<f64>, lower: Option<f64>) {
        let (p, size) = (x.len(), self.gradient.len());
        let (top, bottom) = (upper.map_or(1.0, logistic), lower.map_or(0.0, logistic));
        // Far out both tails round to the same number; the likelihood is then as small as it can be told.
        let probability = (top - bottom).max(f64::MIN_POSITIVE);
        self.value += libm::log(probability);
        // d F / d z = F (1 - F), and once more times 1 - 2 F.
        let slopes = [top * (1.0 - top), bottom * (1.0 - bottom)];
        let bends = [slopes[0] * (1.0 - 2.0 * top), slopes[1] * (1.0 - 2.0 * bottom)];
        let first = [slopes[0] / probability, -slopes[1] / probability];
        let second = [
            bends[0] / probability - first[0] * first[0],
            -bends[1] / probability - first[1] * first[1],
            -first[0] * first[1],
        ];
        // Both arguments fall with the score and rise with their own threshold.
        let (by_score, bend_score) = (first[0] + first[1], second[0] + second[1] + 2.0 * second[2]);
        for (at, &value) in x.iter().enumerate() {
            self.gradient[at] -= by_score * value;
            for (other, &beside) in x.iter().enumerate() {
                self.curvature[at * size + other] -= bend_score * value * beside;
            }
        }
        let ends = [(upper.map(|_| p + level), 0), (lower.map(|_| p + level - 1), 1)];
        for (place, side) in ends {
            let Some(place) = place else { continue };
            self.gradient[place] += first[side];
            self.curvature[place * size + place] -= second[side];
            let mixed = second[side] + second[2];
            for (at, &value) in x.iter().enumerate() {
                self.curvature[at * size + place] += mixed * value;
                self.curvature[place * size + at] += mixed * value;
            }
        }
        if let [(Some(a), _), (Some(b), _)] = ends {
            self.curvature[a * size + b] -= second[2];
            self.curvature[b * size + a] -= second[2];
        }
    }
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-z))
}

/// Solves `matrix y = right` for a symmetric positive definite matrix by Cholesky; `None` when it is not.
fn solve(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    let mut lower = matrix.to_vec();
    let mut y = right.to_vec();
    for row in 0..n {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| lower[row * n + k] * lower[column * n + k]).sum();
            let rest = lower[row * n + column] - known;
            if row == column {
                if rest.is_nan() || rest <= 1e-12 * matrix[row * n + row].abs() {
                    return None;
                }
                lower[row * n + row] = rest.sqrt();
            } else {
                lower[row * n + column] = rest / lower[column * n + column];
            }
        }
        let known: f64 = (0..row).map(|k| lower[row * n + k] * y[k]).sum();
        y[row] = (y[row] - known) / lower[row * n + row];
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| lower[k * n + row] * y[k]).sum();
        y[row] = (y[row] - known) / lower[row * n + row];
    }
    Some(y)
}

/// How many pairs of each level lie between the places where a cut may stand.
struct Cuts {
    places: Vec<f64>,
    /// `[places + 1 x levels]`: bin b holds the scores from place b - 1 up to place b.
    bins: Vec<f64>,
    grades: Vec<f64>,
}

impl Cuts {
    fn new(scores: &[f64], levels: &[usize], scale: &Scale) -> Self {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut places: Vec<f64> =
            (1..QUANTILES).map(|step| sorted[step * sorted.len() / QUANTILES]).collect();
        places.dedup();
        let grades: Vec<f64> = scale.levels().iter().map(|level| f64::from(level.grade)).collect();
        let mut bins = vec![0.0; (places.len() + 1) * grades.len()];
        for (score, level) in scores.iter().zip(levels) {
            let bin = places.partition_point(|place| place <= score);
            bins[bin * grades.len() + level] += 1.0;
        }
        Self { places, bins, grades }
    }

    /// The cuts of the best quadratic kappa that moving one at a time reaches from `start`.
    fn best(&self, start: &[f64]) -> Vec<f64> {
        let last = self.places.len() - 1;
        let nearest = |threshold: &f64| self.places.partition_point(|place| place < threshold).min(last);
        let mut cuts: Vec<usize> = start.iter().map(nearest).collect();
        let mut best = self.kappa(&cuts);
        loop {
            let before = best;
            for moving in 0..cuts.len() {
                let from = if moving == 0 { 0 } else { cuts[moving - 1] };
                let to = cuts.get(moving + 1).copied().unwrap_or(last);
                for place in from..=to {
                    let mut tried = cuts.clone();
                    tried[moving] = place;
                    let kappa = self.kappa(&tried);
                    if kappa > best {
                        (best, cuts) = (kappa, tried);
                    }
                }
            }
            if best <= before {
                return cuts.into_iter().map(|cut| self.places[cut]).collect();
            }
        }
    }

    /// Quadratic kappa of the grades that `cuts` (indices of places) make, with the true ones.
    fn kappa(&self, cuts: &[usize]) -> f64 {
        let m = self.grades.len();
        let mut table = vec![0.0; m * m];
        for (bin, counts) in self.bins.chunks_exact(m).enumerate() {
            let predicted = cuts.iter().filter(|&&cut| cut < bin).count();
            for (level, count) in counts.iter().enumerate() {
                table[predicted * m + level] += count;
            }
        }
        let rows: Vec<f64> = table.chunks_exact(m).map(|row| row.iter().sum()).collect();
        let columns: Vec<f64> = (0..m).map(|level| table.iter().skip(level).step_by(m).sum()).collect();
        let total: f64 = rows.iter().sum();
        let (mut observed, mut chance) = (0.0, 0.0);
        for a in 0..m {
            for b in 0..m {
                let weight = (self.grades[a] - self.grades[b]).powi(2);
                observed += weight * table[a * m + b];
                chance += weight * rows[a] * columns[b] / total;
            }
        }
        if chance == 0.0 { 0.0 } else { 1.0 - observed / chance }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};
    use scorer::labeler::OrdinalHead;

    const FEATURES: [Feature; 2] = [Feature::Similarity, Feature::Phrase];

    fn uniform(random: &mut ChaCha8Rng) -> f64 {
        (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Pairs drawn from the model itself: weights 3 and -1, thresholds 0, 1 and 2.
    fn drawn(n: usize) -> (Vec<f64>, Vec<Grade>) {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut x, mut grades) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let row = [4.0 * uniform(&mut random) - 1.5, 2.0 * uniform(&mut random)];
            let score = 3.0 * row[0] - row[1];
            let noise = uniform(&mut random);
            let latent = score + libm::log(noise / (1.0 - noise));
            grades.push([0.0, 1.0, 2.0].iter().filter(|&&cut| cut <= latent).count() as Grade);
            x.extend(row);
        }
        (x, grades)
    }

    #[test]
    fn the_fit_finds_what_the_pairs_were_drawn_from() {
        let (x, grades) = drawn(40_000);
        let head = fit(&Scale::ssra(), &FEATURES, &x, &grades, 1e-6).unwrap();
        for (got, expected) in head.weights.iter().zip([3.0, -1.0]) {
            assert!((got - expected).abs() < 0.1, "{:?}", head.weights);
        }
        for (got, expected) in head.thresholds.iter().zip([0.0, 1.0, 2.0]) {
            assert!((got - expected).abs() < 0.1, "{:?}", head.thresholds);
        }
    }

    #[test]
    fn the_gradient_is_the_slope_and_the_curvature_the_slopes_slope() {
        let (x, grades) = drawn(50);
        let levels: Vec<usize> = grades.iter().map(|&grade| grade as usize).collect();
        let problem = Problem { x: &x, levels: &levels, p: 2, steps: 3, ridge: 0.3 };
        let at = [0.7, -0.2, -0.5, 0.4, 1.7];
        let here = problem.at(&at);
        for moved in 0..at.len() {
            let beside = |by: f64| {
                let mut there = at;
                there[moved] += by;
                problem.at(&there)
            };
            let (above, below) = (beside(1e-5), beside(-1e-5));
            assert!(((above.value - below.value) / 2e-5 - here.gradient[moved]).abs() < 1e-6);
            for other in 0..at.len() {
                let slope = (above.gradient[other] - below.gradient[other]) / 2e-5;
                assert!((slope + here.curvature[other * 5 + moved]).abs() < 1e-5, "{moved} {other}");
            }
        }
    }

    #[test]
    fn cuts_agree_better_than_the_thresholds() {
        let (x, grades) = drawn(3_000);
        let head = fit(&Scale::ssra(), &FEATURES, &x, &grades, 1.0).unwrap();
        let kappa = |cuts: &[f64]| {
            let head = OrdinalHead::new(HeadFile { cuts: cuts.to_vec(), ..head.clone() }).unwrap();
            let predicted: Vec<usize> = x.chunks_exact(2).map(|x| head.label(x).grade as usize).collect();
            let levels: Vec<usize> = grades.iter().map(|&grade| grade as usize).collect();
            let all = predicted.iter().zip(&levels);
            let observed: f64 = all.map(|(&a, &b)| (a as f64 - b as f64).powi(2)).sum();
            let mut chance = 0.0;
            for a in &predicted {
                chance += levels.iter().map(|&b| (*a as f64 - b as f64).powi(2)).sum::<f64>();
            }
            1.0 - observed * levels.len() as f64 / chance
        };
        assert!(kappa(&head.cuts) > kappa(&head.thresholds));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let scale = Scale::ssra();
        let refused = |x: &[f64], grades: &[Grade]| fit(&scale, &FEATURES, x, grades, 1.0).unwrap_err();
        assert!(matches!(refused(&[1.0], &[0]), FitError::Shape { .. }));
        assert!(matches!(refused(&[1.0, 2.0], &[7]), FitError::Grade { grade: 7, .. }));
        assert!(matches!(
            refused(&[1.0, f64::NAN], &[0]),
            FitError::NotFinite { pair: 0, feature: "phrase", .. }
        ));
        assert!(matches!(refused(&[1.0, 2.0], &[0]), FitError::EmptyLevel { grade: 1, .. }));
        let same = [0.5; 16];
        let grades = [0, 1, 2, 3, 0, 1, 2, 3];
        assert_eq!(fit(&scale, &FEATURES, &same, &grades, 0.0), Err(FitError::Unsettled));
    }
}
