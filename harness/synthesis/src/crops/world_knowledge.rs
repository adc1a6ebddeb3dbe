//! World-knowledge positives (`P3`): the metadata of clips that a model writes for a query, as JSON.
//!
//! The fields are the paper's (Fig. 2): caption, tags, cover text, keywords, related queries. An answer that cannot be
//! read is counted and left out; it is no document and no grade.

use serde::{Deserialize, Serialize};

use crate::generator::{Request, Task, without_markup};

/// The metadata of a clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// What it shows, in a sentence.
    pub caption: String,
    /// Short tags.
    pub tags: Vec<String>,
    /// What stands on the cover.
    pub cover_text: String,
    /// Keywords.
    pub keywords: Vec<String>,
    /// Queries by which others would find it.
    pub related_queries: Vec<String>,
}

impl Clip {
    /// Reads an answer that is one JSON object, or whose last line is one.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(answer: &str) -> Result<Self, String> {
        let answer = answer.trim();
        let last = answer.lines().next_back().unwrap_or_default();
        let clip: Self = serde_json::from_str(answer)
            .or_else(|error| serde_json::from_str(last).map_err(|_| error))
            .map_err(|error| format!("expected the JSON object of a clip: {error}"))?;
        match clip.caption.trim().is_empty() {
            true => Err("caption: expected a sentence, found nothing".to_owned()),
            false => Ok(clip),
        }
    }

    /// Its text as a document: caption, tags, cover text, keywords, related queries, one a line, without markup.
    pub fn text(&self) -> String {
        let lists = [&self.tags, &self.keywords, &self.related_queries].map(|list| list.join(", "));
        let [tags, keywords, related] = lists;
        let lines = [&self.caption, &tags, &self.cover_text, &keywords, &related];
        let lines = lines.iter().map(|line| without_markup(line).trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The request for texts of a query, with the text of a document that people found relevant.
pub fn request(query: &str, exemplar: &str, texts: u32, seed: u64) -> Request {
    let task = Task::Clip { query: query.to_owned(), exemplar: exemplar.to_owned() };
    Request { task, samples: texts, temperature: 0.7, seed }
}

/// The id of the `number`th text written for a query, from 1.
pub fn document_id(query_id: &str, number: usize) -> String {
    format!("written-{query_id}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: &str = r#"{"caption":"Get <b>wine</b> out","tags":["stain"],"cover_text":"","keywords":["rug"],"related_queries":["red wine carpet"]}"#;

    #[test]
    fn an_answer_is_the_object_or_ends_in_it() {
        let clip = Clip::parse(CLIP).unwrap();
        assert_eq!(clip.text(), "Get  wine  out\nstain\nrug\nred wine carpet");
        assert_eq!(Clip::parse(&format!("Here it is:\n{CLIP}\n")).unwrap(), clip);
        for wrong in ["", "grade: 3", "{}", "[1]", &CLIP[..40], &CLIP.replace("Get <b>wine</b> out", " ")] {
            assert!(Clip::parse(wrong).is_err(), "{wrong}");
        }
    }
}
