//! Encoders that can be trained: texts -> unit vectors, and the way back from d loss / d vectors to the parameters.
//!
//! [`Model`] is a bundle opened for training. Texts come sorted by length and cut into chunks of so many tokens; a chunk's
//! forward gives vectors and, if asked, a tape, and its backward adds to the gradients. No random number is drawn
//! anywhere but from (seed, step, text), so a chunk that is encoded twice gives the same bits twice.

pub mod attention;
pub mod bert;
pub mod dropout;
pub mod gelu;
pub mod linear;
pub mod norm;
pub mod parameters;
pub mod pooling;
pub mod product;
pub mod static_table;
pub mod vectorized;

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use scorer::bundle::{Bundle, CARD, CONFIG, MODULES, PROMPTS, SENTENCE_BERT, WEIGHTS};
use scorer::encoder::bert::BertConfig;
use scorer::encoder::static_table::StaticTableConfig;
use scorer::pooling::Pooling;
use scorer::template::{Role, Template};
use scorer::tokens::Tokens;
use scorer::weights::Weights;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Result, TrainerError};
use bert::{Adaptation, Bert, Sequence, Tape};
use dropout::Dropout;
use parameters::{Gradients, Parameters};
use pooling::{LinearPooling, normalize, normalize_backward};
use static_table::StaticTable;

/// What of a model is trained, and how texts reach it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelOptions {
    /// Tokens per text, special ones included, instead of the bundle's own limit.
    pub max_tokens: Option<usize>,
    /// Another pooling than the bundle's.
    pub pooling: Option<Pooling>,
    /// Prompts instead of the bundle's.
    pub prompts: Option<Template>,
    /// Train adapters instead of the model itself.
    pub lora: Option<Adaptation>,
    /// Keep the token, position and segment embeddings as they are.
    pub freeze_embeddings: bool,
    /// Keep the embeddings and this many of the first layers as they are.
    pub freeze_layers: usize,
    /// The seed of what is drawn before the first step.
    pub seed: u64,
}

/// A bundle opened for training.
pub struct Model {
    /// The tensors.
    pub parameters: Parameters,
    network: Network,
    tokens: Tokens,
    template: Template,
    lowercase: bool,
    max_tokens: Option<usize>,
    base: Bundle,
}

enum Network {
    Bert { bert: Bert, pooling: LinearPooling, mode: Pooling },
    StaticTable(StaticTable),
}

/// The vectors of a chunk, and what its backward needs.
pub struct Encoded {
    /// One unit vector per text of the chunk, in the chunk's order.
    pub vectors: Vec<f32>,
    lengths: Vec<f64>,
    tape: Option<Tape>,
}

#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

#[derive(Deserialize, Default)]
struct SentenceBertFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Model {
    /// Opens a bundle: a BERT in the sentence-transformers layout, or a static table.
    ///
    /// # Errors
    /// Whatever is wrong with the bundle, by file and tensor; a setting that does not fit it.
    pub fn from_bundle(base: Bundle, options: &ModelOptions) -> Result<Self> {
        // The scorer's own checks come first, so that a bundle that cannot be scored is not trained either.
        drop(scorer::load_encoder(&base, &scorer::EncoderOptions::default())?);
        let missing = scorer::ScorerError::MissingFile { file: CONFIG.into() };
        let kind: Kind = base.json(CONFIG)?.ok_or(missing)?;
        let template = match &options.prompts {
            Some(template) => template.clone(),
            None => Template::from_bundle(&base)?,
        };
        match kind.model_type.as_str() {
            "bert" => Self::bert(base, options, template),
            _ => Self::static_table(base, options, template),
        }
    }

    fn bert(base: Bundle, options: &ModelOptions, template: Template) -> Result<Self> {
        let config = BertConfig::from_bundle(&base)?;
        let file: SentenceBertFile = base.json(SENTENCE_BERT)?.unwrap_or_default();
        let most = config.max_position_embeddings;
        let limit = options.max_tokens.or(file.max_seq_length).unwrap_or(most);
        if !(3..=most).contains(&limit) {
            return Err(TrainerError::setting("scorer.max_tokens", limit, &format!("3 to {most}")));
        }
        if options.freeze_layers > config.num_hidden_layers {
            let expected = format!("at most {}", config.num_hidden_layers);
            return Err(TrainerError::setting("scorer.freeze_layers", options.freeze_layers, &expected));
        }
        let mode = options.pooling.map_or_else(|| Pooling::from_bundle(&base), Ok)?;
        let mut parameters = Parameters::default();
        let mut bert = Bert::from_weights(config, &Weights::from_bundle(&base, WEIGHTS)?, &mut parameters)?;
        if options.freeze_embeddings {
            bert.freeze_embeddings(&mut parameters);
        }
        if options.freeze_layers > 0 {
            bert.freeze_layers(&mut parameters, options.freeze_layers);
        }
        if let Some(adaptation) = &options.lora {
            bert.adapt(&mut parameters, adaptation, &mut Normal::new(options.seed).draw())?;
        }
        let tokens = Tokens::from_bundle(&base, true, Some(limit))?;
        let network = Network::Bert { bert, pooling: LinearPooling::new(mode)?, mode };
        Ok(Self {
            parameters,
            network,
            tokens,
            template,
            lowercase: file.do_lower_case,
            max_tokens: Some(limit),
            base,
        })
    }

    fn static_table(base: Bundle, options: &ModelOptions, template: Template) -> Result<Self> {
        let unfit = [
            ("scorer.lora", options.lora.is_some()),
            ("scorer.freeze_layers", options.freeze_layers > 0),
            ("scorer.freeze_embeddings", options.freeze_embeddings),
            ("scorer.pooling", options.pooling.is_some()),
        ];
        if let Some((name, _)) = unfit.into_iter().find(|(_, set)| *set) {
            return Err(TrainerError::setting(name, "a setting", "none: a static table has no layers"));
        }
        let missing = scorer::ScorerError::MissingFile { file: CONFIG.into() };
        let config: StaticTableConfig = base.json(CONFIG)?.ok_or(missing)?;
        let max_tokens = options.max_tokens.or(config.max_tokens);
        let mut parameters = Parameters::default();
        let table =
            StaticTable::from_weights(config, &Weights::from_bundle(&base, WEIGHTS)?, &mut parameters)?;
        let tokens = Tokens::from_bundle(&base, false, max_tokens)?;
        let network = Network::StaticTable(table);
        Ok(Self { parameters, network, tokens, template, lowercase: false, max_tokens, base })
    }

    /// Elements of a vector.
    pub fn dimensions(&self) -> usize {
        match &self.network {
            Network::Bert { bert, .. } => bert.config().hidden_size,
            Network::StaticTable(table) => table.config().dimensions,
        }
    }

    /// The bundle it was opened from.
    pub fn base(&self) -> &Bundle {
        &self.base
    }

    /// The ids of a text in its role, prompt and special tokens included.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn ids(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        let text = self.template.apply(text, role);
        Ok(if self.lowercase { self.tokens.encode(&text.to_lowercase()) } else { self.tokens.encode(&text) }?)
    }

    /// Cuts texts into chunks of at most `budget` tokens (a text is never split), sorted by length: positions.
    pub fn chunks(texts: &[&[u32]], budget: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| texts[at].len());
        let (mut chunks, mut used): (Vec<Vec<usize>>, usize) = (Vec::new(), usize::MAX);
        for at in order {
            used = used.saturating_add(texts[at].len());
            match chunks.last_mut() {
                Some(chunk) if used <= budget => chunk.push(at),
                _ => {
                    used = texts[at].len();
                    chunks.push(vec![at]);
                }
            }
        }
        chunks
    }

    /// The unit vectors of the texts in `chunk`; with a tape when a backward is to follow. `texts` are all texts of the
    /// step, so that a text's dropout does not depend on its chunk.
    pub fn forward(
        &self,
        texts: &[&[u32]],
        chunk: &[usize],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> Encoded {
        let width = self.dimensions();
        let (mut vectors, tape) = match &self.network {
            Network::StaticTable(table) => (table.forward(&self.parameters, &own(texts, chunk)), None),
            Network::Bert { bert, pooling, .. } => {
                let (hidden, tape) = bert.forward(&self.parameters, &sequences(texts, chunk), dropout, keep);
                let mut vectors = vec![0.0; chunk.len() * width];
                let mut rest = hidden.as_slice();
                for (vector, &at) in vectors.chunks_exact_mut(width).zip(chunk) {
                    let (own, others) = rest.split_at(texts[at].len() * width);
                    pooling.pool(own, vector);
                    rest = others;
                }
                (vectors, tape)
            }
        };
        let lengths = vectors.chunks_exact_mut(width).map(normalize).collect();
        Encoded { vectors, lengths, tape }
    }

    /// Adds what `slope` (d loss / d the chunk's vectors) says of the parameters to `gradients`. `encoded` is what
    /// [`Model::forward`] gave for this chunk, tape included.
    pub fn backward(
        &self,
        gradients: &mut Gradients,
        texts: &[&[u32]],
        chunk: &[usize],
        encoded: Encoded,
        mut slope: Vec<f32>,
        dropout: Option<&Dropout>,
    ) {
        let width = self.dimensions();
        let rows = encoded.vectors.chunks_exact(width).zip(&encoded.lengths);
        for ((unit, &length), slope) in rows.zip(slope.chunks_exact_mut(width)) {
            normalize_backward(unit, length, slope);
        }
        match (&self.network, encoded.tape) {
            (Network::StaticTable(table), _) => table.backward(gradients, &own(texts, chunk), &slope),
            (Network::Bert { bert, pooling, .. }, Some(tape)) => {
                let tokens: usize = chunk.iter().map(|&at| texts[at].len()).sum();
                let mut hidden = vec![0.0; tokens * width];
                let mut rest = hidden.as_mut_slice();
                for (slope, &at) in slope.chunks_exact(width).zip(chunk) {
                    let (own, others) = rest.split_at_mut(texts[at].len() * width);
                    pooling.spread(slope, own);
                    rest = others;
                }
                bert.backward(&self.parameters, gradients, tape, hidden, dropout);
            }
            (Network::Bert { .. }, None) => debug_assert!(false, "a backward without a tape"),
        }
    }

    /// Refuses texts that cannot be encoded, before anything is computed.
    ///
    /// # Errors
    /// [`TrainerError::Text`] by position.
    pub fn check(&self, texts: &[&[u32]]) -> Result<()> {
        let (vocabulary, longest) = match &self.network {
            Network::Bert { bert, .. } => (bert.config().vocab_size, bert.config().max_position_embeddings),
            Network::StaticTable(table) => (table.config().vocab_size, usize::MAX),
        };
        for (text, ids) in texts.iter().enumerate() {
            let is_empty = ids.is_empty() && matches!(self.network, Network::Bert { .. });
            if is_empty || ids.len() > longest {
                let reason = format!("{} tokens, expected 1 to {longest}", ids.len());
                return Err(TrainerError::Text { text, reason });
            }
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(TrainerError::Text {
                    text,
                    reason: format!("id {id} in a vocabulary of {vocabulary}"),
                });
            }
        }
        Ok(())
    }

    /// The trained model as a bundle in the sentence-transformers layout, `card` as its README.
    ///
    /// # Errors
    /// When a file cannot be written down, which no bundle that was opened brings about.
    pub fn to_bundle(&self, card: &str) -> Result<Bundle> {
        let mut files: BTreeMap<String, Vec<u8>> = self
            .base
            .names()
            .filter_map(|name| Some((name.to_owned(), self.base.get(name)?.to_vec())))
            .collect();
        files.insert(CARD.into(), card.as_bytes().to_vec());
        files.insert(WEIGHTS.into(), self.weights()?);
        let prompts = json!({"query": self.template.query_prompt, "document": self.template.document_prompt});
        if self.template != Template::default() {
            let mut file: Value = self.base.json(PROMPTS)?.unwrap_or_else(|| json!({}));
            file["prompts"] = prompts;
            files.insert(PROMPTS.into(), pretty(&file));
        }
        match &self.network {
            Network::Bert { mode, .. } => {
                let old: Value = self.base.json(SENTENCE_BERT)?.unwrap_or_else(|| json!({}));
                let lowercase = old["do_lower_case"].as_bool().unwrap_or(false);
                let file = json!({"max_seq_length": self.max_tokens, "do_lower_case": lowercase});
                files.insert(SENTENCE_BERT.into(), pretty(&file));
                files.insert(scorer::bundle::POOLING.into(), pretty(&pooling_file(*mode, self.dimensions())));
                files.insert(MODULES.into(), pretty(&modules(&["Transformer", "Pooling", "Normalize"])));
            }
            Network::StaticTable(table) => {
                let config = StaticTableConfig { max_tokens: self.max_tokens, ..table.config().clone() };
                files.insert(CONFIG.into(), pretty(&json!(config)));
                files.insert(MODULES.into(), pretty(&modules(&["StaticEmbedding", "Normalize"])));
            }
        }
        Ok(Bundle::from_files(files)?)
    }

    /// The trained tensors, and those of the base that the network does not read, as a safetensors file.
    fn weights(&self) -> Result<Vec<u8>> {
        let refused = |error: safetensors::SafeTensorError| {
            TrainerError::Model(scorer::ScorerError::BadWeights {
                file: WEIGHTS.into(),
                reason: error.to_string(),
            })
        };
        let named = match &self.network {
            Network::Bert { bert, .. } => bert.named_tensors(&self.parameters),
            Network::StaticTable(table) => table.named_tensors(&self.parameters),
        };
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = named
            .into_iter()
            .map(|(name, shape, values)| (name, (Dtype::F32, shape, bytes(&values))))
            .collect();
        let base = safetensors::SafeTensors::deserialize(self.base.require(WEIGHTS)?).map_err(refused)?;
        if matches!(self.network, Network::Bert { .. }) {
            for (name, view) in base.tensors() {
                let copy = || (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                tensors.entry(name).or_insert_with(copy);
            }
        }
        serialize(&tensors).map_err(refused)
    }
}

fn serialize(
    tensors: &BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
) -> std::result::Result<Vec<u8>, safetensors::SafeTensorError> {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    let views = views.collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let format = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(format))
}

fn own<'a>(texts: &[&'a [u32]], chunk: &[usize]) -> Vec<&'a [u32]> {
    chunk.iter().map(|&at| texts[at]).collect()
}

fn sequences<'a>(texts: &[&'a [u32]], chunk: &[usize]) -> Vec<Sequence<'a>> {
    let sequence = |&at: &usize| Sequence { ids: texts[at], second: texts[at].len(), key: at as u64 };
    chunk.iter().map(sequence).collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn modules(kinds: &[&str]) -> Value {
    let module = |(at, kind): (usize, &&str)| {
        let path = if at == 0 { String::new() } else { format!("{at}_{kind}") };
        json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")})
    };
    kinds.iter().enumerate().map(module).collect()
}

fn pooling_file(mode: Pooling, width: usize) -> Value {
    json!({
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": mode == Pooling::Cls,
        "pooling_mode_mean_tokens": mode == Pooling::Mean,
        "pooling_mode_max_tokens": mode == Pooling::Max,
        "pooling_mode_mean_sqrt_len_tokens": mode == Pooling::MeanSqrtLength,
        "pooling_mode_weightedmean_tokens": mode == Pooling::WeightedMean,
        "pooling_mode_lasttoken": mode == Pooling::Last,
        "include_prompt": true,
    })
}

/// Numbers of the standard normal distribution, by seed (Box and Muller 1958).
struct Normal(rand_chacha::ChaCha8Rng);

impl Normal {
    fn new(seed: u64) -> Self {
        use rand_chacha::rand_core::SeedableRng;
        Self(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
    }

    fn draw(mut self) -> impl FnMut() -> f32 {
        use rand_chacha::rand_core::Rng;
        move || {
            let mut uniform = || (self.0.next_u32() as f64 + 1.0) / 4_294_967_297.0;
            let (radius, angle) = (uniform(), uniform());
            ((-2.0 * libm::log(radius)).sqrt() * libm::cos(std::f64::consts::TAU * angle)) as f32
        }
    }
}
