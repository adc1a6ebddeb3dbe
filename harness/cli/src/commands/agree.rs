//! `graded agree`: how far labels agree: predicted with human grades, several raters with each other, or two sets of
//! judgments and the order they put systems in.

use std::path::{Path, PathBuf};

use clap::Args;
use datasets::pairs::{self, PairFile, PairOptions};
use datasets::trec::{RunFile, RunOptions};
use rayon::prelude::*;
use relevance::agreement::{self, Predicted, RatedPair, system_agreement};
use relevance::resampling::Bootstrap;
use relevance::{EvaluationOptions, Evaluator, Judgments, LabeledPair, Measure, Scale, parse_measures};
use rustc_hash::FxHashMap;
use scorer::labeler::{Labeler, scores_digest};

use super::Finished;
use crate::arguments::Options;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;
use crate::report::Report;
use crate::report::agreement as say;
use crate::runs::measured::{self, Labels};
use crate::runs::{Record, RecordFlags, answers};
use crate::{collections, labelers, progress};

/// Flags of `graded agree`.
#[derive(Debug, Args)]
pub struct Command {
    /// A file of labelled pairs: CSV, TSV or JSON lines
    #[arg(long, value_name = "FILE", conflicts_with = "qrels", required_unless_present_any = ["qrels", "dataset"])]
    pairs: Option<PathBuf>,
    /// A collection whose judged pairs --labeler grades: a name or a folder
    #[arg(long, value_name = "NAME|DIR", conflicts_with_all = ["pairs", "qrels"], requires = "labeler")]
    dataset: Option<String>,
    /// The column of the predicted grade [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    predicted: Option<String>,
    /// A labeler that predicts the grades instead: `embedded`, a pulled model's name, or a bundle's file or folder
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["predicted", "raters", "qrels"])]
    labeler: Option<String>,
    /// The columns of several raters, separated by commas
    #[arg(long, value_name = "COLS", value_delimiter = ',', requires = "pairs", conflicts_with_all = ["human", "predicted"])]
    raters: Vec<String>,
    /// The scale whose grades the table shows, and beyond which a grade is an error [default: the grades that occur]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "qrels")]
    scale: Option<ScaleName>,
    /// Judgments taken as the truth
    #[arg(long, value_name = "FILE", requires = "against")]
    qrels: Option<PathBuf>,
    /// Judgments compared with --qrels, over the pairs both hold
    #[arg(long, value_name = "FILE", requires = "qrels")]
    against: Option<PathBuf>,
    /// Runs to order by both sets of judgments; at least two
    #[arg(long = "run", value_name = "FILE", requires = "qrels")]
    runs: Vec<PathBuf>,
    /// The measure that orders the runs
    #[arg(long, short, value_name = "MEASURE", default_value = "nDCG@10")]
    measure: String,
    /// How many times the queries are resampled for the intervals
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: u32,
    /// The level of the intervals
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    level: f64,
    #[command(flatten)]
    columns: PairColumns,
    #[command(flatten)]
    record: RecordFlags,
}

/// The `--scale` flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScaleName {
    /// 0 and 1
    Binary,
    /// 0 to 3
    Ssra,
    /// 0 to 5
    Crops,
}

/// Runs `graded agree`.
pub fn run(command: &Command, options: &Options) -> anyhow::Result<Finished> {
    let bootstrap = Bootstrap::new(command.resamples, command.level, options.seed).ok_or_else(|| {
        let most = Bootstrap::MOST_RESAMPLES;
        Usage::error(format!("expected --resamples of 1 to {most} and --level between 0 and 1"))
    })?;
    options.device()?;
    let history = command.record.history()?;
    let pairs = command.dataset.as_deref().map(Path::new).or(command.pairs.as_deref());
    let (report, record) = match (pairs, &command.qrels, &command.against) {
        (Some(file), _, _) if command.raters.is_empty() => two_raters(file, command, &bootstrap, options),
        (Some(file), _, _) => many_raters(file, command, &bootstrap, options),
        (None, Some(truth), Some(against)) => two_judgments(truth, against, command, &bootstrap, options),
        (None, _, _) => Err(Usage::error("expected --pairs FILE, or --qrels FILE --against FILE")),
    }?;
    Ok(Finished::from(report).recorded(history.map(|history| (history, record))))
}

fn two_raters(
    file: &Path,
    command: &Command,
    bootstrap: &Bootstrap,
    options: &Options,
) -> anyhow::Result<(Report, Record)> {
    let wanted =
        PairOptions { predicted: command.predicted.clone(), ..command.columns.options(options.memory) };
    let labeler = command.labeler.as_deref().map(labelers::load).transpose()?;
    let pairs = match &labeler {
        None => pairs::read(file, &wanted)?,
        Some(labeler) => labeled(file, command, &wanted, labeler.as_ref(), options)?,
    };
    say_columns(&pairs, options);
    for (column, name) in [(&pairs.columns.human, "--human"), (&pairs.columns.predicted, "--predicted")] {
        let is_known = command.dataset.is_some() || (name == "--predicted" && labeler.is_some());
        if column.is_none() && !is_known {
            return Err(Usage::error(format!(
                "{}: which column holds the grade? name it with {name}",
                file.display()
            )));
        }
    }
    let report = match command.scale {
        None => agreement::Report::of_labeled(&pairs.pairs, bootstrap),
        Some(name) => over_scale(file, &name.scale(), &pairs, bootstrap)?,
    };
    if report.pairs == 0 {
        return Err(Usage::error(format!(
            "{}: no pair has both a human and a predicted grade",
            file.display()
        )));
    }
    let name = file.display().to_string();
    let rated = agreement::rated_pairs(&pairs.pairs);
    let (queries, human) = human_grades(&pairs.pairs);
    let labels = Labels { dataset: name.clone(), report: &report, pairs: &rated, queries, human };
    let scores = scores_digest(pairs.pairs.iter().filter_map(|pair| pair.score));
    let predicted =
        labeler.as_ref().map(|labeler| Predicted { labeler: labeler.digest(), scores_digest: &scores });
    let said = say::two_raters(&name, &report, &pairs, predicted)?;
    Ok((said, measured::agreement(labels, options)?))
}

/// The queries in the order they first appear, as [`agreement::rated_pairs`] numbers them, and for each a digest of its
/// human grades.
pub(super) fn human_grades(pairs: &[LabeledPair]) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<&str> = Vec::new();
    let mut grades: Vec<Vec<(&str, i32)>> = Vec::new();
    let mut places = FxHashMap::default();
    for pair in pairs {
        let at = *places.entry(pair.query.as_str()).or_insert_with(|| {
            names.push(&pair.query);
            grades.push(Vec::new());
            names.len() - 1
        });
        grades[at].extend(pair.human.map(|human| (pair.document.as_str(), human)));
    }
    grades.iter_mut().for_each(|judged| judged.sort_unstable());
    let digests = grades.into_iter().map(|judged| answers::of_grades(judged.into_iter()));
    (names.into_iter().map(str::to_owned).collect(), digests.collect())
}

/// The pairs with a labeler's grades in place of a predicted column.
fn labeled(
    file: &Path,
    command: &Command,
    wanted: &PairOptions,
    labeler: &dyn Labeler,
    options: &Options,
) -> anyhow::Result<PairFile> {
    let mut pairs = match &command.dataset {
        Some(name) => PairFile {
            path: file.to_owned(),
            pairs: labelers::of_collection(name, None, options)?.0,
            ..PairFile::default()
        },
        None => labelers::read(file, wanted, options)?,
    };
    labelers::predict(&mut pairs.pairs, labeler, options)?;
    (pairs.columns.predicted, pairs.predicted_missing) = (None, 0);
    pairs.unparsed.clear();
    Ok(pairs)
}

/// The report over a stated scale; a grade beyond it is named by its line.
fn over_scale(
    file: &Path,
    scale: &Scale,
    pairs: &PairFile,
    bootstrap: &Bootstrap,
) -> anyhow::Result<agreement::Report> {
    for (pair, line) in pairs.pairs.iter().zip(&pairs.lines) {
        let mut grades = [pair.human, pair.predicted].into_iter().flatten();
        if let Some(grade) = grades.find(|&grade| !scale.contains(grade)) {
            let (lowest, highest) = (scale.levels()[0].grade, scale.highest());
            let found = format!("{}:{line}: expected a grade of {lowest} to {highest}", file.display());
            return Err(Usage::error(format!("{found} (scale {}), found {grade}", scale.name())));
        }
    }
    let rated = agreement::rated_pairs(&pairs.pairs);
    let judged = pairs.pairs.iter().filter(|pair| pair.human.is_some()).count();
    let mut report = agreement::Report::over(scale, &rated, bootstrap)?;
    report.unparsed = (judged - rated.len()) as u64;
    Ok(report)
}

impl ScaleName {
    /// The scale of that name.
    pub fn scale(self) -> Scale {
        match self {
            ScaleName::Binary => Scale::binary(),
            ScaleName::Ssra => Scale::ssra(),
            ScaleName::Crops => Scale::crops(),
        }
    }
}

fn many_raters(
    file: &Path,
    command: &Command,
    bootstrap: &Bootstrap,
    options: &Options,
) -> anyhow::Result<(Report, Record)> {
    if command.raters.len() < 2 {
        return Err(Usage::error("--raters: expected at least two columns, separated by commas"));
    }
    if (1..command.raters.len()).any(|at| command.raters[..at].contains(&command.raters[at])) {
        return Err(Usage::error("--raters: a column is named twice"));
    }
    let wanted = command.columns.options(options.memory);
    let ratings = pairs::read_ratings(file, &command.raters, &wanted)?;
    let clusters = ratings.clusters().into_iter().map(|at| at as u32).collect::<Vec<_>>();
    let report = agreement::raters_report(&ratings.table, &clusters, bootstrap)
        .map_err(|reason| Usage::error(format!("{}: {reason}", file.display())))?;
    let name = file.display().to_string();
    Ok((say::many_raters(&name, &report, &ratings.raters)?, measured::raters(&name, &report, options)?))
}

fn two_judgments(
    truth_path: &Path,
    against_path: &Path,
    command: &Command,
    bootstrap: &Bootstrap,
    options: &Options,
) -> anyhow::Result<(Report, Record)> {
    let truth = collections::read_judgments(truth_path, options)?;
    let against = collections::read_judgments(against_path, options)?;
    let (mut rated, mut queries, mut human_of) = (Vec::new(), Vec::new(), Vec::new());
    for (query, judgments) in (0..).zip(truth.queries()) {
        let mut common = Vec::new();
        for (document, human) in judgments.iter() {
            if let Some(predicted) = against.grade(judgments.query(), document) {
                rated.push(RatedPair { query, human, predicted });
                common.push((document, human));
            }
        }
        common.sort_unstable();
        queries.push(judgments.query().to_owned());
        human_of.push(answers::of_grades(common.into_iter()));
    }
    if rated.is_empty() {
        let (a, b) = (truth_path.display(), against_path.display());
        return Err(Usage::error(format!("{a} and {b} judge no pair in common")));
    }
    let mut report = agreement::Report::of(&rated, bootstrap);
    report.unparsed = 0;
    let systems = match command.runs.len() {
        0 => None,
        1 => return Err(Usage::error("--run: expected at least two runs to put in order, found 1")),
        _ => Some(system_orders(&truth, &against, command, bootstrap)?),
    };
    let name = format!("{} against {}", against_path.display(), truth_path.display());
    let said = say::two_judgments(&name, &report, systems.as_ref())?;
    let labels = Labels { dataset: name, report: &report, pairs: &rated, queries, human: human_of };
    Ok((said, measured::agreement(labels, options)?))
}

fn system_orders(
    truth: &Judgments,
    against: &Judgments,
    command: &Command,
    bootstrap: &Bootstrap,
) -> anyhow::Result<say::SystemOrders> {
    let measures = parse_measures(&command.measure)?;
    let [measure] = measures.as_slice() else {
        return Err(Usage::error(format!("--measure: expected one measure, found {}", measures.len())));
    };
    // Only queries that both sets judge can order the systems by both.
    let both = |judgments: &Judgments, other: &Judgments| {
        let shared = judgments.queries().filter(|query| other.get(query.query()).is_some());
        let triples =
            shared.flat_map(|query| query.iter().map(|(document, grade)| (query.query(), document, grade)));
        triples.collect::<Judgments>()
    };
    let (truth, against) = (both(truth, against), both(against, truth));
    let values = |judgments: &Judgments| {
        command
            .runs
            .iter()
            .map(|path| run_values(path, judgments, &truth, measure))
            .collect::<anyhow::Result<Vec<_>>>()
    };
    let (by_truth, by_against) = (values(&truth)?, values(&against)?);
    let agreement = system_agreement(&by_truth, &by_against, bootstrap)
        .map_err(|reason| Usage::error(format!("--run: the orders cannot be compared: {reason}")))?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let rows = command.runs.iter().zip(by_truth.iter().zip(&by_against));
    let rows = rows.map(|(run, (a, b))| (run.display().to_string(), mean(a), mean(b))).collect();
    Ok(say::SystemOrders { measure: measure.to_string(), systems: rows, agreement })
}

/// The measure of a run on each query, in the order of `order`.
fn run_values(
    path: &Path,
    judgments: &Judgments,
    order: &Judgments,
    measure: &Measure,
) -> anyhow::Result<Vec<f64>> {
    let run = RunFile::open(path, &RunOptions::default())?;
    let evaluator = Evaluator::new(judgments, std::slice::from_ref(measure), EvaluationOptions::default())?;
    let outcomes = (0..run.len()).into_par_iter().map(|at| Ok(evaluator.query(&run.ranking(at)?)?));
    let evaluation = evaluator.collect(outcomes.collect::<anyhow::Result<Vec<_>>>()?)?;
    let values: std::collections::HashMap<_, _> =
        evaluation.queries.iter().map(|query| (query.query.as_str(), query.values[0])).collect();
    Ok(order.queries().map(|query| values.get(query.query()).copied().unwrap_or(0.0)).collect())
}

fn say_columns(pairs: &PairFile, options: &Options) {
    let columns = &pairs.columns;
    let named = [("query", &columns.query), ("human", &columns.human), ("predicted", &columns.predicted)];
    for (what, column) in named {
        if let Some(column) = column.as_ref().filter(|column| column.guessed) {
            progress::say(
                options,
                format!("{}: {what} taken from column \"{}\"", pairs.path.display(), column.name),
            );
        }
    }
}
