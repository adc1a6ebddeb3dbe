//! Which lists come together, and which of their documents: batch `s` from `(seed, s)` alone.
//!
//! An epoch goes through all lists in a random order of its own (stream `2 e` of ChaCha8 under the seed), `queries` at a
//! time; batch `s` draws its documents from stream `2 s + 1`. Nothing is carried from one batch to the next.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::draws::{shuffle, shuffle_front, stream};
use super::error::BatchError;
use super::lists::{Lists, TrainingDocument};
use crate::losses::{Listed, Targets};

/// How batches are put together, as a recipe's `[batch]` table writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchPlan {
    /// Queries of a batch.
    pub queries: usize,
    /// Graded documents each brings along at most; `None` for all.
    pub documents_per_query: Option<usize>,
    /// Which, when there are more.
    pub pick: Pick,
    /// Mined negatives each brings along at most.
    pub mined_per_query: usize,
    /// Whether mined negatives stand in the query's own list with grade 0, or are only in the batch. SSRA's loss has them
    /// in the batch only; a loss over the query's own list sees none of those.
    pub mined_in_list: bool,
    /// Whether the rest of an epoch that does not fill a batch is left out.
    pub drop_last: bool,
    /// Decides every draw.
    pub seed: u64,
}

/// Which graded documents of a long list come into the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// One of each grade in turn, the highest first, at random within a grade: rare grades are always there.
    #[default]
    Stratified,
    /// Any, each as likely as another. A list may come without its positives.
    Random,
    /// Those of the highest grades, at random within a grade.
    Highest,
}

impl Default for BatchPlan {
    fn default() -> Self {
        BatchPlan {
            queries: 32,
            documents_per_query: Some(4),
            pick: Pick::Stratified,
            mined_per_query: 0,
            mined_in_list: true,
            drop_last: false,
            seed: 0,
        }
    }
}

impl BatchPlan {
    /// Refuses settings outside the range their meaning allows.
    ///
    /// # Errors
    /// [`BatchError::Setting`].
    pub fn check(&self) -> Result<(), BatchError> {
        let settings =
            [("queries", self.queries), ("documents_per_query", self.documents_per_query.unwrap_or(1))];
        match settings.into_iter().find(|(_, value)| *value == 0) {
            Some((setting, _)) => Err(BatchError::Setting { setting, value: 0.0, expected: "at least 1" }),
            None => Ok(()),
        }
    }
}

/// One batch: numbers of texts, and what is known about their pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which one it is, counting from 0 over all epochs.
    pub number: u64,
    /// Numbers among [`Lists::queries`], each once.
    pub queries: Vec<u32>,
    /// Numbers among [`Lists::documents`], each once: the columns.
    pub documents: Vec<u32>,
    /// The listed pairs, by row and column of this batch.
    pub targets: Targets,
}

/// All batches of a training set.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    lists: &'a Lists,
    plan: BatchPlan,
    /// The order of the epoch last asked for: kept, never relied on.
    order: Option<(u64, Vec<u32>)>,
}

impl<'a> Batches<'a> {
    /// The batches of `lists` under `plan`.
    ///
    /// # Errors
    /// [`BatchError::Setting`]; also when `drop_last` would leave no batch at all.
    pub fn new(lists: &'a Lists, plan: BatchPlan) -> Result<Self, BatchError> {
        plan.check()?;
        if plan.drop_last && lists.queries().len() < plan.queries {
            let value = plan.queries as f64;
            let expected = "at most the number of lists, or drop_last = false";
            return Err(BatchError::Setting { setting: "queries", value, expected });
        }
        Ok(Batches { lists, plan, order: None })
    }

    /// Batches of an epoch.
    #[must_use]
    pub fn per_epoch(&self) -> u64 {
        let (lists, queries) = (self.lists.queries().len(), self.plan.queries);
        (if self.plan.drop_last { lists / queries } else { lists.div_ceil(queries) }) as u64
    }

    /// Batch `number`, counting from 0 over all epochs.
    ///
    /// # Errors
    /// [`BatchError::Targets`] should the pairs not fit together; lists that were checked always do.
    pub fn batch(&mut self, number: u64) -> Result<Batch, BatchError> {
        let (epoch, place) = (number / self.per_epoch(), (number % self.per_epoch()) as usize);
        let size = self.plan.queries;
        let order = self.order(epoch);
        let queries = order[place * size..order.len().min((place + 1) * size)].to_vec();
        let mut rng = stream(self.plan.seed, 2 * number + 1);
        let drawn: Vec<Drawn> = queries.iter().map(|&query| self.draw(query, &mut rng)).collect();
        collate(self.lists, number, queries, &drawn)
    }

    fn order(&mut self, epoch: u64) -> &[u32] {
        if self.order.as_ref().is_none_or(|(kept, _)| *kept != epoch) {
            let mut order: Vec<u32> = (0..self.lists.queries().len() as u32).collect();
            shuffle(&mut stream(self.plan.seed, 2 * epoch), &mut order);
            self.order = Some((epoch, order));
        }
        self.order.as_ref().map_or(&[], |(_, order)| order)
    }

    fn draw(&self, query: u32, rng: &mut ChaCha8Rng) -> Drawn {
        let list = self.lists.list(query);
        let count = self.plan.documents_per_query.unwrap_or(list.len()).min(list.len());
        let mut own = pick(self.plan.pick, list, count, rng);
        let mut mined = self.lists.mined(query).to_vec();
        shuffle_front(rng, &mut mined, self.plan.mined_per_query);
        mined.truncate(self.plan.mined_per_query);
        if !self.plan.mined_in_list {
            return Drawn { own, along: mined };
        }
        own.extend(mined.into_iter().map(|document| TrainingDocument { document, grade: 0, teacher: None }));
        Drawn { own, along: Vec::new() }
    }
}

/// What a query brings into the batch.
struct Drawn {
    /// Its own list.
    own: Vec<TrainingDocument>,
    /// Documents that only come along.
    along: Vec<u32>,
}

fn pick(pick: Pick, list: &[TrainingDocument], count: usize, rng: &mut ChaCha8Rng) -> Vec<TrainingDocument> {
    let mut documents = list.to_vec();
    shuffle(rng, &mut documents);
    match pick {
        Pick::Random => {}
        Pick::Highest => documents.sort_by_key(|document| std::cmp::Reverse(document.grade)),
        Pick::Stratified => {
            // A document's turn: how many of its grade came before it.
            let mut seen = [0u32; 256];
            let mut turns: Vec<(u32, TrainingDocument)> = documents
                .into_iter()
                .map(|document| {
                    let turn = &mut seen[usize::from(document.grade)];
                    *turn += 1;
                    (*turn, document)
                })
                .collect();
            turns.sort_by_key(|(turn, document)| (*turn, std::cmp::Reverse(document.grade)));
            documents = turns.into_iter().map(|(_, document)| document).collect();
        }
    }
    documents.truncate(count);
    documents
}

/// Numbers the columns and says what is known about every pair.
fn collate(lists: &Lists, number: u64, queries: Vec<u32>, drawn: &[Drawn]) -> Result<Batch, BatchError> {
    let mut documents = Vec::new();
    let mut columns: HashMap<u32, u32> = HashMap::new();
    let all = drawn
        .iter()
        .flat_map(|drawn| drawn.own.iter().map(|own| own.document).chain(drawn.along.iter().copied()));
    for document in all {
        columns.entry(document).or_insert_with(|| {
            documents.push(document);
            documents.len() as u32 - 1
        });
    }
    let listed = |(query, drawn): (&u32, &Drawn)| {
        let mut listed: HashMap<u32, Listed> = HashMap::new();
        for (known, own) in [(lists.list(*query), false), (drawn.own.as_slice(), true)] {
            for &TrainingDocument { document, grade, teacher } in known {
                if let Some(&column) = columns.get(&document) {
                    listed.insert(column, Listed { own, teacher, ..Listed::own(column, grade) });
                }
            }
        }
        listed.into_values().collect()
    };
    let targets = Targets::new(documents.len(), queries.iter().zip(drawn).map(listed).collect())?;
    Ok(Batch { number, queries, documents, targets })
}
