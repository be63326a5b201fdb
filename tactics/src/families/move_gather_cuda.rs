//! `move.cuda.gather`: parts or elements picked by an index tensor, in plain layout, on CUDA, any type, no scratch.
//!
//! Indices outside the axis are taken as the nearest one inside.

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_kernels::{Arguments, Divisor, Grid, sources};
use tactician_types::{DType, Layout};

use crate::pointwise_cuda::{bytes, launch, spans, whole_step};
use crate::{Family, Tactic};

pub(crate) static FAMILY: GatherCuda = GatherCuda;

pub(crate) struct GatherCuda;

impl Family for GatherCuda {
    fn id(&self) -> &'static str {
        "move.cuda.gather"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        tactic(problem, device).into_iter().collect()
    }
}

fn tactic(problem: &Problem, device: &DeviceInfo) -> Option<Tactic> {
    let cuda = device.cuda().filter(|_| problem.epilogue.is_identity())?;
    let [x, indices] = problem.operands.as_slice() else { return None };
    let index = indices.ty.dtype;
    if !matches!(index, DType::I32 | DType::I64) {
        return None;
    }
    let (input, picks, out) = (x.ty.sizes()?, indices.ty.sizes()?, problem.output.sizes()?);
    // Checks the numbers of elements.
    let (elements, _) = (Grid::new(&out, &[])?.elements(), Grid::new(&input, &[])?);
    let element = x.ty.dtype.size();
    let mut args = spans(3);
    match &problem.anchor {
        Op::Gather(g) => {
            let part = input[g.axis + 1..].iter().product::<usize>() * element;
            let mut unit = 16;
            while !part.is_multiple_of(unit) {
                unit /= 2;
            }
            let units = (elements as usize * element / unit) as u32;
            let count = picks.iter().product::<usize>() as u32;
            let arguments = Arguments::new()
                .divisor(Divisor::new((part / unit) as u32))
                .divisor(Divisor::new(count))
                .u32(input[g.axis] as u32)
                .u32(units);
            args.push(bytes(arguments));
            let launch = launch(cuda, sources::GATHER, units, 256, args);
            let code = sources::gather(unit as u32, index);
            whole_step("move.cuda.gather/plain".into(), problem, Layout::Plain, code, vec![launch])
        }
        Op::GatherElements(g) => {
            let mut steps = vec![1u32; input.len()];
            for i in (1..input.len()).rev() {
                steps[i - 1] = steps[i] * input[i] as u32;
            }
            let mut arguments = out.iter().fold(Arguments::new(), |a, &n| a.divisor(Divisor::new(n as u32)));
            arguments = steps.iter().fold(arguments, |a, &s| a.u32(s));
            arguments = arguments.u32(g.axis as u32).u32(input[g.axis] as u32).u32(elements);
            args.push(bytes(arguments));
            let launch = launch(cuda, sources::GATHER_ELEMENTS, elements, 256, args);
            let code = sources::gather_elements(element as u32, index, out.len());
            whole_step("move.cuda.gather/elements".into(), problem, Layout::Plain, code, vec![launch])
        }
        _ => None,
    }
}
