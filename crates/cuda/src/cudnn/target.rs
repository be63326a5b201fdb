//! The GPU that graphs are made for, as cuDNN wants it described.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use tactician_cudnn_sys::{AttributeName, AttributeType, Cudnn, DescriptorType};
use tactician_device::{CudaInfo, DeviceError};

use super::descriptor::Descriptor;

/// Most GPUs of one machine that are looked at.
const MOST_DEVICES: i32 = 64;

/// A GPU, as a number of this machine or as cuDNN's own description of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The number that CUDA gives it.
    Ordinal(i32),
    /// A description in JSON: serves graphs and engine lists where no GPU is.
    Description(String),
}

impl Target {
    /// The target for a device as `tactician` describes it: the GPU of this machine that fits, else a description made
    /// of what is known.
    pub(crate) fn of(cudnn: &'static Cudnn, info: &CudaInfo) -> Target {
        static KNOWN: Mutex<BTreeMap<String, Target>> = Mutex::new(BTreeMap::new());
        let text = description(info).to_string();
        let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
        known
            .entry(text)
            .or_insert_with_key(|text| {
                (0..MOST_DEVICES)
                    .map_while(|i| Some((i, described(cudnn, i).ok()?)))
                    .find(|(_, found)| fits(found, info))
                    .map_or_else(|| Target::Description(text.clone()), |(i, _)| Target::Ordinal(i))
            })
            .clone()
    }

    /// The descriptor of it.
    pub(crate) fn descriptor(&self, cudnn: &'static Cudnn) -> Result<Descriptor, DeviceError> {
        let mut d = Descriptor::new(cudnn, DescriptorType::DEVICEPROP)?;
        match self {
            Target::Ordinal(i) => d.set(AttributeName::DEVICEPROP_DEVICE_ID, &[*i])?,
            Target::Description(text) => {
                // The text ends with a zero, which counts.
                let bytes: Vec<u8> = text.bytes().chain([0]).collect();
                d.set(AttributeName::DEVICEPROP_JSON_REPRESENTATION, &bytes)?;
            }
        }
        d.finalize()?;
        Ok(d)
    }
}

/// What cuDNN says of a GPU of this machine.
fn described(cudnn: &'static Cudnn, ordinal: i32) -> Result<Value, DeviceError> {
    let d = Target::Ordinal(ordinal).descriptor(cudnn)?;
    let text = characters(&d, AttributeName::DEVICEPROP_JSON_REPRESENTATION)?;
    serde_json::from_str(&text)
        .map_err(|e| DeviceError::Failed { call: "describing a GPU".to_owned(), reason: e.to_string() })
}

/// A text attribute.
pub(crate) fn characters(d: &Descriptor, name: AttributeName) -> Result<String, DeviceError> {
    let bytes = d.get(name, d.count(name, AttributeType::CHAR)?, 0u8)?;
    let text = bytes.split(|&b| b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Whether cuDNN's description is of the device.
fn fits(found: &Value, info: &CudaInfo) -> bool {
    let (major, minor) = info.capability;
    let same = |key: &str, value: u64| found[key].as_u64() == Some(value);
    same("deviceVer", u64::from(major * 100 + minor * 10))
        && same("multiProcessorCount", u64::from(info.multiprocessors))
        && same("maxSharedMemoryPerBlockOptin", info.shared_bytes)
        && same("l2CacheSize", info.l2_bytes)
}

/// A description of a device in cuDNN's words. What `CudaInfo` does not say follows from the architecture; clocks and
/// bus, which engine lists do not depend on, are those of an H100.
pub(super) fn description(info: &CudaInfo) -> Value {
    let (major, minor) = info.capability;
    let (threads, blocks) = match (major, minor) {
        (7, 5) => (1024, 16),
        (8, 0) | (9, _) | (10, _) => (2048, 32),
        (8, 9) | (11, _) | (12, _) => (1536, 24),
        _ => (1536, 16),
    };
    json!({
        "deviceVer": major * 100 + minor * 10,
        "driverVer": info.driver,
        "cudaDeviceId": 0,
        "deviceName": format!("sm_{major}{minor}"),
        "multiProcessorCount": info.multiprocessors,
        "smCountOrigin": info.multiprocessors,
        "warpSize": 32,
        "maxGridSize": [2_147_483_647u32, 65535, 65535],
        "maxBlockSize": [1024, 1024, 64],
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": threads,
        "maxCtasPerSM": blocks,
        "regsPerBlock": 65536,
        "maxRegistersPerSM": 65536,
        "maxSharedMemoryPerBlock": 49152,
        "maxSharedMemoryPerBlockOptin": info.shared_bytes,
        "oversizedSharedMemoryPerBlock": info.shared_bytes,
        "reservedSharedMemoryPerBlock": 1024,
        "totalGlobalMem": info.memory_bytes,
        "l2CacheSize": info.l2_bytes,
        "smClockRateKHz": 1_980_000,
        "memClockRateKHz": 2_619_000,
        "memoryBusWidth": 5120,
        "pciDeviceId": 0,
        "isTccDriver": 0,
        "supportCoopLaunch": 1,
    })
}
