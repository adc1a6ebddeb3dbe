//! Training a BERT on a GPU: forward, backward and AdamW over flat arrays, as `trainer` describes a network to it.
//!
//! Tokens of all texts lie one after the other without padding, `T` rows of `width` values. With `x^` for a row in
//! standard form, `W` for weights and `b` for biases:
//!
//! ```text
//! embed      h = norm(word + position + segment)                          masked
//! attention  Q, K, V = h W^T + b     S = Q K^T / sqrt d     P = softmax S     O = (masked P) V     of each text and head
//! attended   m = norm((O W^T + b, masked) + h)
//! output     h' = norm((gelu(m W^T + b) W^T + b, masked) + m)
//! pool       p = sum over tokens of w_t h_t                               of each text
//!
//! norm       x^ = (x - mean x) / s    s = sqrt(var x + epsilon)           y = w x^ + b
//!            g = w dy    dx = (g - mean g - x^ mean(g x^)) / s            dw = sum x^ dy      db = sum dy
//! gelu       y = x Phi(x)                                                 dx = dy (Phi(x) + x phi(x))
//! softmax    dP = masked (dO V^T)    dS = P (dP - sum of P dP)            of each row
//! a map      dx = dy W               dW = dy^T x                          db = sum dy
//! AdamW      p <- p keep - rate m / (root of v * inverse root + epsilon)
//! ```
//!
//! The products are cuBLAS's (found at run time, as the driver is): the best there is for plain matrices, and what a
//! peer runs on; everything between them is `transformer.cu`. In [`Precision::Bf16`] weights as the products read them,
//! activations and their slopes are bf16; products and every other sum are f32, as are norms, softmax, gradients,
//! AdamW's memory and the weights that it changes. In [`Precision::F32`] all is f32, without TF32.
//!
//! Inside attention texts of about one length are padded to it, so that products come in batches; what lies beyond a
//! text's end is zero before every product and is never written back, so padding changes no result. Sums have one order and
//! there are no atomics: a step repeated on one device gives the same bits. Masks are functions of (key, site, text, row,
//! column), so a text encoded again, in another chunk or on the processor, loses the same values.

#[cfg(feature = "cuda")]
mod blas;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
#[cfg(feature = "cuda")]
mod operations;
#[cfg(feature = "cuda")]
mod packed;
#[cfg(feature = "cuda")]
mod pool;
#[cfg(test)]
#[cfg(feature = "cuda")]
mod scalar;
#[cfg(test)]
#[cfg(feature = "cuda")]
mod tests;

/// What weights and activations are kept in on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 8 bits of mantissa; sums, and the weights that the optimizer changes, in f32.
    #[default]
    Bf16,
    /// 32-bit floats throughout.
    F32,
}

impl Precision {
    /// The name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::Bf16 => "bf16",
            Precision::F32 => "f32",
        }
    }
}

/// A network's sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Values of a token's row.
    pub width: usize,
    /// Heads of attention; they divide the width.
    pub heads: usize,
    /// Values of a row between the two maps of a layer.
    pub inner: usize,
    /// What a norm adds to the variance.
    pub epsilon: f32,
}

/// A map or a norm: which tensors are its weight and its bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// `W` `[outputs x inputs]`, or a norm's `w`.
    pub weight: usize,
    /// `b`.
    pub bias: usize,
}

/// The tensors of a layer, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `[3 width x width]`: Q, K and V.
    pub query_key_value: Pair,
    /// `[width x width]`.
    pub attention_output: Pair,
    /// The norm behind it.
    pub attention_norm: Pair,
    /// `[inner x width]`.
    pub intermediate: Pair,
    /// `[width x inner]`.
    pub output: Pair,
    /// The norm behind it.
    pub output_norm: Pair,
}

/// The tensors of a network, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// `[vocabulary x width]`.
    pub words: usize,
    /// `[places x width]`.
    pub positions: usize,
    /// `[segments x width]`.
    pub segments: usize,
    /// The norm of their sum.
    pub norm: Pair,
    /// From the embeddings up.
    pub layers: Vec<Layer>,
}

/// A tensor of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Its values, row-major.
    pub values: &'a [f32],
    /// For what is trained, which of a step's [`Update`]s it takes.
    pub update: Option<usize>,
}

/// AdamW's constants of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Update {
    /// What a value is multiplied by: 1 less the decay.
    pub keep: f32,
    /// Share of a gradient in the mean.
    pub mean_share: f32,
    /// Share of the old square.
    pub square_keep: f32,
    /// Share of a gradient's square in the square.
    pub square_share: f32,
    /// The learning rate over the mean's bias.
    pub rate: f32,
    /// One over the root of the square's bias.
    pub inverse_root: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// What a gradient is multiplied by: the clipping.
    pub factor: f32,
}

/// A text as the network reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Text<'a> {
    /// Token ids, at least one.
    pub ids: &'a [u32],
    /// From this token on the text is the second of a pair.
    pub second: usize,
    /// The text's number in the step, for masks.
    pub key: u64,
}
