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

/// The documents of a query that may still be among its best `k`.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    entries: Vec<Candidate>,
    lowers: Vec<f32>,
}

impl Candidates {
    #[inline(always)]
    pub fn push(&mut self, candidate: Candidate) {
        self.entries.push(candidate);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops what cannot be among the best `k` any more, until no more than half of `capacity` (at least `k`)
    /// is left, and returns the score that at least `k` documents reach. Three steps, each dearer than the
    /// one before: compare the intervals, score the `k` most promising, score all.
    pub fn compact(
        &mut self,
        k: usize,
        capacity: usize,
        known: f32,
        mut score: impl FnMut(u32) -> f32,
    ) -> f32 {
        let enough = (capacity / 2).max(k);
        let mut threshold = known.max(self.kth_lower(k));
        self.drop_below(threshold);
        if self.len() <= enough {
            return threshold;
        }
        self.entries.select_nth_unstable_by(k - 1, |a, b| b.upper.total_cmp(&a.upper));
        self.settle(k, &mut score);
        threshold = threshold.max(self.kth_lower(k));
        self.drop_below(threshold);
        if self.len() <= enough {
            return threshold;
        }
        let all = self.len();
        self.settle(all, &mut score);
        self.entries.sort_unstable_by(|a, b| b.lower.total_cmp(&a.lower).then(a.id.cmp(&b.id)));
        self.entries.truncate(k);
        threshold.max(self.kth_lower(k))
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

    /// The `k`-th largest lower end: at least `k` documents score that much. None do when there are fewer.
    fn kth_lower(&mut self, k: usize) -> f32 {
        if self.len() < k {
            return f32::NEG_INFINITY;
        }
        self.lowers.clear();
        self.lowers.extend(self.entries.iter().map(|candidate| candidate.lower));
        *self.lowers.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    fn drop_below(&mut self, threshold: f32) {
        self.entries.retain(|candidate| candidate.upper >= threshold);
    }

    /// Scores what may still rank, most promising first, and offers it; `known` is a score that at least
    /// `k` documents reach. Each document is announced to `fetch` some time before it is scored. Leaves no
    /// candidate behind.
    pub fn drain_into(
        &mut self,
        best: &mut Best,
        known: f32,
        fetch: impl Fn(u32),
        mut score: impl FnMut(u32) -> f32,
    ) {
        const AHEAD: usize = 4;
        let threshold = known.max(self.kth_lower(best.k));
        self.drop_below(threshold);
        self.entries.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
        self.entries.iter().take(AHEAD).for_each(|next| fetch(next.id));
        for (index, candidate) in self.entries.iter().enumerate() {
            if candidate.upper < best.threshold() {
                break;
            }
            if let Some(next) = self.entries.get(index + AHEAD) {
                fetch(next.id);
            }
            let settled = candidate.lower == candidate.upper;
            let score = if settled { candidate.lower } else { score(candidate.id) };
            best.offer(Scored { score, id: candidate.id });
        }
        self.entries.clear();
    }

    /// Takes over the candidates of another worker.
    pub fn append(&mut self, other: &mut Candidates) {
        self.entries.append(&mut other.entries);
    }
}
