//! A guide model at work: every text encoded once (and cached as any embedding is), the mined documents sifted, each batch
//! masked, and all of it counted.

use std::cell::Cell;

use scorer::Role;
use serde_json::{Value, json};
use trainer::batch::{Batch, Guide, GuideVectors, Lists, NamedText};

use crate::arguments::Options;
use crate::models;
use crate::recipe::GuideTable;
use crate::systems::{self, Resources};

/// A guide that has read a training set.
pub struct GuideModel {
    name: String,
    digest: String,
    guide: Guide,
    sifted: usize,
    ungraded: Cell<usize>,
    masked: Cell<usize>,
}

impl GuideModel {
    /// Reads the texts of `lists` and takes what the guide holds to be relevant out of their mined documents.
    ///
    /// # Errors
    /// When the encoder cannot be found or loaded, or a text cannot be encoded.
    pub fn read(table: &GuideTable, lists: &mut Lists, options: &Options) -> anyhow::Result<Self> {
        let model = models::load(&table.encoder)?;
        let resources =
            Resources { device: options.device()?, memory_bytes: options.memory as usize, options };
        let vectors = |texts: &[NamedText], role, what: &str| {
            let texts: Vec<String> = texts.iter().map(|text| text.text.clone()).collect();
            systems::encode(&model, role, &texts, what, resources)
        };
        let vectors = GuideVectors {
            queries: vectors(lists.queries(), Role::Query, "queries for the guide")?,
            documents: vectors(lists.documents(), Role::Document, "documents for the guide")?,
            width: model.dimensions(),
        };
        let guide = Guide::new(lists, vectors, &table.rule())?;
        let sifted = guide.sift_mined(lists)?;
        let (name, digest) = (table.encoder.clone(), model.digest());
        Ok(Self { name, digest, guide, sifted, ungraded: Cell::new(0), masked: Cell::new(0) })
    }

    /// What a reader should know before training.
    pub fn note(&self) -> String {
        let unguided = match self.guide.unguided_queries() {
            0 => String::new(),
            some => format!("; {some} queries have no positive to measure by"),
        };
        format!("the guide {} left out {} mined documents{unguided}", self.name, self.sifted)
    }

    /// The encoder's digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The batch with the false negatives among its in-batch documents ignored.
    ///
    /// # Errors
    /// None for batches of the lists that were read.
    pub fn mask(&self, batch: Batch) -> anyhow::Result<Batch> {
        let found = self.guide.mask(&batch)?;
        self.ungraded.set(self.ungraded.get() + found.ungraded);
        self.masked.set(self.masked.get() + found.masked);
        Ok(Batch { targets: found.targets, ..batch })
    }

    /// For the run's record: how much was masked, in the batches of this process.
    pub fn describe(&self) -> Value {
        json!({
            "encoder": self.name,
            "digest": self.digest,
            "mined_left_out": self.sifted,
            "unguided_queries": self.guide.unguided_queries(),
            "in_batch_pairs": self.ungraded.get(),
            "in_batch_masked": self.masked.get(),
        })
    }

    /// How much was masked, for a person.
    pub fn said(&self) -> String {
        let (masked, of) = (self.masked.get(), self.ungraded.get());
        format!("the guide {} masked {masked} of {of} ungraded pairs in the batches", self.name)
    }
}
