//! Where a kernel runs: chosen by name, logged by name, never silently swapped for another.

use std::fmt;
use std::str::FromStr;

use crate::amx;
use crate::error::{Error, Result};

/// One of the implementations every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The plain loops that define each operation.
    Scalar,
    /// The widest vector instructions this processor has, on all threads asked for.
    Simd,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
}

/// Why a device cannot be used on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The processor, or the target this was compiled for, has none of the vector instructions we use.
    #[error("this processor has none of AVX2 with FMA, AVX-512, NEON or wasm simd128")]
    NoVectorInstructions,
    /// The crate was built without its `cuda` feature.
    #[error("built without the `cuda` feature")]
    CudaNotBuilt,
    /// The `cuda` feature is there, the driver or a device is not.
    #[error("{0}")]
    Cuda(String),
    /// The operation has no implementation for this device.
    #[error("{operation} has no implementation for it")]
    NotImplemented {
        /// The operation asked for.
        operation: &'static str,
    },
}

impl Device {
    /// Every device, in the order of the report `graded doctor` prints.
    pub const ALL: [Device; 3] = [Device::Scalar, Device::Simd, Device::Cuda];

    /// The fastest processor device: [`Device::Simd`] where there are vector instructions, else
    /// [`Device::Scalar`]. A GPU is only used when asked for by name.
    #[must_use]
    pub fn auto() -> Device {
        if InstructionSet::best().is_some() { Device::Simd } else { Device::Scalar }
    }

    /// Whether this device can run here.
    ///
    /// # Errors
    /// [`Unavailable`], saying why not.
    pub fn available(self) -> std::result::Result<(), Unavailable> {
        match self {
            Device::Scalar => Ok(()),
            Device::Simd => InstructionSet::best().map(|_| ()).ok_or(Unavailable::NoVectorInstructions),
            #[cfg(feature = "cuda")]
            Device::Cuda => crate::cuda::available(),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda => Err(Unavailable::CudaNotBuilt),
        }
    }

    /// The same, as the error a kernel returns.
    ///
    /// # Errors
    /// [`Error::Device`] when the device cannot run here.
    pub fn require(self) -> Result<()> {
        self.available().map_err(|reason| Error::Device { device: self, reason })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Device::Scalar => "scalar",
            Device::Simd => "simd",
            Device::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    /// Reads `auto`, `scalar`, `simd` or `cuda`.
    fn from_str(name: &str) -> Result<Device> {
        match name {
            "auto" => Ok(Device::auto()),
            "scalar" => Ok(Device::Scalar),
            "simd" => Ok(Device::Simd),
            "cuda" => Ok(Device::Cuda),
            _ => Err(Error::UnknownDevice { name: name.to_owned() }),
        }
    }
}

/// The vector instructions behind [`Device::Simd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// x86-64 with AVX2, FMA and F16C: 256 bits.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, and POPCNT: 512 bits.
    Avx512,
    /// [`InstructionSet::Avx512`] with VNNI: four 8-bit products per lane and instruction.
    Avx512Vnni,
    /// [`InstructionSet::Avx512Vnni`] with AMX: 8-bit products of tiles of 16 x 64. On Linux, which must be asked for it.
    Avx512Amx,
    /// 64-bit Arm: 128 bits.
    Neon,
    /// WebAssembly compiled with `+simd128`: 128 bits, no fused multiply-add.
    Simd128,
}

impl InstructionSet {
    /// Every set, narrowest first within an architecture.
    pub const ALL: [InstructionSet; 6] = [
        InstructionSet::Avx2,
        InstructionSet::Avx512,
        InstructionSet::Avx512Vnni,
        InstructionSet::Avx512Amx,
        InstructionSet::Neon,
        InstructionSet::Simd128,
    ];

    /// The set [`Device::Simd`] uses here: the last of [`InstructionSet::ALL`] that is available.
    #[must_use]
    pub fn best() -> Option<InstructionSet> {
        InstructionSet::ALL.into_iter().rev().find(|set| set.is_available())
    }

    /// Every set this processor has, for tests that run each of them.
    pub fn all_available() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::ALL.into_iter().filter(|set| set.is_available())
    }

    /// Whether this processor (for wasm: this build) has the set.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            InstructionSet::Avx2 => has_avx2(),
            InstructionSet::Avx512 => has_avx2() && has_avx512(),
            InstructionSet::Avx512Vnni => has_avx2() && has_avx512() && has_avx512_vnni(),
            InstructionSet::Avx512Amx => has_avx2() && has_avx512() && has_avx512_vnni() && amx::available(),
            InstructionSet::Neon => cfg!(all(target_arch = "aarch64", target_feature = "neon")),
            InstructionSet::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_vnni() -> bool {
    is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512_vnni() -> bool {
    false
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            InstructionSet::Avx2 => "AVX2+FMA",
            InstructionSet::Avx512 => "AVX-512",
            InstructionSet::Avx512Vnni => "AVX-512 VNNI",
            InstructionSet::Avx512Amx => "AVX-512 VNNI, AMX",
            InstructionSet::Neon => "NEON",
            InstructionSet::Simd128 => "wasm simd128",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_reads_back_the_name_it_prints() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("auto".parse::<Device>().unwrap(), Device::auto());
        let unknown = "gpu".parse::<Device>().unwrap_err();
        assert_eq!(unknown.to_string(), "unknown device \"gpu\"; expected auto, scalar, simd or cuda");
    }

    #[test]
    fn an_unavailable_device_says_why() {
        assert_eq!(Device::Scalar.require(), Ok(()));
        for device in Device::ALL {
            if let Err(error) = device.require() {
                let reason = device.available().unwrap_err();
                assert_eq!(error.to_string(), format!("device {device} is not available: {reason}"));
            }
        }
    }

    #[test]
    fn the_best_set_is_available_and_auto_uses_it() {
        match InstructionSet::best() {
            Some(set) => {
                assert!(set.is_available());
                assert_eq!(Device::auto(), Device::Simd);
            }
            None => assert_eq!(Device::auto(), Device::Scalar),
        }
    }
}
