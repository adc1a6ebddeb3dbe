//! Bytes of a safetensors file -> named tensors.
//!
//! The file is read where it lies: `safetensors` checks that header, offsets, shapes and element sizes add up to exactly
//! the bytes present, and a tensor is copied out only after its shape was found to be the expected one. So no allocation
//! is ever larger than the file that asks for it (times two when 16-bit floats become 32-bit ones).

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::bundle::Bundle;
use crate::error::{Result, ScorerError};

/// The tensors of one file.
pub struct Weights<'a> {
    file: String,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    /// The tensors of a bundle's weights file.
    ///
    /// # Errors
    /// `MissingFile`, or `BadWeights` when header and bytes disagree.
    pub fn from_bundle(bundle: &'a Bundle, file: &str) -> Result<Self> {
        Self::from_bytes(file, bundle.require(file)?)
    }

    /// The tensors in these bytes; `file` is only for messages.
    ///
    /// # Errors
    /// `BadWeights` when header and bytes disagree.
    pub fn from_bytes(file: &str, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| ScorerError::BadWeights { file: file.into(), reason: error.to_string() })?;
        Ok(Self { file: file.into(), tensors })
    }

    /// Whether a tensor of this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// The element type of a tensor.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.view(name)?.dtype())
    }

    /// A float tensor (f32, f16 or bf16) of exactly this shape, row-major, as f32. Values must be finite.
    ///
    /// # Errors
    /// `MissingTensor`, or `BadTensor` for another shape, another element type or a NaN or infinity.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.checked(name, shape)?;
        let bytes = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            other => return Err(self.bad(name, format!("element type {other:?} where a float was expected"))),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(self.bad(name, format!("element {index} is {}", values[index]))),
            None => Ok(values),
        }
    }

    /// An int8 tensor of exactly this shape, row-major.
    ///
    /// # Errors
    /// `MissingTensor`, or `BadTensor` for another shape or element type.
    pub fn bytes_i8(&self, name: &str, shape: &[usize]) -> Result<Vec<i8>> {
        let view = self.checked(name, shape)?;
        match view.dtype() {
            Dtype::I8 => Ok(view.data().iter().map(|&byte| byte as i8).collect()),
            other => Err(self.bad(name, format!("element type {other:?} where I8 was expected"))),
        }
    }

    fn checked(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>> {
        let view = self.view(name)?;
        if view.shape() != shape {
            return Err(self.bad(name, format!("shape {:?} where {shape:?} was expected", view.shape())));
        }
        Ok(view)
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>> {
        let missing = |_| ScorerError::MissingTensor { file: self.file.clone(), tensor: name.into() };
        self.tensors.tensor(name).map_err(missing)
    }

    fn bad(&self, name: &str, reason: String) -> ScorerError {
        ScorerError::BadTensor { file: self.file.clone(), tensor: name.into(), reason }
    }
}
