//! The GPU: found without a toolkit, asked without panicking, its kernels compiled when first used.
//!
//! The driver and NVRTC are opened at run time. Before anything of `cudarc` is called, this module opens both
//! libraries itself: without a driver `cudarc` panics, here it is a typed answer. Kernels are compiled from the
//! sources in this crate, once a process and source, for the device at hand (compute capability 8.0 or later).
//!
//! Matrix products come in two ways, [`Products`]: one for every device, one for compute capability 9.x. The
//! kernels are the same text over either header; what the host knows of the difference is in `Products` too.
//!
//! Buffers belong to one stream; work on the other stream (copies of documents that are searched later) is
//! ordered by synchronization on the host, so `cudarc`'s own event tracking is off.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute, CUtensorMap};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DeviceRepr, DriverError,
    HostSlice, LaunchConfig, PinnedHostSlice, PushKernelArg, ValidAsZeroBits,
};
use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};

use crate::device::{Device, Unavailable};
use crate::error::{Error, Result};

/// Rows of a tile, as in `product.cuh` and `hopper_product.cuh`.
pub(crate) const TILE: usize = 128;
/// Rows and columns of a box, as in `hopper.cuh`.
const BOX: u32 = 64;
/// Threads of most blocks, as in `threads.cuh`.
pub(crate) const THREADS: u32 = 256;
/// Columns are padded to this many, so that rows are aligned and the last step along them is whole.
pub(crate) const COLUMN_STEP: usize = 32;
/// Bytes of one of the two pinned buffers through which data reaches the device.
const PIECE_BYTES: usize = 32 << 20;
/// Dynamic shared memory a block may use without being asked about.
const PLAIN_SHARED_BYTES: usize = 48 << 10;

/// How the kernels multiply matrices. Either way gives results within the same bounds, and top-k the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// `mma.sync` and `cp.async`: every device.
    Portable,
    /// `wgmma` and the tensor memory accelerator: compute capability 9.x.
    Hopper,
}

impl Products {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Products::Portable => "mma.sync",
            Products::Hopper => "wgmma",
        }
    }

    /// Columns of a tile.
    pub(crate) fn tile_columns(self) -> usize {
        match self {
            Products::Portable => 128,
            Products::Hopper => 256,
        }
    }

    /// Parts into which the warps of a block divide the columns of a tile.
    pub(crate) fn parts(self) -> usize {
        match self {
            Products::Portable => 4,
            Products::Hopper => 1,
        }
    }

    /// Blocks that a multiprocessor holds at the same time.
    pub(crate) fn blocks(self) -> usize {
        match self {
            Products::Portable => 2,
            Products::Hopper => 1,
        }
    }

    /// Threads of a block.
    fn threads(self) -> u32 {
        match self {
            Products::Portable => THREADS,
            Products::Hopper => THREADS + 128,
        }
    }

    /// Shared memory the products of a block take.
    fn shared_bytes(self) -> usize {
        match self {
            Products::Portable => 64 << 10,
            Products::Hopper => (192 << 10) + 128,
        }
    }
}

/// A `.cu` file with what it includes.
pub(crate) struct Source {
    /// As in errors.
    pub name: &'static str,
    /// All of it, over each way of multiplying.
    pub portable: &'static str,
    pub hopper: &'static str,
}

/// The text of a kernel file behind the headers all of them share.
macro_rules! source {
    ($name:literal) => {
        crate::cuda::Source {
            name: $name,
            portable: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/threads.cuh")),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/product.cuh")),
                include_str!($name)
            ),
            hopper: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/threads.cuh")),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/hopper.cuh")),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda/hopper_product.cuh")),
                include_str!($name)
            ),
        }
    };
}
pub(crate) use source;

/// The first device, ready to work.
#[derive(Debug)]
pub(crate) struct Gpu {
    context: Arc<CudaContext>,
    compute: Arc<CudaStream>,
    copies: Arc<CudaStream>,
    /// Compute capability.
    capability: (i32, i32),
    modules: Mutex<HashMap<(&'static str, Products), Arc<CudaModule>>>,
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
}

/// What a GPU call answered instead of doing its work.
fn failed(operation: &'static str, error: DriverError) -> Error {
    Error::Cuda { operation, reason: describe(error) }
}

fn describe(error: DriverError) -> String {
    let text = |found: std::result::Result<&CStr, DriverError>| {
        found.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
    };
    format!("{}: {}", text(error.error_name()), text(error.error_string()))
}

/// Names what was being done when a driver call failed.
pub(crate) trait During<T> {
    /// # Errors
    /// [`Error::Cuda`] with the driver's name for the failure.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for std::result::Result<T, DriverError> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| failed(operation, error))
    }
}

/// The GPU of this process.
///
/// # Errors
/// [`Error::Device`] when there is no driver, no device, no NVRTC, or a device too old.
pub(crate) fn gpu() -> Result<&'static Gpu> {
    static GPU: OnceLock<std::result::Result<Gpu, Unavailable>> = OnceLock::new();
    let found = GPU.get_or_init(|| Gpu::find().map_err(Unavailable::Cuda));
    found.as_ref().map_err(|reason| Error::Device { device: Device::Cuda, reason: reason.clone() })
}

/// Whether kernels can run here.
pub(crate) fn available() -> std::result::Result<(), Unavailable> {
    match gpu() {
        Ok(_) => Ok(()),
        Err(Error::Device { reason, .. }) => Err(reason),
        Err(error) => Err(Unavailable::Cuda(error.to_string())),
    }
}

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
}

/// Whether the dynamic linker finds one of the libraries. It stays open, as it would for its user.
pub(crate) fn opens(names: &[&CStr]) -> bool {
    const RTLD_LAZY: c_int = 1;
    // SAFETY: the names are terminated strings, and the libraries' initializers are the vendor's own.
    names.iter().any(|name| unsafe { !dlopen(name.as_ptr(), RTLD_LAZY).is_null() })
}

impl Gpu {
    fn find() -> std::result::Result<Gpu, String> {
        if !opens(&[c"libcuda.so.1", c"libcuda.so"]) {
            return Err("no CUDA driver found (libcuda.so.1)".to_owned());
        }
        if !opens(&[c"libnvrtc.so", c"libnvrtc.so.13", c"libnvrtc.so.12"]) {
            return Err("a CUDA driver, but no NVRTC to compile the kernels (libnvrtc.so.13)".to_owned());
        }
        Gpu::open().map_err(describe)?
    }

    fn open() -> std::result::Result<std::result::Result<Gpu, String>, DriverError> {
        if CudaContext::device_count()? == 0 {
            return Ok(Err("a CUDA driver, but no device".to_owned()));
        }
        let context = CudaContext::new(0)?;
        // SAFETY: no buffer exists yet; see the head of this file for how streams are kept in order.
        unsafe { context.disable_event_tracking() };
        let (major, minor) = context.compute_capability()?;
        if major < 8 {
            let name = context.name()?;
            return Ok(Err(format!("{name} has compute capability {major}.{minor}; 8.0 is needed")));
        }
        let multiprocessors =
            context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Ok(Gpu {
            compute: context.new_stream()?,
            copies: context.new_stream()?,
            capability: (major, minor),
            modules: Mutex::default(),
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1).max(1),
            context,
        }))
    }

    /// The device's name as the driver gives it.
    pub fn name(&self) -> Result<String> {
        self.context.name().during("asking for the device's name")
    }

    /// Bytes of device memory that are free.
    pub fn free_memory(&self) -> Result<usize> {
        Ok(self.context.mem_get_info().during("asking for the free memory")?.0)
    }

    /// The fastest way of multiplying this device has.
    pub fn products(&self) -> Products {
        if self.capability.0 == 9 { Products::Hopper } else { Products::Portable }
    }

    /// # Errors
    /// [`Error::Cuda`] where the device lacks it.
    pub fn require(&self, products: Products) -> Result<()> {
        if products == Products::Portable || self.products() == products {
            return Ok(());
        }
        let (major, minor) = self.capability;
        let reason = format!("compute capability 9.x is needed, and the device has {major}.{minor}");
        Err(Error::Cuda { operation: "multiplying by wgmma", reason })
    }

    /// A kernel that multiplies; its blocks use `shared_bytes` of dynamic shared memory beyond what products take.
    pub fn product_kernel(
        &self,
        source: &Source,
        products: Products,
        name: &'static str,
        shared_bytes: usize,
    ) -> Result<Kernel<'_>> {
        self.kernel_of(source, products, name, products.threads(), products.shared_bytes() + shared_bytes)
    }

    /// A kernel that does not, whose blocks use `shared_bytes` of dynamic shared memory.
    pub fn kernel(
        &self,
        source: &Source,
        name: &'static str,
        threads: u32,
        shared_bytes: usize,
    ) -> Result<Kernel<'_>> {
        self.kernel_of(source, self.products(), name, threads, shared_bytes)
    }

    /// A kernel of a source that neither multiplies nor asks how the device does.
    pub fn plain_kernel(
        &self,
        source: &Source,
        name: &'static str,
        shared_bytes: usize,
    ) -> Result<Kernel<'_>> {
        self.kernel_of(source, Products::Portable, name, THREADS, shared_bytes)
    }

    fn kernel_of(
        &self,
        source: &Source,
        products: Products,
        name: &'static str,
        threads: u32,
        shared_bytes: usize,
    ) -> Result<Kernel<'_>> {
        let function = self.module(source, products)?.load_function(name).during("looking up a kernel")?;
        let bytes = i32::try_from(shared_bytes).unwrap_or(i32::MAX);
        if shared_bytes > PLAIN_SHARED_BYTES {
            let limit = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(limit, bytes).during("asking for shared memory")?;
        }
        Ok(Kernel { gpu: self, function, name, threads, shared_bytes: bytes.unsigned_abs() })
    }

    fn module(&self, source: &Source, products: Products) -> Result<Arc<CudaModule>> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&(source.name, products)) {
            return Ok(module.clone());
        }
        let (major, minor) = self.capability;
        let (text, architecture) = match products {
            Products::Portable => (source.portable, format!("compute_{major}{minor}")),
            Products::Hopper => (source.hopper, "sm_90a".to_owned()),
        };
        let options = CompileOptions {
            name: Some(source.name.to_owned()),
            options: vec![
                format!("--gpu-architecture={architecture}"),
                "--std=c++17".to_owned(),
                "-default-device".to_owned(),
            ],
            ..CompileOptions::default()
        };
        let refused = |reason| Error::Cuda { operation: "compiling a kernel", reason };
        let image = compile_ptx_with_opts(text, options)
            .map_err(|error| refused(compiler_message(source.name, &error)))?;
        let module = self.context.load_module(image).during("loading a kernel")?;
        modules.insert((source.name, products), module.clone());
        Ok(module)
    }

    /// A matrix as [`Gpu::product_kernel`]'s kernels take it: `rows` rows of `depth` bf16 values to sum over,
    /// `stride` values apart.
    pub fn operand(
        &self,
        products: Products,
        values: Argument,
        stride: usize,
        rows: usize,
        depth: usize,
    ) -> Result<Argument> {
        Matrix { values, stride, rows, depth }.operand(self, products, depth, rows)
    }

    /// The same with the rows' values side by side: `depth` lines of `rows` values, `stride` apart.
    pub fn strided_operand(
        &self,
        products: Products,
        values: Argument,
        stride: usize,
        rows: usize,
        depth: usize,
    ) -> Result<Argument> {
        Matrix { values, stride, rows, depth }.operand(self, products, rows, depth)
    }

    /// A buffer whose values are not set.
    pub fn buffer<T: DeviceRepr>(&self, count: usize) -> Result<Buffer<T>> {
        // SAFETY: kernels and copies write a buffer before anything reads it, as each caller sees to.
        let slice = unsafe { self.compute.alloc(count.max(1)) };
        Ok(Buffer { slice: slice.during("allocating device memory")? })
    }

    /// A buffer of zeros.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, count: usize) -> Result<Buffer<T>> {
        let mut buffer = self.buffer(count)?;
        self.clear(&mut buffer)?;
        Ok(buffer)
    }

    /// Sets a buffer to zero.
    pub fn clear<T: DeviceRepr + ValidAsZeroBits>(&self, buffer: &mut Buffer<T>) -> Result<()> {
        self.compute.memset_zeros(&mut buffer.slice).during("clearing device memory")
    }

    /// A buffer with these values, there when this returns.
    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.buffer(values.len())?;
        if !values.is_empty() {
            let mut target = buffer.slice.slice_mut(..values.len());
            self.compute.memcpy_htod(values, &mut target).during("copying to the device")?;
        }
        self.synchronize()?;
        Ok(buffer)
    }

    /// The first values of a buffer, once all work before is done.
    pub fn download<T: DeviceRepr + Default + Clone>(
        &self,
        buffer: &Buffer<T>,
        count: usize,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::default(); count];
        if count > 0 {
            let source = buffer.slice.slice(..count);
            self.compute.memcpy_dtoh(&source, &mut values).during("copying from the device")?;
        }
        self.synchronize()?;
        Ok(values)
    }

    /// Copies values over those of a buffer from `at` on, there when this returns.
    pub fn write<T: DeviceRepr>(&self, buffer: &Buffer<T>, at: usize, values: &[T]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let address = buffer.part(at, values.len())?;
        self.bind()?;
        // SAFETY: the part lies within the buffer, and the copy is waited for.
        unsafe { result::memcpy_htod_async(address, values, self.compute.cu_stream()) }
            .during("copying to the device")?;
        self.synchronize()
    }

    /// `count` values of a buffer from `at` on, once all work before is done.
    pub fn read<T: DeviceRepr + Default + Clone>(
        &self,
        buffer: &Buffer<T>,
        at: usize,
        count: usize,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::default(); count];
        if count > 0 {
            let address = buffer.part(at, count)?;
            self.bind()?;
            // SAFETY: as in `write`.
            unsafe { result::memcpy_dtoh_async(&mut values, address, self.compute.cu_stream()) }
                .during("copying from the device")?;
        }
        self.synchronize()?;
        Ok(values)
    }

    /// Makes the device this thread's, for libraries that rely on it.
    pub fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().during("choosing the device")
    }

    /// The stream of the kernels.
    pub fn stream(&self) -> sys::CUstream {
        self.compute.cu_stream()
    }

    /// Waits for all kernels; the failure of any of them shows here.
    pub fn synchronize(&self) -> Result<()> {
        self.compute.synchronize().during("running kernels")
    }

    /// A point in the kernels' time, for measurements.
    pub fn mark(&self) -> Result<CudaEvent> {
        use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
        self.compute.record_event(Some(CU_EVENT_DEFAULT)).during("marking the time")
    }

    /// Two pinned buffers through which data is copied while kernels run.
    pub fn uploader(&self) -> Result<Uploader<'_>> {
        // SAFETY: every piece is filled before it is copied from.
        let pinned = || unsafe { self.context.alloc_pinned(PIECE_BYTES) };
        let pinned = || pinned().during("allocating pinned memory");
        Ok(Uploader { gpu: self, pieces: [pinned()?, pinned()?], next: 0 })
    }
}

/// What NVRTC said, with its log where it got as far as having one.
fn compiler_message(source: &str, error: &CompileError) -> String {
    match error {
        CompileError::CompileError { log, .. } => format!("{source}: {}", log.to_string_lossy()),
        error => format!("{source}: {error:?}"),
    }
}

/// Values on the device.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    slice: CudaSlice<T>,
}

impl<T> Buffer<T> {
    /// The address of a value, as a kernel's argument.
    pub fn at(&self, index: usize) -> Argument {
        use cudarc::driver::DevicePtr;
        let (first, _order) = self.slice.device_ptr(self.slice.stream());
        Argument::Address(first + (index * size_of::<T>()) as u64)
    }

    /// The address of the first value.
    pub fn first(&self) -> Argument {
        self.at(0)
    }

    /// The address of `count` values from `at` on.
    fn part(&self, at: usize, count: usize) -> Result<u64> {
        use cudarc::driver::DevicePtr;
        let reach = at.checked_add(count).filter(|&end| end <= self.slice.len());
        if reach.is_none() {
            let reason = format!("{count} values from {at} on, of {}", self.slice.len());
            return Err(Error::Cuda { operation: "copying part of a buffer", reason });
        }
        let (first, _order) = self.slice.device_ptr(self.slice.stream());
        Ok(first + (at * size_of::<T>()) as u64)
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.slice.num_bytes()
    }
}

/// An operand of a product before it is put as a kernel takes it.
struct Matrix {
    values: Argument,
    stride: usize,
    rows: usize,
    depth: usize,
}

impl Matrix {
    /// `columns` of `lines` lie side by side.
    fn operand(self, gpu: &Gpu, products: Products, columns: usize, lines: usize) -> Result<Argument> {
        let Argument::Address(address) = self.values else {
            return Err(Error::Cuda {
                operation: "passing a matrix",
                reason: "an operand needs an address".to_owned(),
            });
        };
        let bits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match products {
            Products::Portable => Ok(Argument::Rows(Rows {
                address,
                stride: bits(self.stride),
                rows: bits(self.rows),
                depth: bits(self.depth),
            })),
            Products::Hopper => gpu.boxes(address, self.stride, columns, lines).map(Argument::Boxes),
        }
    }
}

impl Gpu {
    /// The driver's description of a bf16 matrix that is copied box by box; what lies outside reads as zero.
    fn boxes(&self, address: u64, stride: usize, columns: usize, lines: usize) -> Result<Boxes> {
        use sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
        use sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
        use sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE;
        use sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
        use sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B;
        self.context.bind_to_thread().during("describing a matrix")?;
        let mut map = CUtensorMap { opaque: [0; 16] };
        let (sizes, strides) = ([columns as u64, lines as u64], [stride as u64 * 2]);
        // SAFETY: two dimensions, so two sizes, one stride, two sides of the box and two steps; `map` is written.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                2,
                address as *mut c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                [BOX, BOX].as_ptr(),
                [1, 1].as_ptr(),
                CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()
        .during("describing a matrix")?;
        Ok(Boxes(map))
    }
}

/// `product.cuh`'s operand.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    address: u64,
    stride: u32,
    rows: u32,
    depth: u32,
}
// SAFETY: four numbers; the padding behind them is the same in C++.
unsafe impl DeviceRepr for Rows {}

/// `hopper.cuh`'s operand.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boxes(CUtensorMap);
// SAFETY: the driver's own type, passed by value as it asks for.
unsafe impl DeviceRepr for Boxes {}

/// One argument of a kernel. A count that does not fit is refused before it is made one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Address(u64),
    Count(u32),
    Stride(u64),
    Float(f32),
    Double(f64),
    Rows(Rows),
    Boxes(Boxes),
}

impl Argument {
    /// A number of rows, columns or entries; callers keep them within 32 bits.
    pub fn count(count: usize) -> Argument {
        Argument::Count(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Values from one row to the next.
    pub fn stride(stride: usize) -> Argument {
        Argument::Stride(stride as u64)
    }
}

/// A compiled kernel and how its blocks look.
#[derive(Debug)]
pub(crate) struct Kernel<'g> {
    gpu: &'g Gpu,
    function: CudaFunction,
    name: &'static str,
    threads: u32,
    shared_bytes: u32,
}

impl Kernel<'_> {
    /// Starts `columns x rows` blocks behind all earlier work.
    ///
    /// # Safety
    /// The arguments are those of the kernel's signature, in order and type, and every address reaches as many
    /// values as the kernel touches.
    pub unsafe fn launch(&self, (x, y): (usize, usize), arguments: &[Argument]) -> Result<()> {
        let size = |blocks: usize| u32::try_from(blocks).unwrap_or(u32::MAX);
        let config = LaunchConfig {
            grid_dim: (size(x), size(y), 1),
            block_dim: (self.threads, 1, 1),
            shared_mem_bytes: self.shared_bytes,
        };
        let mut builder = self.gpu.compute.launch_builder(&self.function);
        for argument in arguments {
            match argument {
                Argument::Address(value) | Argument::Stride(value) => builder.arg(value),
                Argument::Count(value) => builder.arg(value),
                Argument::Float(value) => builder.arg(value),
                Argument::Double(value) => builder.arg(value),
                Argument::Rows(value) => builder.arg(value),
                Argument::Boxes(value) => builder.arg(value),
            };
        }
        // SAFETY: the caller's.
        unsafe { builder.launch(config) }.map(drop).during(self.name)
    }
}

/// Copies host memory to the device piece by piece: while one pinned piece travels, the other is filled.
#[derive(Debug)]
pub(crate) struct Uploader<'g> {
    gpu: &'g Gpu,
    pieces: [PinnedHostSlice<u8>; 2],
    next: usize,
}

impl Uploader<'_> {
    /// Copies `bytes` to the start of `target` and returns when they are there.
    pub fn copy(&mut self, bytes: &[u8], target: &mut Buffer<u8>) -> Result<()> {
        let operation = "copying documents to the device";
        for (index, chunk) in bytes.chunks(PIECE_BYTES).enumerate() {
            let piece = &mut self.pieces[self.next];
            self.next = 1 - self.next;
            piece.as_mut_slice().during(operation)?[..chunk.len()].copy_from_slice(chunk);
            let source = Part { piece, bytes: chunk.len() };
            let mut target = target.slice.slice_mut(index * PIECE_BYTES..index * PIECE_BYTES + chunk.len());
            self.gpu.copies.memcpy_htod(&source, &mut target).during(operation)?;
        }
        self.gpu.copies.synchronize().during(operation)
    }
}

/// The first bytes of a pinned piece.
struct Part<'p> {
    piece: &'p mut PinnedHostSlice<u8>,
    bytes: usize,
}

impl HostSlice<u8> for Part<'_> {
    fn len(&self) -> usize {
        self.bytes
    }

    unsafe fn stream_synced_slice<'a>(
        &'a self,
        stream: &'a CudaStream,
    ) -> (&'a [u8], cudarc::driver::SyncOnDrop<'a>) {
        // SAFETY: the caller's.
        let (all, order) = unsafe { self.piece.stream_synced_slice(stream) };
        (&all[..self.bytes], order)
    }

    unsafe fn stream_synced_mut_slice<'a>(
        &'a mut self,
        stream: &'a CudaStream,
    ) -> (&'a mut [u8], cudarc::driver::SyncOnDrop<'a>) {
        // SAFETY: the caller's.
        let (all, order) = unsafe { self.piece.stream_synced_mut_slice(stream) };
        (&mut all[..self.bytes], order)
    }
}

/// The bytes of plain values.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` types have no padding, and a byte has no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Types every byte of which is set.
///
/// # Safety
/// No padding.
pub(crate) unsafe trait Plain {}
// SAFETY: a number.
unsafe impl Plain for f32 {}
// SAFETY: a number.
unsafe impl Plain for i8 {}
// SAFETY: sixteen bits in a transparent wrapper.
unsafe impl Plain for half::f16 {}
// SAFETY: sixteen bits in a transparent wrapper.
unsafe impl Plain for half::bf16 {}

/// The device's name, for reports.
///
/// # Errors
/// [`Error::Device`] when there is none.
pub fn device_name() -> Result<String> {
    gpu()?.name()
}

/// The ways of multiplying this device has, the fastest last.
///
/// # Errors
/// [`Error::Device`] when there is no device.
pub fn products() -> Result<Vec<Products>> {
    Ok(match gpu()?.products() {
        Products::Portable => vec![Products::Portable],
        Products::Hopper => vec![Products::Portable, Products::Hopper],
    })
}

/// Measures the kernels between its start and [`Stopwatch::milliseconds`], by the device's own clock.
#[derive(Debug)]
pub struct Stopwatch {
    started: CudaEvent,
}

impl Stopwatch {
    /// Starts behind all work asked for so far.
    ///
    /// # Errors
    /// [`Error::Device`] and [`Error::Cuda`].
    pub fn start() -> Result<Stopwatch> {
        Ok(Stopwatch { started: gpu()?.mark()? })
    }

    /// Waits for all work asked for since.
    ///
    /// # Errors
    /// [`Error::Cuda`], also for the failure of that work.
    pub fn milliseconds(self) -> Result<f64> {
        let ended = gpu()?.mark()?;
        self.started.elapsed_ms(&ended).map(f64::from).during("measuring time")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// On a machine without a driver the answer is a sentence, not a panic; with one there is a device.
    #[test]
    fn a_missing_driver_is_a_typed_answer() {
        if opens(&[c"libcuda.so.1", c"libcuda.so"]) {
            assert_eq!(available().is_ok(), gpu().is_ok());
            return;
        }
        assert_eq!(available(), Err(Unavailable::Cuda("no CUDA driver found (libcuda.so.1)".to_owned())));
        let refused = Device::Cuda.require().unwrap_err().to_string();
        assert_eq!(refused, "device cuda is not available: no CUDA driver found (libcuda.so.1)");
    }

    #[test]
    fn data_travels_in_pieces() {
        let Ok(gpu) = gpu() else { return };
        let bytes: Vec<u8> = (0..2 * PIECE_BYTES + 77).map(|i| (i % 251) as u8).collect();
        let mut target = gpu.buffer(bytes.len()).unwrap();
        gpu.uploader().unwrap().copy(&bytes, &mut target).unwrap();
        assert_eq!(gpu.download(&target, bytes.len()).unwrap(), bytes);
    }
}
