//! The filter bubble: relevant documents that the deployed retriever does not bring before those who look for them.

use serde::Serialize;

use super::Catalogue;

const RECALLED: u8 = 1;
const EXPOSED_FIRST: u8 = 2;
const EXPOSED_LATER: u8 = 4;
const FED: u8 = 8;

/// Which relevant document of which intent was reached how. Joining is a bitwise or: the order does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// For each intent its relevant documents, sorted, and how each was reached.
    intents: Vec<Vec<(u32, u8)>>,
}

/// A relevant document of an intent was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The intent's number.
    pub(super) intent: u32,
    /// The document's place.
    pub(super) document: u32,
    /// How.
    pub(super) way: Way,
}

/// How a document came before a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Found, shown or not.
    Recalled,
    /// Shown for a session's first query.
    ExposedFirst,
    /// Shown for a reformulation.
    ExposedLater,
    /// Shown by the feed to a user who searches for the intent.
    Fed,
}

/// The size of the bubble. A *relevant* document is a pair of an intent and a document with at least the relevant grade;
/// `relevant = exposed_to_first_queries + only_exposed_to_reformulations + never_exposed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bubble {
    /// Relevant documents of the intents that users have.
    pub relevant: u64,
    /// Those that pre-ranking found for at least one query.
    pub recalled: u64,
    /// Those shown for at least one first query of a session: inside the bubble.
    pub exposed_to_first_queries: u64,
    /// Those that only reformulations brought: what query-level positives can add.
    pub only_exposed_to_reformulations: u64,
    /// Those that no search ever showed.
    pub never_exposed: u64,
    /// Of `never_exposed`, those that the feed showed to a user with the intent: what system-level positives can add.
    pub never_exposed_but_in_the_feed: u64,
    /// `never_exposed / relevant`; 0 when nothing is relevant.
    pub never_exposed_share: f64,
    /// `1 - exposed_to_first_queries / relevant`: the bubble's size; 0 when nothing is relevant.
    pub size: f64,
}

impl Reach {
    pub(super) fn new(catalogue: &Catalogue, relevant_from: i32) -> Self {
        let relevant = |intent: &super::Intent| {
            let relevant = intent.grades.iter().filter(|(_, grade)| *grade >= relevant_from);
            relevant.map(|&(document, _)| (document, 0)).collect()
        };
        Self { intents: catalogue.intents.iter().map(relevant).collect() }
    }

    /// Adds what one user reached; marks of documents that are not relevant say nothing.
    pub fn join(&mut self, marks: &[Mark]) {
        marks.iter().for_each(|&mark| self.mark(mark));
    }

    fn mark(&mut self, Mark { intent, document, way }: Mark) {
        let flag = match way {
            Way::Recalled => RECALLED,
            Way::ExposedFirst => EXPOSED_FIRST,
            Way::ExposedLater => EXPOSED_LATER,
            Way::Fed => FED,
        };
        let documents = &mut self.intents[intent as usize];
        if let Ok(at) = documents.binary_search_by_key(&document, |entry| entry.0) {
            documents[at].1 |= flag;
        }
    }

    pub(super) fn bubble(&self, used: &[usize]) -> Bubble {
        let mut bubble = Bubble::default();
        for &(_, flags) in used.iter().flat_map(|&intent| &self.intents[intent]) {
            bubble.relevant += 1;
            bubble.recalled += u64::from(flags & RECALLED > 0);
            if flags & EXPOSED_FIRST > 0 {
                bubble.exposed_to_first_queries += 1;
            } else if flags & EXPOSED_LATER > 0 {
                bubble.only_exposed_to_reformulations += 1;
            } else {
                bubble.never_exposed += 1;
                bubble.never_exposed_but_in_the_feed += u64::from(flags & FED > 0);
            }
        }
        if bubble.relevant > 0 {
            let relevant = bubble.relevant as f64;
            bubble.never_exposed_share = bubble.never_exposed as f64 / relevant;
            bubble.size = 1.0 - bubble.exposed_to_first_queries as f64 / relevant;
        }
        bubble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four relevant documents: one shown at once, one after rewording, one only in the feed, one nowhere.
    #[test]
    fn hand_computed() {
        let mut reach = Reach { intents: vec![vec![(1, 0), (2, 0), (5, 0), (7, 0)], vec![(1, 0)]] };
        let mark = |document, way| Mark { intent: 0, document, way };
        let first = [mark(1, Way::Recalled), mark(1, Way::ExposedFirst), mark(3, Way::ExposedFirst)];
        let second = [mark(1, Way::ExposedLater), mark(2, Way::ExposedLater), mark(5, Way::Fed)];
        reach.join(&second);
        reach.join(&first);
        reach.join(&[mark(7, Way::Recalled)]);
        let expected = Bubble {
            relevant: 4,
            recalled: 2,
            exposed_to_first_queries: 1,
            only_exposed_to_reformulations: 1,
            never_exposed: 2,
            never_exposed_but_in_the_feed: 1,
            never_exposed_share: 0.5,
            size: 0.75,
        };
        assert_eq!(reach.bubble(&[0]), expected);
    }
}
