//! `tokenizer.json` -> the `tokenizers` library's tokenizer.
//!
//! The library takes the word of some parts of this file and panics, then or at some later text, where they are wrong;
//! in a browser that would end the module. They are looked at here first: templates of special tokens, the character
//! maps of SentencePiece, the lengths of merges, and whether it is JSON at all.

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::bundle::TOKENIZER;
use crate::error::{Result, ScorerError};

/// The tokenizer and the file's settings.
///
/// # Errors
/// `BadConfig` when it is not JSON, or a part contradicts itself; `Tokenizer` when the library refuses it.
pub(crate) fn read(bytes: &[u8]) -> Result<(Tokenizer, Value)> {
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let settings: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    check_character_maps(&settings["normalizer"])?;
    check_merges(&settings["model"])?;
    check_templates(&settings["post_processor"])?;
    Ok((text.parse().map_err(refused)?, settings))
}

/// The library's own words.
pub(crate) fn refused(error: impl std::fmt::Display) -> ScorerError {
    ScorerError::Tokenizer { file: TOKENIZER.into(), reason: error.to_string() }
}

fn bad(reason: String) -> ScorerError {
    ScorerError::BadConfig { file: TOKENIZER.into(), reason }
}

/// A template for one text holds it and no second one, and only tokens that the file gives ids to.
fn check_templates(processor: &Value) -> Result<()> {
    for inner in processor["processors"].as_array().into_iter().flatten() {
        check_templates(inner)?;
    }
    let Some(pieces) = processor["single"].as_array() else { return Ok(()) };
    let has = |name: &str| pieces.iter().any(|piece| piece["Sequence"]["id"] == name);
    if !has("A") || has("B") {
        return Err(bad("post_processor.single: expected the text A in it, and no B".into()));
    }
    for piece in pieces.iter().chain(processor["pair"].as_array().into_iter().flatten()) {
        let Some(name) = piece["SpecialToken"]["id"].as_str() else { continue };
        if processor["special_tokens"].get(name).is_none() {
            return Err(bad(format!("post_processor: the special token {name:?} is not in special_tokens")));
        }
    }
    Ok(())
}

/// A merge makes a token of its two parts, of the second without the prefix of continuations. The library looks that token up,
/// but takes it to be no longer than the longest one, and the prefix to be there. Dropout leaves merges out by chance.
fn check_merges(model: &Value) -> Result<()> {
    if model["dropout"].as_f64().is_some_and(|dropout| dropout != 0.0) {
        let what = "model.dropout, by which a text has other tokens every time,".into();
        return Err(ScorerError::Unsupported { file: TOKENIZER.into(), what });
    }
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    let tokens = model["vocab"].as_object().into_iter().flat_map(|tokens| tokens.keys());
    let longest = tokens.map(String::len).max().unwrap_or(0);
    for (at, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let parts = match merge.as_str() {
            Some(line) if line.starts_with("#version") => None,
            Some(line) => line.split_once(' '),
            None => merge[0].as_str().zip(merge[1].as_str()),
        };
        let Some((first, second)) = parts else { continue };
        let rest = second.strip_prefix(prefix);
        if rest.is_none_or(|rest| first.len() + rest.len() > longest) {
            return Err(bad(format!("model.merges: {merge}, entry {at}, makes no token of the vocabulary")));
        }
    }
    Ok(())
}

fn check_character_maps(normalizer: &Value) -> Result<()> {
    for inner in normalizer["normalizers"].as_array().into_iter().flatten() {
        check_character_maps(inner)?;
    }
    if normalizer["type"] != "Precompiled" && normalizer.get("precompiled_charsmap").is_none() {
        return Ok(());
    }
    let map = normalizer["precompiled_charsmap"].as_str().and_then(|text| base64::decode(text).ok());
    match map.is_some_and(|map| character_map_is_sound(&map)) {
        true => Ok(()),
        false => {
            Err(bad("normalizer.precompiled_charsmap: expected a character map of SentencePiece".into()))
        }
    }
}

/// Whether every walk through the map's trie stays inside it and ends at a character of its texts.
///
/// The map is the trie's length in bytes, the trie (a double array of the darts-clone library, 32 bits a unit, all
/// little-endian) and the texts that characters become, in UTF-8. A walk is at a node; a byte leads to the unit
/// `node ^ byte` where that unit's label is the byte, and from there to the node `unit ^ offset`, whose own unit is a
/// place in the texts where the walk may end.
fn character_map_is_sound(map: &[u8]) -> bool {
    let Some((length, rest)) = map.split_first_chunk::<4>() else { return false };
    let units = u32::from_le_bytes(*length) as usize / 4;
    if units == 0 || rest.len() / 4 < units {
        return false;
    }
    let (trie, texts) = rest.split_at(4 * units);
    let trie: Vec<usize> = trie.as_chunks().0.iter().map(|&unit| u32::from_le_bytes(unit) as usize).collect();
    let Ok(texts) = std::str::from_utf8(texts) else { return false };

    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; units];
    let mut nodes = vec![offset(trie[0])];
    while let Some(node) = nodes.pop() {
        // A byte can lead to any unit of the 256 around.
        if node | 255 >= units {
            return false;
        }
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        for byte in 1..256 {
            let unit = trie[node ^ byte];
            if unit & ((1 << 31) | 255) != byte {
                continue;
            }
            let next = node ^ byte ^ offset(unit);
            let ends_here = (unit >> 8) & 1 == 1;
            let text = trie.get(next).map(|end| end & !(1 << 31));
            if ends_here && !text.is_some_and(|text| texts.is_char_boundary(text)) {
                return false;
            }
            nodes.push(next);
        }
    }
    true
}
