//! Named tensors that training changes (or, frozen, does not), and their gradients.

use super::vectorized::{LANES, vectorized};

/// A tensor's place among the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(usize);

impl Handle {
    /// Its place in the order of [`Parameters::add`].
    #[cfg(feature = "cuda")]
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// What a parameter is, beside its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Specification {
    /// The name in the weights file; stacked tensors have a name of their own.
    pub name: String,
    /// Rows and columns, or just one length.
    pub shape: Vec<usize>,
    /// Whether training changes it.
    pub trainable: bool,
    /// Whether weight decay pulls at it: matrices yes, biases and norms no.
    pub decays: bool,
    /// Multiplies the learning rate; 1 but for heads.
    pub rate: f64,
}

/// The values of all parameters, by handle.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    specifications: Vec<Specification>,
    values: Vec<Vec<f32>>,
}

impl Parameters {
    /// Takes in a tensor, trainable at first.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Handle {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let (name, shape) = (name.into(), shape.to_vec());
        let decays = shape.len() > 1;
        self.specifications.push(Specification { name, shape, trainable: true, decays, rate: 1.0 });
        self.values.push(values);
        Handle(self.values.len() - 1)
    }

    /// Every handle, in the order of [`Parameters::add`].
    pub fn handles(&self) -> impl ExactSizeIterator<Item = Handle> + use<> {
        (0..self.values.len()).map(Handle)
    }

    /// The handles of what training changes.
    pub fn trainable(&self) -> Vec<Handle> {
        self.handles().filter(|&handle| self.specification(handle).trainable).collect()
    }

    /// What a tensor is.
    pub fn specification(&self, handle: Handle) -> &Specification {
        &self.specifications[handle.0]
    }

    /// The values of a tensor, row-major.
    pub fn values(&self, handle: Handle) -> &[f32] {
        &self.values[handle.0]
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self, handle: Handle) -> &mut [f32] {
        &mut self.values[handle.0]
    }

    /// Keeps a tensor as it is.
    pub fn freeze(&mut self, handle: Handle) {
        self.specifications[handle.0].trainable = false;
    }

    /// Trains a tensor at so many times the learning rate.
    pub fn set_rate(&mut self, handle: Handle, rate: f64) {
        self.specifications[handle.0].rate = rate;
    }

    /// The tensor of this name.
    pub fn find(&self, name: &str) -> Option<Handle> {
        self.specifications.iter().position(|specification| specification.name == name).map(Handle)
    }

    /// How many numbers training changes.
    pub fn trainable_values(&self) -> usize {
        self.trainable().into_iter().map(|handle| self.values(handle).len()).sum()
    }
}

/// Sums of gradients, one for each trainable tensor.
#[derive(Clone, Debug)]
pub struct Gradients(Vec<Vec<f32>>);

impl Gradients {
    /// Zeros for each trainable tensor.
    pub fn zeros(parameters: &Parameters) -> Self {
        let room = |handle| {
            let trainable = parameters.specification(handle).trainable;
            vec![0.0; if trainable { parameters.values(handle).len() } else { 0 }]
        };
        Self(parameters.handles().map(room).collect())
    }

    /// Zeros again.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(|gradient| gradient.fill(0.0));
    }

    /// The gradient of a tensor; empty when it is frozen.
    pub fn get(&self, handle: Handle) -> &[f32] {
        &self.0[handle.0]
    }

    /// The same, to add to; `None` when the tensor is frozen.
    pub fn of(&mut self, handle: Handle) -> Option<&mut [f32]> {
        Some(self.0[handle.0].as_mut_slice()).filter(|gradient| !gradient.is_empty())
    }

    /// All gradients, one after the other.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.0.iter_mut().map(Vec::as_mut_slice)
    }

    /// The length of all gradients as one vector, in f64.
    pub fn norm(&self) -> f64 {
        self.0.iter().map(|gradient| sum_of_squares(gradient)).sum::<f64>().sqrt()
    }
}

vectorized! {
    /// The sum of the squares in f64, in partial sums that are added in their order.
    fn sum_of_squares(values: &[f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>()
    }
}
