use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a device is. Two devices with equal fingerprints are expected to measure alike and to run each other's
/// plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The kind, with what tactics need to know of it.
    pub kind: DeviceKind,
    /// Human name, such as the processor's model.
    pub name: String,
    /// Anything else that could change a measurement: library versions, driver, clock policy. Sorted.
    pub properties: BTreeMap<String, String>,
}

/// The kinds of device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The host processor.
    Cpu(CpuInfo),
    /// An NVIDIA GPU.
    Cuda(CudaInfo),
}

/// What CUDA tactics need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaInfo {
    /// Compute capability, such as `(9, 0)`.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that one block may ask for, in bytes.
    pub shared_bytes: u64,
    /// Level 2 cache, in bytes.
    pub l2_bytes: u64,
    /// Device memory, in bytes.
    pub memory_bytes: u64,
    /// CUDA version of the driver, such as 13000.
    pub driver: u32,
    /// Version of NVRTC as `major * 1000 + minor * 10`, when it can be loaded.
    pub nvrtc: Option<u32>,
    /// Version of cuDNN, such as 91400, when it can be loaded.
    pub cudnn: Option<u32>,
    /// Version of cuBLASLt, such as 130002, when it can be loaded.
    pub cublaslt: Option<u32>,
}

impl CudaInfo {
    /// The architecture that code is compiled for, such as `sm_90a`: with the features of exactly this GPU where
    /// there are some.
    pub fn architecture(&self) -> String {
        cuda_architecture(self.capability)
    }
}

/// The architecture that code for a compute capability is compiled for: `sm_90a` for `(9, 0)`.
pub fn cuda_architecture((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
}

impl CudaInfo {
    /// An H100 (SXM, 80 GB) with NVRTC 13.0 alone, to plan for or to test without one.
    pub fn h100() -> CudaInfo {
        CudaInfo {
            capability: (9, 0),
            multiprocessors: 132,
            shared_bytes: 232_448,
            l2_bytes: 52_428_800,
            memory_bytes: 85_017_493_504,
            driver: 13000,
            nvrtc: Some(13000),
            cudnn: None,
            cublaslt: None,
        }
    }

    /// A GPU that is there on paper only.
    pub fn on_paper(self) -> DeviceInfo {
        DeviceInfo { kind: DeviceKind::Cuda(self), name: "paper".into(), properties: BTreeMap::new() }
    }
}

/// What CPU tactics need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuInfo {
    /// The instruction set that kernels use.
    pub isa: Isa,
    /// Worker threads, the caller's included.
    pub threads: usize,
    /// Level 1 data cache of one core, in bytes.
    pub l1_bytes: u64,
    /// Level 2 cache of one core, in bytes.
    pub l2_bytes: u64,
    /// Last-level cache, in bytes.
    pub l3_bytes: u64,
}

/// Vector instruction sets, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Isa {
    /// No explicit vector instructions: what the compiler makes of plain loops.
    Portable,
    /// Arm NEON, 4 floats.
    Neon,
    /// AVX2 and FMA, 8 floats.
    Avx2,
    /// AVX-512 F, VL, BW and DQ, 16 floats.
    Avx512,
}

impl Isa {
    /// Floats in one vector.
    pub const fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Avx2 => 8,
            Isa::Neon => 4,
            Isa::Avx512 => 16,
        }
    }

    /// Channels per block that suit this instruction set.
    pub const fn channel_block(self) -> u8 {
        match self {
            Isa::Avx512 => 16,
            Isa::Portable | Isa::Neon | Isa::Avx2 => 8,
        }
    }

    /// The name used in messages and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512]
            .into_iter()
            .find(|i| i.name() == s)
            .ok_or_else(|| format!("unknown instruction set `{s}`: expected portable, neon, avx2 or avx512"))
    }
}

impl DeviceInfo {
    /// The CPU's facts, if this is a CPU.
    pub fn cpu(&self) -> Option<&CpuInfo> {
        match &self.kind {
            DeviceKind::Cpu(c) => Some(c),
            DeviceKind::Cuda(_) => None,
        }
    }

    /// The GPU's facts, if this is an NVIDIA GPU.
    pub fn cuda(&self) -> Option<&CudaInfo> {
        match &self.kind {
            DeviceKind::Cuda(c) => Some(c),
            DeviceKind::Cpu(_) => None,
        }
    }

    /// `cpu` or `cuda`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            DeviceKind::Cpu(_) => "cpu",
            DeviceKind::Cuda(_) => "cuda",
        }
    }

    /// What code for the device is compiled for: an instruction set or an architecture.
    pub fn architecture(&self) -> String {
        match &self.kind {
            DeviceKind::Cpu(c) => c.isa.to_string(),
            DeviceKind::Cuda(c) => c.architecture(),
        }
    }

    /// Every fact that could change a measurement, as sorted `name = value` pairs: the device part of a timing key.
    pub fn fingerprint(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> =
            self.properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        pairs.push(("device".into(), self.kind_name().into()));
        pairs.push(("name".into(), self.name.clone()));
        match &self.kind {
            DeviceKind::Cpu(c) => {
                pairs.push(("isa".into(), c.isa.to_string()));
                pairs.push(("threads".into(), c.threads.to_string()));
                pairs.push(("l1".into(), c.l1_bytes.to_string()));
                pairs.push(("l2".into(), c.l2_bytes.to_string()));
                pairs.push(("l3".into(), c.l3_bytes.to_string()));
            }
            DeviceKind::Cuda(c) => {
                let version = |v: Option<u32>| v.map_or("none".to_owned(), |v| v.to_string());
                pairs.push(("architecture".into(), c.architecture()));
                pairs.push(("multiprocessors".into(), c.multiprocessors.to_string()));
                pairs.push(("shared".into(), c.shared_bytes.to_string()));
                pairs.push(("l2".into(), c.l2_bytes.to_string()));
                pairs.push(("memory".into(), c.memory_bytes.to_string()));
                pairs.push(("driver".into(), c.driver.to_string()));
                pairs.push(("nvrtc".into(), version(c.nvrtc)));
                pairs.push(("cudnn".into(), version(c.cudnn)));
                pairs.push(("cublaslt".into(), version(c.cublaslt)));
            }
        }
        pairs.sort();
        pairs
    }
}
