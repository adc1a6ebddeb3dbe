//! Matrix products by cuBLAS, opened at run time as the driver is.

use std::ffi::{c_int, c_void};

use cudarc::cublas::{result, sys};

use super::Precision;
use crate::cuda::{Argument, Gpu, opens};
use crate::device::{Device, Unavailable};
use crate::error::{Error, Result};

/// A matrix of row-major values on the device, one or a batch of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// The first value.
    pub at: Argument,
    /// Values from a row to the next.
    pub stride: usize,
    /// Values from a matrix of a batch to the next.
    pub step: usize,
    /// Whether the product reads it with rows and columns exchanged.
    pub transposed: bool,
}

impl Side {
    /// Rows without gaps.
    pub fn rows(at: Argument, columns: usize) -> Side {
        Side { at, stride: columns, step: 0, transposed: false }
    }

    /// The same, read with rows and columns exchanged.
    pub fn transposed(self) -> Side {
        Side { transposed: !self.transposed, ..self }
    }

    /// One of a batch.
    pub fn every(self, step: usize) -> Side {
        Side { step, ..self }
    }
}

/// `out = alpha left right + beta out`, of `batch` matrices: left `[rows x depth]`, right `[depth x columns]` as they are
/// read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub left: Side,
    pub right: Side,
    pub out: Side,
    /// Whether `out` is f32; else it is what the session keeps activations in.
    pub wide: bool,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub batch: usize,
    pub alpha: f32,
    pub beta: f32,
}

impl Product {
    /// One product, written over `out`.
    pub fn one(left: Side, right: Side, out: Side, (rows, columns, depth): (usize, usize, usize)) -> Product {
        Product { left, right, out, wide: false, rows, columns, depth, batch: 1, alpha: 1.0, beta: 0.0 }
    }

    /// Into 32-bit floats.
    pub fn wide(self) -> Product {
        Product { wide: true, ..self }
    }

    /// Added to what is there.
    pub fn added(self) -> Product {
        Product { beta: 1.0, ..self }
    }

    /// Multiplied by a number.
    pub fn times(self, alpha: f32) -> Product {
        Product { alpha, ..self }
    }

    /// So many of them.
    pub fn batch(self, batch: usize) -> Product {
        Product { batch, ..self }
    }
}

/// A handle of the library over the stream of the kernels.
#[derive(Debug)]
pub(super) struct Blas {
    gpu: &'static Gpu,
    handle: sys::cublasHandle_t,
    precision: Precision,
}

// SAFETY: a handle may be used by any thread, one at a time; `Blas` is not `Sync`.
unsafe impl Send for Blas {}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: made by `open`, destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What cuBLAS answered instead of multiplying.
fn failed(operation: &'static str, error: result::CublasError) -> Error {
    Error::Cuda { operation, reason: format!("{:?}", error.0) }
}

/// # Errors
/// [`Error::Device`] where the library cannot be found.
pub(super) fn require() -> Result<()> {
    if opens(&[c"libcublas.so", c"libcublas.so.13", c"libcublas.so.12"]) {
        return Ok(());
    }
    let reason = "a CUDA driver, but no cuBLAS to train with (libcublas.so.13)".to_owned();
    Err(Error::Device { device: Device::Cuda, reason: Unavailable::Cuda(reason) })
}

impl Blas {
    /// # Errors
    /// [`Error::Device`] without the library, [`Error::Cuda`] where it refuses.
    pub fn open(gpu: &'static Gpu, precision: Precision) -> Result<Blas> {
        require()?;
        gpu.bind()?;
        let handle = result::create_handle().map_err(|error| failed("opening cuBLAS", error))?;
        let blas = Blas { gpu, handle, precision };
        // SAFETY: the handle is fresh, and the stream lives as long as the process.
        unsafe { result::set_stream(handle, gpu.stream().cast()) }
            .map_err(|error| failed("giving cuBLAS its stream", error))?;
        Ok(blas)
    }

    /// Starts a product behind all earlier work.
    ///
    /// # Safety
    /// The addresses reach as many values as the product touches.
    pub unsafe fn multiply(&self, product: &Product) -> Result<()> {
        use sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        let Product { left, right, out, rows, columns, depth, batch, alpha, beta, wide } = *product;
        let (Argument::Address(a), Argument::Address(b), Argument::Address(c)) = (left.at, right.at, out.at)
        else {
            return Err(Error::Cuda {
                operation: "multiplying",
                reason: "an operand needs an address".to_owned(),
            });
        };
        let narrow = match self.precision {
            Precision::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            Precision::F32 => sys::cudaDataType::CUDA_R_32F,
        };
        let into = if wide { sys::cudaDataType::CUDA_R_32F } else { narrow };
        let operation = |side: Side| if side.transposed { CUBLAS_OP_T } else { CUBLAS_OP_N };
        self.gpu.bind()?;
        // The library's matrices are column-major, so it is asked for the transposed product: right first.
        // SAFETY: the caller's; alpha and beta are f32, as the kind of sum asks for.
        unsafe {
            result::gemm_strided_batched_ex(
                self.handle,
                operation(right),
                operation(left),
                count(columns)?,
                count(rows)?,
                count(depth)?,
                (&raw const alpha).cast(),
                b as *const c_void,
                narrow,
                count(right.stride)?,
                right.step as i64,
                a as *const c_void,
                narrow,
                count(left.stride)?,
                left.step as i64,
                (&raw const beta).cast(),
                c as *mut c_void,
                into,
                count(out.stride)?,
                out.step as i64,
                count(batch)?,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|error| failed("multiplying", error))
    }
}

fn count(count: usize) -> Result<c_int> {
    let beyond = |_| Error::OutOfRange { what: "a product's size", value: count as f64, expected: "31 bits" };
    c_int::try_from(count).map_err(beyond)
}
