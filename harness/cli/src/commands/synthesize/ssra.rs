//! `graded synthesize ssra`: queries written for documents at target grades, where two judges let them through.
//!
//! The pipeline's stages are `synthesis::ssra`'s; here they are put in order: fit the score model, annotate again, generate
//! and align round by round, write. Documents are worked on in parallel, each from draws of its own, so that nothing
//! depends on the order or the number of threads.

use std::path::Path;

use rayon::prelude::*;
use relevance::{Grade, Scale};
use rustc_hash::{FxHashMap, FxHashSet};
use scorer::Pair;
use scorer::lexical::{Analyzer, Bm25Index, Bm25Parameters};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synthesis::draws::Draws;
use synthesis::generator::{Example, Generator};
use synthesis::judge::Judge;
use synthesis::quality::GradedPair;
use synthesis::ssra::{
    Diversity, DiversityCheck, Funnel, ReannotationCounts, Rounds, SsraParameters, Stage1, Stage2, align,
    propose, reannotate,
};
use synthesis::{normal_form, query_id};

use super::graded_set::GradedSet;
use super::quality;
use super::score_model::{self, Measured, ScoreModelFile};
pub use super::seed::Command;
use super::seed::{FromSeed, Making, Seed, SeedFile};
use crate::arguments::Options;
use crate::commands::Finished;
use crate::commands::recipe::Completed;
use crate::generators::{GeneratorFile, Kind, ModelUse};
use crate::new_folder::NewFolder;
use crate::progress;
use crate::recipe::{self, Claim};
use crate::report::{Cell, Report, Table};

/// Above this share of repeated queries the generator is said to have collapsed.
const COLLAPSED: f64 = 0.1;

/// A recipe of `graded synthesize ssra`: every key optional, unknown keys refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct SsraFile {
    claim: Claim,
    seed: SeedFile,
    score_model: ScoreModelFile,
    pairwise: ScoreModelFile,
    stage_1: Stage1,
    stage_2: Stage2,
    rounds: Rounds,
    generator: GeneratorFile,
}

impl Default for SsraFile {
    fn default() -> Self {
        Self {
            claim: Claim::default(),
            seed: SeedFile::default(),
            score_model: ScoreModelFile::default(),
            pairwise: ScoreModelFile::encoder(),
            stage_1: Stage1::default(),
            stage_2: Stage2::default(),
            rounds: Rounds::default(),
            generator: GeneratorFile::default(),
        }
    }
}

impl FromSeed for SsraFile {
    fn seed(&mut self) -> &mut SeedFile {
        &mut self.seed
    }

    fn check(&self) -> synthesis::Result<()> {
        let (stage_1, stage_2, rounds) = (self.stage_1.clone(), self.stage_2.clone(), self.rounds.clone());
        SsraParameters { stage_1, stage_2, rounds }.check()
    }
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of SSRA.
pub fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: SsraFile = recipe::read(path)?;
    Completed::of(&file, &SsraFile { claim: Claim::default(), ..file.clone() })
}

/// A graded pair that is there so far.
#[derive(Clone)]
struct Item {
    query: String,
    document: usize,
    grade: Grade,
    source: String,
}

/// The data in the making.
struct Data<'s> {
    seed: &'s Seed,
    items: Vec<Item>,
    /// For each document the normal forms of the queries it has.
    known: Vec<FxHashSet<String>>,
    /// The normal forms of queries that must not be written.
    held_out: FxHashSet<String>,
    diversity: Vec<(String, Diversity)>,
    check: DiversityCheck,
}

/// What a round did.
#[derive(Serialize)]
struct Round {
    number: usize,
    documents: usize,
    funnels: Vec<Funnel>,
    compared: u64,
    contradicted: u64,
    /// Queries that other documents have often enough.
    too_common: u64,
    score_model: Option<Measured>,
}

/// Runs `graded synthesize ssra`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let making: Making<SsraFile> = Making::begin(command, options)?;
    let Making { file, folder, seed } = &making;
    let mut model = score_model::open(&file.score_model, seed, &[], options)?;
    let pairwise = score_model::open(&file.pairwise, seed, &[], options)?.judge;
    let mut data = Data::new(seed);
    let reannotation = match file.stage_1.on {
        true => data.reannotate(&file.stage_1, model.judge.as_ref(), options)?,
        false => ReannotationCounts::default(),
    };
    let mut done = Vec::new();
    let mut generator = None;
    for number in 1..=file.rounds.count {
        // What the offline generator knows grows with the rounds; a model stays as it is, and its count goes on.
        if generator.is_none() || file.generator.kind == Kind::Offline {
            let written = data.written().map(|item| item.query.as_str());
            let log = seed.query_texts().chain(written);
            generator = Some(file.generator.open(|| seed.offline(log, false), options)?);
        }
        let Some(generator) = &generator else { break };
        let judges = [model.judge.as_ref(), pairwise.as_ref()];
        let mut round = data.round(number, file, generator.as_ref(), judges, options)?;
        if file.rounds.refit_score_model && file.score_model.kind == score_model::Kind::Fitted {
            let further: Vec<(&str, &str, Grade)> = data
                .written()
                .map(|item| (item.query.as_str(), seed.texts[item.document].as_str(), item.grade))
                .collect();
            let refitted = score_model::open(&file.score_model, seed, &further, options)?;
            round.score_model = refitted.measured.clone();
            model.judge = refitted.judge;
        }
        done.push(round);
    }
    let quality = data.write(folder)?;
    let signs = signs(&data.diversity, model.measured.as_ref());
    let named_generator = generator.as_deref().map(|one| (one.model(), one.revision())).unwrap_or_default();
    let mut json = json!({
        "seed": options.seed,
        "judge": model.judge.digest(),
        "generator": { "model": named_generator.0, "revision": named_generator.1 },
        "score_model": model.measured,
        "stage_1": reannotation,
        "rounds": done,
        "diversity": named(&data.diversity)?,
        "quality": quality,
        "signs": signs,
    });
    let mut tables = vec![reannotation_table(&reannotation)];
    tables.extend(done.iter().flat_map(round_tables));
    tables.push(diversity_table(&data.diversity, &signs));
    tables.extend(model.measured.as_ref().map(Measured::table));
    tables.extend(quality::tables(&quality));
    if let Some(counts) = pairwise.answer_counts() {
        json["pairwise_answers"] = json!(counts);
    }
    let judges = [("score_model_usage", &model.judge), ("pairwise_usage", &pairwise)];
    let judges = judges.map(|(key, judge)| ModelUse::judge(key, judge.as_ref()));
    for asked in generator.as_deref().map(ModelUse::generator).into_iter().chain(judges) {
        asked.report(&mut json, &mut tables);
    }
    making.finish(&json)?;
    Ok(Report { tables, json, lines: Vec::new() }.into())
}

impl<'s> Data<'s> {
    /// The seed grades.
    fn new(seed: &'s Seed) -> Self {
        let mut items: Vec<Item> = Vec::new();
        let mut known = vec![FxHashSet::default(); seed.texts.len()];
        for pair in &seed.judged {
            let query = &seed.queries[pair.query].1;
            // Two queries of the same words are one: the first one's grade stays.
            if known[pair.document].insert(normal_form(query)) {
                let (query, document, source) = (query.clone(), pair.document, "seed".to_owned());
                items.push(Item { query, document, grade: pair.grade, source });
            }
        }
        let mut check = DiversityCheck::default();
        let first = check.measure(items.iter().map(|item| item.query.as_str()));
        let diversity = vec![("seed".to_owned(), first)];
        Self { seed, items, known, held_out: seed.held_out_queries(), diversity, check }
    }

    /// What the rounds so far have added.
    fn written(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.source.starts_with("round"))
    }

    fn push(&mut self, item: Item) {
        self.known[item.document].insert(normal_form(&item.query));
        self.items.push(item);
    }

    fn measure(&mut self, name: &str, from: usize) {
        let queries = self.items[from..].iter().map(|item| item.query.as_str());
        let diversity = self.check.measure(queries);
        self.diversity.push((name.to_owned(), diversity));
    }

    /// Stage 1: each document's queries of the log, graded.
    fn reannotate(
        &mut self,
        rules: &Stage1,
        judge: &dyn Judge,
        options: &Options,
    ) -> anyhow::Result<ReannotationCounts> {
        let seed = self.seed;
        let queries: Vec<&str> = seed.queries.iter().map(|(_, text)| text.as_str()).collect();
        let index = Bm25Index::build(&seed.texts, Analyzer::default(), Bm25Parameters::default())?;
        // For each document its queries, the one that ranks it highest first.
        let mut of_document: Vec<Vec<(usize, usize)>> = vec![Vec::new(); seed.texts.len()];
        for (query, hits) in index.search_batch(&queries, rules.depth).iter().enumerate() {
            for (rank, hit) in hits.iter().enumerate() {
                of_document[hit.document as usize].push((rank, query));
            }
        }
        let mut counts = ReannotationCounts::default();
        let from = self.items.len();
        let bar = progress::bar(options, "annotating", seed.texts.len() as u64);
        for (document, own) in of_document.iter_mut().enumerate() {
            bar.inc(1);
            // Drawn queries alone would make a grade 0 of most of a large collection.
            if own.is_empty() {
                continue;
            }
            own.sort_unstable();
            let mut places: Vec<usize> = own.iter().map(|(_, query)| *query).collect();
            let mut draws = Draws::new(options.seed, document as u64);
            for _ in 0..rules.strangers {
                places.push(draws.below(queries.len()));
            }
            let asked: Vec<&str> = places.iter().map(|&at| queries[at]).collect();
            let text = &seed.texts[document];
            let pairs: Vec<Pair<'_>> = asked.iter().map(|query| Pair { query, document: text }).collect();
            let verdicts = judge.judge(&pairs)?;
            let (kept, own) = reannotate(&asked, &verdicts, &self.known[document], rules.most_per_grade);
            counts.add(&own);
            for (at, grade) in kept {
                let (query, source) = (asked[at].to_owned(), "stage-1".to_owned());
                self.push(Item { query, document, grade, source });
            }
        }
        bar.finish_and_clear();
        self.measure("stage 1", from);
        Ok(counts)
    }

    /// Generation and stage 2 for the documents of a round.
    fn round(
        &mut self,
        number: usize,
        file: &SsraFile,
        generator: &dyn Generator,
        [score_model, pairwise]: [&dyn Judge; 2],
        options: &Options,
    ) -> anyhow::Result<Round> {
        let seed = self.seed;
        // Every round has a seed of its own, so that no question is asked twice.
        let draw = options.seed.wrapping_add(number as u64 - 1);
        let mut documents: Vec<usize> = (0..seed.texts.len()).collect();
        Draws::new(draw, u64::MAX).shuffle(&mut documents);
        if file.rounds.documents > 0 {
            documents.truncate(file.rounds.documents);
        }
        documents.sort_unstable();
        let rules = &file.stage_2;
        let bar = progress::bar(options, &format!("round {number}"), documents.len() as u64);
        let this = &*self;
        let work = |&document: &usize| {
            let text = &seed.texts[document];
            let examples = this.examples(document, rules.examples, draw);
            // A held-out query counts as one that is there.
            let mut known = this.known[document].clone();
            known.extend(this.held_out.iter().cloned());
            let (proposals, mut funnels) =
                propose(text, &known, &examples, rules, generator, score_model, draw)?;
            let aligned = align(text, &proposals, rules, pairwise, &mut funnels)?;
            bar.inc(1);
            Ok((document, proposals, funnels, aligned))
        };
        let worked: Vec<_> = documents.par_iter().map(work).collect::<synthesis::Result<_>>()?;
        bar.finish_and_clear();
        let mut round = Round {
            number,
            documents: documents.len(),
            funnels: rules.grades.iter().map(|&grade| Funnel { grade, ..Funnel::default() }).collect(),
            compared: 0,
            contradicted: 0,
            too_common: 0,
            score_model: None,
        };
        let proposed = worked.iter().flat_map(|(_, proposals, ..)| proposals.iter());
        let proposed = self.check.clone().measure(proposed.map(|proposal| proposal.query.as_str()));
        self.diversity.push((format!("round {number}, proposed"), proposed));
        let from = self.items.len();
        let mut times: FxHashMap<String, usize> = FxHashMap::default();
        for (document, proposals, funnels, aligned) in worked {
            round.funnels.iter_mut().zip(&funnels).for_each(|(sum, own)| sum.add(own));
            round.compared += aligned.compared;
            round.contradicted += aligned.contradicted;
            for at in aligned.kept {
                let times = times.entry(proposals[at].query.clone()).or_default();
                *times += 1;
                if rules.most_documents_per_query > 0 && *times > rules.most_documents_per_query {
                    round.too_common += 1;
                    let own = round.funnels.iter_mut().find(|funnel| funnel.grade == proposals[at].target);
                    own.into_iter().for_each(|funnel| funnel.kept -= 1);
                    continue;
                }
                let (query, grade) = (proposals[at].query.clone(), proposals[at].target);
                self.push(Item { query, document, grade, source: format!("round-{number}") });
            }
        }
        self.measure(&format!("round {number}, kept"), from);
        Ok(round)
    }

    /// Graded pairs of other documents, of as many grades as there are, drawn.
    fn examples(&self, document: usize, count: usize, draw: u64) -> Vec<Example> {
        let mut draws = Draws::new(draw, document as u64);
        let mut taken: Vec<&Item> = Vec::new();
        for _ in 0..8 * count {
            let Some(item) = draws.pick(&self.items).filter(|_| taken.len() < count) else { break };
            let of_grade = taken.iter().filter(|taken| taken.grade == item.grade).count();
            if item.document != document && of_grade < count.div_ceil(4) {
                taken.push(item);
            }
        }
        let example = |item: &&Item| Example {
            query: item.query.clone(),
            document: self.seed.texts[item.document].clone(),
            grade: item.grade,
        };
        taken.iter().map(example).collect()
    }

    fn write(&self, folder: &NewFolder) -> anyhow::Result<synthesis::quality::Quality> {
        // A query that people typed keeps its id.
        let ids: FxHashMap<String, &str> =
            self.seed.queries.iter().rev().map(|(id, text)| (normal_form(text), id.as_str())).collect();
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        let id = |item: &Item| match ids.get(&normal_form(&item.query)) {
            Some(id) => (*id).to_owned(),
            None => query_id(&item.query),
        };
        let of_item: Vec<String> = self.items.iter().map(id).collect();
        order.sort_by(|&a, &b| of_item[a].cmp(&of_item[b]).then(a.cmp(&b)));
        let mut set = GradedSet::begin(folder, "", self.seed.test_set())?;
        for at in order {
            let item = &self.items[at];
            set.pair(&GradedPair {
                query_id: of_item[at].clone(),
                query: item.query.clone(),
                doc_id: self.seed.collection.documents[item.document].id.clone(),
                document: self.seed.texts[item.document].clone(),
                grade: item.grade,
                source: item.source.clone(),
            })?;
        }
        let what =
            "Queries written for documents at each grade, and what people graded, by graded synthesize ssra.";
        set.finish(folder, "ssra", what, &Scale::ssra())
    }
}

fn named(diversity: &[(String, Diversity)]) -> anyhow::Result<Value> {
    let one = |(name, diversity): &(String, Diversity)| Ok((name.clone(), serde_json::to_value(diversity)?));
    Ok(Value::Object(diversity.iter().map(one).collect::<anyhow::Result<_>>()?))
}

/// The paper's signs of failure.
fn signs(diversity: &[(String, Diversity)], measured: Option<&Measured>) -> Vec<String> {
    let rounds = diversity.iter().filter(|(name, _)| name.starts_with("round"));
    let collapsed = rounds.filter(|(_, one)| one.duplicate_rate > COLLAPSED);
    let mut signs: Vec<String> = collapsed
        .map(|(name, one)| {
            format!("{name}: {:.1} % of the queries repeat another", 100.0 * one.duplicate_rate)
        })
        .collect();
    signs.extend(measured.into_iter().flat_map(Measured::signs));
    signs
}

fn reannotation_table(counts: &ReannotationCounts) -> Table {
    let mut table =
        Table::new(["grade", "judged", "kept"]).titled("stage 1: queries of the log by judged grade");
    for grade in (0..4).rev() {
        let numbers = [counts.judged[grade], counts.kept[grade]];
        let mut row = vec![Cell::count(grade)];
        row.extend(numbers.map(Cell::Count));
        table.push(row);
    }
    table.notes.push(format!(
        "{} pairs of {} documents: {} graded by people, {} repeated, {} without a grade, {} beyond a document's number",
        counts.pairs, counts.documents, counts.known, counts.repeated, counts.unjudged, counts.cut
    ));
    table
}

fn round_tables(round: &Round) -> [Table; 2] {
    let number = round.number;
    let columns = ["target", "answers", "unreadable", "repeated", "0", "1", "2", "3", "unjudged"];
    let mut answers =
        Table::new(columns).titled(format!("round {number}: answers by target and judged grade"));
    let columns = ["target", "proposed", "agreement alone", "order alone", "both", "passed", "kept"];
    let mut filters = Table::new(columns).titled(format!("round {number}: what each filter keeps"));
    let share = |part: u64, whole: u64| match whole {
        0 => Cell::Empty,
        _ => Cell::Share(part as f64 / whole as f64),
    };
    for of in &round.funnels {
        let mut row = vec![Cell::text(of.grade.to_string())];
        row.extend([of.answers, of.unreadable, of.repeated].map(Cell::Count));
        row.extend(of.judged.map(Cell::Count));
        row.push(Cell::Count(of.unjudged));
        answers.push(row);
        let mut row = vec![Cell::text(of.grade.to_string()), Cell::Count(of.proposed)];
        row.extend([of.agree_alone, of.order_alone, of.both].map(|part| share(part, of.proposed)));
        row.extend([of.passed, of.kept].map(Cell::Count));
        filters.push(row);
    }
    filters.notes.push(format!(
        "{} documents; {} pairs of queries compared, {} contradict their grades; {} queries that are too common went",
        round.documents, round.compared, round.contradicted, round.too_common
    ));
    [answers, filters]
}

fn diversity_table(diversity: &[(String, Diversity)], signs: &[String]) -> Table {
    let columns = ["queries of", "pairs", "duplicates", "seen before", "distinct words", "words a query"];
    let mut table = Table::new(columns).titled("diversity");
    for (name, one) in diversity {
        table.push(vec![
            Cell::text(name.clone()),
            Cell::Count(one.queries),
            Cell::Share(one.duplicate_rate),
            Cell::Share(one.seen_before),
            Cell::Share(one.distinct_words),
            Cell::Value(one.mean_words),
        ]);
    }
    table.notes.extend_from_slice(signs);
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_round_that_repeats_its_queries_is_a_sign() {
        let measure = |queries: &[&str]| DiversityCheck::default().measure(queries.iter().copied());
        let diverse = ["wine stain", "red wine", "white wine", "wine", "stain", "salt", "a", "b", "c", "d"];
        let collapsed = [&diverse[..], &["Wine  stain", "red wine"]].concat();
        let rounds = [
            // Seeds repeat what people asked: that is no generator's fault.
            ("seed".to_owned(), measure(&collapsed)),
            ("round 1, proposed".to_owned(), measure(&diverse)),
            ("round 1, kept".to_owned(), measure(&collapsed)),
        ];
        assert_eq!(signs(&rounds, None), ["round 1, kept: 16.7 % of the queries repeat another"]);
        assert_eq!(signs(&rounds[..2], None), [""; 0]);
    }
}
