//! A network on the GPU: its weights, its gradients and AdamW's memory lie there from step to step; texts go in, pooled
//! vectors come out, their slopes go in.

use crate::cuda::{Argument, Buffer, Gpu, gpu};
use crate::error::{Error, Result};

use super::blas::{self, Product, Side};
use super::dropout::{Dropout, Site};
use super::operations::{Heads, Memory, NormAt, Normed, Operations, Tables};
use super::packed::{Group, Packed, Scatter};
use super::pool::Room;
use super::{Architecture, Layer, Pair, Precision, Shape, Tensor, Text, Update};

/// Values to which a tensor's place is aligned, so that every row of a product begins where the fastest loads may.
const ALIGNMENT: usize = 64;
/// Values of a tensor that one block of AdamW changes.
const SPAN: usize = 4096;
/// Numbers of an [`Update`].
const CONSTANTS: usize = 8;

/// Whether a network can be trained here: a driver, a device, NVRTC and cuBLAS.
///
/// # Errors
/// [`Error::Device`], saying what is missing.
pub fn require() -> Result<()> {
    gpu()?;
    blas::require()
}

/// Where a tensor lies in the flat arrays.
#[derive(Clone, Copy, Debug)]
struct Placed {
    at: usize,
    count: usize,
    /// Its place among gradients, means and squares, and its update; frozen tensors have none.
    trained: Option<(usize, usize)>,
}

/// A network with its optimizer's memory, on the device.
#[derive(Debug)]
pub struct Network {
    operations: Operations,
    shape: Shape,
    architecture: Architecture,
    tensors: Vec<Placed>,
    /// Of all tensors.
    values: Buffer<f32>,
    /// The same as the products read them; in f32 they read `values`.
    copies: Option<Buffer<u16>>,
    /// Of what is trained.
    gradients: Buffer<f32>,
    means: Buffer<f32>,
    squares: Buffer<f32>,
    all: usize,
    trained: usize,
    spans: Buffer<u32>,
    span_count: usize,
    updates: usize,
}

/// What the backward of a chunk needs.
#[derive(Debug)]
pub struct Tape {
    packed: Packed,
    embedded: Normed,
    layers: Vec<LayerTape>,
}

#[derive(Debug)]
struct LayerTape {
    /// Q, K and V before their biases.
    projected: Room,
    log_sums: Room,
    context: Room,
    attended: Normed,
    /// Before bias and GELU.
    inner: Room,
    output: Normed,
}

impl Network {
    /// Puts a network on the device, with gradients and memory of zero.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none, [`Error::Cuda`] when it fails or has too little memory, and
    /// [`Error::Mismatch`] for a tensor whose size is not the architecture's.
    pub fn new(
        shape: Shape,
        architecture: Architecture,
        tensors: &[Tensor<'_>],
        precision: Precision,
    ) -> Result<Network> {
        require()?;
        check(shape, &architecture, tensors)?;
        let operations = Operations::open(gpu()?, precision)?;
        let gpu = operations.gpu;
        let (mut all, mut trained, mut spans) = (0, 0, Vec::new());
        let mut placed = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let count = tensor.values.len();
            let place = tensor.update.map(|update| (trained, update));
            if let Some((moment, update)) = place {
                for first in (0..count).step_by(SPAN) {
                    let values = SPAN.min(count - first);
                    spans.extend([all + first, moment + first, values, update].map(|number| number as u32));
                }
                trained += count.next_multiple_of(ALIGNMENT);
            }
            placed.push(Placed { at: all, count, trained: place });
            all += count.next_multiple_of(ALIGNMENT);
        }
        if u32::try_from(all).is_err() {
            return Err(Error::OutOfRange {
                what: "weights",
                value: all as f64,
                expected: "a count of 32 bits",
            });
        }
        let copies = match precision {
            Precision::Bf16 => Some(gpu.zeros(all)?),
            Precision::F32 => None,
        };
        let network = Network {
            shape,
            architecture,
            tensors: placed,
            values: gpu.zeros(all)?,
            copies,
            gradients: gpu.zeros(trained)?,
            means: gpu.zeros(trained)?,
            squares: gpu.zeros(trained)?,
            all,
            trained,
            span_count: spans.len() / 4,
            spans: gpu.upload(&spans)?,
            updates: tensors.iter().filter_map(|tensor| tensor.update).max().map_or(0, |most| most + 1),
            operations,
        };
        for (number, tensor) in tensors.iter().enumerate() {
            network.operations.gpu.write(&network.values, network.tensors[number].at, tensor.values)?;
        }
        network.round()?;
        Ok(network)
    }

    /// What weights and activations are kept in.
    pub fn precision(&self) -> Precision {
        self.operations.precision
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn values(&self, tensor: usize) -> Result<Vec<f32>> {
        let Placed { at, count, .. } = self.tensors[tensor];
        self.gpu().read(&self.values, at, count)
    }

    /// AdamW's mean and square of a tensor; empty for a frozen one.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn moments(&self, tensor: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let Placed { count, trained: Some((at, _)), .. } = self.tensors[tensor] else {
            return Ok((Vec::new(), Vec::new()));
        };
        Ok((self.gpu().read(&self.means, at, count)?, self.gpu().read(&self.squares, at, count)?))
    }

    /// The gradient of a tensor; empty for a frozen one.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn gradient(&self, tensor: usize) -> Result<Vec<f32>> {
        let Placed { count, trained: Some((at, _)), .. } = self.tensors[tensor] else {
            return Ok(Vec::new());
        };
        self.gpu().read(&self.gradients, at, count)
    }

    /// Sets values and memory of trained tensors, in the order of `restored`: number, values, mean, square.
    ///
    /// # Errors
    /// [`Error::Cuda`]; [`Error::Mismatch`] for another size.
    pub fn restore<'a>(
        &mut self,
        restored: impl IntoIterator<Item = (usize, &'a [f32], &'a [f32], &'a [f32])>,
    ) -> Result<()> {
        for (tensor, values, means, squares) in restored {
            let Placed { at, count, trained } = self.tensors[tensor];
            for part in [values, means, squares] {
                agree("values of a tensor", count, "what is restored", part.len())?;
            }
            let gpu = self.gpu();
            gpu.write(&self.values, at, values)?;
            if let Some((at, _)) = trained {
                gpu.write(&self.means, at, means)?;
                gpu.write(&self.squares, at, squares)?;
            }
        }
        self.round()
    }

    /// Makes all gradients zero.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn clear_gradients(&mut self) -> Result<()> {
        self.operations.gpu.clear(&mut self.gradients)
    }

    /// The length of all gradients as one vector.
    ///
    /// # Errors
    /// [`Error::Cuda`].
    pub fn square_sum(&self) -> Result<f64> {
        if self.trained == 0 {
            return Ok(0.0);
        }
        // SAFETY: the array has so many values; what lies between tensors is zero.
        unsafe { self.operations.square_sum(self.gradients.first(), self.trained) }
    }

    /// One step of AdamW: each trained tensor by the update it names.
    ///
    /// # Errors
    /// [`Error::Cuda`]; [`Error::Mismatch`] where an update is missing.
    pub fn step(&mut self, updates: &[Update]) -> Result<()> {
        agree("updates named", self.updates, "updates", updates.len())?;
        if self.span_count == 0 {
            return Ok(());
        }
        let numbers = |u: &Update| -> [f32; CONSTANTS] {
            [u.keep, u.mean_share, u.square_keep, u.square_share, u.rate, u.inverse_root, u.epsilon, u.factor]
        };
        let constants: Vec<f32> = updates.iter().flat_map(numbers).collect();
        let constants = self.gpu().upload(&constants)?;
        let memory = Memory {
            spans: self.spans.first(),
            constants: constants.first(),
            gradients: self.gradients.first(),
            values: self.values.first(),
            means: self.means.first(),
            squares: self.squares.first(),
            copies: self.copies.as_ref().map_or_else(|| self.values.first(), Buffer::first),
        };
        // SAFETY: `new` cut the spans out of the arrays, and each update named is there.
        unsafe { self.operations.adamw(self.span_count, memory) }
    }

    /// Gives memory that no chunk needs at the moment back to the device.
    pub fn release(&self) {
        self.operations.pool.release();
    }

    /// Pooled vectors `[texts x width]`, each token times its weight; with a tape when a backward is to follow.
    /// `token_weights` are those of all tokens, text after text.
    ///
    /// # Errors
    /// [`Error::Cuda`], as for a chunk that does not fit; [`Error::Index`] and [`Error::Mismatch`] for ids, lengths and
    /// weights that are not the network's.
    pub fn forward(
        &self,
        texts: &[Text<'_>],
        token_weights: &[f32],
        masks: Option<Dropout>,
        keep: bool,
    ) -> Result<(Vec<f32>, Option<Tape>)> {
        self.check_texts(texts, token_weights)?;
        let packed = Packed::upload(self.gpu(), texts, token_weights, self.shape.heads, masks)?;
        let (operations, width) = (&self.operations, self.shape.width);
        // SAFETY: ids, places and segments were checked, and `check` the tensors' sizes.
        let (embedded, mut hidden) =
            unsafe { operations.embed(&packed, self.tables(), self.norm(self.architecture.norm), width) }?;
        let mut layers = Vec::new();
        for (index, layer) in self.architecture.layers.iter().enumerate() {
            let (output, tape) = self.layer_forward(&packed, index, layer, hidden)?;
            hidden = output;
            if keep {
                layers.push(tape);
            }
        }
        // SAFETY: `hidden` has a row for each token.
        let pooled = unsafe { operations.pool(&packed, hidden.first(), width) }?;
        let vectors = pooled.floats(packed.texts * width)?;
        Ok((vectors, keep.then_some(Tape { packed, embedded, layers })))
    }

    /// Adds to the gradients what `slopes` (d loss / d pooled vectors, `[texts x width]`) say of every trained tensor.
    ///
    /// # Errors
    /// [`Error::Cuda`]; [`Error::Mismatch`] for slopes of another size.
    pub fn backward(&mut self, tape: Tape, slopes: &[f32]) -> Result<()> {
        let Tape { packed, embedded, mut layers } = tape;
        let width = self.shape.width;
        agree("values of the pooled vectors", packed.texts * width, "slopes", slopes.len())?;
        let lowest = self.lowest_trained();
        let pooled = self.gpu().upload(slopes)?;
        // SAFETY: one slope for each pooled value, as has been checked.
        let mut slope = unsafe { self.operations.spread(&packed, pooled.first(), width) }?;
        for index in (0..self.architecture.layers.len()).rev() {
            if lowest.is_none_or(|lowest| index + 1 < lowest) {
                return Ok(());
            }
            let Some(own) = layers.pop() else { return Ok(()) };
            let input = match layers.last() {
                Some(below) => {
                    let norm = self.norm(self.architecture.layers[index - 1].output_norm);
                    self.scaled(&packed, &below.output, norm, None)?
                }
                None => self.scaled(&packed, &embedded, self.norm(self.architecture.norm), packed.masks)?,
            };
            slope = self.layer_backward(&packed, index, own, &input, slope)?;
        }
        if lowest == Some(0) {
            self.embed_backward(&packed, &embedded, &slope)?;
        }
        Ok(())
    }

    fn layer_forward(
        &self,
        packed: &Packed,
        index: usize,
        layer: &Layer,
        hidden: Room,
    ) -> Result<(Room, LayerTape)> {
        let (operations, Shape { width, inner, .. }) = (&self.operations, self.shape);
        let tokens = packed.tokens;
        let projected = self.map(&hidden, layer.query_key_value, tokens, (3 * width, width))?;
        let log_sums = operations.floats(tokens * self.shape.heads)?;
        let context = operations.values(tokens * width)?;
        for &group in &packed.groups {
            self.attend(packed, index, group, (&projected, &log_sums, &context))?;
        }
        let raw = self.map(&context, layer.attention_output, tokens, (width, width))?;
        let site = Site::AttentionOutput(index);
        let (attended, middle) =
            self.add_norm(packed, site, (&raw, layer.attention_output, &hidden), layer.attention_norm)?;
        drop((raw, hidden));
        let before = self.map(&middle, layer.intermediate, tokens, (inner, width))?;
        // SAFETY: `before` has a row of `inner` values for each token.
        let activated =
            unsafe { operations.gelu(before.first(), self.at(layer.intermediate.bias), tokens, inner) }?;
        let raw = self.map(&activated, layer.output, tokens, (width, inner))?;
        drop(activated);
        let site = Site::Output(index);
        let (output, hidden) =
            self.add_norm(packed, site, (&raw, layer.output, &middle), layer.output_norm)?;
        Ok((hidden, LayerTape { projected, log_sums, context, attended, inner: before, output }))
    }

    /// Attention of one group of texts, into its rows of `context`.
    fn attend(
        &self,
        packed: &Packed,
        index: usize,
        group: Group,
        (projected, log_sums, context): (&Room, &Room, &Room),
    ) -> Result<()> {
        let (operations, heads) = (&self.operations, self.heads());
        let bias = self.at(self.architecture.layers[index].query_key_value.bias);
        let (length, batch) = (group.padded, group.texts * heads.count);
        let [query, key, value] = [0, 1, 2];
        // SAFETY: the split parts are `batch` matrices of `length` rows each, the scores `batch` squares.
        unsafe {
            let split = operations.split_heads(packed, group, heads, 3, (projected.first(), Some(bias)))?;
            let part = |part: usize| self.part(&split, part, group);
            let scores = self.scores(part(query), part(key), batch, length)?;
            let site = Site::Attention(index);
            let weights = operations.softmax(
                packed,
                group,
                heads.count,
                site,
                (scores.first(), log_sums.first(), true),
            )?;
            let output = operations.values(batch * length * heads.width)?;
            let weights = Side::rows(weights.first(), length).every(length * length);
            let out = self.part(&output, 0, group);
            let sizes = (length, heads.width, length);
            operations.multiply(Product::one(weights, part(value), out, sizes).batch(batch))?;
            operations.merge_heads(packed, group, heads, 1, (output.first(), context.first()))
        }
    }

    /// `Q K^T / sqrt d` of a group, in f32.
    ///
    /// # Safety
    /// Both are `batch` matrices of `length` rows.
    unsafe fn scores(&self, query: Side, key: Side, batch: usize, length: usize) -> Result<Room> {
        let scores = self.operations.floats(batch * length * length)?;
        let out = Side::rows(scores.first(), length).every(length * length);
        let product = Product::one(query, key.transposed(), out, (length, length, self.heads().width));
        // SAFETY: the caller's; `scores` has a square for each matrix.
        unsafe { self.operations.multiply(product.wide().times(self.score_scale()).batch(batch)) }?;
        Ok(scores)
    }

    /// One of the parts that `split_heads` gave.
    fn part(&self, split: &Room, part: usize, group: Group) -> Side {
        let heads = self.heads();
        let matrix = group.padded * heads.width;
        let at = part * group.texts * heads.count * matrix * self.operations.size();
        Side::rows(split.at(at), heads.width).every(matrix)
    }

    /// d loss / d the layer's input, from `slope` (d loss / d its output).
    fn layer_backward(
        &self,
        packed: &Packed,
        index: usize,
        tape: LayerTape,
        input: &Room,
        slope: Room,
    ) -> Result<Room> {
        let layer = &self.architecture.layers[index];
        let (operations, Shape { width, inner, .. }) = (&self.operations, self.shape);
        let tokens = packed.tokens;
        let LayerTape { projected, log_sums, context, attended, inner: before, output } = tape;
        // Feed-forward: output norm(output(gelu(intermediate(middle))) + middle).
        self.norm_backward(packed, &output, layer.output_norm, &slope)?;
        drop(output);
        let masked = self.masked(packed, Site::Output(index), &slope)?;
        let through = masked.as_ref().unwrap_or(&slope);
        let inner_slope = operations.values(tokens * inner)?;
        self.input_slope(through, layer.output, &inner_slope, tokens, (width, inner), false)?;
        let bias = self.at(layer.intermediate.bias);
        // SAFETY: both have a row of `inner` values for each token.
        let activated =
            unsafe { operations.gelu_backward(before.first(), bias, inner_slope.first(), tokens, inner) }?;
        drop(before);
        self.parameter_slopes(&activated, through, layer.output, tokens, (width, inner))?;
        drop((activated, masked));
        let middle = self.scaled(packed, &attended, self.norm(layer.attention_norm), None)?;
        self.parameter_slopes(&middle, &inner_slope, layer.intermediate, tokens, (inner, width))?;
        drop(middle);
        self.input_slope(&inner_slope, layer.intermediate, &slope, tokens, (inner, width), true)?;
        drop(inner_slope);
        // Attention: attention norm(attention output(attention(query_key_value(input))) + input).
        self.norm_backward(packed, &attended, layer.attention_norm, &slope)?;
        drop(attended);
        let masked = self.masked(packed, Site::AttentionOutput(index), &slope)?;
        let through = masked.as_ref().unwrap_or(&slope);
        self.parameter_slopes(&context, through, layer.attention_output, tokens, (width, width))?;
        drop(context);
        let context_slope = operations.values(tokens * width)?;
        self.input_slope(through, layer.attention_output, &context_slope, tokens, (width, width), false)?;
        drop(masked);
        let projected_slope = operations.values(3 * tokens * width)?;
        for &group in &packed.groups {
            self.attend_backward(
                packed,
                index,
                group,
                (&projected, &log_sums, &context_slope, &projected_slope),
            )?;
        }
        self.parameter_slopes(input, &projected_slope, layer.query_key_value, tokens, (3 * width, width))?;
        self.input_slope(&projected_slope, layer.query_key_value, &slope, tokens, (3 * width, width), true)?;
        Ok(slope)
    }

    /// The slopes of a group's Q, K and V, into its rows of `projected_slope`.
    fn attend_backward(
        &self,
        packed: &Packed,
        index: usize,
        group: Group,
        (projected, log_sums, context_slope, projected_slope): (&Room, &Room, &Room, &Room),
    ) -> Result<()> {
        let (operations, heads, site) = (&self.operations, self.heads(), Site::Attention(index));
        let bias = self.at(self.architecture.layers[index].query_key_value.bias);
        let (length, batch) = (group.padded, group.texts * heads.count);
        let [query, key, value] = [0, 1, 2];
        let square = |room: &Room| Side::rows(room.first(), length).every(length * length);
        // SAFETY: the split parts are `batch` matrices of `length` rows each, everything square `batch` squares.
        unsafe {
            let split = operations.split_heads(packed, group, heads, 3, (projected.first(), Some(bias)))?;
            let part = |part: usize| self.part(&split, part, group);
            let outer = operations.split_heads(packed, group, heads, 1, (context_slope.first(), None))?;
            let outer = self.part(&outer, 0, group);
            let scores = self.scores(part(query), part(key), batch, length)?;
            let sums = log_sums.first();
            let slopes = operations.values(3 * batch * length * heads.width)?;
            let out = |part: usize| self.part(&slopes, part, group);
            let weights =
                operations.softmax(packed, group, heads.count, site, (scores.first(), sums, false))?;
            let sizes = (length, heads.width, length);
            let pulled = Product::one(square(&weights).transposed(), outer, out(value), sizes);
            operations.multiply(pulled.batch(batch))?;
            drop(weights);
            let weight_slopes = operations.floats(batch * length * length)?;
            let into = square(&weight_slopes);
            let across = Product::one(outer, part(value).transposed(), into, (length, length, heads.width));
            operations.multiply(across.wide().batch(batch))?;
            let three = (scores.first(), sums, weight_slopes.first());
            let score_slopes = operations.softmax_backward(packed, group, heads.count, site, three)?;
            drop((scores, weight_slopes));
            let side = square(&score_slopes);
            let of_query = Product::one(side, part(key), out(query), sizes);
            operations.multiply(of_query.times(self.score_scale()).batch(batch))?;
            let of_key = Product::one(side.transposed(), part(query), out(key), sizes);
            operations.multiply(of_key.times(self.score_scale()).batch(batch))?;
            operations.merge_heads(packed, group, heads, 3, (slopes.first(), projected_slope.first()))
        }
    }

    fn embed_backward(&self, packed: &Packed, embedded: &Normed, slope: &Room) -> Result<()> {
        let width = self.shape.width;
        if packed.masks.is_some() {
            // SAFETY: `slope` has a row for each token.
            unsafe { self.operations.mask(packed, Site::Embeddings, slope.first(), slope.first(), width) }?;
        }
        self.norm_backward(packed, embedded, self.architecture.norm, slope)?;
        let Architecture { words, positions, segments, .. } = self.architecture;
        for (tensor, rows) in
            [(words, &packed.ids), (positions, &packed.places), (segments, &packed.segments)]
        {
            if let Some(gradient) = self.gradient_at(tensor) {
                // SAFETY: ids, places and segments are rows of their tables, as `check_texts` saw.
                unsafe { self.operations.scatter(&Scatter::new(rows), slope.first(), width, gradient) }?;
            }
        }
        Ok(())
    }

    /// `input W^T`, without the bias: what follows adds it.
    fn map(&self, input: &Room, map: Pair, tokens: usize, (outputs, inputs): (usize, usize)) -> Result<Room> {
        let output = self.operations.values(tokens * outputs)?;
        let left = Side::rows(input.first(), inputs);
        let right = Side::rows(self.weight(map.weight), inputs).transposed();
        let out = Side::rows(output.first(), outputs);
        // SAFETY: `input` has a row of `inputs` values for each token, the weight is `[outputs x inputs]`.
        unsafe { self.operations.multiply(Product::one(left, right, out, (tokens, outputs, inputs))) }?;
        Ok(output)
    }

    /// `slope W` into `to`, or added to it.
    fn input_slope(
        &self,
        slope: &Room,
        map: Pair,
        to: &Room,
        tokens: usize,
        (outputs, inputs): (usize, usize),
        add: bool,
    ) -> Result<()> {
        let left = Side::rows(slope.first(), outputs);
        let right = Side::rows(self.weight(map.weight), inputs);
        let out = Side::rows(to.first(), inputs);
        let product = Product::one(left, right, out, (tokens, inputs, outputs));
        // SAFETY: `slope` has a row of `outputs` values for each token, `to` of `inputs`.
        unsafe { self.operations.multiply(if add { product.added() } else { product }) }
    }

    /// Adds what `slope` (d loss / d a map's output) says of its parameters to their gradients.
    fn parameter_slopes(
        &self,
        input: &Room,
        slope: &Room,
        map: Pair,
        tokens: usize,
        (outputs, inputs): (usize, usize),
    ) -> Result<()> {
        if let Some(gradient) = self.gradient_at(map.weight) {
            let left = Side::rows(slope.first(), outputs).transposed();
            let right = Side::rows(input.first(), inputs);
            let out = Side::rows(gradient, inputs);
            let product = Product::one(left, right, out, (outputs, inputs, tokens));
            // SAFETY: as in `input_slope`; the gradient is `[outputs x inputs]`.
            unsafe { self.operations.multiply(product.wide().added()) }?;
        }
        if let Some(gradient) = self.gradient_at(map.bias) {
            // SAFETY: the bias has `outputs` values.
            unsafe { self.operations.add_column_sums(slope.first(), None, (tokens, outputs), gradient) }?;
        }
        Ok(())
    }

    fn add_norm(
        &self,
        packed: &Packed,
        site: Site,
        (raw, map, residual): (&Room, Pair, &Room),
        norm: Pair,
    ) -> Result<(Normed, Room)> {
        let three = (raw.first(), self.at(map.bias), residual.first());
        // SAFETY: rows of `width` values for each token.
        unsafe { self.operations.add_norm(packed, site, three, self.norm(norm), self.shape.width) }
    }

    fn scaled(&self, packed: &Packed, normed: &Normed, norm: NormAt, masks: Option<Dropout>) -> Result<Room> {
        // SAFETY: `normed` is of these tokens.
        unsafe { self.operations.scale(packed, normed, norm, self.shape.width, masks) }
    }

    fn norm_backward(&self, packed: &Packed, normed: &Normed, norm: Pair, slope: &Room) -> Result<()> {
        let sizes = (packed.tokens, self.shape.width);
        // SAFETY: `slope` and `normed` have a row of `width` values for each token.
        unsafe {
            if let Some(gradient) = self.gradient_at(norm.weight) {
                let standard = Some(normed.standard.first());
                self.operations.add_column_sums(slope.first(), standard, sizes, gradient)?;
            }
            if let Some(gradient) = self.gradient_at(norm.bias) {
                self.operations.add_column_sums(slope.first(), None, sizes, gradient)?;
            }
            self.operations.norm_backward(slope.first(), normed, self.at(norm.weight), sizes.0, sizes.1)
        }
    }

    /// A masked copy of `slope`, where there is a mask.
    fn masked(&self, packed: &Packed, site: Site, slope: &Room) -> Result<Option<Room>> {
        if packed.masks.is_none() {
            return Ok(None);
        }
        let width = self.shape.width;
        let masked = self.operations.values(packed.tokens * width)?;
        // SAFETY: both have a row for each token.
        unsafe { self.operations.mask(packed, site, slope.first(), masked.first(), width) }?;
        Ok(Some(masked))
    }

    /// 0: the embeddings are trained; `n`: layer `n - 1` is the lowest with something to train; `None`: nothing is.
    fn lowest_trained(&self) -> Option<usize> {
        let trains = |tensor: &usize| self.tensors[*tensor].trained.is_some();
        let Architecture { words, positions, segments, norm, layers } = &self.architecture;
        if [*words, *positions, *segments, norm.weight, norm.bias].iter().any(trains) {
            return Some(0);
        }
        layers.iter().position(|layer| tensors_of(layer).iter().any(trains)).map(|layer| layer + 1)
    }

    fn gpu(&self) -> &'static Gpu {
        self.operations.gpu
    }

    fn round(&self) -> Result<()> {
        let Some(copies) = &self.copies else { return Ok(()) };
        // SAFETY: both hold all tensors.
        unsafe { self.operations.round(self.values.first(), self.all, copies.first()) }
    }

    fn heads(&self) -> Heads {
        Heads { count: self.shape.heads, width: self.shape.width / self.shape.heads }
    }

    fn score_scale(&self) -> f32 {
        1.0 / (self.heads().width as f32).sqrt()
    }

    /// A tensor as the optimizer knows it.
    fn at(&self, tensor: usize) -> Argument {
        self.values.at(self.tensors[tensor].at)
    }

    /// A tensor as the products read it.
    fn weight(&self, tensor: usize) -> Argument {
        let at = self.tensors[tensor].at;
        self.copies.as_ref().map_or_else(|| self.values.at(at), |copies| copies.at(at))
    }

    fn gradient_at(&self, tensor: usize) -> Option<Argument> {
        self.tensors[tensor].trained.map(|(at, _)| self.gradients.at(at))
    }

    fn norm(&self, norm: Pair) -> NormAt {
        NormAt { weight: self.at(norm.weight), bias: self.at(norm.bias), epsilon: self.shape.epsilon }
    }

    fn tables(&self) -> Tables {
        let Architecture { words, positions, segments, .. } = self.architecture;
        Tables { words: self.at(words), positions: self.at(positions), segments: self.at(segments) }
    }

    fn check_texts(&self, texts: &[Text<'_>], token_weights: &[f32]) -> Result<()> {
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        agree("tokens", tokens, "token weights", token_weights.len())?;
        let rows = |tensor: usize| self.tensors[tensor].count / self.shape.width;
        let (vocabulary, places) = (rows(self.architecture.words), rows(self.architecture.positions));
        let segments = rows(self.architecture.segments);
        if texts.is_empty() {
            return Err(Error::Empty { what: "texts", rows: 0, columns: self.shape.width });
        }
        for (entry, text) in texts.iter().enumerate() {
            let beyond = |what, index, limit, of| Err(Error::Index { what, entry, index, limit, of });
            if text.ids.is_empty() || text.ids.len() > places {
                return beyond("last places of texts", text.ids.len().wrapping_sub(1), places, "places");
            }
            if let Some(&id) = text.ids.iter().find(|&&id| id as usize >= vocabulary) {
                return beyond("token ids", id as usize, vocabulary, "words");
            }
            if text.second < text.ids.len() && segments < 2 {
                return beyond("segments", 1, segments, "segments");
            }
        }
        Ok(())
    }
}

fn tensors_of(layer: &Layer) -> [usize; 12] {
    let Layer { query_key_value, attention_output, attention_norm, intermediate, output, output_norm } =
        *layer;
    let pairs = [query_key_value, attention_output, attention_norm, intermediate, output, output_norm];
    std::array::from_fn(|at| if at % 2 == 0 { pairs[at / 2].weight } else { pairs[at / 2].bias })
}

/// Every tensor of the architecture is there and as large as it says; the embeddings have whole rows.
fn check(shape: Shape, architecture: &Architecture, tensors: &[Tensor<'_>]) -> Result<()> {
    let Shape { width, heads, inner, .. } = shape;
    if heads == 0 || width == 0 || inner == 0 || !width.is_multiple_of(heads) {
        return Err(Error::OutOfRange {
            what: "heads",
            value: heads as f64,
            expected: "a divisor of the width",
        });
    }
    let size = |tensor: usize| {
        let missing = Error::Index {
            what: "tensors of the network",
            entry: tensor,
            index: tensor,
            limit: tensors.len(),
            of: "tensors",
        };
        tensors.get(tensor).map(|tensor| tensor.values.len()).ok_or(missing)
    };
    for table in [architecture.words, architecture.positions, architecture.segments] {
        let found = size(table)?;
        agree("whole rows of an embedding", (found / width).max(1) * width, "its tensor", found)?;
    }
    let norm = |norm: Pair| [(norm.weight, width), (norm.bias, width)];
    let map =
        |map: Pair, outputs: usize, inputs: usize| [(map.weight, outputs * inputs), (map.bias, outputs)];
    let mut expected = norm(architecture.norm).to_vec();
    for layer in &architecture.layers {
        expected.extend(map(layer.query_key_value, 3 * width, width));
        expected.extend(map(layer.attention_output, width, width));
        expected.extend(norm(layer.attention_norm));
        expected.extend(map(layer.intermediate, inner, width));
        expected.extend(map(layer.output, width, inner));
        expected.extend(norm(layer.output_norm));
    }
    expected
        .into_iter()
        .try_for_each(|(tensor, count)| agree("the network", count, "a tensor of it", size(tensor)?))
}

fn agree(left: &'static str, left_size: usize, right: &'static str, right_size: usize) -> Result<()> {
    if left_size == right_size {
        return Ok(());
    }
    Err(Error::Mismatch { dimension: "values", left, left_size, right, right_size })
}
