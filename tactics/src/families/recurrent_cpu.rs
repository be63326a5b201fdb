//! `recurrent.cpu`: LSTM, GRU and plain recurrent layers, any float type, in plain layout, on the CPU.
//!
//! `ahead` makes the products with the input for all steps before the first, in workspace; `step` at each step.

use tactician_cpu::ops::Recurrent;
use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::Layout;

use crate::pointwise_cpu::{Pass, tactic, whole};
use crate::{Family, Tactic};

pub(crate) static FAMILY: RecurrentCpu = RecurrentCpu;

pub(crate) struct RecurrentCpu;

impl Family for RecurrentCpu {
    fn id(&self) -> &'static str {
        "recurrent.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Op::Recurrent(layer)) = (device.cpu(), &problem.anchor) else { return vec![] };
        let passes: Option<Vec<Pass>> = problem.operands.iter().map(|o| whole(o, Layout::Plain)).collect();
        let (Some(passes), true) = (passes, problem.epilogue.is_identity()) else { return vec![] };
        let sizes = |i: usize| problem.operands[i].ty.sizes();
        let (Some([time, batch, width]), Some([.., hidden])) = (sizes(0).as_deref().map(three), sizes(2).as_deref().map(three)) else {
            return vec![];
        };
        let kernel = |ahead| Recurrent {
            layer: layer.clone(),
            dtype: problem.output.dtype,
            time,
            batch,
            width,
            hidden,
            ahead,
        };
        [("step", false), ("ahead", true)]
            .into_iter()
            // Without elements there is nothing to make ahead.
            .filter(|&(_, ahead)| !ahead || time * batch * width * hidden > 0)
            .filter_map(|(name, ahead)| {
                let id = format!("recurrent.cpu/{name}");
                tactic(id, problem, cpu, kernel(ahead), passes.clone(), Layout::Plain)
            })
            .collect()
    }
}

/// The three sizes of an operand of rank 3, which inference made sure of.
fn three(sizes: &[usize]) -> [usize; 3] {
    [sizes[0], sizes[1], sizes[2]]
}
