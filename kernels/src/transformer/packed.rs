//! The texts of a chunk as the kernels read them: numbers of tokens on the device, and how attention groups them.

use crate::cuda::{Argument, Buffer, Gpu};
use crate::error::Result;

use super::Text;
use super::dropout::Dropout;

/// Rows that one block adds up for an embedding's gradient.
const RUN: usize = 64;
/// Scores of one group of texts, at most: 256 MiB of them.
const GROUP_SCORES: usize = 1 << 26;

/// A chunk on the device.
#[derive(Debug)]
pub(super) struct Packed {
    pub tokens: usize,
    pub texts: usize,
    pub groups: Vec<Group>,
    pub masks: Option<Dropout>,
    /// Texts' keys (two words each), their first tokens, then id, place, segment and text of each token.
    words: Buffer<u32>,
    /// Of each token, in its text's pooled vector.
    pub weights: Buffer<f32>,
    /// The same numbers on the host, for the embeddings' backward.
    pub ids: Vec<u32>,
    pub places: Vec<u32>,
    pub segments: Vec<u32>,
}

/// Neighbouring texts that attention pads to one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub first: usize,
    pub texts: usize,
    /// Tokens that each is padded to.
    pub padded: usize,
}

impl Packed {
    /// `weights`: of each token in its text's pooled vector.
    pub fn upload(
        gpu: &Gpu,
        texts: &[Text<'_>],
        weights: &[f32],
        heads: usize,
        masks: Option<Dropout>,
    ) -> Result<Packed> {
        let ids: Vec<u32> = texts.iter().flat_map(|text| text.ids).copied().collect();
        let places: Vec<u32> = texts.iter().flat_map(|text| 0..text.ids.len() as u32).collect();
        let segment =
            |text: &Text| (0..text.ids.len()).map(|at| u32::from(at >= text.second)).collect::<Vec<_>>();
        let segments: Vec<u32> = texts.iter().flat_map(segment).collect();
        let text_of =
            texts.iter().zip(0u32..).flat_map(|(text, number)| text.ids.iter().map(move |_| number));
        let keys = texts.iter().flat_map(|text| [text.key as u32, (text.key >> 32) as u32]);
        let ends = texts.iter().scan(0u32, |end, text| {
            *end += text.ids.len() as u32;
            Some(*end)
        });
        let words: Vec<u32> = keys
            .chain(std::iter::once(0))
            .chain(ends)
            .chain(ids.iter().copied())
            .chain(places.iter().copied())
            .chain(segments.iter().copied())
            .chain(text_of)
            .collect();
        Ok(Packed {
            tokens: ids.len(),
            texts: texts.len(),
            groups: groups(texts, heads),
            masks,
            words: gpu.upload(&words)?,
            weights: gpu.upload(weights)?,
            ids,
            places,
            segments,
        })
    }

    pub fn keys_at(&self) -> Argument {
        self.words.at(0)
    }

    pub fn offsets_at(&self) -> Argument {
        self.words.at(2 * self.texts)
    }

    pub fn ids_at(&self) -> Argument {
        self.column(0)
    }

    pub fn places_at(&self) -> Argument {
        self.column(1)
    }

    pub fn segments_at(&self) -> Argument {
        self.column(2)
    }

    pub fn text_of_at(&self) -> Argument {
        self.column(3)
    }

    fn column(&self, number: usize) -> Argument {
        self.words.at(3 * self.texts + 1 + number * self.tokens)
    }
}

/// What a text of `length` tokens is padded to inside attention: few different lengths, so that batches are large.
pub(super) fn padded(length: usize) -> usize {
    let step = match length {
        0..=64 => 16,
        65..=256 => 32,
        _ => 64,
    };
    length.next_multiple_of(step)
}

fn groups(texts: &[Text<'_>], heads: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let padded = padded(text.ids.len());
        let most = (GROUP_SCORES / (heads * padded * padded)).max(1);
        match groups.last_mut() {
            Some(group) if group.padded == padded && group.texts < most => group.texts += 1,
            _ => groups.push(Group { first: at, texts: 1, padded }),
        }
    }
    groups
}

/// Which tokens' slopes add up to which row of an embedding's gradient.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scatter {
    /// Tokens, by row and in their order within it.
    pub rows: Vec<u32>,
    /// Where runs of at most [`RUN`] tokens begin among them, and the end.
    pub run_starts: Vec<u32>,
    /// Where each row's runs begin, and the end.
    pub group_starts: Vec<u32>,
    /// The rows, ascending.
    pub targets: Vec<u32>,
}

impl Scatter {
    /// `row_of` each token.
    pub fn new(row_of: &[u32]) -> Scatter {
        let mut rows: Vec<u32> = (0..row_of.len() as u32).collect();
        rows.sort_by_key(|&token| row_of[token as usize]);
        let mut scatter = Scatter {
            rows: Vec::new(),
            run_starts: Vec::new(),
            group_starts: Vec::new(),
            targets: Vec::new(),
        };
        let mut at = 0u32;
        for group in rows.chunk_by(|&a, &b| row_of[a as usize] == row_of[b as usize]) {
            scatter.group_starts.push(scatter.run_starts.len() as u32);
            scatter.targets.push(row_of[group[0] as usize]);
            for run in group.chunks(RUN) {
                scatter.run_starts.push(at);
                at += run.len() as u32;
            }
        }
        scatter.group_starts.push(scatter.run_starts.len() as u32);
        scatter.run_starts.push(at);
        scatter.rows = rows;
        scatter
    }

    /// Runs there are.
    pub fn runs(&self) -> usize {
        self.run_starts.len() - 1
    }
}
