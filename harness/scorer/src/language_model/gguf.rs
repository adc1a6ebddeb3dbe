//! A GGUF file -> the network, its tokenizer and its template.
//!
//! candle reads the file and computes with its quantized weights. Two things it would take from the metadata are said to it:
//! the rotary positions are tabulated in 32-bit floats (16-bit ones are wrong by whole turns after some thousand tokens),
//! and for as many tokens as the context has.

use std::io::Cursor;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_transformers::models::{quantized_qwen2, quantized_qwen3};
use tokenizers::Tokenizer;

use super::chat::Chat;
use super::config::check_heads;
use super::{LanguageModel, Network, Settings};
use crate::bundle::TOKENIZER;
use crate::error::{Result, ScorerError};
use crate::tokenizer_file;

const FILE: &str = "GGUF file";
const F32: u32 = 0;

/// Loads a model from a GGUF file, its tokenizer from `tokenizer.json` or else from the file.
///
/// # Errors
/// `BadWeights` for a file that is damaged, `BadConfig` for metadata that cannot be, `Unsupported` for another architecture,
/// `Tokenizer` where there is no tokenizer that can be used.
pub(super) fn load(file: &[u8], tokenizer: Option<&[u8]>, settings: &Settings) -> Result<LanguageModel> {
    let mut reader = Cursor::new(file);
    let damaged = |error: candle_core::Error| ScorerError::BadWeights {
        file: FILE.into(),
        reason: without_trace(&error),
    };
    let mut content = Content::read(&mut reader).map_err(damaged)?;
    let architecture = match text(&content, "general.architecture") {
        Some("qwen2") => "qwen2",
        Some("qwen3") => "qwen3",
        other => {
            let what = format!("general.architecture {other:?} (known: qwen2, qwen3)");
            return Err(ScorerError::Unsupported { file: FILE.into(), what });
        }
    };
    let context_tokens = checked(&content, architecture)?.min(settings.context_tokens);
    let layers = number(&content, &format!("{architecture}.block_count"))?;
    let chat = chat(&content, tokenizer, settings)?;
    content.metadata.insert("general.dtype".into(), Value::U32(F32));
    let key = format!("{architecture}.context_length");
    content.metadata.insert(key, Value::U32(u32::try_from(context_tokens).unwrap_or(u32::MAX)));
    let network = match architecture {
        "qwen2" => quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, &Device::Cpu)
            .map(Network::QuantizedQwen2),
        _ => quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, &Device::Cpu)
            .map(Network::QuantizedQwen3),
    };
    Ok(LanguageModel { network: network.map_err(damaged)?, chat, architecture, layers, context_tokens })
}

/// Checks what would otherwise be a division by zero or another network; the longest context of the model.
fn checked(content: &Content, architecture: &str) -> Result<usize> {
    let number = |key: &str| number(content, &format!("{architecture}.{key}"));
    let bad = |reason: String| ScorerError::BadConfig { file: FILE.into(), reason };
    let (heads, key_value_heads) = (number("attention.head_count")?, number("attention.head_count_kv")?);
    check_heads(heads, key_value_heads).map_err(bad)?;
    let width = number("embedding_length")?;
    let head = match architecture {
        "qwen3" => number("attention.key_length")?,
        _ => width / heads,
    };
    if head == 0 || !head.is_multiple_of(2) || (architecture == "qwen2" && !width.is_multiple_of(heads)) {
        return Err(bad(format!("embedding_length {width} with {heads} heads of {head}")));
    }
    let scaling = text(content, &format!("{architecture}.rope.scaling.type"));
    if scaling.is_some_and(|scaling| scaling != "none") {
        let what = "a scaling of the rotary positions".to_owned();
        return Err(ScorerError::Unsupported { file: FILE.into(), what });
    }
    match number("context_length")? {
        0 => Err(bad("context_length 0".into())),
        tokens => Ok(tokens),
    }
}

fn chat(content: &Content, tokenizer: Option<&[u8]>, settings: &Settings) -> Result<Chat> {
    let tokenizer = match tokenizer {
        Some(bytes) => tokenizer_file::read(bytes)?.0,
        None => Tokenizer::from_gguf(content).map_err(|error| ScorerError::Tokenizer {
            file: TOKENIZER.into(),
            reason: format!(
                "not beside the GGUF file, whose own vocabulary cannot be used: {}",
                without_trace(&error)
            ),
        })?,
    };
    let ids = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
    let stops = ids.iter().filter_map(|key| content.metadata.get(*key)?.to_u32().ok()).collect();
    let template = text(content, "tokenizer.chat_template");
    Chat::new(tokenizer, (FILE, template), stops, settings)
}

fn text<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    match content.metadata.get(key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn number(content: &Content, key: &str) -> Result<usize> {
    let value = content.metadata.get(key).and_then(|value| value.to_u64().ok());
    value.and_then(|value| usize::try_from(value).ok()).ok_or_else(|| ScorerError::BadConfig {
        file: FILE.into(),
        reason: format!("{key}: expected a number"),
    })
}

/// candle's words without the trace of calls that may follow them.
fn without_trace(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
