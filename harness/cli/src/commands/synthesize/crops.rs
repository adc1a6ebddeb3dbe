//! `graded synthesize crops`: CroPS' data engine over logs.
//!
//! The log is read user by user (sorted on disk first unless it says that it is), findings are sorted by query and
//! document on disk, and labelled some queries at a time. In memory: the collection's documents, a quarter of the budget for
//! each of the two sorts, the distinct queries, one user's lines, the findings of the queries in hand, and (unless
//! `--without-quality`) a hash a written pair.

use std::path::{Path, PathBuf};

use clap::Args;
use relevance::Scale;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synthesis::asking::{Reply, ask_all};
use synthesis::crops::{
    Counts, CropsParameters, Discriminator, Documents, HistoryAudit, LabelledQuery, Labelling, Labels,
    Negatives, QueryRecords, Record, Source, Windows, WorldKnowledge, candidates_of, world_knowledge,
};
use synthesis::generator::Generator;
use synthesis::judging::JudgeCounts;
use synthesis::offline::Offline;
use synthesis::quality::{GradedPair, QualityCheck};

use super::quality;
use crate::arguments::Options;
use crate::commands::Finished;
use crate::commands::recipe::Completed;
use crate::exit::Usage;
use crate::external_sort::{Sorted, Sorter};
use crate::generators::{GeneratorFile, JudgeFile, ModelUse};
use crate::logs::{self, LogCounts, LogFile};
use crate::new_folder::{self, BeirFiles, NewFile, NewFolder};
use crate::recipe::{self, Claim};
use crate::report::{Cell, Report, Table};
use crate::{collections, progress};

/// Documents of queries that are labelled in one call of the judge.
const DOCUMENTS_AT_A_TIME: usize = 16_384;

/// Flags of `graded synthesize crops`. Those that a recipe has too are laid over it.
#[derive(Debug, Args)]
pub struct Command {
    /// The recipe
    recipe: PathBuf,
    /// The new folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A log file; may be repeated
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// The collection that holds the documents' texts: a name or a folder; or a corpus.jsonl alone
    #[arg(long, value_name = "NAME|DIR|FILE")]
    documents: Option<String>,
    /// A test collection that must not leak into the data, for the report: a name or a folder
    #[arg(long, value_name = "NAME|DIR")]
    against: Option<String>,
    /// Make no report of the data's quality: memory then does not grow with them
    #[arg(long, conflicts_with = "against")]
    without_quality: bool,
}

/// A recipe of `graded synthesize crops`: every key optional, unknown keys refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct CropsFile {
    claim: Claim,
    log: LogFile,
    documents: DocumentsFile,
    judge: JudgeFile,
    generator: GeneratorFile,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
    windows: Windows,
    discriminator: Discriminator,
    labels: Labels,
    negatives: Negatives,
    world_knowledge: WorldKnowledge,
}

/// `[documents]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct DocumentsFile {
    /// A collection's name or folder, or a `corpus.jsonl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
}

/// The recipe at `path`, completed.
///
/// # Errors
/// When it cannot be read or is no recipe of CroPS.
pub fn completed(path: &Path) -> anyhow::Result<Completed> {
    let file: CropsFile = recipe::read(path)?;
    Completed::of(&file, &CropsFile { claim: Claim::default(), ..file.clone() })
}

impl CropsFile {
    fn parameters(&self) -> CropsParameters {
        CropsParameters {
            sources: self.sources.clone().unwrap_or_else(|| Source::ALL.into()),
            windows: self.windows.clone(),
            discriminator: self.discriminator.clone(),
            labels: self.labels,
            negatives: self.negatives.clone(),
            world_knowledge: self.world_knowledge.clone(),
        }
    }
}

/// The collection's texts by id.
struct Texts(FxHashMap<String, String>);

impl Documents for Texts {
    fn text(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// Runs `graded synthesize crops`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let mut file: CropsFile = recipe::read(&command.recipe)?;
    if !command.logs.is_empty() {
        file.log.files = command.logs.clone();
    }
    if command.documents.is_some() {
        file.documents.dataset = command.documents.clone();
    }
    let parameters = file.parameters();
    parameters.check()?;
    let folder = NewFolder::begin(&command.out)?;
    let judge = file.judge.open(file.discriminator.alpha, options)?;
    let texts = texts(&file, options)?;
    let found = find(&file.log, &parameters, &folder, options)?;
    let mut writing = Writing::begin(&folder, quality_check(command, options)?)?;
    let generator = generator(&file, &found, &texts, options)?;
    let mut labelling = Labelling::new(&parameters, judge.as_ref())?;
    let mut sorted = found.records;
    let bar = progress::bar(options, "queries", found.queries.len() as u64);
    while let Some(queries) = next_queries(&mut sorted)? {
        let labelled = labelling.label(&queries, &texts)?;
        let written = match &generator {
            Some(generator) => {
                write_texts(&labelled, generator.as_ref(), &texts, &mut labelling, &parameters, options.seed)?
            }
            None => labelled.iter().map(|_| Vec::new()).collect(),
        };
        for (query, written) in labelled.iter().zip(&written) {
            writing.query(query, written, &texts, &labelling)?;
        }
        bar.inc(queries.len() as u64);
    }
    bar.finish_and_clear();
    let audit = Audit {
        log: found.counts,
        histories: found.audit,
        first_without_queries: found.first_without_queries,
        labelling: labelling.counts,
        judge: judge.digest().to_owned(),
        judge_counts: judge.answer_counts(),
        asked: [ModelUse::judge("judge_usage", judge.as_ref())]
            .into_iter()
            .chain(generator.as_deref().map(ModelUse::generator))
            .collect(),
    };
    writing.finish(&file, &audit, &texts, folder, options)
}

fn texts(file: &CropsFile, options: &Options) -> anyhow::Result<Texts> {
    let Some(name) = &file.documents.dataset else {
        return Err(Usage::error("documents.dataset (--documents): expected the collection with the texts"));
    };
    let documents = collections::documents(name, options.memory)?;
    let texts = documents.into_iter().map(|document| (document.id.clone(), document.full_text()));
    Ok(Texts(texts.collect()))
}

fn quality_check(command: &Command, options: &Options) -> anyhow::Result<Option<QualityCheck>> {
    if command.without_quality {
        return Ok(None);
    }
    let test = match &command.against {
        Some(name) => Some(quality::test_set(&collections::open(name, None, options.memory)?)),
        None => None,
    };
    Ok(Some(QualityCheck::new(test)))
}

/// The generator, where texts are to be written; the offline one knows the log's queries.
fn generator(
    file: &CropsFile,
    found: &Found,
    texts: &Texts,
    options: &Options,
) -> anyhow::Result<Option<Box<dyn Generator>>> {
    if file.world_knowledge.texts_per_query == 0 || !file.parameters().sources.contains(&Source::Written) {
        return Ok(None);
    }
    let mut ids: Vec<&String> = texts.0.keys().collect();
    ids.sort_unstable();
    let documents = ids.into_iter().map(|id| texts.0[id].as_str());
    let queries = found.queries.iter().map(String::as_str);
    file.generator.open(|| Offline::new(queries, documents), options).map(Some)
}

/// What the log holds.
struct Found {
    records: Sorted,
    /// The distinct queries: there are far fewer than searches.
    queries: FxHashSet<String>,
    counts: LogCounts,
    audit: HistoryAudit,
    first_without_queries: Option<String>,
}

fn find(
    log: &LogFile,
    parameters: &CropsParameters,
    folder: &NewFolder,
    options: &Options,
) -> anyhow::Result<Found> {
    let budget = options.memory / 4;
    let mut sorter = Sorter::new(folder.scratch(), budget, true);
    let mut audit = HistoryAudit::default();
    let mut queries = FxHashSet::default();
    let mut first_without_queries = None;
    let bar = progress::bar(options, "users", 0);
    let counts = logs::read(log, folder.scratch(), budget, |history, place| {
        let (records, of_user) = candidates_of(&history, parameters);
        audit.add(&of_user);
        if history.searches.is_empty() && first_without_queries.is_none() {
            first_without_queries = Some(format!("{place}: user {}", history.user));
        }
        for search in history.searches {
            if !queries.contains(&search.query) {
                queries.insert(search.query);
            }
        }
        bar.inc(1);
        records.iter().try_for_each(|record| sorter.push(&record.to_bytes()))
    })?;
    bar.finish_and_clear();
    Ok(Found { records: sorter.finish()?, queries, counts, audit, first_without_queries })
}

/// The findings of the next queries, whole queries, until there are enough documents.
fn next_queries(sorted: &mut Sorted) -> anyhow::Result<Option<Vec<QueryRecords>>> {
    let mut queries: Vec<QueryRecords> = Vec::new();
    let mut documents = 0;
    while let Some(bytes) = sorted.peek()? {
        let Some(record) = Record::from_bytes(bytes) else {
            anyhow::bail!("a record of the sort is damaged");
        };
        let is_same = queries.last().is_some_and(|query| query.query == record.query);
        if !is_same {
            if documents >= DOCUMENTS_AT_A_TIME {
                break;
            }
            queries.push(QueryRecords::new(record.query.clone()));
        }
        if let Some(query) = queries.last_mut() {
            query.push(record);
            documents += 1;
        }
        sorted.next()?;
    }
    Ok((!queries.is_empty()).then_some(queries))
}

/// A text that was written for a query.
struct WrittenText {
    id: String,
    text: String,
}

/// Has texts written for queries, each with its best document as the example; the texts of each query.
fn write_texts(
    queries: &[LabelledQuery],
    generator: &dyn Generator,
    texts: &Texts,
    labelling: &mut Labelling<'_>,
    parameters: &CropsParameters,
    seed: u64,
) -> anyhow::Result<Vec<Vec<WrittenText>>> {
    let count = u32::try_from(parameters.world_knowledge.texts_per_query).unwrap_or(u32::MAX);
    let request = |query: &LabelledQuery| {
        let best = query.documents.iter().find(|document| document.source == Source::Clicked);
        let best = best.or(query.documents.first()).and_then(|document| texts.text(&document.document));
        world_knowledge::request(&query.query, best.unwrap_or_default(), count, seed)
    };
    let requests: Vec<_> = queries.iter().map(request).collect();
    let replies = ask_all(generator, &requests)?;
    Ok(queries.iter().zip(&replies).map(|(query, reply)| read_texts(query, reply, labelling)).collect())
}

/// The texts that can be read in a reply; the others are counted.
fn read_texts(query: &LabelledQuery, reply: &Reply, labelling: &mut Labelling<'_>) -> Vec<WrittenText> {
    let answers = match reply {
        Reply::Answered(answers) => answers.as_slice(),
        Reply::Refused(_) => return Vec::new(),
    };
    let mut written = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        let clip = world_knowledge::Clip::parse(answer);
        labelling.count_text(clip.is_ok());
        if let Ok(clip) = clip {
            written
                .push(WrittenText { id: world_knowledge::document_id(&query.id, at + 1), text: clip.text() });
        }
    }
    for _ in &written {
        let labels = labelling.labels();
        let grade = labels.written(labels.level(Source::Written));
        labelling.count_written(grade, Source::Written);
    }
    written
}

/// The files in the making.
struct Writing {
    pairs: NewFile,
    beir: BeirFiles,
    judgments: NewFile,
    /// Documents that stand in the corpus already.
    documents: FxHashSet<String>,
    check: Option<QualityCheck>,
}

/// Everything that was counted.
struct Audit {
    log: LogCounts,
    histories: HistoryAudit,
    first_without_queries: Option<String>,
    labelling: Counts,
    judge: String,
    judge_counts: Option<JudgeCounts>,
    asked: Vec<ModelUse>,
}

impl Writing {
    fn begin(folder: &NewFolder, check: Option<QualityCheck>) -> anyhow::Result<Self> {
        Ok(Self {
            pairs: folder.file("pairs.jsonl")?,
            beir: BeirFiles::begin(folder)?,
            judgments: new_folder::judgments(folder, "train")?,
            documents: FxHashSet::default(),
            check,
        })
    }

    fn query(
        &mut self,
        query: &LabelledQuery,
        written: &[WrittenText],
        texts: &Texts,
        labelling: &Labelling<'_>,
    ) -> anyhow::Result<()> {
        self.beir.query(&query.id, &query.query)?;
        for document in &query.documents {
            let text = texts.text(&document.document).unwrap_or_default();
            self.pair(query, &document.document, text, document.grade, document.source)?;
        }
        let labels = labelling.labels();
        let grade = labels.written(labels.level(Source::Written));
        for text in written {
            self.pair(query, &text.id, &text.text, grade, Source::Written)?;
        }
        Ok(())
    }

    fn pair(
        &mut self,
        query: &LabelledQuery,
        id: &str,
        text: &str,
        grade: relevance::Grade,
        source: Source,
    ) -> anyhow::Result<()> {
        let pair = GradedPair {
            query_id: query.id.clone(),
            query: query.query.clone(),
            doc_id: id.to_owned(),
            document: text.to_owned(),
            grade,
            source: source.name().to_owned(),
        };
        self.pairs.line(&pair)?;
        new_folder::judge(&mut self.judgments, &query.id, id, grade)?;
        if self.documents.insert(id.to_owned()) {
            self.beir.document(id, "", text)?;
        }
        if let Some(check) = &mut self.check {
            check.push(&pair);
        }
        Ok(())
    }

    fn finish(
        mut self,
        file: &CropsFile,
        audit: &Audit,
        texts: &Texts,
        folder: NewFolder,
        options: &Options,
    ) -> anyhow::Result<Finished> {
        if audit.labelling.queries_written == 0 {
            let found = format!("{} queries, none with a positive", audit.labelling.queries);
            let of = &audit.histories;
            let log = format!(
                "{} searches of {} users, {} reworded within the window, {} feed items in one",
                of.searches, of.users, of.rewordings_within_window, of.feed_items_in_window
            );
            return Err(Usage::error(format!("nothing to write: {found}; the log has {log}")));
        }
        // Every document of the collection stands in the corpus: it is what is searched.
        let mut rest: Vec<&String> = texts.0.keys().filter(|id| !self.documents.contains(*id)).collect();
        rest.sort_unstable();
        for id in rest {
            self.beir.document(id, "", &texts.0[id])?;
        }
        self.pairs.finish()?;
        self.judgments.finish()?;
        self.beir.finish()?;
        let scale = if file.labels.binary { Scale::binary() } else { Scale::crops() };
        let description = "Made by graded synthesize crops out of logs.";
        folder.write("manifest.toml", &new_folder::manifest("crops", description, &scale, &["train"])?)?;
        folder.write("recipe.toml", &toml::to_string(file)?)?;
        let quality = self.check.map(QualityCheck::report);
        let signs = signs(&audit.labelling);
        let mut json = json!({
            "seed": options.seed,
            "judge": audit.judge,
            "log": audit.log,
            "histories": audit.histories,
            "first_user_without_queries": audit.first_without_queries,
            "labelling": labelling_json(&audit.labelling)?,
            "quality": quality,
            "signs": signs,
        });
        if let Some(counts) = &audit.judge_counts {
            json["judge_answers"] = json!(counts);
        }
        let mut tables = vec![sources_table(&audit.labelling, &signs), rules_table(audit)];
        tables.extend(quality.iter().flat_map(quality::tables));
        audit.asked.iter().for_each(|asked| asked.report(&mut json, &mut tables));
        folder.write("summary.json", &(serde_json::to_string_pretty(&json)? + "\n"))?;
        folder.finish()?;
        Ok(Report { tables, json, lines: Vec::new() }.into())
    }
}

/// The counts with the sources by name.
fn labelling_json(counts: &Counts) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(counts)?;
    let sources = Source::ALL.iter().map(|&source| (source.name().to_owned(), json!(counts.source(source))));
    value["sources"] = Value::Object(sources.collect());
    Ok(value)
}

/// The paper's own sign of failure for its first source: positives that the discriminator barely lets pass.
fn signs(counts: &Counts) -> Vec<String> {
    let mut signs = Vec::new();
    for source in [Source::Reformulation, Source::Recommendation] {
        let of = counts.source(source);
        if of.passed > 0 && of.barely_passed * 2 > of.passed {
            let name = source.name();
            signs.push(format!("{name}: {} of {} passed by at most 0.05", of.barely_passed, of.passed));
        }
        if of.found > 0 && of.passed == 0 {
            signs.push(format!("{}: the discriminator let none of {} pass", source.name(), of.found));
        }
    }
    signs
}

fn sources_table(counts: &Counts, signs: &[String]) -> Table {
    let columns =
        ["source", "label", "found", "without text", "refused", "unjudged", "passed", "barely", "written"];
    let mut table = Table::new(columns).titled("pairs by source");
    let labels = Labels::default();
    for source in Source::ALL {
        let of = counts.source(source);
        let mut row = vec![Cell::text(source.name()), Cell::text(labels.level(source).to_string())];
        let numbers =
            [of.found, of.without_text, of.refused, of.unjudged, of.passed, of.barely_passed, of.written];
        row.extend(numbers.map(Cell::Count));
        table.push(row);
    }
    table.notes.extend_from_slice(signs);
    table
}

fn rules_table(audit: &Audit) -> Table {
    let mut table = Table::new(["rule", "count"]).titled("audit");
    let (histories, labelling) = (&audit.histories, &audit.labelling);
    for (what, count) in [
        ("log lines", audit.log.lines),
        ("users", histories.users),
        ("users without queries", histories.users_without_queries),
        ("searches", histories.searches),
        ("next searches in other words, within the window", histories.rewordings_within_window),
        ("next searches in other words, after the window", histories.rewordings_after_window),
        ("next searches in the same words", histories.repetitions),
        ("feed items in a window", histories.feed_items_in_window),
        ("feed items beyond the number a user contributes", histories.feed_items_cut),
        ("queries", labelling.queries),
        ("queries written", labelling.queries_written),
        ("queries without a positive", labelling.queries_without_positive),
        ("queries with a threshold of their own", labelling.adaptive_thresholds),
        ("pairs with conflicting labels (the highest was taken)", labelling.conflicts),
        ("pairs dropped by the discriminator", labelling.dropped_by_discriminator),
        ("pairs cut from labels 1 to 3", labelling.cut_negatives),
        ("texts written", labelling.texts_written),
        ("answers that could not be read", labelling.texts_unparsed),
    ] {
        table.push(vec![Cell::text(what), Cell::Count(count)]);
    }
    if let Some(first) = &audit.first_without_queries {
        table.notes.push(format!("first user without queries: {first}"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positives_that_hardly_pass_are_a_sign() {
        let mut counts = Counts::default();
        let of = &mut counts.sources[Source::Reformulation as usize];
        (of.found, of.passed, of.barely_passed) = (10, 5, 3);
        let of = &mut counts.sources[Source::Recommendation as usize];
        (of.found, of.passed, of.barely_passed) = (7, 0, 0);
        let said = signs(&counts);
        assert!(said[0].ends_with(": 3 of 5 passed by at most 0.05"), "{said:?}");
        assert!(said[1].ends_with(": the discriminator let none of 7 pass") && said.len() == 2, "{said:?}");
        let of = &mut counts.sources[Source::Reformulation as usize];
        of.barely_passed = 2;
        counts.sources[Source::Recommendation as usize].passed = 1;
        assert_eq!(signs(&counts), [""; 0]);
    }
}
