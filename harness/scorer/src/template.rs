//! From a query or a document to the one string that is tokenised: prompts and the joining of title and text.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bundle::{Bundle, PROMPTS};
use crate::error::Result;

/// Which side of a comparison a text stands on; models with prompts treat the sides differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// What somebody searches for.
    Query,
    /// What may be found.
    Document,
}

/// What is put before a text, by role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Put before every query.
    pub query_prompt: String,
    /// Put before every document.
    pub document_prompt: String,
}

#[derive(Deserialize, Default)]
struct PromptsFile {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl Template {
    /// The prompts of a bundle; none where it names none. A document's prompt may be called `document`, `passage` or
    /// `corpus`; a role without its own prompt takes the one that `default_prompt_name` names.
    ///
    /// # Errors
    /// `BadConfig` when the prompts file is not of the expected form.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self> {
        let file: PromptsFile = bundle.json(PROMPTS)?.unwrap_or_default();
        let named =
            |name: &str| file.prompts.get(name).cloned().flatten().filter(|prompt| !prompt.is_empty());
        let default = file.default_prompt_name.as_deref().and_then(named);
        let first = |names: &[&str]| names.iter().find_map(|name| named(name)).or_else(|| default.clone());
        Ok(Self {
            query_prompt: first(&["query"]).unwrap_or_default(),
            document_prompt: first(&["document", "passage", "corpus"]).unwrap_or_default(),
        })
    }

    /// The prompt of a role, possibly empty.
    pub fn prompt(&self, role: Role) -> &str {
        match role {
            Role::Query => &self.query_prompt,
            Role::Document => &self.document_prompt,
        }
    }

    /// The text as it is tokenised.
    pub fn apply<'a>(&self, text: &'a str, role: Role) -> std::borrow::Cow<'a, str> {
        match self.prompt(role) {
            "" => text.into(),
            prompt => format!("{prompt}{text}").into(),
        }
    }
}

/// A document's text with its title before it, as BEIR's evaluation joins them: one space, outer white space removed.
pub fn join_title(title: &str, text: &str) -> String {
    if title.is_empty() { text.trim().to_owned() } else { format!("{title} {text}").trim().to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with_prompts(json: &str) -> Template {
        let files = [("config.json", "{}"), (PROMPTS, json)];
        let files = files.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
        Template::from_bundle(&Bundle::from_files(files.into()).unwrap()).unwrap()
    }

    #[test]
    fn prompts_by_name() {
        let template = with_prompts(r#"{"prompts": {"query": "query: ", "passage": "passage: "}}"#);
        assert_eq!(template.apply("cats", Role::Query), "query: cats");
        assert_eq!(template.apply("cats", Role::Document), "passage: cats");
    }

    #[test]
    fn the_default_prompt_fills_in() {
        let json = r#"{"prompts": {"query": "q: ", "general": "g: "}, "default_prompt_name": "general"}"#;
        let template = with_prompts(json);
        assert_eq!((template.prompt(Role::Query), template.prompt(Role::Document)), ("q: ", "g: "));
        assert_eq!(with_prompts("{}"), Template::default());
    }

    #[test]
    fn titles_join_with_one_space() {
        assert_eq!(join_title("", " text "), "text");
        assert_eq!(join_title("Title", "text"), "Title text");
        assert_eq!(join_title("Title", ""), "Title");
    }
}
