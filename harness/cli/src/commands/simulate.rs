//! `graded simulate`: users search a simulated platform; its logs and its known grades are written down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use rayon::prelude::*;
use relevance::Scale;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synthesis::platform::catalogue::{self, Catalogue, CatalogueParameters, Document};
use synthesis::platform::{
    Bubble, Clicks, Feed, Platform, PlatformParameters, Population, Reformulation, Retriever, Tally, Trace,
    Wording,
};
use synthesis::{normal_form, query_id};

use super::Finished;
use super::recipe::Completed;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::new_folder::{self, BeirFiles, NewFolder};
use crate::recipe::{self, Claim};
use crate::report::{Cell, Report, Table};
use crate::{collections, progress};

/// The recipe of the embedded default.
pub const DEFAULT: &str = include_str!("../../../recipes/simulate.toml");
/// Users whose traces are in memory at a time.
const CHUNK: usize = 512;

/// Flags of `graded simulate`.
#[derive(Debug, Args)]
pub struct Command {
    /// The recipe [default: the platform over the embedded sample]
    recipe: Option<PathBuf>,
    /// The new folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The catalogue: a collection's name or folder, instead of the recipe's
    #[arg(long, value_name = "NAME|DIR")]
    dataset: Option<String>,
    /// How many users, instead of the recipe's
    #[arg(long, value_name = "N")]
    users: Option<usize>,
}

/// A recipe of `graded simulate`: every key optional, unknown keys refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct SimulateFile {
    claim: Claim,
    catalogue: CatalogueFile,
    population: Population,
    retriever: Retriever,
    wording: Wording,
    clicks: Clicks,
    reformulation: Reformulation,
    feed: Feed,
}

/// `[catalogue]`: a collection with judgments, or a generated one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct CatalogueFile {
    /// A collection's name or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    /// The split whose judgments are the grades.
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    /// A generated catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    generated: Option<CatalogueParameters>,
}

impl SimulateFile {
    fn parameters(&self) -> PlatformParameters {
        PlatformParameters {
            population: self.population.clone(),
            retriever: self.retriever.clone(),
            wording: self.wording.clone(),
            clicks: self.clicks.clone(),
            reformulation: self.reformulation.clone(),
            feed: self.feed.clone(),
        }
    }
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of a simulation.
pub(super) fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: SimulateFile = recipe::read(path)?;
    Completed::of(&file, &SimulateFile { claim: Claim::default(), ..file.clone() })
}

/// Runs `graded simulate`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let mut file: SimulateFile = match &command.recipe {
        Some(path) => recipe::read(path)?,
        None => recipe::parse(DEFAULT)?,
    };
    if let Some(dataset) = &command.dataset {
        file.catalogue = CatalogueFile { dataset: Some(dataset.clone()), ..CatalogueFile::default() };
    }
    if let Some(users) = command.users {
        file.population.users = users;
    }
    let folder = NewFolder::begin(&command.out)?;
    let (catalogue, scale) = catalogue(&file.catalogue, options)?;
    let platform = Platform::open(catalogue, file.parameters(), options.seed)?;
    let lived = live(&platform, &folder, options)?;
    let queries = write_collection(&platform, &lived, &scale, &folder)?;
    let bubble = platform.bubble(&lived.reached);
    let summary = json!({
        "seed": options.seed,
        "documents": platform.catalogue().documents.len(),
        "intents": platform.catalogue().intents.len(),
        "intents_with_users": platform.used_intents().len(),
        "queries": queries,
        "tally": lived.tally,
        "bubble": bubble,
    });
    folder.write("recipe.toml", &toml::to_string(&file)?)?;
    folder.write("summary.json", &(serde_json::to_string_pretty(&summary)? + "\n"))?;
    folder.finish()?;
    let tables =
        vec![tally_table(&command.out, &lived.tally), grades_table(&lived.tally), bubble_table(&bubble)];
    Ok(Report { tables, json: summary, lines: Vec::new() }.into())
}

fn catalogue(file: &CatalogueFile, options: &Options) -> anyhow::Result<(Catalogue, Scale)> {
    match (&file.dataset, &file.generated) {
        (Some(_), Some(_)) => Err(Usage::error("catalogue: expected dataset or generated, found both")),
        (None, generated) => {
            let parameters = generated.clone().unwrap_or_default();
            Ok((catalogue::generate(&parameters, options.seed)?, Scale::ssra()))
        }
        (Some(name), None) => {
            let collection = collections::open(name, file.split.as_deref(), options.memory)?;
            let place: FxHashMap<&str, u32> =
                collection.documents.iter().map(|document| document.id.as_str()).zip(0..).collect();
            let queries = collection.judged_queries().map(|query| {
                let judged = collection.judgments.get(&query.id).into_iter().flat_map(|judged| judged.iter());
                let grades = judged.filter_map(|(document, grade)| Some((*place.get(document)?, grade)));
                (query.text.clone(), grades.collect())
            });
            let queries: Vec<_> = queries.collect();
            drop(place);
            let documents = collection.documents.into_iter();
            let documents = documents.map(|d| Document { id: d.id, title: d.title, text: d.text });
            Ok((Catalogue::of_collection(documents.collect(), queries), collection.scale))
        }
    }
}

/// What all users together did.
struct Lived {
    tally: Tally,
    reached: synthesis::platform::Reach,
    /// Each query with the intents behind it and how often each was.
    queries: BTreeMap<String, BTreeMap<usize, u64>>,
}

/// Lets all users live, in parallel, and writes their lines in the order of the users.
fn live(platform: &Platform, folder: &NewFolder, options: &Options) -> anyhow::Result<Lived> {
    let users = platform.parameters().population.users;
    let bar = progress::bar(options, "users", users as u64);
    let mut log = folder.file("log.jsonl")?;
    let mut lived =
        Lived { tally: Tally::default(), reached: platform.unreached(), queries: BTreeMap::new() };
    for start in (0..users).step_by(CHUNK) {
        let chunk = start..users.min(start + CHUNK);
        let traces: Vec<Trace> = chunk.clone().into_par_iter().map(|user| platform.live(user)).collect();
        for trace in traces {
            log.write(&trace.lines)?;
            lived.tally.add(&trace.tally);
            lived.reached.join(&trace.reached);
            for (query, intent) in trace.queries {
                *lived.queries.entry(query).or_default().entry(intent).or_default() += 1;
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    log.finish()?;
    Ok(lived)
}

/// Writes documents, queries and grades: split `train` holds what users typed, `test` the intents nobody had. A query
/// that several intents share has the grades of the one most often behind it. Nobody types a test query, so the splits
/// share none. Returns how many queries are in which split.
fn write_collection(
    platform: &Platform,
    lived: &Lived,
    scale: &Scale,
    folder: &NewFolder,
) -> anyhow::Result<serde_json::Value> {
    let catalogue = platform.catalogue();
    let mut files = BeirFiles::begin(folder)?;
    for document in &catalogue.documents {
        files.document(&document.id, &document.title, &document.text)?;
    }
    let used: FxHashSet<usize> = platform.used_intents().iter().copied().collect();
    let mut asked: FxHashSet<String> = FxHashSet::default();
    let mut test = new_folder::judgments(folder, "test")?;
    let mut counts = [0_u64; 3];
    let mut write = |file: &mut new_folder::NewFile, text: &str, intent: usize| -> anyhow::Result<()> {
        let id = query_id(text);
        files.query(&id, text)?;
        for &(document, grade) in &catalogue.intents[intent].grades {
            new_folder::judge(file, &id, &catalogue.documents[document as usize].id, grade)?;
        }
        Ok(())
    };
    for (intent, entry) in catalogue.intents.iter().enumerate().filter(|(intent, _)| !used.contains(intent)) {
        let text = normal_form(&entry.text);
        if asked.insert(text.clone()) {
            write(&mut test, &text, intent)?;
            counts[0] += 1;
        }
    }
    let mut train = new_folder::judgments(folder, "train")?;
    for (text, intents) in &lived.queries {
        let most = intents.values().max().copied();
        let Some((&intent, _)) = intents.iter().find(|(_, count)| Some(**count) == most) else { continue };
        counts[2] += u64::from(intents.len() > 1);
        counts[1] += 1;
        write(&mut train, text, intent)?;
    }
    let splits: &[&str] = if counts[0] > 0 { &["test", "train"] } else { &["train"] };
    test.finish()?;
    train.finish()?;
    files.finish()?;
    let description =
        "Made by graded simulate: grades are known by construction or from the catalogue's raters.";
    folder.write("manifest.toml", &new_folder::manifest("simulated", description, scale, splits)?)?;
    Ok(json!({
        "test": counts[0],
        "train": counts[1],
        "train_of_several_intents": counts[2],
    }))
}

fn tally_table(out: &Path, tally: &Tally) -> Table {
    let mut table = Table::new(["what", "count"]).titled(out.display().to_string());
    for (what, count) in [
        ("users", tally.users),
        ("log lines", tally.lines),
        ("searches", tally.searches),
        ("reformulations", tally.reformulations),
        ("reformulations within 90 s", tally.reformulations_within_90_s),
        ("searches without results", tally.searches_without_results),
        ("results filtered", tally.filtered),
        ("results ranked, not shown", tally.ranked),
        ("results shown", tally.exposed),
        ("clicks", tally.clicks),
        ("feed items", tally.feed_items),
        ("feed items on an interest", tally.feed_items_on_interest),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    table
}

fn grades_table(tally: &Tally) -> Table {
    let mut table = Table::new(["grade", "shown", "clicked", "click rate"]).titled("clicks by grade");
    for (grade, &shown) in tally.exposed_by_grade.iter().enumerate() {
        let clicked = tally.clicks_by_grade.get(grade).copied().unwrap_or(0);
        let rate = if shown == 0 { Cell::Empty } else { Cell::Share(clicked as f64 / shown as f64) };
        table.push(vec![Cell::count(grade), Cell::Count(shown), Cell::Count(clicked), rate]);
    }
    table
}

fn bubble_table(bubble: &Bubble) -> Table {
    let mut table = Table::new(["relevant documents", "pairs", "share"]).titled("the filter bubble");
    let share = |part: u64| {
        Cell::Share(if bubble.relevant == 0 { 0.0 } else { part as f64 / bubble.relevant as f64 })
    };
    for (what, count) in [
        ("all, of intents with users", bubble.relevant),
        ("found by pre-ranking", bubble.recalled),
        ("shown to a first query", bubble.exposed_to_first_queries),
        ("shown to reformulations only", bubble.only_exposed_to_reformulations),
        ("never shown by search", bubble.never_exposed),
        ("of these, in the feed of a user with the intent", bubble.never_exposed_but_in_the_feed),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count), share(count)]);
    }
    table.notes.push(format!(
        "size of the bubble (relevant, not shown to a first query): {:.1} %",
        bubble.size * 100.0
    ));
    table
}
