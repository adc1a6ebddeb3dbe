//! Device memory that is used again: a step asks for the same sizes over and over, and asking the driver costs a wait.
//!
//! All work is on one stream, so what a kernel has been told to write may be handed on before it has run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cuda::{Argument, Buffer, Gpu};
use crate::error::{Error, Result};

/// Memory that lies idle, by size.
#[derive(Debug)]
pub(super) struct Pool {
    gpu: &'static Gpu,
    idle: Mutex<BTreeMap<usize, Vec<Buffer<u8>>>>,
}

/// Bytes of the device, given back to the pool when dropped. They hold what the last user left.
#[derive(Debug)]
pub(super) struct Room {
    pool: Arc<Pool>,
    buffer: Option<Buffer<u8>>,
    size: usize,
}

impl Pool {
    pub fn new(gpu: &'static Gpu) -> Arc<Pool> {
        Arc::new(Pool { gpu, idle: Mutex::default() })
    }

    /// Room for so many bytes.
    ///
    /// # Errors
    /// [`Error::Cuda`] when the device has no more, idle memory given back.
    pub fn room(self: &Arc<Pool>, bytes: usize) -> Result<Room> {
        let size = rounded(bytes);
        let found =
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&size).and_then(Vec::pop);
        let buffer = match found {
            Some(buffer) => buffer,
            None => self.gpu.buffer(size).or_else(|_| self.after_release(size))?,
        };
        Ok(Room { pool: self.clone(), buffer: Some(buffer), size })
    }

    fn after_release(&self, size: usize) -> Result<Buffer<u8>> {
        self.release();
        self.gpu.synchronize()?;
        self.gpu.buffer(size).map_err(|error| match error {
            Error::Cuda { operation, reason } => {
                let reason = format!("{size} bytes for a chunk: {reason}; fewer tokens a chunk need less");
                Error::Cuda { operation, reason }
            }
            other => other,
        })
    }

    /// Gives idle memory back to the device.
    pub fn release(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Sizes in steps of at most an eighth, so that chunks of nearly the same size share their memory. The crate's own
/// tests take what they ask for, so that the simulator sees every step beyond it.
fn rounded(bytes: usize) -> usize {
    if cfg!(test) {
        return bytes.max(1);
    }
    let step = (bytes.max(4096).next_power_of_two() / 16).max(512);
    bytes.max(1).next_multiple_of(step)
}

impl Room {
    /// The address of a byte.
    pub fn at(&self, byte: usize) -> Argument {
        self.buffer.as_ref().map_or(Argument::Address(0), |buffer| buffer.at(byte))
    }

    /// The address of the first byte.
    pub fn first(&self) -> Argument {
        self.at(0)
    }

    /// The first `count` bytes of it, once all work before is done.
    ///
    /// # Errors
    /// [`Error::Cuda`], also for the failure of that work.
    pub fn bytes(&self, count: usize) -> Result<Vec<u8>> {
        self.buffer.as_ref().map_or_else(|| Ok(Vec::new()), |buffer| self.pool.gpu.download(buffer, count))
    }

    /// The first `count` f32 of it, once all work before is done.
    ///
    /// # Errors
    /// [`Error::Cuda`], also for the failure of that work.
    pub fn floats(&self, count: usize) -> Result<Vec<f32>> {
        let bytes = self.bytes(4 * count)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
impl Room {
    /// Room with these bytes in it.
    pub fn of(pool: &Arc<Pool>, bytes: &[u8]) -> Result<Room> {
        Ok(Room { pool: pool.clone(), buffer: Some(pool.gpu.upload(bytes)?), size: bytes.len() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Under test memory is fresh, that is NaN, whenever it is asked for.
        if cfg!(test) {
            return;
        }
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(self.size).or_default().extend(self.buffer.take());
    }
}
