//! Execution plans: an engine with its settings, compiled for a GPU.

use tactician_cudnn_sys::{AttributeName, Cudnn, DescriptorType};
use tactician_device::DeviceError;

use super::descriptor::{Descriptor, RawPointer};
use super::engines;
use super::graph::OperationGraph;
use super::spec::GraphSpec;
use super::target::{Target, characters};

/// A finalized execution plan, with what it was made of.
pub(crate) struct Plan {
    pub(crate) descriptor: Descriptor,
    _parts: Vec<Descriptor>,
    _graph: Option<OperationGraph>,
}

impl Plan {
    /// Compiles a graph with an engine and its knobs.
    pub(crate) fn build(
        cudnn: &'static Cudnn,
        target: &Target,
        spec: &GraphSpec,
        engine: i64,
        knobs: &[(i32, i64)],
    ) -> Result<Plan, DeviceError> {
        let device = target.descriptor(cudnn)?;
        let graph = OperationGraph::new(cudnn, spec)?;
        let engine = engines::engine(cudnn, &graph, &device, engine)?;
        let (configuration, choices) = engines::configuration(cudnn, &engine, knobs)?;
        let mut descriptor = Descriptor::new(cudnn, DescriptorType::EXECUTION_PLAN)?;
        descriptor.link(AttributeName::EXECUTION_PLAN_ENGINE_CONFIG, &[&configuration])?;
        descriptor.link(AttributeName::EXECUTION_PLAN_DEVICEPROP, &[&device])?;
        descriptor.finalize()?;
        let mut parts = choices;
        parts.extend([configuration, engine, device]);
        Ok(Plan { descriptor, _parts: parts, _graph: Some(graph) })
    }

    /// Reads a plan in cuDNN's own form, as [`Plan::text`] gives it.
    pub(crate) fn read(cudnn: &'static Cudnn, target: &Target, text: &str) -> Result<Plan, DeviceError> {
        let device = target.descriptor(cudnn)?;
        let mut descriptor = Descriptor::new(cudnn, DescriptorType::EXECUTION_PLAN)?;
        descriptor.link(AttributeName::EXECUTION_PLAN_DEVICEPROP, &[&device])?;
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        descriptor.set(AttributeName::EXECUTION_PLAN_JSON_REPRESENTATION, &bytes)?;
        descriptor.finalize()?;
        Ok(Plan { descriptor, _parts: vec![device], _graph: None })
    }

    /// Scratch in bytes.
    pub(crate) fn workspace(&self) -> Result<u64, DeviceError> {
        let found = self.descriptor.get(AttributeName::EXECUTION_PLAN_WORKSPACE_SIZE, 1, 0i64)?;
        found.first().and_then(|&w| u64::try_from(w).ok()).ok_or_else(|| DeviceError::Failed {
            call: "reading a plan's workspace size".to_owned(),
            reason: format!("cuDNN says {found:?}"),
        })
    }

    /// The plan in cuDNN's own form: JSON, good for this version of cuDNN and this kind of GPU.
    pub(crate) fn text(&self) -> Result<String, DeviceError> {
        characters(&self.descriptor, AttributeName::EXECUTION_PLAN_JSON_REPRESENTATION)
    }
}

/// A variant pack: which address each tensor has.
pub(crate) fn variant_pack(
    cudnn: &'static Cudnn,
    ids: &[i64],
    addresses: &[RawPointer],
    workspace: RawPointer,
) -> Result<Descriptor, DeviceError> {
    let mut d = Descriptor::new(cudnn, DescriptorType::VARIANT_PACK)?;
    d.set(AttributeName::VARIANT_PACK_UNIQUE_IDS, ids)?;
    d.set(AttributeName::VARIANT_PACK_DATA_POINTERS, addresses)?;
    d.set(AttributeName::VARIANT_PACK_WORKSPACE, &[workspace])?;
    d.finalize()?;
    Ok(d)
}
