//! Manifests: what a public collection is, where its files live, what its grades mean. One TOML file each, embedded
//! in the binary; a collection of somebody's own may carry a `manifest.toml` of the same form.
//!
//! A digest stands in a manifest only when it was computed from the file or published by its home. A file without
//! one is not pinned: whoever fetches it records what arrived the first time.

use std::collections::BTreeMap;
use std::path::Path;

use relevance::scale::Level;
use relevance::{Grade, Scale, SelfHits};
use serde::{Deserialize, Serialize};

use crate::collection::Format;
use crate::error::{Error, Result};

/// A manifest, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name it is asked for by, also the name of its folder in a cache.
    pub name: String,
    /// One sentence: what is searched for what.
    pub description: String,
    /// The layout of its files.
    pub format: Format,
    /// The collection's home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// The licence as its home states it, or that none is stated.
    pub licence: String,
    /// What to know before quoting a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What to do with hits on the query itself.
    #[serde(default, with = "self_hits")]
    pub self_hits: SelfHits,
    /// The split that is read when none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_split: Option<String>,
    /// All splits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<String>,
    /// What the grades mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleEntry>,
    /// What the home states, for a check after fetching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// `self_hits = "keep"` or `"drop"`.
mod self_hits {
    use relevance::SelfHits;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(self_hits: &SelfHits, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self_hits {
            SelfHits::Keep => "keep",
            SelfHits::Drop => "drop",
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SelfHits, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "keep" => Ok(SelfHits::Keep),
            "drop" => Ok(SelfHits::Drop),
            other => Err(D::Error::custom(format!("expected \"keep\" or \"drop\", found \"{other}\""))),
        }
    }
}

/// `[scale]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleEntry {
    /// The scale's name.
    pub name: String,
    /// The lowest grade that counts as relevant, after mapping.
    pub relevant_from: Grade,
    /// Grade -> meaning, after mapping.
    pub levels: BTreeMap<String, String>,
    /// Code in the files -> grade, where the files write something else (Cranfield's 1 is its best).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, Grade>,
}

/// `[counts]`, of the default split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<usize>,
    /// Queries with judgments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_queries: Option<usize>,
    /// Judged pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgments: Option<usize>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Documents.
    Documents,
    /// Queries.
    Queries,
    /// Judgments.
    Judgments,
    /// Several raters' grades.
    Ratings,
    /// Judged pairs with their texts.
    Pairs,
    /// A run that came with the collection.
    Run,
    /// What people did over time.
    Log,
    /// An archive with all of the above.
    Archive,
    /// Licence texts, notes, tables that are not read.
    #[default]
    Other,
}

/// `[[files]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The file's path inside the collection's folder, `/` between parts.
    pub path: String,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// Where it is fetched from; a file without is found only in a local directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Other places with the same bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256, in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its MD5 where the home publishes nothing better: tells a broken transfer, not a malicious one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// How it is unpacked after verification; it is not kept then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<Unpack>,
    /// The folder inside the archive that becomes the collection's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
}

/// Kinds of archives that are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unpack {
    /// A zip archive.
    Zip,
    /// A gzipped tar archive.
    TarGz,
}

impl FileEntry {
    /// Whether a digest pins the file's content.
    pub fn is_pinned(&self) -> bool {
        self.sha256.is_some() || self.md5.is_some()
    }

    /// The places to fetch it from, the home first.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.url.iter().chain(&self.mirrors).map(String::as_str)
    }
}

impl Manifest {
    /// Reads a manifest from TOML; `name` stands for the file in errors.
    ///
    /// # Errors
    /// TOML that is not a manifest (unknown keys included), a grade that is not a number, a scale that cannot be, a
    /// path that leaves the collection's folder, or a digest that is not one.
    pub fn parse(toml: &str, name: &Path) -> Result<Self> {
        let wrong = |detail: String| Error::Manifest { path: name.to_owned(), detail };
        let manifest: Self =
            toml::from_str(toml).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if !is_plain_path(&self.name) || self.name.contains('/') {
            return Err(format!("name: expected a plain folder name, found \"{}\"", self.name));
        }
        if let Some(scale) = &self.scale {
            scale.scale().ok_or("scale: expected levels with whole numbers that reach relevant_from")?;
            scale.mapping().ok_or("scale.map: expected whole numbers as codes")?;
        }
        for file in &self.files {
            if !is_plain_path(&file.path) {
                return Err(format!("files: expected a path inside the collection, found \"{}\"", file.path));
            }
            let is_hex = |digest: &Option<String>, digits| {
                digest.as_ref().is_none_or(|d| d.len() == digits && d.bytes().all(|b| b.is_ascii_hexdigit()))
            };
            if !is_hex(&file.sha256, 64) || !is_hex(&file.md5, 32) {
                return Err(format!("files: expected a hexadecimal digest for \"{}\"", file.path));
            }
        }
        Ok(())
    }

    /// The files of one role, in order.
    pub fn files_for(&self, role: Role) -> impl Iterator<Item = &FileEntry> {
        self.files.iter().filter(move |file| file.role == role)
    }

    /// The scale of the grades, when the manifest states one.
    pub fn scale(&self) -> Option<Scale> {
        self.scale.as_ref()?.scale()
    }

    /// The embedded manifest called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        all().iter().find(|manifest| manifest.name == name)
    }

    /// The embedded manifest whose files lie in `directory`: the one with the most files that are all there with
    /// their stated sizes. Digests are not computed; `verify` does that.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn recognise(directory: &Path) -> Option<&'static Self> {
        let fits = |manifest: &&Self| {
            let mut needed = manifest.files.iter().filter(|file| file.role != Role::Other).peekable();
            let size =
                |file: &FileEntry| std::fs::metadata(directory.join(&file.path)).ok().map(|meta| meta.len());
            needed.peek().is_some() && needed.all(|file| file.bytes.is_some() && size(file) == file.bytes)
        };
        all().iter().filter(fits).max_by_key(|manifest| manifest.files.len())
    }
}

impl ScaleEntry {
    /// The scale, or `None` when the levels are no scale.
    pub fn scale(&self) -> Option<Scale> {
        let level = |(grade, meaning): (&String, &String)| {
            Some(Level { grade: grade.parse().ok()?, meaning: meaning.clone() })
        };
        let levels: Option<Vec<_>> = self.levels.iter().map(level).collect();
        Scale::new(&self.name, levels?, self.relevant_from)
    }

    /// Code -> grade, or `None` when a code is not a whole number.
    pub fn mapping(&self) -> Option<BTreeMap<Grade, Grade>> {
        self.map.iter().map(|(code, grade)| Some((code.parse().ok()?, *grade))).collect()
    }
}

/// Whether `path` stays inside the folder it is joined to, on every system.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(is_plain) && !path.contains(['\\', ':', '\0'])
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// `(name, TOML)` of every embedded manifest.
        const EMBEDDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../manifests/", $name, ".toml")))),*];
    };
}

embedded! {
    "arguana", "cacm", "chorus", "climate-fever", "cqadupstack", "cranfield", "dbpedia-entity", "dbpedia-entity-5k",
    "excite", "fever", "fiqa", "hotpotqa", "movielens-small", "msmarco", "msmarco-dl19-5k", "nfcorpus", "nq", "quati", "quora", "scidocs", "scifact",
    "trec-covid", "trec-dl", "vaswani", "webis-touche2020",
}

/// All embedded manifests, by name.
///
/// # Panics
/// Never: a test reads every embedded manifest.
pub fn all() -> &'static [Manifest] {
    static ALL: std::sync::OnceLock<Vec<Manifest>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let parse = |&(name, toml): &(&str, &str)| {
            Manifest::parse(toml, Path::new(name)).unwrap_or_else(|error| panic!("embedded manifest {error}"))
        };
        EMBEDDED.iter().map(parse).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str =
        "name = \"x\"\ndescription = \"d\"\nformat = \"beir\"\nlicence = \"MIT\"\nfiles = []\n";

    fn said(toml: &str) -> String {
        Manifest::parse(toml, Path::new("m.toml")).unwrap_err().to_string()
    }

    #[test]
    fn every_embedded_manifest_reads_back_as_it_was_written() {
        for manifest in all() {
            let again = Manifest::parse(&toml::to_string(manifest).unwrap(), Path::new("again")).unwrap();
            assert_eq!(*manifest, again);
        }
        let names: Vec<_> = all().iter().map(|manifest| manifest.name.as_str()).collect();
        let listed: Vec<_> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, listed, "a manifest's name is its file's");
        assert!(names.is_sorted());
    }

    #[test]
    fn what_no_manifest_may_say_is_refused_by_name() {
        assert!(Manifest::parse(SMALL, Path::new("m")).is_ok());
        assert!(said(&SMALL.replace("files = []", "surprise = 1")).contains("surprise"));
        let file = |entry: &str| said(&SMALL.replace("files = []", &format!("[[files]]\n{entry}")));
        assert!(file("path = \"../x\"").contains("inside the collection, found \"../x\""));
        assert!(file("path = \"/x\"").contains("inside the collection"));
        assert!(file("path = \"x\"\nsha256 = \"12\"").contains("hexadecimal digest for \"x\""));
        assert!(said(&SMALL.replace("\"x\"", "\"a/b\"")).contains("plain folder name"));
        let scale =
            format!("{SMALL}[scale]\nname = \"s\"\nrelevant_from = 5\nlevels = {{ \"0\" = \"no\" }}\n");
        assert!(said(&scale).contains("relevant_from"));
    }

    #[test]
    fn cranfields_best_code_becomes_its_highest_grade() {
        let scale = Manifest::named("cranfield").unwrap().scale.as_ref().unwrap();
        let map = scale.mapping().unwrap();
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [(-1, 0), (1, 4), (2, 3), (3, 2), (4, 1)]);
        assert_eq!(scale.scale().unwrap().highest(), 4);
    }

    #[test]
    fn arguana_alone_drops_hits_on_the_query_itself() {
        let drops: Vec<_> = all().iter().filter(|m| m.self_hits == SelfHits::Drop).map(|m| &m.name).collect();
        assert_eq!(drops, ["arguana"]);
    }
}
