//! `view`: a reshape is its operand's bytes, and so are bits read as another type.
//!
//! Serves both in plain layout, on every device, for nothing: the plan gets no step.

use std::sync::Arc;

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_types::{Growth, Layout};

use crate::{Ahead, Emission, Family, Tactic};

pub(crate) static FAMILY: View = View;

pub(crate) struct View;

impl Family for View {
    fn id(&self) -> &'static str {
        "view"
    }

    fn tactics(&self, problem: &Problem, _device: &DeviceInfo) -> Vec<Tactic> {
        let moves_nothing = matches!(problem.anchor, Op::Reshape(_) | Op::BitCast(_)) && problem.epilogue.is_identity();
        if !moves_nothing || problem.operands[0].constant {
            return vec![];
        }
        vec![Tactic {
            id: "view/plain".into(),
            inputs: vec![Layout::Plain],
            output: Layout::Plain,
            workspace: 0,
            growth: Growth::NONE,
            view: true,
            ahead: Ahead::Nothing,
            emit: Arc::new(|_| Ok(Emission { view_of: Some(0), ..Emission::default() })),
        }]
    }
}
