//! What a generator answered, so that no question is asked twice: an append-only file of JSON lines, keyed by content.
//!
//! An entry is one line with a check over its bytes. A process that is killed leaves at most a last line cut short, which
//! is not read; whoever appends next first ends that line. Lines that fail their check are counted and skipped. Only
//! answers are remembered, never failures. The same file, replayed by [`Recorded`], is a transcript.
//!
//! This file knows lines; the command line's journal knows files and locks.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::asking::{Answer, Usage};
use crate::error::SynthesisError;
use crate::generator::{Generator, Request};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is remembered by ([`Request::key`]).
    pub key: String,
    /// Which model answered.
    pub model: String,
    /// Which version of it.
    pub revision: String,
    /// The completions as they came.
    pub completions: Vec<String>,
    /// The model that the server says has answered, where it is another than `revision` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_as: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    check: String,
    entry: Entry,
}

impl Entry {
    /// The entry as a line, line end included.
    pub fn to_line(&self) -> Vec<u8> {
        let line = Line { check: self.check(), entry: self.clone() };
        let mut bytes = serde_json::to_vec(&line).expect("strings are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a line without its end; `None` for anything that [`Entry::to_line`] did not write whole.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let Line { check, entry } = serde_json::from_slice(line).ok()?;
        (check == entry.check()).then_some(entry)
    }

    fn check(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("strings are JSON");
        blake3::hash(&bytes).to_hex()[..16].to_owned()
    }
}

/// The answers of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    entries: FxHashMap<String, Entry>,
    /// Lines that were no entries: cut short, or altered.
    pub damaged_lines: u64,
}

impl Answers {
    /// Takes in further bytes of a journal, from the beginning of a line on. Returns how many were whole lines; what
    /// follows them is a line that was cut short, or is still being written. Of a repeated key the first answer stays.
    pub fn read(&mut self, bytes: &[u8]) -> usize {
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match Entry::from_line(line) {
                Some(entry) => {
                    self.entries.entry(entry.key.clone()).or_insert(entry);
                }
                None => self.damaged_lines += 1,
            }
        }
        whole
    }

    /// Takes in one answer.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.entry(entry.key.clone()).or_insert(entry);
    }

    /// The completions remembered under a key.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.entries.get(key).map(|entry| entry.completions.as_slice())
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The model and revision that gave the answers, when all are of one.
    pub fn author(&self) -> Option<(&str, &str)> {
        let mut authors = self.entries.values().map(|entry| (entry.model.as_str(), entry.revision.as_str()));
        let first = authors.next()?;
        authors.all(|author| author == first).then_some(first)
    }
}

/// Where answers are kept.
pub trait Memory: Send + Sync {
    /// The answer under a key, if anyone has remembered one.
    ///
    /// # Errors
    /// When the memory cannot be read.
    fn recall(&self, key: &str) -> Result<Option<Vec<String>>>;

    /// Remembers an answer before anything else happens with it.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is intact.
    fn remember(&self, entry: Entry) -> Result<()>;
}

/// A generator that asks the memory first, and remembers what it is told.
pub struct Journaled<'a> {
    generator: &'a dyn Generator,
    memory: &'a dyn Memory,
}

impl<'a> Journaled<'a> {
    /// `generator`, with this memory.
    pub fn new(generator: &'a dyn Generator, memory: &'a dyn Memory) -> Self {
        Self { generator, memory }
    }
}

impl Generator for Journaled<'_> {
    fn model(&self) -> &str {
        self.generator.model()
    }

    fn revision(&self) -> &str {
        self.generator.revision()
    }

    fn generate(&self, request: &Request) -> Result<Vec<String>> {
        let key = request.key(self.generator)?;
        if let Some(completions) = self.memory.recall(&key)? {
            return Ok(completions);
        }
        let Answer { completions, served_as } = self.generator.answer(request)?;
        let (model, revision) = (self.model().to_owned(), self.revision().to_owned());
        self.memory.remember(Entry { key, model, revision, completions: completions.clone(), served_as })?;
        Ok(completions)
    }

    fn concurrency(&self) -> usize {
        self.generator.concurrency()
    }

    fn usage(&self) -> Option<Usage> {
        self.generator.usage()
    }
}

/// A transcript as a generator: it answers what was recorded and nothing else.
pub struct Recorded {
    model: String,
    revision: String,
    answers: Answers,
}

impl Recorded {
    /// The transcript in these answers.
    ///
    /// # Errors
    /// When it holds no answers, or those of several models or revisions.
    pub fn new(answers: Answers) -> Result<Self> {
        let Some((model, revision)) = answers.author() else {
            let reason = "a transcript: expected answers of one model and revision, found none or several";
            return Err(SynthesisError::Empty(reason.to_owned()));
        };
        Ok(Self { model: model.to_owned(), revision: revision.to_owned(), answers })
    }
}

impl Generator for Recorded {
    fn model(&self) -> &str {
        &self.model
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn generate(&self, request: &Request) -> Result<Vec<String>> {
        let key = request.key(self)?;
        match self.answers.get(&key) {
            Some(completions) => Ok(completions.to_vec()),
            None => {
                let prompt = request.prompt()?.chars().take(60).collect();
                Err(SynthesisError::NotRecorded { key, model: self.model.clone(), prompt })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::generator::Task;

    fn entry(key: &str) -> Entry {
        let completions = vec!["one\ntwo".to_owned(), "\"".to_owned()];
        Entry { key: key.into(), model: "m".into(), revision: "1".into(), completions, served_as: None }
    }

    #[test]
    fn a_journal_cut_anywhere_loses_at_most_its_last_answer() {
        let bytes = [entry("a").to_line(), entry("b").to_line()].concat();
        let first = entry("a").to_line().len();
        for end in 0..=bytes.len() {
            let mut answers = Answers::default();
            let whole = answers.read(&bytes[..end]);
            let expected = usize::from(end >= first) + usize::from(end == bytes.len());
            assert_eq!((answers.len(), answers.damaged_lines), (expected, 0), "cut at {end}");
            // Whoever goes on ends the cut line; what follows is read.
            let continued = [&bytes[..end], b"\n", &entry("c").to_line()].concat();
            let mut again = Answers::default();
            again.read(&continued);
            assert!(again.get("c").is_some() && again.len() >= expected && whole <= end);
        }
    }

    #[test]
    fn altered_lines_are_counted_and_skipped() {
        let mut bytes = [entry("a").to_line(), entry("b").to_line()].concat();
        let at = bytes.iter().position(|&byte| byte == b'w').unwrap();
        bytes[at] = b'v';
        let mut answers = Answers::default();
        answers.read(&bytes);
        assert_eq!((answers.len(), answers.damaged_lines), (1, 1));
    }

    /// Answers every second question.
    struct Moody(Mutex<u32>);

    impl Generator for Moody {
        fn model(&self) -> &str {
            "moody"
        }
        fn revision(&self) -> &str {
            ""
        }
        fn generate(&self, _: &Request) -> Result<Vec<String>> {
            let mut asked = self.0.lock().unwrap();
            *asked += 1;
            match *asked % 2 {
                0 => Ok(vec![format!("answer {asked}")]),
                _ => Err(SynthesisError::Generation { model: "moody".into(), reason: "not today".into() }),
            }
        }
    }

    struct Kept(Mutex<Answers>);

    impl Memory for Kept {
        fn recall(&self, key: &str) -> Result<Option<Vec<String>>> {
            Ok(self.0.lock().unwrap().get(key).map(<[String]>::to_vec))
        }
        fn remember(&self, entry: Entry) -> Result<()> {
            self.0.lock().unwrap().insert(entry);
            Ok(())
        }
    }

    #[test]
    fn failures_are_asked_again_and_answers_are_not() {
        let (moody, kept) = (Moody(Mutex::new(0)), Kept(Mutex::default()));
        let journaled = Journaled::new(&moody, &kept);
        let task = Task::Query { document: "d".into(), grade: 1 };
        let request = Request { task, samples: 1, temperature: 0.0, seed: 0 };
        assert!(journaled.generate(&request).is_err());
        assert_eq!(journaled.generate(&request).unwrap(), ["answer 2"]);
        assert_eq!(journaled.generate(&request).unwrap(), ["answer 2"]);
        assert_eq!(*moody.0.lock().unwrap(), 2);
        // The same answers replayed.
        let recorded = Recorded::new(kept.0.into_inner().unwrap()).unwrap();
        assert_eq!(recorded.generate(&request).unwrap(), ["answer 2"]);
        let other = Request { seed: 1, ..request };
        let said = recorded.generate(&other).unwrap_err().to_string();
        assert!(said.contains("no recorded answer") && said.contains("moody"), "{said}");
    }
}
