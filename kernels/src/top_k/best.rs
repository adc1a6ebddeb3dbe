//! The best k of a stream of scored documents, and the candidates that may still be among them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A document and its similarity to the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub score: f32,
    pub id: u32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// A later rank is greater: lower scores last, ties by id.
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `k` documents seen so far; the last of them on top of the heap.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    k: usize,
    heap: BinaryHeap<Scored>,
}

impl Best {
    pub fn new(k: usize) -> Best {
        Best { k, heap: BinaryHeap::new() }
    }

    /// Takes the document in if it ranks before the last of a full list.
    pub fn offer(&mut self, scored: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(scored);
        } else if let Some(mut last) = self.heap.peek_mut()
            && scored < *last
        {
            *last = scored;
        }
    }

    /// The score below which nothing more is taken in.
    pub fn threshold(&self) -> f32 {
        if self.heap.len() < self.k {
            return f32::NEG_INFINITY;
        }
        self.heap.peek().map_or(f32::NEG_INFINITY, |last| last.score)
    }

    /// Takes in `scored` if that leaves no document out whose score is below `threshold`: false, and nothing
    /// changed, unless `k` documents reach it.
    #[must_use]
    pub fn offer_all(&mut self, scored: &[Scored], threshold: f32) -> bool {
        let mut heap = self.clone();
        scored.iter().for_each(|scored| heap.offer(*scored));
        let reached = heap.threshold() >= threshold;
        if reached {
            *self = heap;
        }
        reached
    }

    /// Best first.
    pub fn into_ranked(self) -> Vec<Scored> {
        self.heap.into_sorted_vec()
    }
}

/// A document whose score is known to lie in an interval; exactly, when the interval is a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub id: u32,
    pub lower: f32,
    pub upper: f32,
}

impl Candidate {
    /// A point of the interval: its lower end for `share` 0, its middle for 1/2.
    #[inline(always)]
    fn at(&self, share: f32) -> f32 {
        // An unbounded interval gives NaN, which `max` leaves out.
        (self.lower + share * (self.upper - self.lower)).max(self.lower)
    }
}

/// The documents of a query that may still be among its best `k`.
///
/// A score that `k` documents reach rules out every document whose interval ends below it. Proven is only the
/// `k`-th largest lower end; but errors hardly ever come near their bound, so a point further up the
/// intervals (`share`) may be assumed instead, which leaves far fewer documents undecided. What was assumed
/// is checked when the best documents have been scored.
#[derive(Debug)]
pub(crate) struct Candidates {
    entries: Vec<Candidate>,
    ends: Vec<f32>,
    /// Which point of an interval its score is assumed to reach.
    share: f32,
    /// Entries at which the buffer is worth compacting.
    limit: usize,
}

impl Candidates {
    pub fn new(k: usize, share: f32) -> Candidates {
        Candidates { entries: Vec::new(), ends: Vec::new(), share, limit: 2 * k + 64 }
    }

    #[inline(always)]
    pub fn push(&mut self, candidate: Candidate) {
        self.entries.push(candidate);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether so many have come in since the last compaction that another one pays.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Drops what cannot be among the best `k` any more, until no more than half of `capacity` (at least `k`)
    /// is left, and returns the score that at least `k` documents are assumed to reach. Three steps, each
    /// dearer than the one before: compare the intervals, score the `k` most promising, score all.
    pub fn compact(&mut self, k: usize, capacity: usize, known: f32, score: impl FnMut(u32) -> f32) -> f32 {
        let threshold = self.shrink(k, (capacity / 2).max(k), known, score);
        self.limit = (2 * self.len()).clamp(2 * k + 64, capacity.max(2 * k + 64));
        threshold
    }

    fn shrink(&mut self, k: usize, enough: usize, known: f32, mut score: impl FnMut(u32) -> f32) -> f32 {
        let mut threshold = known.max(self.reached(k));
        self.drop_below(threshold);
        if self.len() <= enough {
            return threshold;
        }
        self.entries.select_nth_unstable_by(k - 1, |a, b| b.upper.total_cmp(&a.upper));
        self.settle(k, &mut score);
        threshold = threshold.max(self.reached(k));
        self.drop_below(threshold);
        if self.len() <= enough {
            return threshold;
        }
        let all = self.len();
        self.settle(all, &mut score);
        self.entries.sort_unstable_by(|a, b| b.lower.total_cmp(&a.lower).then(a.id.cmp(&b.id)));
        self.entries.truncate(k);
        threshold.max(self.reached(k))
    }

    /// Replaces the intervals of the first `count` entries by their scores.
    fn settle(&mut self, count: usize, mut score: impl FnMut(u32) -> f32) {
        for candidate in &mut self.entries[..count] {
            if candidate.lower < candidate.upper {
                let score = score(candidate.id);
                (candidate.lower, candidate.upper) = (score, score);
            }
        }
    }

    /// The score that at least `k` documents are assumed to reach. None do when there are fewer.
    pub fn reached(&mut self, k: usize) -> f32 {
        if self.len() < k {
            return f32::NEG_INFINITY;
        }
        let share = self.share;
        self.ends.clear();
        self.ends.extend(self.entries.iter().map(|candidate| candidate.at(share)));
        *self.ends.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    fn drop_below(&mut self, threshold: f32) {
        self.entries.retain(|candidate| candidate.upper >= threshold);
    }

    /// Drops what cannot be among the best `k` once every document has been seen and gives up the rest, with
    /// the score that at least `k` documents are assumed to reach.
    pub fn finish(mut self, k: usize, known: f32) -> (Vec<Candidate>, f32) {
        let threshold = known.max(self.reached(k));
        self.drop_below(threshold);
        (self.entries, threshold)
    }

    /// Takes over the candidates of another worker.
    pub fn append(&mut self, other: &mut Candidates) {
        self.entries.append(&mut other.entries);
    }
}
