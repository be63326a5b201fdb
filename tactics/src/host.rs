//! `host.cpu`: the CPU's tactics as steps of a GPU's plan, for what no kernel of the GPU serves.
//!
//! `host.cpu/pool.cpu/plain` is the CPU's `pool.cpu/plain`. Operands and output are plain and cross over at every run;
//! constants stay on the host. No scratch on the GPU. It is no entry of [`crate::ALL`]: see [`crate::tactics_where`].

use std::sync::Arc;

use tactician_cuda::{HOST_THREADS, HostInput, HostRun};
use tactician_device::{CpuInfo, DeviceInfo, DeviceKind, Isa};
use tactician_ir::Problem;
use tactician_types::Layout;

use crate::{ALL, Ahead, Arg, Constants, Emission, EmitError, Family, HOST_FAMILY, StepSpec, Tactic};

pub(crate) static FAMILY: Host = Host;

pub(crate) struct Host;

impl Family for Host {
    fn id(&self) -> &'static str {
        HOST_FAMILY
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        if device.cuda().is_none() {
            return vec![];
        }
        let host = any_host();
        let plain = |t: &Tactic| !t.view && t.inputs.iter().chain([&t.output]).all(|&l| l == Layout::Plain);
        ALL.iter().flat_map(|f| f.tactics(problem, &host)).filter(plain).map(crossing).collect()
    }
}

/// A processor that every host of a GPU can stand in for: plans do not depend on which one it is.
fn any_host() -> DeviceInfo {
    let cpu = CpuInfo {
        isa: Isa::Portable,
        threads: HOST_THREADS,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 16 << 20,
    };
    DeviceInfo { kind: DeviceKind::Cpu(cpu), name: "any host".into(), properties: Default::default() }
}

/// A tactic of the CPU as one of the GPU.
fn crossing(cpu: Tactic) -> Tactic {
    let id = format!("{HOST_FAMILY}/{}", cpu.id);
    let (inputs, output, growth) = (cpu.inputs.clone(), cpu.output, cpu.growth);
    let name = id.clone();
    let emit = move |constants: &Constants<'_>| {
        let fail = |problem: String| EmitError { tactic: name.clone(), problem };
        let emission = (cpu.emit)(constants)?;
        let [step] = emission.steps.as_slice() else {
            return Err(fail(format!("it has {} steps on the CPU", emission.steps.len())));
        };
        let mut given = Vec::new();
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for arg in &step.inputs {
            inputs.push(match *arg {
                Arg::Packed(i) => {
                    let packed = emission.packed.get(i);
                    HostInput::Kept(
                        packed.ok_or_else(|| fail(format!("there is no constant {i}")))?.bytes.to_vec(),
                    )
                }
                _ => {
                    given.push(*arg);
                    HostInput::Given
                }
            });
        }
        let run = HostRun {
            kernel: step.kernel.to_owned(),
            params: step.params.clone(),
            inputs,
            scratch: step.scratch,
        };
        let params =
            postcard::to_stdvec(&run).map_err(|e| fail(format!("its parameters do not encode: {e}")))?;
        let step = StepSpec {
            kernel: HostRun::NAME,
            params,
            inputs: given,
            outputs: step.outputs.clone(),
            scratch: 0,
            code: None,
        };
        Ok(Emission { steps: vec![step], ..Emission::default() })
    };
    Tactic {
        id,
        inputs,
        output,
        workspace: 0,
        growth,
        view: false,
        ahead: Ahead::Nothing,
        emit: Arc::new(emit),
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
