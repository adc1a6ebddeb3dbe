//! A recipe as meant: complete, every name parsed, nothing left to go wrong but the files themselves.

use std::path::{Path, PathBuf};

use relevance::fusion::Fusion;
use relevance::{Measure, SelfHits, TieOrder, parse_measures};
use scorer::lexical::{Analyzer, Bm25Parameters};

use super::written::{Claim, Data, Evaluation, RecipeFile, Scorer};
use crate::exit::Usage;
use crate::pair_columns::PairColumns;

/// How many documents each system returns where nothing else is said: TREC's customary depth.
const DEFAULT_DEPTH: usize = 1000;
/// What is measured where nothing else is said.
const DEFAULT_MEASURES: &str = "nDCG@10 R@100 AP(rel=1) AP(rel=2) AP(rel=3) RR@10";

/// A complete recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// For the reader.
    pub claim: Claim,
    /// What is evaluated on.
    pub source: Source,
    /// The systems, in the order they are printed. Empty where the source brings its own (run files).
    pub systems: Vec<SystemChoice>,
    /// Fusions of all systems, each a further system.
    pub fusions: Vec<Fusion>,
    /// How many documents each system returns a query; of run files, how many are looked at (`None`: all).
    pub depth: Option<usize>,
    /// Whether only the documents judged for a query are ranked for it.
    pub judged_candidates: bool,
    /// The measures, in the order they are printed.
    pub measures: Vec<Measure>,
    /// The order of tied documents.
    pub ties: TieOrder,
    /// Whether only queries of both judgments and run count.
    pub intersect: bool,
    /// What happens to documents whose id is the query's; `None`: what the collection's manifest says.
    pub self_hits: Option<SelfHits>,
    /// The system the others are compared with.
    pub baseline: Option<String>,
}

/// What is evaluated on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A collection: its documents are retrieved from.
    Collection {
        /// A known name or a folder.
        name: String,
        /// The split whose judgments count; the collection's default where not said.
        split: Option<String>,
    },
    /// Judgments and finished runs.
    Runs {
        /// The judgment file.
        judgments: PathBuf,
        /// The run files.
        runs: Vec<PathBuf>,
    },
    /// Labelled pairs with their texts: each query ranks its own judged documents.
    Pairs {
        /// The file.
        file: PathBuf,
        /// Its columns, where they are named.
        columns: PairColumns,
    },
}

/// One system of the recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemChoice {
    /// BM25 over an analyzer's terms.
    Bm25(Bm25Parameters, Analyzer),
    /// A dense encoder: `embedded`, a pulled model's name, or a bundle's path.
    Encoder(String),
}

impl RecipeFile {
    /// Completes the recipe: defaults filled in, every name parsed.
    ///
    /// # Errors
    /// When a name is unknown or two keys exclude each other; says which key, and what it may hold.
    pub fn complete(self) -> anyhow::Result<Recipe> {
        let source = source(&self.data)?;
        let brings_its_own = matches!(source, Source::Runs { .. });
        if brings_its_own && self.scorer.systems.is_some() {
            return Err(Usage::error(
                "run files bring their own scores: leave out scorer.systems (--encoder)",
            ));
        }
        let systems = match (&self.scorer.systems, brings_its_own) {
            (_, true) => Vec::new(),
            (Some(names), _) => names.iter().map(|name| system(name)).collect::<anyhow::Result<_>>()?,
            (None, _) => vec![system("bm25")?, system("embedded")?],
        };
        let fusions = parse_all("scorer.fuse", self.scorer.fuse.as_deref().unwrap_or_default())?;
        if brings_its_own && (self.data.split.is_some() || self.scorer.judged_candidates == Some(true)) {
            let keys = "data.split (--split) and scorer.judged_candidates (--judged-candidates)";
            return Err(Usage::error(format!("{keys} are for collections, not for run files")));
        }
        let depth = self.scorer.depth.or((!brings_its_own).then_some(DEFAULT_DEPTH));
        if depth == Some(0) {
            return Err(Usage::error("scorer.depth (--depth): expected at least 1, found 0"));
        }
        let judged_candidates =
            self.scorer.judged_candidates.unwrap_or(matches!(source, Source::Pairs { .. }));
        Ok(Recipe {
            claim: self.claim,
            judged_candidates,
            source,
            systems,
            fusions,
            depth,
            measures: measures(&self.evaluation)?,
            ties: parse_or_default("evaluation.ties", self.evaluation.ties.as_deref())?,
            intersect: self.evaluation.intersect.unwrap_or(false),
            self_hits: self_hits(self.evaluation.self_hits.as_deref())?,
            baseline: self.evaluation.baseline,
        })
    }
}

impl Recipe {
    /// How many documents a retrieval returns.
    pub fn retrieval_depth(&self) -> usize {
        self.depth.unwrap_or(DEFAULT_DEPTH)
    }

    /// How many ranks of finished runs are looked at; retrieval has its depth already.
    pub fn evaluation_depth(&self) -> Option<usize> {
        self.depth.filter(|_| matches!(self.source, Source::Runs { .. }))
    }

    /// The recipe as a file that says everything, defaults included. Completing it again gives the same recipe.
    pub fn written_out(&self) -> RecipeFile {
        let mut data = Data::default();
        match &self.source {
            Source::Collection { name, split } => {
                (data.dataset, data.split) = (Some(name.clone()), split.clone())
            }
            Source::Runs { judgments, runs } => {
                (data.qrels, data.runs) = (Some(judgments.clone()), runs.clone());
            }
            Source::Pairs { file, columns } => {
                data.pairs = Some(file.clone());
                data.columns = columns.clone();
            }
        }
        let systems = self.systems.iter().map(SystemChoice::written_out).collect::<Vec<_>>();
        let scorer = Scorer {
            systems: (!systems.is_empty()).then_some(systems),
            fuse: Some(self.fusions.iter().map(ToString::to_string).collect()),
            depth: self.depth,
            judged_candidates: Some(self.judged_candidates),
        };
        let evaluation = Evaluation {
            measures: Some(self.measures.iter().map(ToString::to_string).collect()),
            ties: Some(self.ties.to_string()),
            intersect: Some(self.intersect),
            self_hits: self.self_hits.map(|choice| match choice {
                SelfHits::Keep => "keep".to_owned(),
                SelfHits::Drop => "drop".to_owned(),
            }),
            baseline: self.baseline.clone(),
        };
        RecipeFile { claim: self.claim.clone(), data, scorer, evaluation }
    }

    /// The completed recipe as TOML.
    ///
    /// # Errors
    /// When a path in it is not UTF-8.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(&self.written_out())?)
    }

    /// A digest of what the recipe does: the completed form without the words of `[claim]`.
    ///
    /// # Errors
    /// When a path in it is not UTF-8.
    pub fn digest(&self) -> anyhow::Result<String> {
        let done = RecipeFile { claim: Claim::default(), ..self.written_out() };
        Ok(blake3::hash(toml::to_string(&done)?.as_bytes()).to_hex().to_string())
    }
}

impl SystemChoice {
    /// `bm25`, `bm25(...)`, or an encoder, as `scorer.systems` writes it.
    ///
    /// # Errors
    /// When it starts like BM25 and is none.
    pub fn parse(written: &str) -> anyhow::Result<Self> {
        system(written)
    }

    /// The system with every setting written out.
    fn written_out(&self) -> String {
        match self {
            Self::Bm25(parameters, analyzer) => format!("{parameters}/{analyzer}"),
            Self::Encoder(name) => name.clone(),
        }
    }
}

impl std::fmt::Display for SystemChoice {
    /// The system as reports name it: settings only where they are not the usual ones.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bm25(parameters, analyzer) if *analyzer == Analyzer::default() => {
                let usual = *parameters == Bm25Parameters::default();
                if usual { formatter.write_str("bm25") } else { write!(formatter, "{parameters}") }
            }
            _ => formatter.write_str(&self.written_out()),
        }
    }
}

fn source(data: &Data) -> anyhow::Result<Source> {
    let split = data.split.clone();
    refuse_columns_without(data.pairs.as_deref(), &data.columns)?;
    match (&data.dataset, &data.qrels, &data.pairs) {
        (None, None, Some(file)) if data.runs.is_empty() => {
            Ok(Source::Pairs { file: file.clone(), columns: data.columns.clone() })
        }
        (None, Some(judgments), None) if !data.runs.is_empty() => {
            Ok(Source::Runs { judgments: judgments.clone(), runs: data.runs.clone() })
        }
        (None, Some(_), None) => {
            Err(Usage::error("data.qrels (--qrels) needs at least one run file (--run)"))
        }
        (dataset, None, None) if data.runs.is_empty() => {
            let name = dataset.clone().unwrap_or_else(|| "sample".to_owned());
            Ok(Source::Collection { name, split })
        }
        (None, None, None) => Err(Usage::error("data.runs (--run) needs a judgment file (--qrels)")),
        _ => Err(Usage::error(
            "expected one of: a dataset (--dataset), judgments with runs (--qrels --run), labelled pairs (--pairs); \
             found several",
        )),
    }
}

/// Refuses columns of no file.
pub(super) fn refuse_columns_without(pairs: Option<&Path>, columns: &PairColumns) -> anyhow::Result<()> {
    match pairs {
        None if !columns.are_guessed() => Err(Usage::error("data.columns: expected data.pairs beside it")),
        _ => Ok(()),
    }
}

/// `bm25`, `bm25(k1=1.2, b=0.75)`, `bm25(...)/ANALYZER`, or the name or path of an encoder.
fn system(written: &str) -> anyhow::Result<SystemChoice> {
    let is_bm25 =
        written.strip_prefix("bm25").is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', '/']));
    if !is_bm25 {
        return Ok(SystemChoice::Encoder(written.to_owned()));
    }
    let (parameters, analyzer) = written.split_once('/').unwrap_or((written, ""));
    let analyzer = (!analyzer.is_empty()).then_some(analyzer);
    Ok(SystemChoice::Bm25(
        parameters.parse().map_err(|error| Usage::error(format!("scorer.systems: {error}")))?,
        parse_or_default("scorer.systems", analyzer)?,
    ))
}

fn measures(evaluation: &Evaluation) -> anyhow::Result<Vec<Measure>> {
    let written = evaluation.measures.as_ref().map(|names| names.join(" "));
    let names = written.as_deref().unwrap_or(DEFAULT_MEASURES);
    parse_measures(names).map_err(|error| Usage::error(format!("evaluation.measures (--measures): {error}")))
}

fn self_hits(written: Option<&str>) -> anyhow::Result<Option<SelfHits>> {
    match written {
        None => Ok(None),
        Some("keep") => Ok(Some(SelfHits::Keep)),
        Some("drop") => Ok(Some(SelfHits::Drop)),
        Some(other) => Err(Usage::error(format!(
            "evaluation.self_hits (--self-hits): expected keep or drop, found {other}"
        ))),
    }
}

fn parse_all<T>(key: &str, names: &[String]) -> anyhow::Result<Vec<T>>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    names.iter().map(|name| name.parse().map_err(|error| Usage::error(format!("{key}: {error}")))).collect()
}

fn parse_or_default<T>(key: &str, name: Option<&str>) -> anyhow::Result<T>
where
    T: std::str::FromStr + Default,
    T::Err: std::fmt::Display,
{
    name.map_or(Ok(T::default()), |name| {
        name.parse().map_err(|error| Usage::error(format!("{key}: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> anyhow::Result<Recipe> {
        RecipeFile::parse(text)?.complete()
    }

    fn refused(text: &str) -> String {
        format!("{:#}", complete(text).expect_err("this recipe must be refused"))
    }

    #[test]
    fn the_completed_form_completes_to_itself() {
        let recipe = complete(super::super::SAMPLE).expect("the embedded recipe is complete");
        let again = complete(&recipe.to_toml().expect("plain strings")).expect("its written form too");
        assert_eq!(recipe.to_toml().expect("plain strings"), again.to_toml().expect("plain strings"));
        assert_eq!(recipe.digest().expect("plain strings"), again.digest().expect("plain strings"));
    }

    #[test]
    fn the_digest_is_of_what_is_done_not_of_what_is_said() {
        let digest = |text: &str| complete(text).and_then(|recipe| recipe.digest()).expect("a recipe");
        assert_eq!(digest("[claim]\ntitle = \"a\""), digest(""));
        assert_ne!(digest("[scorer]\ndepth = 10"), digest(""));
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_key() {
        assert!(refused("[data]\ncorpus = 1").contains("line 2"));
        assert!(refused("[data]\nruns = [\"a\"]").contains("--qrels"));
        assert!(refused("[data]\ndataset = \"x\"\npairs = \"y\"").contains("several"));
        assert!(refused("[evaluation]\nmeasures = [\"nDGC@10\"]").contains("nDGC"));
        assert!(refused("[evaluation]\nself_hits = \"maybe\"").contains("maybe"));
        assert!(refused("[scorer]\ndepth = 0").contains("at least 1"));
        assert!(refused("[scorer]\nsystems = [\"bm25(k9=1)\"]").contains("k9"));
    }
}
