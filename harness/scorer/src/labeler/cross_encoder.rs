//! A labeler that reads query and document together: BERT over `[CLS] query [SEP] document [SEP]` with a grade head.
//!
//! # Bundle
//!
//! A folder as transformers' `BertForSequenceClassification` writes it (`config.json`, `tokenizer.json`, and in
//! `model.safetensors` the tensors `bert.*`, `bert.pooler.dense.*`, `classifier.*`), with a `labeler.json`:
//!
//! ```text
//! {"kind": "cross_encoder", "scale": {...}, "head": "softmax", "cuts": [0.5, 1.5, 2.5], "max_tokens": 128}
//! ```
//!
//! or the same in 8 bits (`bert_int8`, see [`crate::encoder::quantized`]) with `pooler.dense.*` and `classifier.*` in
//! floats beside the codes. `head` says what the classifier's outputs mean ([`HeadKind`]); the score is the expected
//! grade, and the grade that whose cut is the highest at or below the score.
//!
//! A pair that is longer than `max_tokens` loses tokens from the end of its longer text until both are as long, then from
//! both: the truncation `longest_first` of transformers, so that both give the same ids.

use relevance::{Level, Scale};
use serde::{Deserialize, Serialize};

use super::grade_head::{GradeHead, HeadKind};
use super::{Cuts, Evidence, Label, Labeler, Pair, ScaleFile};
use crate::bundle::{Bundle, CONFIG, LABELER, WEIGHTS};
use crate::dual_encoder::{Transformer, batches, check_vocabulary};
use crate::encoder::bert::BertConfig;
use crate::encoder::{EncoderOptions, digest_with};
use crate::error::{Result, ScorerError};
use crate::tokens::{PairIds, PairTokens};
use crate::weights::Weights;

/// `kind` of such a labeler.
pub const KIND: &str = "cross_encoder";

/// `labeler.json` of a cross-encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossEncoderFile {
    /// [`KIND`].
    pub kind: String,
    /// The grades.
    pub scale: ScaleFile,
    /// What the classifier's outputs mean.
    pub head: HeadKind,
    /// Where the grades begin on the axis of expected grades.
    pub cuts: Vec<f64>,
    /// Tokens of a pair, special ones included; as many as the model has positions for where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

/// A transformer that reads pairs, with its tokenizer and head.
pub struct CrossEncoder {
    tokens: PairTokens,
    transformer: Transformer,
    width: usize,
    head: GradeHead,
    kind: HeadKind,
    cuts: Cuts,
    batch_tokens: usize,
    digest: String,
}

impl CrossEncoderFile {
    /// The file of a bundle.
    ///
    /// # Errors
    /// `MissingFile`, or `BadConfig` with the parser's line and column.
    pub fn from_bundle(bundle: &Bundle) -> Result<Self> {
        bundle.json(LABELER)?.ok_or(ScorerError::MissingFile { file: LABELER.into() })
    }

    /// The scale with its cuts.
    ///
    /// # Errors
    /// `BadConfig` for a scale that is none, or cuts that do not fit it.
    pub fn cuts(&self) -> Result<Cuts> {
        let levels = self.scale.levels.iter();
        let levels = levels.map(|level| Level { grade: level.grade, meaning: level.meaning.clone() });
        let scale = Scale::new(self.scale.name.clone(), levels.collect(), self.scale.relevant_from);
        let reason = "scale: a grade appears twice, or none reaches relevant_from";
        let bad = || ScorerError::BadConfig { file: LABELER.into(), reason: reason.into() };
        Cuts::new(scale.ok_or_else(bad)?, self.cuts.clone())
    }

    /// The tokenizer for the pairs of a bundle with this file; `max_tokens` instead of the file's own limit.
    ///
    /// # Errors
    /// `BadConfig` for a limit that leaves no room for texts, and what the tokenizer may bring.
    pub fn tokens(
        &self,
        bundle: &Bundle,
        config: &BertConfig,
        max_tokens: Option<usize>,
    ) -> Result<PairTokens> {
        let most = config.max_position_embeddings;
        PairTokens::from_bundle(bundle, max_tokens.or(self.max_tokens).unwrap_or(most).min(most))
    }
}

impl CrossEncoder {
    /// The cross-encoder of a bundle.
    ///
    /// # Errors
    /// Whatever is wrong, named by file, key and tensor.
    pub fn from_bundle(bundle: &Bundle, options: &EncoderOptions) -> Result<Self> {
        if options.batch_tokens == 0 {
            return Err(ScorerError::BadArgument("batch_tokens must be at least 1".into()));
        }
        let file = CrossEncoderFile::from_bundle(bundle)?;
        let cuts = file.cuts()?;
        let config = BertConfig::from_bundle(bundle)?;
        if config.type_vocab_size < 2 {
            let reason = format!("type_vocab_size {}, expected 2 for pairs", config.type_vocab_size);
            return Err(ScorerError::BadConfig { file: CONFIG.into(), reason });
        }
        let tokens = file.tokens(bundle, &config, options.max_tokens)?;
        check_vocabulary(tokens.tokens(), &config)?;
        let weights = Weights::from_bundle(bundle, WEIGHTS)?;
        let outputs = file.head.outputs(cuts.scale().levels().len());
        let head = GradeHead::from_weights(&weights, config.hidden_size, outputs)?;
        let mut hasher = blake3::Hasher::new();
        let transformer = Transformer::from_bundle(bundle, &config, &weights, options)?;
        hasher.update(transformer.digest(digest_with(bundle, options.max_tokens)).as_bytes());
        hasher.update(bundle.get(LABELER).unwrap_or_default());
        Ok(Self {
            tokens,
            transformer,
            width: config.hidden_size,
            head,
            kind: file.head,
            cuts,
            batch_tokens: options.batch_tokens,
            digest: hasher.finalize().to_hex().to_string(),
        })
    }

    /// The tokenizer, for those who look at ids.
    pub fn tokens(&self) -> &PairTokens {
        &self.tokens
    }

    /// The classifier's outputs for each pair, in order.
    ///
    /// # Errors
    /// Only if the tokenizer fails.
    pub fn outputs(&self, pairs: &[Pair<'_>]) -> Result<Vec<Vec<f64>>> {
        let ids = pairs.iter().map(|pair| self.tokens.encode(pair.query, pair.document));
        let ids = ids.collect::<Result<Vec<PairIds>>>()?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&at| ids[at].ids.len());
        let batches = batches(&order, |at| ids[at].ids.len(), self.batch_tokens);
        let mut outputs = vec![Vec::new(); pairs.len()];
        for (batch, found) in batches.iter().zip(self.run(&batches, &ids)?) {
            batch.iter().zip(found).for_each(|(&at, found)| outputs[at] = found);
        }
        Ok(outputs)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, batches: &[&[usize]], ids: &[PairIds]) -> Result<Vec<Vec<Vec<f64>>>> {
        use rayon::prelude::*;
        batches.par_iter().map(|batch| self.batch_outputs(batch, ids)).collect()
    }

    #[cfg(target_arch = "wasm32")]
    fn run(&self, batches: &[&[usize]], ids: &[PairIds]) -> Result<Vec<Vec<Vec<f64>>>> {
        batches.iter().map(|batch| self.batch_outputs(batch, ids)).collect()
    }

    fn batch_outputs(&self, batch: &[usize], ids: &[PairIds]) -> Result<Vec<Vec<f64>>> {
        let sequences: Vec<_> = batch.iter().map(|&at| ids[at].sequence()).collect();
        let hidden = self.transformer.forward_sequences(&sequences)?;
        let mut rest = hidden.as_slice();
        let mut outputs = Vec::with_capacity(batch.len());
        for sequence in sequences {
            let (own, others) = rest.split_at(sequence.ids.len() * self.width);
            rest = others;
            outputs.push(self.head.outputs(&own[..self.width]));
        }
        Ok(outputs)
    }

    fn label_of(&self, outputs: &[f64]) -> Label {
        let distribution = self.kind.distribution(outputs);
        let levels = self.cuts.scale().levels().iter();
        let score =
            levels.zip(&distribution).fold(0.0, |sum, (level, share)| sum + f64::from(level.grade) * share);
        Label { grade: self.cuts.grade(score), score, distribution }
    }
}

impl Labeler for CrossEncoder {
    fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn label(&self, pairs: &[Pair<'_>]) -> Result<Vec<Label>> {
        Ok(self.outputs(pairs)?.iter().map(|outputs| self.label_of(outputs)).collect())
    }

    fn explain(&self, pair: Pair<'_>) -> Result<Evidence> {
        let outputs = self.outputs(&[pair])?;
        Ok(Evidence { label: self.label_of(&outputs[0]), features: Vec::new(), tokens: Vec::new() })
    }
}
