//! Exact top-k search of a [`Bm25Index`]: the plain way, and a faster one that gives the same bits.
//!
//! *Plain*: every term's postings are added up, document by document, and the best k are kept in a bounded heap.
//!
//! *Fast*: MaxScore (H. Turtle and J. Flood, "Query evaluation: strategies and optimizations", 1995) over windows of
//! documents, as in recent Lucene. Once k documents are found, the terms whose highest shares together cannot lift a
//! document over the k-th score cannot bring in a new one; their postings are not walked, only looked up for documents
//! that the other terms carried close enough. What may enter the heap is scored again in the plain order.
//!
//! Equal scores stand in the order of the documents. Documents that share no term with the query are not returned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;

use super::bm25::{Bm25Index, Postings, score};

/// A found document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Its number: the place in the list the index was built from.
    pub document: u32,
    /// Its score, above 0.
    pub score: f32,
}

impl Bm25Index {
    /// The `k` best documents for `query`, best first.
    pub fn search(&self, query: &str, k: usize) -> Vec<Scored> {
        self.search_with(query, k, &mut Window::new())
    }

    /// [`search`](Self::search) for each query, in parallel where there are threads.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn search_batch<Q: AsRef<str> + Sync>(&self, queries: &[Q], k: usize) -> Vec<Vec<Scored>> {
        queries
            .par_iter()
            .map_init(Window::new, |window, query| self.search_with(query.as_ref(), k, window))
            .collect()
    }

    /// [`search`](Self::search) for each query.
    #[cfg(target_arch = "wasm32")]
    pub fn search_batch<Q: AsRef<str> + Sync>(&self, queries: &[Q], k: usize) -> Vec<Vec<Scored>> {
        let mut window = Window::new();
        queries.iter().map(|query| self.search_with(query.as_ref(), k, &mut window)).collect()
    }

    /// The same by the plain way: the definition that [`search`](Self::search) is held to.
    pub fn search_plainly(&self, query: &str, k: usize) -> Vec<Scored> {
        let mut sums = vec![0.0_f64; self.len()];
        let mut touched = Vec::new();
        for postings in self.query_postings(query) {
            for (&document, &share) in postings.documents.iter().zip(&*postings.shares) {
                let sum = &mut sums[document as usize];
                if *sum == 0.0 {
                    touched.push(document);
                }
                *sum += f64::from(share);
            }
        }
        let mut best = Best::new(k);
        touched.iter().for_each(|&document| best.offer(document, sums[document as usize] as f32));
        best.into_sorted()
    }

    fn search_with(&self, query: &str, k: usize, window: &mut Window) -> Vec<Scored> {
        let query = self.query_postings(query);
        let mut best = Best::new(k);
        if k > 0 {
            MaxScore::new(self.len(), &query).run(window, &mut best);
        }
        best.into_sorted()
    }
}

/// Documents scored at a time: their sums (32 KiB) stay in the nearest cache.
const WINDOW: usize = 4096;

/// The sums of one window of documents, all 0 between windows, and which of them were touched.
struct Window {
    sums: Vec<f64>,
    touched: Vec<u64>,
}

impl Window {
    fn new() -> Self {
        Self { sums: vec![0.0; WINDOW], touched: vec![0; WINDOW / 64] }
    }

    /// Adds a stretch of postings, all of them inside the window that begins at `base`.
    fn add(&mut self, documents: &[u32], shares: &[f32], base: u32) {
        for (&document, &share) in documents.iter().zip(shares) {
            let at = (document - base) as usize % WINDOW;
            self.sums[at] += f64::from(share);
            self.touched[at / 64] |= 1 << (at % 64);
        }
    }

    /// Hands over each touched place, ascending, with its sum, and wipes both.
    fn drain(&mut self, mut take: impl FnMut(usize, f64)) {
        for (block, bits) in self.touched.iter_mut().enumerate() {
            while *bits != 0 {
                let at = block * 64 + bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                take(at, std::mem::take(&mut self.sums[at]));
            }
        }
    }
}

/// One term on its way through the documents.
struct Cursor<'q> {
    postings: &'q Postings<'q>,
    /// The most it can add to a score.
    bound: f64,
    /// The first posting not yet passed.
    at: usize,
}

impl Cursor<'_> {
    /// Passes all postings before `document` and returns the share of `document` itself, 0 where it has none.
    fn advance(&mut self, document: u32) -> f64 {
        let rest = &self.postings.documents[self.at..];
        self.at += gallop(rest, document);
        match self.postings.documents.get(self.at) {
            Some(&found) if found == document => f64::from(self.postings.shares[self.at]),
            _ => 0.0,
        }
    }
}

/// How many of the ascending `documents` lie before `target`: doubling steps, then a binary search.
fn gallop(documents: &[u32], target: u32) -> usize {
    let mut step = 1;
    while step < documents.len() && documents[step - 1] < target {
        step *= 2;
    }
    let from = step / 2;
    from + documents[from..step.min(documents.len())].partition_point(|&document| document < target)
}

/// A search on its way through the windows.
struct MaxScore<'q> {
    /// How many documents the index holds.
    documents: usize,
    query: &'q [Postings<'q>],
    /// The query's terms, those that can add least first.
    cursors: Vec<Cursor<'q>>,
    /// What the first cursor, the first two, ... can add together.
    bounds: Vec<f64>,
}

/// Sums in another order differ by rounding; bounds are widened by more than that.
const SLACK: f64 = 1.0 + 1e-9;

impl<'q> MaxScore<'q> {
    fn new(documents: usize, query: &'q [Postings<'q>]) -> Self {
        let cursor = |postings| Cursor { postings, bound: f64::from(postings.highest) * SLACK, at: 0 };
        let mut cursors: Vec<_> = query.iter().map(cursor).collect();
        cursors.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        let mut sum = 0.0;
        let add = |cursor: &Cursor<'_>| {
            sum += cursor.bound;
            sum
        };
        let bounds = cursors.iter().map(add).collect();
        Self { documents, query, cursors, bounds }
    }

    fn run(&mut self, window: &mut Window, best: &mut Best) {
        for base in (0..self.documents).step_by(WINDOW) {
            // The terms before `essential` cannot bring in a new document.
            let threshold = best.threshold();
            let essential = self.bounds.partition_point(|&bound| bound <= threshold);
            if essential == self.cursors.len() {
                return;
            }
            self.add_essential(essential, base as u32, self.documents.min(base + WINDOW), window);
            window.drain(|at, sum| self.finish(essential, (base + at) as u32, sum, best));
        }
    }

    fn add_essential(&mut self, essential: usize, base: u32, end: usize, window: &mut Window) {
        for cursor in &mut self.cursors[essential..] {
            cursor.at += gallop(&cursor.postings.documents[cursor.at..], base);
            let rest = &cursor.postings.documents[cursor.at..];
            let inside = rest.partition_point(|&document| (document as usize) < end);
            let range = cursor.at..cursor.at + inside;
            window.add(&cursor.postings.documents[range.clone()], &cursor.postings.shares[range], base);
            cursor.at += inside;
        }
    }

    /// Looks the remaining terms up, the strongest first, for as long as `document` can still be among the best.
    fn finish(&mut self, essential: usize, document: u32, mut sum: f64, best: &mut Best) {
        let threshold = best.threshold();
        for term in (0..essential).rev() {
            if (sum + self.bounds[term]) * SLACK <= threshold {
                return;
            }
            sum += self.cursors[term].advance(document);
        }
        if sum * SLACK > threshold {
            best.offer(document, score(self.query, document));
        }
    }
}

/// The k best documents so far, the worst of them on top.
struct Best {
    k: usize,
    heap: BinaryHeap<Reverse<Entry>>,
}

/// A found document, ordered by score and then by its number, lower numbers counting as better.
#[derive(PartialEq)]
struct Entry(Scored);

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.score.total_cmp(&other.0.score).then(other.0.document.cmp(&self.0.document))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Best {
    fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// What a later document has to exceed: the k-th score, or 0 while there are fewer.
    fn threshold(&self) -> f64 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() == self.k => f64::from(worst.0.score),
            _ => 0.0,
        }
    }

    fn offer(&mut self, document: u32, score: f32) {
        let entry = Entry(Scored { document, score });
        if score <= 0.0 {
            return;
        }
        if self.heap.len() < self.k {
            self.heap.push(Reverse(entry));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && entry > worst.0
        {
            *worst = Reverse(entry);
        }
    }

    fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(Entry(scored))| scored).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::lexical::{Analyzer, Bm25Parameters};

    fn index(documents: &[String], analyzer: &str, parameters: &str) -> Bm25Index {
        Bm25Index::build(documents, analyzer.parse().unwrap(), parameters.parse().unwrap()).unwrap()
    }

    /// A small generator, so that large cases need no dependency.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }

        /// Words of a skewed distribution: low numbers are frequent.
        fn words(&mut self, count: u64, vocabulary: u64) -> String {
            let word = |numbers: &mut Self| {
                let below = 1 + numbers.below(vocabulary);
                format!("w{}", numbers.below(below))
            };
            (0..count).map(|_| word(self)).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn equal_scores_stand_in_the_order_of_the_documents() {
        let documents: Vec<_> = ["b", "a", "a b", "a", "a"].map(String::from).into();
        let found = index(&documents, "whitespace", "bm25").search("a", 3);
        assert_eq!(found.iter().map(|hit| hit.document).collect::<Vec<_>>(), [1, 3, 4]);
    }

    /// Many windows, so that thresholds rise and terms stop being essential.
    #[test]
    fn the_fast_search_gives_the_plain_searchs_bits_over_many_windows() {
        let mut numbers = Numbers(7);
        let documents: Vec<String> = (0..20_000)
            .map(|_| {
                let count = numbers.below(40);
                numbers.words(count, 500)
            })
            .collect();
        let index = index(&documents, "whitespace", "bm25");
        let queries: Vec<String> = (1..60).map(|i| numbers.words(1 + i % 9, 500)).collect();
        for k in [0, 1, 10, 1_000, 30_000] {
            let fast = index.search_batch(&queries, k);
            for (query, fast) in queries.iter().zip(fast) {
                assert_eq!(fast, index.search_plainly(query, k), "k = {k}, {query}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let mut numbers = Numbers(11);
        let documents: Vec<String> = (0..9_000).map(|_| numbers.words(12, 3_000)).collect();
        let queries: Vec<String> = (0..20).map(|_| numbers.words(4, 3_000)).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let index = index(&documents, "english", "bm25");
                let terms: Vec<_> = index.terms().map(|term| (term.term.to_owned(), term.idf)).collect();
                (terms, index.search_batch(&queries, 50))
            })
        };
        assert_eq!(with(1), with(5));
    }

    proptest! {
        #[test]
        fn the_fast_search_gives_the_plain_searchs_bits(
            documents in prop::collection::vec("[a-f ]{0,24}", 0..80),
            query in "[a-h ]{0,16}",
            k in 0_usize..20,
            (k1, b) in (0.0_f32..3.0, 0.0_f32..=1.0),
            exact in any::<bool>(),
        ) {
            let length = if exact { "exact" } else { "lucene" };
            let index = index(&documents, "whitespace", &format!("bm25(k1={k1}, b={b}, length={length})"));
            let found = index.search(&query, k);
            prop_assert_eq!(&found, &index.search_plainly(&query, k));
            for hit in found {
                prop_assert_eq!(index.score(&query, hit.document), Some(hit.score));
            }
        }

        #[test]
        fn any_text_can_be_indexed_and_asked_for(documents in prop::collection::vec(".{0,60}", 0..12), query in ".{0,60}") {
            for analyzer in ["english", "multilingual", "simple", "whitespace"] {
                let index = index(&documents, analyzer, "bm25(k1=0)");
                prop_assert_eq!(index.search(&query, 5), index.search_plainly(&query, 5));
                for (document, text) in documents.iter().enumerate() {
                    let score = index.score(text, document as u32).unwrap();
                    prop_assert!(score.is_finite());
                    prop_assert_eq!(score > 0.0, !analyzer.parse::<Analyzer>().unwrap().terms(text).is_empty());
                }
            }
        }

        #[test]
        fn printed_settings_are_the_same_settings(k1 in 0.0_f32..10.0, b in 0.0_f32..=1.0) {
            let parameters = format!("bm25(k1={k1}, b={b})").parse::<Bm25Parameters>().unwrap();
            prop_assert_eq!(parameters.to_string().parse::<Bm25Parameters>().unwrap(), parameters);
        }
    }
}
