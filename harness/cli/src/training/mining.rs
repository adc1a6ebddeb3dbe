//! Hard negatives from the rankings of BM25 or of an encoder.

use std::collections::{HashMap, HashSet};

use trainer::batch::{Lists, Mining, MiningCounts, RankedDocument, TrainingDocument};

use crate::arguments::Options;
use crate::recipe::SystemChoice;
use crate::systems::{self, Candidates, Resources, Task};

use super::data::TrainingSet;

/// Mines negatives for every list of `set` from the rankings of `system`, and says what became of them.
///
/// # Errors
/// When the system cannot be run.
pub fn mine(
    set: &mut TrainingSet,
    system: &SystemChoice,
    mining: &Mining,
    options: &Options,
) -> anyhow::Result<MiningCounts> {
    let resources = Resources { device: options.device()?, memory_bytes: options.memory as usize, options };
    let task = Task::new(&set.learned);
    let found = systems::run(system, &task, Candidates::Corpus { depth: mining.last_rank }, resources)?;
    // A margin is measured from a positive's score, which the first ranks need not hold.
    let judged = systems::run(system, &task, Candidates::Judged, resources)?;
    let ids: HashSet<&str> = [&found, &judged]
        .into_iter()
        .flat_map(|system| system.rankings.iter().flat_map(|ranking| &ranking.hits))
        .map(|hit| hit.document)
        .collect();
    let documents = set.learned.documents.iter().filter(|document| ids.contains(document.id.as_str()));
    let texts: HashMap<&str, String> =
        documents.map(|document| (document.id.as_str(), document.full_text())).collect();
    let numbers: HashMap<String, u32> =
        (0..).zip(set.lists.queries()).map(|(number, query)| (query.id.clone(), number)).collect();
    let mut counts = MiningCounts::default();
    for (ranking, judged) in found.rankings.iter().zip(&judged.rankings) {
        // A query merged with another of equal text has its negatives from that one.
        let Some(&query) = numbers.get(ranking.query) else { continue };
        let ranked = ranked(&mut set.lists, ranking, &texts)?;
        let known = self::ranked(&mut set.lists, judged, &texts)?;
        let known: HashMap<u32, f32> = known.into_iter().map(|found| (found.document, found.score)).collect();
        let mined = mining.mine(&set.lists, query, &ranked, |document| known.get(&document).copied())?;
        let negatives: Vec<_> = mined.documents.iter().map(|&at| TrainingDocument::negative(at)).collect();
        set.lists.set_mined(query, &negatives)?;
        counts += mined.counts;
    }
    Ok(counts)
}

fn ranked(
    lists: &mut Lists,
    ranking: &relevance::Ranking<'_>,
    texts: &HashMap<&str, String>,
) -> anyhow::Result<Vec<RankedDocument>> {
    let mut ranked = Vec::with_capacity(ranking.hits.len());
    for hit in &ranking.hits {
        if let Some(text) = texts.get(hit.document) {
            ranked.push(RankedDocument {
                document: lists.intern_document(hit.document, text)?,
                score: hit.score as f32,
            });
        }
    }
    Ok(ranked)
}
