//! Encoders that can be trained: texts -> unit vectors, pairs -> outputs of a grade head, and the way back from
//! d loss / d vectors to the parameters.
//!
//! [`Model`] is a bundle opened for training. Texts come sorted by length and cut into chunks of so many tokens; a chunk's
//! forward gives vectors and, if asked, a tape, and its backward adds to the gradients. No random number is drawn
//! anywhere but from (seed, step, text), so a chunk that is encoded twice gives the same bits twice.

pub mod attention;
pub mod bert;
mod buffers;
mod cross_encoder;
pub mod gelu;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub mod linear;
pub mod norm;
pub mod parameters;
pub mod pooling;
pub mod product;
pub mod static_table;
pub mod vectorized;

use std::collections::BTreeMap;

use kernels::encoder::Sequence as Text;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use scorer::bundle::{Bundle, CARD, CONFIG, LABELER, MODULES, POOLING, PROMPTS, SENTENCE_BERT, WEIGHTS};
use scorer::encoder::bert::BertConfig;
use scorer::encoder::static_table::StaticTableConfig;
use scorer::labeler::{CROSS_ENCODER, CrossEncoderFile, Cuts, HeadKind, ScaleFile, is_cross_encoder};
use scorer::pooling::Pooling;
use scorer::template::{Role, Template};
use scorer::tokens::{PairIds, Tokens};
use scorer::weights::Weights;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Result, TrainerError};
use bert::{Adaptation, Bert, Sequence, Tape};
use buffers::Buffer;
pub(crate) use buffers::release as release_buffers;
use cross_encoder::{CrossEncoder, HeadTape, Start};
pub use kernels::transformer::dropout;

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
    CrossEncoder(Box<CrossEncoder>),
}

/// The head of a labeler that is to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct GradeHeadOptions {
    /// What its outputs mean.
    pub kind: HeadKind,
    /// Its grades.
    pub scale: relevance::Scale,
    /// The share of each level among what is learned, all above 0: what a fresh head answers.
    pub shares: Vec<f64>,
    /// Multiplies the learning rate of pooler and classifier.
    pub rate: f64,
}

/// The vectors of a chunk, and what its backward needs.
pub struct Encoded {
    /// One unit vector per text of the chunk, or a head's outputs per pair, in the chunk's order.
    pub vectors: Vec<f32>,
    lengths: Vec<f64>,
    tape: Option<Tape>,
    head: Option<HeadTape>,
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

    /// Opens a bundle as a cross-encoder with a grade head: a BERT encoder, which gets a fresh head, or a cross-encoder
    /// whose head goes on where it is of the same kind.
    ///
    /// # Errors
    /// As [`Model::from_bundle`]; `Unsupported` for a bundle that is no BERT.
    pub fn cross_encoder(base: Bundle, options: &ModelOptions, head: &GradeHeadOptions) -> Result<Self> {
        match is_cross_encoder(&base)? {
            true => drop(scorer::load_labeler(&base, &scorer::EncoderOptions::default())?),
            false => drop(scorer::load_encoder(&base, &scorer::EncoderOptions::default())?),
        }
        let model_type = base.describe()?.model_type;
        if model_type != "bert" {
            return Err(TrainerError::Unsupported(format!("a cross-encoder of {model_type:?}")));
        }
        let unfit =
            [("scorer.pooling", options.pooling.is_some()), ("scorer.*_prompt", options.prompts.is_some())];
        if let Some((name, _)) = unfit.into_iter().find(|(_, set)| *set) {
            return Err(TrainerError::setting(
                name,
                "a setting",
                "none: a cross-encoder reads [CLS] and no prompts",
            ));
        }
        let (config, limit) = Self::limits(&base, options)?;
        let cuts = Cuts::between(head.scale.clone())?.values().to_vec();
        let (kind, scale) = (CROSS_ENCODER.to_owned(), ScaleFile::of(&head.scale));
        let file = CrossEncoderFile { kind, scale, head: head.kind, cuts, max_tokens: Some(limit) };
        let mut parameters = Parameters::default();
        let mut draw = Normal::new(options.seed).draw();
        let bert = Self::opened(&base, &config, options, &mut parameters, &mut draw)?;
        let start = Start { shares: &head.shares, rate: head.rate };
        let network = CrossEncoder::new(&base, &config, bert, file, &start, &mut parameters, &mut draw)?;
        Ok(Self {
            parameters,
            network: Network::CrossEncoder(Box::new(network)),
            tokens: Tokens::from_bundle(&base, true, Some(limit))?,
            template: Template::default(),
            lowercase: false,
            max_tokens: Some(limit),
            base,
        })
    }

    /// The configuration and the tokens of a text, checked.
    fn limits(base: &Bundle, options: &ModelOptions) -> Result<(BertConfig, usize)> {
        let config = BertConfig::from_bundle(base)?;
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
        Ok((config, limit))
    }

    /// The transformer with what is frozen frozen, and with its adapters.
    fn opened(
        base: &Bundle,
        config: &BertConfig,
        options: &ModelOptions,
        parameters: &mut Parameters,
        draw: &mut dyn FnMut() -> f32,
    ) -> Result<Bert> {
        let mut bert = Bert::from_weights(config.clone(), &Weights::from_bundle(base, WEIGHTS)?, parameters)?;
        if options.freeze_embeddings {
            bert.freeze_embeddings(parameters);
        }
        if options.freeze_layers > 0 {
            bert.freeze_layers(parameters, options.freeze_layers);
        }
        if let Some(adaptation) = &options.lora {
            bert.adapt(parameters, adaptation, draw)?;
        }
        Ok(bert)
    }

    fn bert(base: Bundle, options: &ModelOptions, template: Template) -> Result<Self> {
        let (config, limit) = Self::limits(&base, options)?;
        let file: SentenceBertFile = base.json(SENTENCE_BERT)?.unwrap_or_default();
        let mode = options.pooling.map_or_else(|| Pooling::from_bundle(&base), Ok)?;
        let mut parameters = Parameters::default();
        let draw = &mut Normal::new(options.seed).draw();
        let bert = Self::opened(&base, &config, options, &mut parameters, draw)?;
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

    /// Elements of a vector, or outputs of a grade head.
    pub fn dimensions(&self) -> usize {
        match &self.network {
            Network::CrossEncoder(network) => network.outputs(),
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

    /// The ids of a pair, for a cross-encoder.
    ///
    /// # Errors
    /// When the tokenizer fails, or the model reads single texts.
    pub fn pair_ids(&self, query: &str, document: &str) -> Result<PairIds> {
        match &self.network {
            Network::CrossEncoder(network) => Ok(network.tokens.encode(query, document)?),
            _ => Err(TrainerError::Unsupported("a pair for a model of single texts".into())),
        }
    }

    /// Moves the cuts of a cross-encoder's grades; another model has none.
    ///
    /// # Errors
    /// Cuts that do not fit the scale.
    pub fn set_cuts(&mut self, cuts: &[f64]) -> Result<()> {
        if let Network::CrossEncoder(network) = &mut self.network {
            network.file.cuts = network.file.cuts()?.moved(cuts)?.values().to_vec();
        }
        Ok(())
    }

    /// Cuts texts into chunks of at most `budget` tokens (a text is never split), sorted by length: positions.
    pub fn chunks(texts: &[Text<'_>], budget: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| texts[at].ids.len());
        let (mut chunks, mut used): (Vec<Vec<usize>>, usize) = (Vec::new(), usize::MAX);
        for at in order {
            used = used.saturating_add(texts[at].ids.len());
            match chunks.last_mut() {
                Some(chunk) if used <= budget => chunk.push(at),
                _ => {
                    used = texts[at].ids.len();
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
        texts: &[Text<'_>],
        chunk: &[usize],
        dropout: Option<&Dropout>,
        keep: bool,
    ) -> Encoded {
        let width = self.dimensions();
        let (mut vectors, tape) = match &self.network {
            Network::CrossEncoder(network) => {
                let sequences = sequences(texts, chunk);
                let (vectors, tapes) = network.forward(&self.parameters, &sequences, dropout, keep);
                let (tape, head) = tapes.unzip();
                return Encoded { vectors, lengths: Vec::new(), tape, head };
            }
            Network::StaticTable(table) => (table.forward(&self.parameters, &own(texts, chunk)), None),
            Network::Bert { bert, pooling, .. } => {
                let (hidden, tape) = bert.forward(&self.parameters, &sequences(texts, chunk), dropout, keep);
                let mut vectors = vec![0.0; chunk.len() * width];
                let mut rest = &*hidden;
                for (vector, &at) in vectors.chunks_exact_mut(width).zip(chunk) {
                    let (own, others) = rest.split_at(texts[at].ids.len() * width);
                    pooling.pool(own, vector);
                    rest = others;
                }
                (vectors, tape)
            }
        };
        let lengths = vectors.chunks_exact_mut(width).map(normalize).collect();
        Encoded { vectors, lengths, tape, head: None }
    }

    /// Adds what `slope` (d loss / d the chunk's vectors) says of the parameters to `gradients`. `encoded` is what
    /// [`Model::forward`] gave for this chunk, tape included.
    pub fn backward(
        &self,
        gradients: &mut Gradients,
        texts: &[Text<'_>],
        chunk: &[usize],
        encoded: Encoded,
        mut slope: Vec<f32>,
        dropout: Option<&Dropout>,
    ) {
        let width = self.dimensions();
        let Encoded { vectors, lengths, tape, head } = encoded;
        if let Network::CrossEncoder(network) = &self.network {
            debug_assert!(tape.is_some() && head.is_some(), "a backward without a tape");
            if let (Some(tape), Some(head)) = (tape, head) {
                let sequences = sequences(texts, chunk);
                network.backward(&self.parameters, gradients, &sequences, (tape, head), &slope, dropout);
            }
            return;
        }
        let rows = vectors.chunks_exact(width).zip(&lengths);
        for ((unit, &length), slope) in rows.zip(slope.chunks_exact_mut(width)) {
            normalize_backward(unit, length, slope);
        }
        match (&self.network, tape) {
            (Network::StaticTable(table), _) => table.backward(gradients, &own(texts, chunk), &slope),
            (Network::Bert { bert, pooling, .. }, Some(tape)) => {
                let tokens: usize = chunk.iter().map(|&at| texts[at].ids.len()).sum();
                let mut hidden = Buffer::stale(tokens * width);
                let mut rest = &mut *hidden;
                for (slope, &at) in slope.chunks_exact(width).zip(chunk) {
                    let (own, others) = rest.split_at_mut(texts[at].ids.len() * width);
                    pooling.spread(slope, own);
                    rest = others;
                }
                bert.backward(&self.parameters, gradients, tape, hidden, dropout);
            }
            (Network::Bert { .. } | Network::CrossEncoder(_), _) => {
                debug_assert!(false, "a backward without a tape")
            }
        }
    }

    /// Refuses texts that cannot be encoded, before anything is computed.
    ///
    /// # Errors
    /// [`TrainerError::Text`] by position.
    pub fn check(&self, texts: &[Text<'_>]) -> Result<()> {
        let (vocabulary, longest) = match &self.network {
            Network::Bert { bert, .. } => (bert.config().vocab_size, bert.config().max_position_embeddings),
            Network::CrossEncoder(network) => {
                let config = network.bert.config();
                (config.vocab_size, config.max_position_embeddings)
            }
            Network::StaticTable(table) => (table.config().vocab_size, usize::MAX),
        };
        for (text, Text { ids, .. }) in texts.iter().enumerate() {
            let is_empty = ids.is_empty() && !matches!(self.network, Network::StaticTable(_));
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
        // A head over the vectors was fitted to those of other weights.
        files.remove(LABELER);
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
                files.insert(POOLING.into(), pretty(&pooling_file(*mode, self.dimensions())));
                files.insert(MODULES.into(), pretty(&modules(&["Transformer", "Pooling", "Normalize"])));
            }
            Network::CrossEncoder(network) => {
                [MODULES, POOLING, SENTENCE_BERT, PROMPTS].iter().for_each(|name| drop(files.remove(*name)));
                files.insert(LABELER.into(), pretty(&json!(network.file)));
                files.insert(CONFIG.into(), pretty(&self.classifier_config(network)?));
            }
            Network::StaticTable(table) => {
                let config = StaticTableConfig { max_tokens: self.max_tokens, ..table.config().clone() };
                files.insert(CONFIG.into(), pretty(&json!(config)));
                files.insert(MODULES.into(), pretty(&modules(&["StaticEmbedding", "Normalize"])));
            }
        }
        Ok(Bundle::from_files(files)?)
    }

    /// The configuration as transformers writes it for a `BertForSequenceClassification`.
    fn classifier_config(&self, network: &CrossEncoder) -> Result<Value> {
        let mut config: Value = self.base.json(CONFIG)?.unwrap_or_else(|| json!({}));
        let name = |output: usize| match network.file.head {
            HeadKind::Softmax => format!("grade {}", network.file.scale.levels[output].grade),
            HeadKind::Coral => format!("above grade {}", network.file.scale.levels[output].grade),
            HeadKind::Corn => {
                format!("above grade {}, given at least it", network.file.scale.levels[output].grade)
            }
        };
        let names: Vec<String> = (0..network.outputs()).map(name).collect();
        let numbered = || names.iter().enumerate();
        config["architectures"] = json!(["BertForSequenceClassification"]);
        config["id2label"] = numbered()
            .map(|(at, name)| (at.to_string(), json!(name)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        config["label2id"] =
            numbered().map(|(at, name)| (name.clone(), json!(at))).collect::<serde_json::Map<_, _>>().into();
        config["problem_type"] = "single_label_classification".into();
        Ok(config)
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
            Network::CrossEncoder(network) => network.named_tensors(&self.parameters),
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

fn own<'a>(texts: &[Text<'a>], chunk: &[usize]) -> Vec<&'a [u32]> {
    chunk.iter().map(|&at| texts[at].ids).collect()
}

fn sequences<'a>(texts: &[Text<'a>], chunk: &[usize]) -> Vec<Sequence<'a>> {
    let sequence = |&at: &usize| Sequence { ids: texts[at].ids, second: texts[at].second, key: at as u64 };
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
