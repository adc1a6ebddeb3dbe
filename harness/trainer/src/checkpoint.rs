//! A run at rest: what is needed to go on as if it had never stopped, as bytes.
//!
//! Little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `GRADEDCK` |
//! | 8..12 | version, `u32`, 2 |
//! | 12..16 | H, length of the header, `u32` |
//! | 16..16+H | header: JSON with the step, the digests of recipe, data and base model, and name and length of every tensor |
//! | then | for each trained tensor: values, means, squares (f32); then the loss's numbers with their moments (f64) |
//! | the last 32 | blake3 of all before |
//!
//! Batches, dropout and learning rate are functions of data, seed and step, so no random generator has a state to keep, and
//! data must be the same. What is frozen is not stored: it is the base model's, whose digest must be the same.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainerError};
use crate::training::Trainer;

const MAGIC: &[u8; 8] = b"GRADEDCK";
const VERSION: u32 = 2;
const PREAMBLE: usize = 16;
/// Bytes of the digest that a checkpoint ends with: two that end alike are one.
pub const DIGEST: usize = 32;

/// What a run learns by and from, as digests: it goes on only where they are those that it began with.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Of what the run does.
    pub recipe: &'a str,
    /// Of all that it learns from, mined documents and a guide model included.
    pub data: &'a str,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    step: u64,
    recipe: String,
    data: String,
    base: String,
    tensors: Vec<(String, usize)>,
    loss_parameters: usize,
}

impl Header {
    fn of(trainer: &Trainer, origin: Origin<'_>) -> Self {
        let parameters = &trainer.model.parameters;
        let tensor = |(handle, _): &(_, _)| {
            (parameters.specification(*handle).name.clone(), parameters.values(*handle).len())
        };
        Self {
            step: trainer.optimizer.steps,
            recipe: origin.recipe.to_owned(),
            data: origin.data.to_owned(),
            base: trainer.model.base().digest().to_owned(),
            tensors: trainer.optimizer.moments.iter().map(tensor).collect(),
            loss_parameters: trainer.loss_parameters.len(),
        }
    }
}

/// The run as bytes, brought back from a GPU first.
///
/// # Errors
/// [`TrainerError::Device`].
pub fn to_bytes(trainer: &mut Trainer, origin: Origin<'_>) -> Result<Vec<u8>> {
    trainer.fetch()?;
    let header = serde_json::to_vec(&Header::of(trainer, origin)).unwrap_or_default();
    let values = 3 * trainer.model.parameters.trainable_values();
    let mut bytes = Vec::with_capacity(PREAMBLE + header.len() + 4 * values + DIGEST + 1024);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&header);
    for (handle, moments) in &trainer.optimizer.moments {
        for part in [trainer.model.parameters.values(*handle), &moments.mean, &moments.square] {
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    for (value, [mean, square]) in trainer.loss_parameters.iter().zip(&trainer.optimizer.loss_moments) {
        bytes.extend([value, mean, square].into_iter().flat_map(|number| number.to_le_bytes()));
    }
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// Puts a fresh trainer where the checkpoint left off, on whichever device it is.
///
/// # Errors
/// [`TrainerError::Device`] when the weights cannot be sent to the GPU;
/// [`TrainerError::Checkpoint`] when the bytes are damaged, of another version, or of another recipe, of other data or of
/// another model. The trainer is unchanged then.
pub fn restore(trainer: &mut Trainer, origin: Origin<'_>, bytes: &[u8]) -> Result<()> {
    let (header, payload) = read_header(bytes)?;
    let mut expected = Header::of(trainer, origin);
    expected.step = header.step;
    check(&header, &expected)?;
    let length =
        header.tensors.iter().map(|(_, count)| 12 * count).sum::<usize>() + 24 * header.loss_parameters;
    if payload.len() != length {
        return Err(wrong(format!("{} bytes of tensors where {length} were expected", payload.len())));
    }
    let mut rest = payload;
    let mut fill = |values: &mut [f32]| {
        let (own, others) = rest.split_at(4 * values.len());
        values
            .iter_mut()
            .zip(own.as_chunks::<4>().0)
            .for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        rest = others;
    };
    for (handle, moments) in &mut trainer.optimizer.moments {
        fill(trainer.model.parameters.values_mut(*handle));
        fill(&mut moments.mean);
        fill(&mut moments.square);
    }
    let numbers: Vec<f64> = rest.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    for ((value, moments), numbers) in trainer
        .loss_parameters
        .iter_mut()
        .zip(&mut trainer.optimizer.loss_moments)
        .zip(numbers.chunks_exact(3))
    {
        *value = numbers[0];
        *moments = [numbers[1], numbers[2]];
    }
    trainer.optimizer.steps = header.step;
    trainer.send()
}

fn wrong(reason: String) -> TrainerError {
    TrainerError::Checkpoint(reason)
}

fn read_header(bytes: &[u8]) -> Result<(Header, &[u8])> {
    if bytes.len() < PREAMBLE + DIGEST || !bytes.starts_with(MAGIC) {
        return Err(wrong("this is no checkpoint".into()));
    }
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if number(8) != VERSION {
        return Err(wrong(format!("version {} where {VERSION} was expected", number(8))));
    }
    let (content, digest) = bytes.split_at(bytes.len() - DIGEST);
    if blake3::hash(content).as_bytes() != digest {
        return Err(wrong("it is cut short or altered: the digest does not match".into()));
    }
    let end = PREAMBLE + number(12) as usize;
    let header = content.get(PREAMBLE..end).ok_or_else(|| wrong("the header is not all there".into()))?;
    let header = serde_json::from_slice(header).map_err(|error| wrong(format!("header: {error}")))?;
    Ok((header, &content[end..]))
}

fn check(header: &Header, expected: &Header) -> Result<()> {
    let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
    let digests = [
        ("another recipe", &header.recipe, &expected.recipe),
        ("other data", &header.data, &expected.data),
        ("another base model", &header.base, &expected.base),
    ];
    for (what, found, wanted) in digests {
        if found != wanted {
            let (found, wanted) = (short(found), short(wanted));
            return Err(wrong(format!("it is of {what} (digest {found}, this run has {wanted})")));
        }
    }
    if header != expected {
        return Err(wrong("its tensors are not those of this run".into()));
    }
    Ok(())
}
