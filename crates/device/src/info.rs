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
        }
    }

    /// `cpu`, and what else follows.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            DeviceKind::Cpu(_) => "cpu",
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
        }
        pairs.sort();
        pairs
    }
}
