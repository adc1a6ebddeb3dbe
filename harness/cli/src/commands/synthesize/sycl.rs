//! `graded synthesize sycl`: lists of passages at four grades for real queries, written and mined, side by side.

use std::path::Path;

use rayon::prelude::*;
use relevance::{Grade, Scale};
use rustc_hash::FxHashMap;
use scorer::Pair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synthesis::draws::Draws;
use synthesis::generator::{Example, Generator};
use synthesis::judge::Judge;
use synthesis::quality::{GradedPair, Quality};
use synthesis::sycl::{
    Asked, ListRules, Mined, MinedCounts, SyclParameters, Written, WrittenCounts, WrittenPassage, is_enough,
    mined_list, write_list,
};

use super::graded_set::GradedSet;
use super::quality;
use super::score_model::{self, ScoreModel, ScoreModelFile};
pub use super::seed::Command;
use super::seed::{FromSeed, Making, Seed, SeedFile};
use crate::arguments::Options;
use crate::commands::Finished;
use crate::commands::recipe::Completed;
use crate::exit::Usage;
use crate::generators::{GeneratorFile, ModelUse};
use crate::new_folder::NewFolder;
use crate::progress;
use crate::recipe::{self, Claim, SystemChoice};
use crate::report::{Cell, Report, Table};
use crate::systems::{self, Candidates, Resources, Task};

/// A recipe of `graded synthesize sycl`: every key optional, unknown keys refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct SyclFile {
    claim: Claim,
    seed: SeedFile,
    score_model: ScoreModelFile,
    /// Who grades what was mined, if not the score model.
    #[serde(skip_serializing_if = "Option::is_none")]
    mined_judge: Option<ScoreModelFile>,
    written: Written,
    mined: Mined,
    lists: ListRules,
    ranking: Ranking,
    generator: GeneratorFile,
}

/// `[ranking]`: what real passages are mined from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Ranking {
    /// `bm25`, or an encoder.
    system: String,
}

impl Default for Ranking {
    fn default() -> Self {
        Self { system: "bm25".to_owned() }
    }
}

impl SyclFile {
    fn parameters(&self) -> SyclParameters {
        let (written, mined, lists) = (self.written.clone(), self.mined.clone(), self.lists.clone());
        SyclParameters { written, mined, lists }
    }
}

impl FromSeed for SyclFile {
    fn seed(&mut self) -> &mut SeedFile {
        &mut self.seed
    }

    fn check(&self) -> synthesis::Result<()> {
        self.parameters().check()
    }
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of SyCL.
pub fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: SyclFile = recipe::read(path)?;
    Completed::of(&file, &SyclFile { claim: Claim::default(), ..file.clone() })
}

/// A query's lists in both arms.
struct Lists {
    written: Vec<WrittenPassage>,
    mined: Vec<(usize, Grade)>,
}

/// Everything that was counted.
#[derive(Serialize)]
struct Audit {
    queries: usize,
    written: Vec<WrittenCounts>,
    mined: MinedCounts,
    /// Queries with a list in the written arm, in the mined arm, in both.
    lists: [usize; 3],
}

/// Runs `graded synthesize sycl`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let making: Making<SyclFile> = Making::begin(command, options)?;
    let Making { file, folder, seed } = &making;
    let parameters = file.parameters();
    let model = score_model::open(&file.score_model, seed, &[], options)?;
    let mined_judge = match &file.mined_judge {
        Some(file) => Some(score_model::open(file, seed, &[], options)?.judge),
        None => None,
    };
    let generator = file.generator.open(|| seed.offline(seed.query_texts(), true), options)?;
    let judge = model.judge.as_ref();
    let (written, counts) = write(seed, &parameters, generator.as_ref(), judge, options)?;
    let (mined, mined_counts) =
        mine(seed, &parameters, &file.ranking, mined_judge.as_deref().unwrap_or(judge), options)?;
    let lists: Vec<Lists> =
        written.into_iter().zip(mined).map(|(written, mined)| Lists { written, mined }).collect();
    let has = |list: &Lists| {
        let written = is_enough(list.written.iter().map(|passage| passage.grade), &file.lists);
        let mined = is_enough(list.mined.iter().map(|(_, grade)| *grade), &file.lists);
        [written, mined, written && mined]
    };
    let mut audit =
        Audit { queries: seed.queries.len(), written: counts, mined: mined_counts, lists: [0; 3] };
    for list in &lists {
        for (count, has) in audit.lists.iter_mut().zip(has(list)) {
            *count += usize::from(has);
        }
    }
    let [in_written, in_mined, in_both] = audit.lists;
    let fewest = if file.lists.same_queries { in_both } else { in_written.min(in_mined) };
    if fewest == 0 {
        let found = format!("{in_written} written and {in_mined} mined lists of {}", audit.queries);
        return Err(Usage::error(format!(
            "nothing to write: {found} have {} grades, {in_both} in both arms",
            file.lists.smallest_grades
        )));
    }
    let is_taken = |list: &Lists, arm: usize| has(list)[if file.lists.same_queries { 2 } else { arm }];
    let written = write_arm(folder, seed, &lists, |list| is_taken(list, 0))?;
    let mined = mine_arm(folder, seed, &lists, |list| is_taken(list, 1))?;
    let mut report = report(&audit, &model, [&written, &mined], generator.as_ref(), options)?;
    let mined_judge = mined_judge.as_deref().map(|judge| ModelUse::judge("mined_judge_usage", judge));
    for asked in [ModelUse::judge("score_model_usage", judge)].into_iter().chain(mined_judge) {
        asked.report(&mut report.json, &mut report.tables);
    }
    making.finish(&report.json)?;
    Ok(report.into())
}

type WrittenLists = (Vec<Vec<WrittenPassage>>, Vec<WrittenCounts>);

/// The written arm of every query, in parallel: nothing depends on the order.
fn write(
    seed: &Seed,
    parameters: &SyclParameters,
    generator: &dyn Generator,
    judge: &dyn Judge,
    options: &Options,
) -> anyhow::Result<WrittenLists> {
    let examples = Examples::of(seed);
    let bar = progress::bar(options, "writing", seed.queries.len() as u64);
    let list = |at: usize| {
        let (id, query) = &seed.queries[at];
        let examples = match parameters.written.example {
            true => examples.for_query(at, seed, options.seed),
            false => Vec::new(),
        };
        let asked = Asked { id, query, examples: &examples };
        let (grades, rules) = (&parameters.lists.grades, &parameters.written);
        let list = write_list(asked, grades, rules, generator, judge, options.seed);
        bar.inc(1);
        list
    };
    let lists: Vec<_> =
        (0..seed.queries.len()).into_par_iter().map(list).collect::<synthesis::Result<_>>()?;
    bar.finish_and_clear();
    let mut counts: Vec<WrittenCounts> = Vec::new();
    for (_, of_query) in &lists {
        counts.resize_with(of_query.len(), WrittenCounts::default);
        for (sum, of_grade) in counts.iter_mut().zip(of_query) {
            sum.grade = of_grade.grade;
            sum.add(of_grade);
        }
    }
    Ok((lists.into_iter().map(|(passages, _)| passages).collect(), counts))
}

/// Judged passages of other queries, to be shown as examples.
struct Examples {
    /// Of each query with the most different grades: the query, and a judged document for each grade, highest first.
    complete: Vec<(usize, Vec<(usize, Grade)>)>,
}

impl Examples {
    fn of(seed: &Seed) -> Self {
        let mut of_query: FxHashMap<usize, Vec<(usize, Grade)>> = FxHashMap::default();
        for pair in &seed.judged {
            let own = of_query.entry(pair.query).or_default();
            if own.iter().all(|(_, grade)| *grade != pair.grade) {
                own.push((pair.document, pair.grade));
            }
        }
        let most = of_query.values().map(Vec::len).max().unwrap_or(0);
        let mut complete: Vec<_> = of_query.into_iter().filter(|(_, own)| own.len() == most).collect();
        complete.sort_unstable();
        for (_, own) in &mut complete {
            own.sort_by_key(|(_, grade)| std::cmp::Reverse(*grade));
        }
        Self { complete }
    }

    /// The judged passages of one other query, drawn.
    fn for_query(&self, query: usize, seed: &Seed, draw: u64) -> Vec<Example> {
        let others: Vec<_> = self.complete.iter().filter(|(other, _)| *other != query).collect();
        let Some((other, passages)) = Draws::new(draw, query as u64).pick(&others) else { return Vec::new() };
        let example = |&(document, grade): &(usize, Grade)| Example {
            query: seed.queries[*other].1.clone(),
            document: seed.texts[document].clone(),
            grade,
        };
        passages.iter().map(example).collect()
    }
}

type MinedLists = (Vec<Vec<(usize, Grade)>>, MinedCounts);

/// The mined arm of every query: `(document, grade)`.
fn mine(
    seed: &Seed,
    parameters: &SyclParameters,
    ranking: &Ranking,
    judge: &dyn Judge,
    options: &Options,
) -> anyhow::Result<MinedLists> {
    let task = Task::new(&seed.collection);
    let resources = Resources { device: options.device()?, memory_bytes: options.memory as usize, options };
    let candidates = Candidates::Corpus { depth: parameters.mined.depth };
    let found = systems::run(&SystemChoice::parse(&ranking.system)?, &task, candidates, resources)?;
    let places: FxHashMap<&str, usize> = seed
        .collection
        .documents
        .iter()
        .enumerate()
        .map(|(at, document)| (document.id.as_str(), at))
        .collect();
    let mut counts = MinedCounts::default();
    let mut lists = Vec::new();
    for (ranking, (_, query)) in found.rankings.iter().zip(&seed.queries) {
        let documents: Vec<usize> =
            ranking.hits.iter().filter_map(|hit| places.get(hit.document).copied()).collect();
        let pairs: Vec<Pair<'_>> =
            documents.iter().map(|&at| Pair { query, document: &seed.texts[at] }).collect();
        let (list, own) = mined_list(&judge.judge(&pairs)?, &parameters.lists.grades, &parameters.mined);
        counts.add(&own);
        lists.push(list.into_iter().map(|(rank, grade)| (documents[rank], grade)).collect());
    }
    Ok((lists, counts))
}

fn write_arm(
    folder: &NewFolder,
    seed: &Seed,
    lists: &[Lists],
    is_taken: impl Fn(&Lists) -> bool,
) -> anyhow::Result<Quality> {
    let mut set = GradedSet::begin(folder, "written/", seed.test_set())?;
    let mut log = folder.file("written/log.jsonl")?;
    for ((query_id, query), list) in seed.queries.iter().zip(lists).filter(|(_, list)| is_taken(list)) {
        for passage in &list.written {
            set.pair(&GradedPair {
                query_id: query_id.clone(),
                query: query.clone(),
                doc_id: passage.id.clone(),
                document: passage.text.clone(),
                grade: passage.grade,
                source: "written".to_owned(),
            })?;
            log.line(passage)?;
        }
    }
    log.finish()?;
    let what = "Passages written for real queries at each grade, by graded synthesize sycl.";
    set.finish(folder, "sycl-written", what, &Scale::ssra())
}

fn mine_arm(
    folder: &NewFolder,
    seed: &Seed,
    lists: &[Lists],
    is_taken: impl Fn(&Lists) -> bool,
) -> anyhow::Result<Quality> {
    let mut set = GradedSet::begin(folder, "mined/", seed.test_set())?;
    for ((query_id, query), list) in seed.queries.iter().zip(lists).filter(|(_, list)| is_taken(list)) {
        for &(document, grade) in &list.mined {
            set.pair(&GradedPair {
                query_id: query_id.clone(),
                query: query.clone(),
                doc_id: seed.collection.documents[document].id.clone(),
                document: seed.texts[document].clone(),
                grade,
                source: "mined".to_owned(),
            })?;
        }
    }
    let what = "Real passages mined and graded for real queries, by graded synthesize sycl.";
    set.finish(folder, "sycl-mined", what, &Scale::ssra())
}

fn report(
    audit: &Audit,
    model: &ScoreModel,
    [written, mined]: [&Quality; 2],
    generator: &dyn Generator,
    options: &Options,
) -> anyhow::Result<Report> {
    let (name, revision) = (generator.model(), generator.revision());
    let mut arms = Table::new(["arm", "queries with a list", "in both", "pairs"]).titled("lists");
    let [in_written, in_mined, in_both] = audit.lists;
    for (name, queries, quality) in [("written", in_written, written), ("mined", in_mined, mined)] {
        arms.push(vec![
            Cell::text(name),
            Cell::count(queries),
            Cell::count(in_both),
            Cell::Count(quality.pairs),
        ]);
    }
    arms.notes.push(format!("of {} queries; {name} {revision} wrote", audit.queries));
    let mut tables = vec![arms, written_table(&audit.written), mined_table(&audit.mined)];
    tables.extend(model.measured.as_ref().map(score_model::Measured::table));
    for (name, quality) in [("written", written), ("mined", mined)] {
        let named = quality::tables(quality).into_iter();
        tables.extend(named.map(|table| {
            let title = format!("{name}: {}", table.title.clone().unwrap_or_default());
            table.titled(title)
        }));
    }
    let mut json: Value = serde_json::to_value(audit)?;
    json["seed"] = options.seed.into();
    json["judge"] = model.judge.digest().into();
    json["generator"] = json!({ "model": name, "revision": revision });
    json["score_model"] = serde_json::to_value(&model.measured)?;
    json["quality"] = json!({ "written": written, "mined": mined });
    json["signs"] = model.measured.as_ref().map(score_model::Measured::signs).into();
    ModelUse::generator(generator).report(&mut json, &mut tables);
    Ok(Report { tables, json, lines: Vec::new() })
}

fn written_table(counts: &[WrittenCounts]) -> Table {
    let columns =
        ["grade", "wanted", "answers", "unreadable", "repeated", "0", "1", "2", "3", "unjudged", "kept"];
    let mut table = Table::new(columns).titled("written, by target grade and judged grade");
    for of in counts {
        let mut row = vec![Cell::text(of.grade.to_string())];
        row.extend([of.wanted, of.answers, of.unreadable, of.repeated].map(Cell::Count));
        row.extend(of.judged.map(Cell::Count));
        row.extend([of.unjudged, of.kept].map(Cell::Count));
        table.push(row);
    }
    table
}

fn mined_table(counts: &MinedCounts) -> Table {
    let mut table =
        Table::new(["grade", "ranked", "kept", "queries without"]).titled("mined, by judged grade");
    for grade in (0..4).rev() {
        let numbers = [counts.judged[grade], counts.kept[grade], counts.missing[grade]];
        let mut row = vec![Cell::count(grade)];
        row.extend(numbers.map(Cell::Count));
        table.push(row);
    }
    table.notes.push(format!("{} ranked, {} without a grade", counts.ranked, counts.unjudged));
    table
}
