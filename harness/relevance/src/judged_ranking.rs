//! A ranking seen through the judgments of its query: which ranks hold which grades. Everything a measure needs.
//!
//! Only judged documents are kept one by one; the unjudged ones are known by the gaps they leave. With
//! [`TieOrder::Expected`] documents of equal score form groups, and a measure is the mean over all orders within them;
//! with any other order every document is a group of its own, and the same formulas give the plain measure.

use std::ops::Range;

use crate::evaluation::{EvaluationError, EvaluationOptions, SelfHits};
use crate::ranking::score_key;
use crate::{Grade, Hit, QueryJudgments, Ranking, TieOrder};

/// A retrieved document that has a grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedHit {
    /// Its rank, from 1. Within a group of ties it is one of the group's ranks, any of them.
    pub rank: usize,
    /// Its grade; negative grades (in the pool, not judged) are kept as they are.
    pub grade: Grade,
}

/// Documents whose order is open: tied ones under [`TieOrder::Expected`], otherwise one document.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The best rank of the group, from 1.
    pub first: usize,
    /// How many documents it holds, judged or not.
    pub size: usize,
    /// The judged ones.
    pub hits: &'a [JudgedHit],
}

impl Group<'_> {
    /// How many documents of the group reach `rel`.
    pub fn relevant(&self, rel: Grade) -> usize {
        self.hits.iter().filter(|hit| hit.grade >= rel).count()
    }
}

/// How often scores tie in one ranking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TieCounts {
    /// Hits whose score equals that of a neighbour in the ranking, as 32-bit floats.
    pub tied: usize,
    /// All hits.
    pub hits: usize,
    /// For each cut-off asked about: whether the hits on both sides of it are tied.
    pub across: Vec<bool>,
}

/// The grades a ranking shows, rank by rank, and the grades there were to find.
#[derive(Clone, Debug, Default)]
pub struct JudgedRanking {
    retrieved: usize,
    hits: Vec<JudgedHit>,
    /// First rank and size of each group of two or more, in rank order; empty unless ties are open.
    open: Vec<(usize, usize)>,
    /// All grades of the query, highest first.
    judged: Vec<Grade>,
}

impl JudgedRanking {
    /// A ranking whose grades are known outright: `None` where nobody judged the document. `judged` are all grades of
    /// the query, retrieved or not, in any order.
    pub fn from_grades(grades: &[Option<Grade>], judged: &[Grade]) -> Self {
        let hits = grades
            .iter()
            .enumerate()
            .filter_map(|(at, grade)| grade.map(|grade| JudgedHit { rank: at + 1, grade }))
            .collect();
        let mut judged = judged.to_vec();
        judged.sort_unstable_by(|a, b| b.cmp(a));
        Self { retrieved: grades.len(), hits, open: Vec::new(), judged }
    }

    /// How many documents were retrieved.
    pub fn retrieved(&self) -> usize {
        self.retrieved
    }

    /// The retrieved documents that have a grade, by rank.
    pub fn hits(&self) -> &[JudgedHit] {
        &self.hits
    }

    /// All grades of the query, highest first.
    pub fn judged(&self) -> &[Grade] {
        &self.judged
    }

    /// How many documents there are to find: judged `rel` or higher.
    pub fn relevant(&self, rel: Grade) -> usize {
        self.judged.partition_point(|&grade| grade >= rel)
    }

    /// How many documents are judged, and below `rel`; negative grades do not count as judged.
    pub fn nonrelevant(&self, rel: Grade) -> usize {
        let judged = self.judged.partition_point(|&grade| grade >= 0);
        judged.saturating_sub(self.relevant(rel))
    }

    /// How many retrieved documents reach `rel`.
    pub fn relevant_retrieved(&self, rel: Grade) -> usize {
        self.hits.iter().filter(|hit| hit.grade >= rel).count()
    }

    /// The groups that hold a judged document, in rank order.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let mut open = self.open.iter().copied().peekable();
        let mut rest = self.hits.as_slice();
        std::iter::from_fn(move || {
            let rank = rest.first()?.rank;
            while open.next_if(|&(first, size)| first + size <= rank).is_some() {}
            let (first, size) = open.next_if(|&(first, _)| first <= rank).unwrap_or((rank, 1));
            let within = rest.partition_point(|hit| hit.rank < first + size);
            let (hits, later) = rest.split_at(within);
            rest = later;
            Some(Group { first, size, hits })
        })
    }

    /// The sum of `gain(grade) * weight(rank)` over the judged documents down to `depth`, in expectation over open
    /// orders: a document of a tied group stands on each of its ranks equally often.
    pub fn weighted_sum(
        &self,
        depth: usize,
        gain: impl Fn(Grade) -> f64,
        weight: impl Fn(usize) -> f64,
    ) -> f64 {
        let mut sum = 0.0;
        for group in self.groups().take_while(|group| group.first <= depth) {
            let gains: f64 = group.hits.iter().map(|hit| gain(hit.grade)).sum();
            if gains == 0.0 {
                continue;
            }
            if group.size == 1 {
                sum += gains * weight(group.first);
                continue;
            }
            let last = (group.first + group.size - 1).min(depth);
            let weights: f64 = (group.first..=last).map(&weight).sum();
            sum += gains * weights / group.size as f64;
        }
        sum
    }

    /// How many documents that reach `rel` stand in the first `depth` ranks (in expectation over open orders).
    pub fn relevant_within(&self, depth: usize, rel: Grade) -> f64 {
        self.weighted_sum(depth, |grade| f64::from(u8::from(grade >= rel)), |_| 1.0)
    }
}

/// A ranking put in order and looked up: what [`JudgedRanking`] keeps, and what the report says about the ranking.
pub(crate) struct Reading {
    pub(crate) ranking: JudgedRanking,
    pub(crate) ties: TieCounts,
    /// Score and grade of the judged hits, for measures pooled over pairs.
    pub(crate) pairs: Vec<(f64, Grade)>,
}

impl Reading {
    /// The reading of a query nobody answered.
    pub(crate) fn empty(judgments: &QueryJudgments, cutoffs: usize) -> Self {
        let judged: Vec<Grade> = judgments.iter().map(|(_, grade)| grade).collect();
        let ties = TieCounts { across: vec![false; cutoffs], ..TieCounts::default() };
        Self { ranking: JudgedRanking::from_grades(&[], &judged), ties, pairs: Vec::new() }
    }

    /// Orders `ranking` as `options` say and looks its documents up in `judgments`. `cutoffs` are those to check for
    /// ties across them.
    pub(crate) fn new(
        judgments: &QueryJudgments,
        ranking: &Ranking<'_>,
        options: &EvaluationOptions,
        cutoffs: &[usize],
    ) -> Result<Self, EvaluationError> {
        let (mut keys, falling) = keys(ranking, options)?;
        if !falling && options.ties != TieOrder::Run && !keys.is_sorted() {
            keys.sort_unstable();
        }
        let ties = match falling {
            true => TieCounts { tied: 0, hits: keys.len(), across: vec![false; cutoffs.len()] },
            false => tie_counts(&keys, cutoffs),
        };
        let depth = options.depth.unwrap_or(usize::MAX);
        keys.truncate(end_of_ties(&keys, depth));
        let ties_are_ordered = falling || options.ties == TieOrder::Run;
        let judged_hits =
            judged_hits(judgments, ranking, &mut keys, (!ties_are_ordered).then_some(options.ties));
        keys.truncate(depth);
        let lookup = Lookup::new(judgments, ranking, &keys, &judged_hits, options)?;
        let open = open_groups(&lookup.scores);
        let mut judged: Vec<Grade> = judgments.iter().map(|(_, grade)| grade).collect();
        judged.sort_unstable_by(|a, b| b.cmp(a));
        let ranking = JudgedRanking { retrieved: lookup.retrieved, hits: lookup.hits, open, judged };
        Ok(Self { ranking, ties, pairs: lookup.pairs })
    }
}

/// The hits in the order of the run, each as its score (upper half, highest score first) and its place in the run; and
/// whether they come best first without a tie, as most runs do: there is nothing to order then.
fn keys(ranking: &Ranking<'_>, options: &EvaluationOptions) -> Result<(Vec<u64>, bool), EvaluationError> {
    let hits = &ranking.hits;
    if u32::try_from(hits.len()).is_err() {
        return Err(EvaluationError::TooManyHits { query: ranking.query.to_owned(), hits: hits.len() });
    }
    if let Some(hit) = hits.iter().find(|hit| hit.score.is_nan()) {
        let (query, document) = (ranking.query.to_owned(), hit.document.to_owned());
        return Err(EvaluationError::NotANumber { query, document });
    }
    let key = |(at, hit): (usize, &Hit<'_>)| u64::from(score_key(hit.score)) << 32 | at as u64;
    let mut keys: Vec<u64> = hits.iter().enumerate().map(key).collect();
    if options.self_hits == SelfHits::Drop {
        keys.retain(|&key| hits[place(key)].document != ranking.query);
    }
    let falling = keys.is_sorted_by(|&a, &b| score(a) < score(b));
    Ok((keys, falling))
}

fn place(key: u64) -> usize {
    (key & u64::from(u32::MAX)) as usize
}

fn score(key: u64) -> u32 {
    (key >> 32) as u32
}

/// Where the first `depth` hits end, and with them the hits that tie with the last of them.
fn end_of_ties(keys: &[u64], depth: usize) -> usize {
    let Some((within, beyond)) = keys.split_at_checked(depth) else { return keys.len() };
    let last = within.last().map(|&key| score(key));
    depth + beyond.iter().take_while(|&&key| Some(score(key)) == last).count()
}

/// A judged document among the hits in evaluation order: where it stands, from 0, and its position among the judgments.
struct JudgedKey {
    at: usize,
    position: usize,
}

/// The judged documents in evaluation order; `ties` is the order to put tied hits in, where they are not in order yet.
///
/// Only ties with a judged document among them are put in order: no figure depends on the order of the others, and
/// most have none.
fn judged_hits(
    judgments: &QueryJudgments,
    ranking: &Ranking<'_>,
    keys: &mut [u64],
    ties: Option<TieOrder>,
) -> Vec<JudgedKey> {
    let document = |key: u64| ranking.hits[place(key)].document;
    let look_up = |at: usize, key: u64| Some(JudgedKey { at, position: judgments.position(document(key))? });
    if keys.len() >= judgments.len() {
        judgments.bring_near();
    }
    let mut judged = Vec::with_capacity(judgments.len().min(keys.len()));
    judged.extend(keys.iter().enumerate().filter_map(|(at, &key)| look_up(at, key)));
    let Some(ties) = ties else { return judged };
    let mut next = 0;
    while let Some(&JudgedKey { at, .. }) = judged.get(next) {
        let tied = tied_with(keys, at);
        let first = next;
        next += judged[next..].iter().take_while(|hit| hit.at < tied.end).count();
        if tied.len() > 1 {
            keys[tied.clone()].sort_unstable_by(|&a, &b| {
                let ascending = document(a).cmp(document(b));
                let order = if ties == TieOrder::DocidAscending { ascending } else { ascending.reverse() };
                order.then(a.cmp(&b))
            });
            let again = tied.filter_map(|at| look_up(at, keys[at]));
            judged[first..next].iter_mut().zip(again).for_each(|(hit, again)| *hit = again);
        }
    }
    judged
}

/// The hits around `at` that have its score.
fn tied_with(keys: &[u64], at: usize) -> Range<usize> {
    let is_tied = |key: &&u64| score(**key) == score(keys[at]);
    let before = keys[..at].iter().rev().take_while(is_tied).count();
    at - before..at + keys[at..].iter().take_while(is_tied).count()
}

fn tie_counts(keys: &[u64], cutoffs: &[usize]) -> TieCounts {
    // Every comparison is made and none is branched on: where ties begin and end cannot be foreseen.
    let mut tied = 0;
    let mut ties_with_last = false;
    for pair in keys.windows(2) {
        let ties = score(pair[0]) == score(pair[1]);
        tied += usize::from(ties | ties_with_last);
        ties_with_last = ties;
    }
    tied += usize::from(ties_with_last);
    let across = cutoffs
        .iter()
        .map(|&cutoff| cutoff > 0 && cutoff < keys.len() && score(keys[cutoff - 1]) == score(keys[cutoff]))
        .collect();
    TieCounts { tied, hits: keys.len(), across }
}

/// First rank and size of every run of two or more equal scores.
fn open_groups(scores: &[u32]) -> Vec<(usize, usize)> {
    let mut first = 1;
    let mut open = Vec::new();
    for group in scores.chunk_by(|a, b| a == b) {
        if group.len() > 1 {
            open.push((first, group.len()));
        }
        first += group.len();
    }
    open
}

/// The grades of the ordered hits.
struct Lookup {
    retrieved: usize,
    hits: Vec<JudgedHit>,
    pairs: Vec<(f64, Grade)>,
    /// Where ties are open: the score keys of the hits that count, in rank order.
    scores: Vec<u32>,
}

impl Lookup {
    fn new(
        judgments: &QueryJudgments,
        ranking: &Ranking<'_>,
        keys: &[u64],
        judged: &[JudgedKey],
        options: &EvaluationOptions,
    ) -> Result<Self, EvaluationError> {
        let mut lookup = Self { retrieved: 0, hits: Vec::new(), pairs: Vec::new(), scores: Vec::new() };
        lookup.hits.reserve(judged.len());
        lookup.pairs.reserve(judged.len());
        let mut seen = vec![false; judgments.len()];
        let mut kept = Vec::new();
        for &JudgedKey { at, position } in judged.iter().take_while(|hit| hit.at < keys.len()) {
            let hit = &ranking.hits[place(keys[at])];
            if std::mem::replace(&mut seen[position], true) {
                let (query, document) = (ranking.query.to_owned(), hit.document.to_owned());
                return Err(EvaluationError::RepeatedDocument { query, document });
            }
            let grade = judgments.grade_at(position);
            let mut rank = at + 1;
            if options.judged_only {
                if grade < 0 {
                    continue;
                }
                kept.push(keys[at]);
                rank = kept.len();
            }
            lookup.hits.push(JudgedHit { rank, grade });
            lookup.pairs.push((hit.score, grade));
        }
        let counted = if options.judged_only { &kept } else { keys };
        lookup.retrieved = counted.len();
        if options.ties == TieOrder::Expected {
            lookup.scores.extend(counted.iter().map(|&key| score(key)));
        }
        Ok(lookup)
    }
}
