//! Judgments (TREC calls them qrels): for each query, the grades of the documents somebody looked at.

use rustc_hash::FxHashMap;

use crate::Grade;

/// The judged documents of one query.
#[derive(Clone, Debug, Default)]
pub struct QueryJudgments {
    query: Box<str>,
    /// The documents' ids, one after the other: a lookup then stays within a few lines of the cache.
    ids: String,
    /// Where each document's id ends, and its grade.
    documents: Vec<(u32, Grade)>,
    index: DocumentIndex,
}

impl QueryJudgments {
    /// No judgments yet for `query`.
    pub fn new(query: impl Into<Box<str>>) -> Self {
        Self { query: query.into(), ..Self::default() }
    }

    /// No judgments yet, with room for as many as `like` has: pools of one collection are of about one size, and growing
    /// by doubling costs more than the judgments themselves. Beyond a pool's usual size nothing is held ready.
    fn with_room_like(query: &str, like: &Self) -> Self {
        const MOST: usize = 4096;
        let documents = like.documents.len().min(MOST);
        Self {
            query: query.into(),
            ids: String::with_capacity(like.ids.len().min(16 * MOST)),
            documents: Vec::with_capacity(documents),
            index: DocumentIndex::with_room(documents),
        }
    }

    /// The query's id.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Records `grade` for `document`. When the document already has a grade, keeps that one and returns it.
    pub fn insert(&mut self, document: &str, grade: Grade) -> Option<Grade> {
        let hash = hash(document.as_bytes());
        if let Some(at) = self.index.find(document, hash, |at| self.id(at)) {
            return Some(self.documents[at].1);
        }
        self.index.insert(hash, self.documents.len());
        self.ids.push_str(document);
        let end = u32::try_from(self.ids.len()).expect("fewer than 2^32 bytes of ids a query");
        self.documents.push((end, grade));
        None
    }

    #[inline]
    fn id(&self, position: usize) -> &str {
        let start = if position == 0 { 0 } else { self.documents[position - 1].0 };
        &self.ids[start as usize..self.documents[position].0 as usize]
    }

    /// The grade of `document`, or `None` when nobody judged it.
    #[inline]
    pub fn grade(&self, document: &str) -> Option<Grade> {
        self.position(document).map(|at| self.documents[at].1)
    }

    /// Where `document` stands in [`iter`](Self::iter), when it is judged.
    #[inline]
    pub fn position(&self, document: &str) -> Option<usize> {
        self.index.find(document, hash(document.as_bytes()), |at| self.id(at))
    }

    /// Reads a byte or so of every line of the cache that the judgments fill. Look-ups go to such lines in no order, each
    /// waiting for the one before; a walk over all of them does not wait. Pays where there are as many look-ups as
    /// judgments.
    pub(crate) fn bring_near(&self) {
        let slots =
            self.index.slots.iter().step_by(64 / size_of::<Slot>()).fold(0, |all, slot| all ^ slot.hash);
        let documents = self.documents.iter().step_by(64 / size_of::<(u32, Grade)>());
        let documents = documents.fold(0, |all, (end, _)| all ^ end);
        let ids = self.ids.as_bytes().iter().step_by(64).fold(0, |all, byte| all ^ byte);
        std::hint::black_box((slots, documents, ids));
    }

    /// The grade at a [`position`](Self::position).
    #[inline]
    pub(crate) fn grade_at(&self, position: usize) -> Grade {
        self.documents[position].1
    }

    /// The judged documents and their grades, in the order they were recorded.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Grade)> {
        self.documents.iter().enumerate().map(|(at, &(_, grade))| (self.id(at), grade))
    }

    /// How many documents are judged.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether no document is judged.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}

/// Positions of documents by their ids: a table of slots, each empty or holding a piece of an id's hash and a
/// position; a taken slot passes on to the next. Most documents of a ranking are not judged: nearly all of those are
/// turned away by one bit of `seen`, which stays in the first-level cache and is right often enough for the processor
/// to guess. Ids are compared only where hashes agree.
#[derive(Clone, Debug, Default)]
struct DocumentIndex {
    /// A power of two of slots, at most half of them taken; or none.
    slots: Vec<Slot>,
    /// Eight bits a slot: set where the hash of some document points.
    seen: Vec<u64>,
    taken: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    /// Position plus one; 0 in an empty slot.
    entry: u32,
}

impl DocumentIndex {
    const FEWEST_SLOTS: usize = 8;

    fn with_room(documents: usize) -> Self {
        let length = (documents * 2).next_power_of_two().max(Self::FEWEST_SLOTS);
        Self { slots: vec![Slot::default(); length], seen: vec![0; length / 8], taken: 0 }
    }

    #[inline]
    fn find<'a>(&self, document: &str, hash: u32, id: impl Fn(usize) -> &'a str) -> Option<usize> {
        let (word, bit) = self.bit(hash)?;
        if self.seen[word] & bit == 0 { None } else { self.find_seen(document, hash, id) }
    }

    #[inline(never)]
    fn find_seen<'a>(&self, document: &str, hash: u32, id: impl Fn(usize) -> &'a str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let position = (slot.entry as usize).checked_sub(1)?;
            if slot.hash == hash && id(position) == document {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    /// The word and the bit of `seen` that `hash` points to.
    #[inline]
    fn bit(&self, hash: u32) -> Option<(usize, u64)> {
        let mask = self.seen.len().checked_sub(1)?;
        Some((hash as usize >> 6 & mask, 1 << (hash & 63)))
    }

    /// Adds a document that is not there yet, by the hash of its id.
    fn insert(&mut self, hash: u32, position: usize) {
        if self.taken * 2 >= self.slots.len() {
            let length = (self.slots.len() * 2).max(Self::FEWEST_SLOTS);
            self.seen = vec![0; length / 8];
            let old = std::mem::replace(&mut self.slots, vec![Slot::default(); length]);
            old.into_iter().filter(|slot| slot.entry > 0).for_each(|slot| self.place(slot));
        }
        let entry = u32::try_from(position + 1).expect("fewer than 2^32 judgments a query");
        self.place(Slot { hash, entry });
        self.taken += 1;
    }

    fn place(&mut self, slot: Slot) {
        if let Some((word, bit)) = self.bit(slot.hash) {
            self.seen[word] |= bit;
        }
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].entry > 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

/// A hash of a document's id: eight bytes at a time, each product of 64 bits by 64 folded in two. Ids are short, and
/// there is one to hash per hit.
#[inline]
fn hash(id: &[u8]) -> u32 {
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    const SECOND: u64 = 0xd6e8_feb8_6659_fd93;
    let folded = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(SECOND);
        product as u64 ^ (product >> 64) as u64
    };
    let mut state = FIRST ^ id.len() as u64;
    let (words, rest) = id.as_chunks::<8>();
    for word in words {
        state = folded(state, u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        // The last bytes, some of them for the second time rather than one by one.
        let last = match (id.last_chunk::<8>(), id.first_chunk::<4>(), id.last_chunk::<4>()) {
            (Some(last), ..) => u64::from_le_bytes(*last),
            (None, Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            _ => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        state = folded(state, last);
    }
    (state ^ state >> 32) as u32
}

/// The judgments of a collection: queries in the order they first appeared.
#[derive(Clone, Debug, Default)]
pub struct Judgments {
    queries: Vec<QueryJudgments>,
    position: FxHashMap<Box<str>, u32>,
}

impl Judgments {
    /// No judgments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one judgment. When the pair already has a grade, keeps that one and returns it: the reader decides
    /// whether the repetition is an error.
    pub fn insert(&mut self, query: &str, document: &str, grade: Grade) -> Option<Grade> {
        // Judgment files keep the judgments of a query together.
        if let Some(last) = self.queries.last_mut().filter(|last| last.query() == query) {
            return last.insert(document, grade);
        }
        let at = match self.position.get(query) {
            Some(&at) => at as usize,
            None => {
                let at = self.queries.len();
                self.position.insert(query.into(), u32::try_from(at).expect("fewer than 2^32 queries"));
                let new = match self.queries.last() {
                    Some(last) => QueryJudgments::with_room_like(query, last),
                    None => QueryJudgments::new(query),
                };
                self.queries.push(new);
                at
            }
        };
        self.queries[at].insert(document, grade)
    }

    /// The judgments of one query.
    pub fn get(&self, query: &str) -> Option<&QueryJudgments> {
        self.position.get(query).map(|&at| &self.queries[at as usize])
    }

    /// The grade of one pair, or `None` when nobody judged it.
    pub fn grade(&self, query: &str, document: &str) -> Option<Grade> {
        self.get(query)?.grade(document)
    }

    /// The queries, in the order they first appeared.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &QueryJudgments> {
        self.queries.iter()
    }

    /// How many queries have judgments.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether there are no judgments at all.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// How many judged pairs there are over all queries.
    pub fn pairs(&self) -> usize {
        self.queries.iter().map(QueryJudgments::len).sum()
    }
}

impl<'a> FromIterator<(&'a str, &'a str, Grade)> for Judgments {
    /// Collects `(query, document, grade)` triples; of a repeated pair the first grade stays.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str, Grade)>>(triples: I) -> Self {
        let mut judgments = Self::new();
        for (query, document, grade) in triples {
            judgments.insert(query, document, grade);
        }
        judgments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_pair_keeps_its_first_grade_and_says_so() {
        let mut judgments = Judgments::new();
        assert_eq!(judgments.insert("q", "d", 2), None);
        assert_eq!(judgments.insert("q", "d", 3), Some(2));
        assert_eq!(judgments.grade("q", "d"), Some(2));
        assert_eq!(judgments.grade("q", "other"), None);
        assert_eq!(judgments.pairs(), 1);
    }

    #[test]
    fn every_document_is_found_again_and_no_other() {
        let mut judgments = QueryJudgments::new("q");
        let ids: Vec<String> = (0..5000).map(|id| "x".repeat(id % 20) + &id.to_string()).collect();
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(judgments.grade(id), None);
            judgments.insert(id, at as Grade);
        }
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(judgments.position(id), Some(at));
            assert_eq!(judgments.grade(id), Some(at as Grade));
            assert_eq!(judgments.grade(&format!("{id}x")), None);
        }
        assert_eq!(judgments.grade(""), None);
        assert_eq!(QueryJudgments::new("q").grade("d"), None);
    }

    #[test]
    fn queries_come_back_in_the_order_they_came() {
        let judgments: Judgments = [("b", "1", 0), ("a", "1", 1), ("b", "2", 2)].into_iter().collect();
        let order: Vec<_> = judgments.queries().map(|q| (q.query(), q.len())).collect();
        assert_eq!(order, [("b", 2), ("a", 1)]);
    }
}
