//! Weights in one safetensors file or several -> the network. A tensor is looked for in every file, so the index that comes
//! with several is not needed.

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Error, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use candle_transformers::models::{qwen2, qwen3};

use super::Network;
use super::config::{Config, NetworkConfig};
use crate::error::{Result, ScorerError};

/// The network of a configuration with these weights, in 32-bit floats.
///
/// # Errors
/// `BadWeights` for a damaged file, `MissingTensor` for a network without an output, `Compute` for a tensor that is missing
/// or has another shape (candle names it).
pub(super) fn network(config: &Config, weights: &[(String, &[u8])]) -> Result<Network> {
    let mut files = Vec::new();
    for (name, bytes) in weights {
        let file = SliceSafetensors::new(bytes)
            .map_err(|error| ScorerError::BadWeights { file: name.clone(), reason: error.to_string() })?;
        files.push(file);
    }
    let shards = Shards(files);
    const OUTPUT: &str = "lm_head.weight";
    let has_output = shards.contains_tensor(OUTPUT);
    // Files that do not say are taken by what is there.
    let is_tied = config.is_tied.unwrap_or(!has_output);
    if !is_tied && !has_output {
        let file = weights.first().map(|(name, _)| name.clone()).unwrap_or_default();
        return Err(ScorerError::MissingTensor { file, tensor: OUTPUT.into() });
    }
    let shards = VarBuilder::from_backend(Box::new(shards), DType::F32, Device::Cpu);
    Ok(match &config.network {
        NetworkConfig::Qwen2(config) => Network::Qwen2(qwen2::ModelForCausalLM::new(config, shards)?),
        NetworkConfig::Qwen3(config) => {
            let config = qwen3::Config { tie_word_embeddings: is_tied, ..config.clone() };
            Network::Qwen3(qwen3::ModelForCausalLM::new(&config, shards)?)
        }
    })
}

/// Several files as one source of tensors.
struct Shards<'a>(Vec<SliceSafetensors<'a>>);

impl SimpleBackend for Shards<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        match tensor.shape() == &shape {
            true => Ok(tensor),
            false => Err(Error::UnexpectedShape {
                msg: format!("tensor {name}"),
                expected: shape,
                got: tensor.shape().clone(),
            }),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let file = self.0.iter().find(|file| file.get(name).is_ok());
        let file = file.ok_or_else(|| Error::CannotFindTensor { path: name.to_owned() })?;
        file.load(name, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.iter().any(|file| file.get(name).is_ok())
    }
}
