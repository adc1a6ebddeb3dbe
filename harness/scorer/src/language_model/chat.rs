//! A prompt in its frame, and which tokens end an answer: ChatML, as Qwen2, Qwen2.5 and Qwen3 have it.
//!
//! ```text
//! <|im_start|>system           only where a system message is asked for
//! MESSAGE<|im_end|>
//! <|im_start|>user
//! PROMPT<|im_end|>
//! <|im_start|>assistant
//! ```
//!
//! The template that comes with a model (Jinja) is not run. It is looked at: one without `<|im_start|>` is refused, and one
//! that knows `enable_thinking` gets the empty `<think>` block that turns thinking off, as Qwen3's does. Where we differ:
//! a template may put a system message of its own; here there is one only where the settings say so.

use tokenizers::Tokenizer;

use super::Settings;
use crate::bundle::TOKENIZER;
use crate::error::{Result, ScorerError};
use crate::tokenizer_file::refused;

const START: &str = "<|im_start|>";
const END: &str = "<|im_end|>";
const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// The frame of a model.
pub(super) struct Chat {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    /// The ids of an empty block of thoughts, where thinking is to be turned off.
    no_thoughts: Vec<u32>,
    stops: Vec<u32>,
    system: Option<String>,
    thinking: bool,
}

impl Chat {
    /// The frame for a tokenizer and the model's own template, by its file; `stops` end an answer besides `<|im_end|>`.
    ///
    /// # Errors
    /// `Unsupported` for a template that is not ChatML, or a vocabulary without its tokens.
    pub(super) fn new(
        mut tokenizer: Tokenizer,
        (file, template): (&str, Option<&str>),
        mut stops: Vec<u32>,
        settings: &Settings,
    ) -> Result<Self> {
        if template.is_some_and(|template| !template.contains(START)) {
            let what = format!("a chat template without {START}");
            return Err(ScorerError::Unsupported { file: file.into(), what });
        }
        // Control tokens in a text are words of that text.
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_padding(None).with_truncation(None).map_err(refused)?;
        let id = |token: &str| {
            let what = || format!("a vocabulary without {token}");
            tokenizer
                .token_to_id(token)
                .ok_or_else(|| ScorerError::Unsupported { file: TOKENIZER.into(), what: what() })
        };
        let (start, end) = (id(START)?, id(END)?);
        stops.push(end);
        stops.extend(tokenizer.token_to_id("<|endoftext|>"));
        let knows_thinking = template.is_some_and(|template| template.contains("enable_thinking"));
        let mut no_thoughts = Vec::new();
        if knows_thinking && !settings.thinking {
            let blank = plain(&tokenizer, "\n\n")?;
            no_thoughts = [&[id(THINK)?][..], &blank, &[id(THOUGHT)?], &blank].concat();
        }
        let (system, thinking) = (settings.system.clone(), settings.thinking);
        Ok(Self { tokenizer, start, end, no_thoughts, stops, system, thinking })
    }

    /// The ids of a prompt in its frame.
    pub(super) fn ids(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let system = self.system.as_deref().map(|system| ("system", system));
        for (role, message) in system.into_iter().chain([("user", prompt)]) {
            ids.push(self.start);
            ids.extend(plain(&self.tokenizer, &format!("{role}\n{message}"))?);
            ids.push(self.end);
            ids.extend(plain(&self.tokenizer, "\n")?);
        }
        ids.push(self.start);
        ids.extend(plain(&self.tokenizer, "assistant\n")?);
        ids.extend(&self.no_thoughts);
        Ok(ids)
    }

    /// Whether a token ends an answer.
    pub(super) fn ends(&self, id: u32) -> bool {
        self.stops.contains(&id)
    }

    /// The text of an answer: what comes after the thoughts, where the model thinks. Thoughts that do not end are no answer.
    pub(super) fn text(&self, ids: &[u32]) -> Result<String> {
        let text = self.tokenizer.decode(ids, false).map_err(refused)?;
        if !self.thinking {
            return Ok(text);
        }
        Ok(match text.split_once(THOUGHT) {
            Some((_, answer)) => answer.trim_start().to_owned(),
            None if text.trim_start().starts_with(THINK) => String::new(),
            None => text,
        })
    }
}

fn plain(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    Ok(tokenizer.encode_fast(text, false).map_err(refused)?.get_ids().to_vec())
}
