//! A static table that can be trained: a text is the sum of its tokens' rows.

use scorer::encoder::static_table::{SENTENCE_TRANSFORMERS_TABLE as TABLE, StaticTableConfig};

use super::parameters::{Gradients, Handle, Parameters};
use crate::error::Result;

/// The table's shape and its handle.
#[derive(Clone, Debug)]
pub struct StaticTable {
    config: StaticTableConfig,
    table: Handle,
}

impl StaticTable {
    /// Takes the rows into `parameters`.
    ///
    /// # Errors
    /// A missing tensor, or one of another shape, by name.
    pub fn from_weights(
        config: StaticTableConfig,
        weights: &scorer::weights::Weights,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let shape = [config.vocab_size, config.dimensions];
        let values = scorer::encoder::static_table::rows(weights, &config)?;
        let table = parameters.add(TABLE, &shape, values);
        Ok(Self { config, table })
    }

    /// The configuration the table was built from.
    pub fn config(&self) -> &StaticTableConfig {
        &self.config
    }

    /// The sum of each text's rows, `[texts x dimensions]`.
    pub fn forward(&self, parameters: &Parameters, texts: &[&[u32]]) -> Vec<f32> {
        let width = self.config.dimensions;
        let table = parameters.values(self.table);
        let mut output = vec![0.0; texts.len() * width];
        for (sum, ids) in output.chunks_exact_mut(width).zip(texts) {
            for &id in *ids {
                sum.iter_mut()
                    .zip(&table[id as usize * width..][..width])
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        output
    }

    /// Adds `slope` (d loss / d the sums) to the rows of each text's tokens.
    pub fn backward(&self, gradients: &mut Gradients, texts: &[&[u32]], slope: &[f32]) {
        let width = self.config.dimensions;
        let Some(gradient) = gradients.of(self.table) else { return };
        for (slope, ids) in slope.chunks_exact(width).zip(texts) {
            for &id in *ids {
                let row = &mut gradient[id as usize * width..][..width];
                row.iter_mut().zip(slope).for_each(|(sum, slope)| *sum += slope);
            }
        }
    }

    /// The tensor as the weights file names it.
    pub fn named_tensors(&self, parameters: &Parameters) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let shape = vec![self.config.vocab_size, self.config.dimensions];
        vec![(TABLE.to_owned(), shape, parameters.values(self.table).to_vec())]
    }
}
