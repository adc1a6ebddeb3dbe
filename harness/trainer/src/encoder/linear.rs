//! Linear maps with their backward, and low-rank adapters beside them (LoRA, Hu et al. 2021, arXiv 2106.09685).
//!
//! ```text
//! y = x W^T + b + c (x A^T) B^T       x [T x inputs]   W [outputs x inputs]   A [rank x inputs]   B [outputs x rank]
//! dx = dy W + c (dy B) A              dW = dy^T x      db = sum over rows of dy
//! dA = c (dy B)^T x                   dB = c dy^T (x A^T)                     c = alpha / rank
//! ```
//!
//! A stacked map (query, key and value at once) may carry an adapter for each of its parts: `columns` says which outputs.

use std::ops::Range;

use super::buffers::Buffer;
use super::norm::add_rows;
use super::parameters::{Gradients, Handle, Parameters};
use super::product::{Target, View, product};

/// A linear map.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `W`.
    pub weight: Handle,
    /// `b`.
    pub bias: Handle,
    /// Columns of `x`.
    pub inputs: usize,
    /// Columns of `y`.
    pub outputs: usize,
    /// Beside `W`, each for some of the outputs.
    pub adapters: Vec<Adapter>,
}

/// A low-rank change of some of a map's outputs.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The outputs it adds to.
    pub columns: Range<usize>,
    /// `A`.
    pub down: Handle,
    /// `B`, zero at first, so that training starts from the model as it was.
    pub up: Handle,
    /// Rows of `A`.
    pub rank: usize,
    /// `c`.
    pub scale: f32,
}

impl Linear {
    /// `y` for the rows of `input`.
    pub fn forward(&self, parameters: &Parameters, input: &[f32]) -> Buffer {
        let rows = input.len() / self.inputs;
        let mut output = Buffer::stale(rows * self.outputs);
        let input = View::new(input, rows, self.inputs);
        let target = Target::set_above(parameters.values(self.bias), &mut output, self.outputs);
        product(input, self.weight(parameters).transposed(), 1.0, target);
        for adapter in &self.adapters {
            let (down, up) = adapter.maps(parameters, self.inputs);
            let low = adapter.low(input, down, rows);
            let low = View::new(&low, rows, adapter.rank);
            let target = Target::add(&mut output[adapter.columns.start..], self.outputs);
            product(low, up.transposed(), adapter.scale, target);
        }
        output
    }

    /// Adds what `slope` (d loss / d y) says of the parameters to their gradients.
    pub fn backward_parameters(
        &self,
        parameters: &Parameters,
        gradients: &mut Gradients,
        input: &[f32],
        slope: &[f32],
    ) {
        let rows = input.len() / self.inputs;
        let x = View::new(input, rows, self.inputs);
        let dy = View::new(slope, rows, self.outputs);
        if let Some(gradient) = gradients.of(self.weight) {
            product(dy.transposed(), x, 1.0, Target::add(gradient, self.inputs));
        }
        if let Some(gradient) = gradients.of(self.bias) {
            add_rows(gradient, slope);
        }
        for adapter in &self.adapters {
            let (down, up) = adapter.maps(parameters, self.inputs);
            let dy =
                View::strided(&slope[adapter.columns.start..], rows, adapter.columns.len(), self.outputs);
            if let Some(gradient) = gradients.of(adapter.up) {
                let low = adapter.low(x, down, rows);
                let low = View::new(&low, rows, adapter.rank);
                product(dy.transposed(), low, adapter.scale, Target::add(gradient, adapter.rank));
            }
            if let Some(gradient) = gradients.of(adapter.down) {
                let mut low_slope = vec![0.0; rows * adapter.rank];
                product(dy, up, adapter.scale, Target::set(&mut low_slope, adapter.rank));
                let low_slope = View::new(&low_slope, rows, adapter.rank);
                product(low_slope.transposed(), x, 1.0, Target::add(gradient, self.inputs));
            }
        }
    }

    /// d loss / d x.
    pub fn input_slope(&self, parameters: &Parameters, slope: &[f32]) -> Buffer {
        let mut input_slope = Buffer::stale(slope.len() / self.outputs * self.inputs);
        let dy = View::new(slope, slope.len() / self.outputs, self.outputs);
        product(dy, self.weight(parameters), 1.0, Target::set(&mut input_slope, self.inputs));
        self.add_adapters_input_slope(parameters, slope, &mut input_slope);
        input_slope
    }

    /// Adds d loss / d x to `input_slope`.
    pub fn add_input_slope(&self, parameters: &Parameters, slope: &[f32], input_slope: &mut [f32]) {
        let dy = View::new(slope, slope.len() / self.outputs, self.outputs);
        product(dy, self.weight(parameters), 1.0, Target::add(input_slope, self.inputs));
        self.add_adapters_input_slope(parameters, slope, input_slope);
    }

    fn add_adapters_input_slope(&self, parameters: &Parameters, slope: &[f32], input_slope: &mut [f32]) {
        let rows = slope.len() / self.outputs;
        for adapter in &self.adapters {
            let (down, up) = adapter.maps(parameters, self.inputs);
            let dy =
                View::strided(&slope[adapter.columns.start..], rows, adapter.columns.len(), self.outputs);
            let mut low_slope = vec![0.0; rows * adapter.rank];
            product(dy, up, adapter.scale, Target::set(&mut low_slope, adapter.rank));
            let low_slope = View::new(&low_slope, rows, adapter.rank);
            product(low_slope, down, 1.0, Target::add(input_slope, self.inputs));
        }
    }

    /// `W` with the adapters worked into it: what is saved.
    pub fn merged_weight(&self, parameters: &Parameters) -> Vec<f32> {
        let mut weight = parameters.values(self.weight).to_vec();
        for adapter in &self.adapters {
            let (down, up) = adapter.maps(parameters, self.inputs);
            let target = Target::add(&mut weight[adapter.columns.start * self.inputs..], self.inputs);
            product(up, down, adapter.scale, target);
        }
        weight
    }

    /// The handles of weight, bias and adapters.
    pub fn handles(&self) -> impl Iterator<Item = Handle> {
        let adapters = self.adapters.iter().flat_map(|adapter| [adapter.down, adapter.up]);
        [self.weight, self.bias].into_iter().chain(adapters)
    }

    fn weight<'p>(&self, parameters: &'p Parameters) -> View<'p> {
        View::new(parameters.values(self.weight), self.outputs, self.inputs)
    }
}

impl Adapter {
    fn maps<'p>(&self, parameters: &'p Parameters, inputs: usize) -> (View<'p>, View<'p>) {
        let down = View::new(parameters.values(self.down), self.rank, inputs);
        (down, View::new(parameters.values(self.up), self.columns.len(), self.rank))
    }

    /// `x A^T`.
    fn low(&self, input: View, down: View, rows: usize) -> Vec<f32> {
        let mut low = vec![0.0; rows * self.rank];
        product(input, down.transposed(), 1.0, Target::set(&mut low, self.rank));
        low
    }
}
