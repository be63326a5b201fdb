//! `argreduce.cuda`: positions of the largest or smallest elements, any type, in plain layout, on CUDA.

use tactician_device::DeviceInfo;
use tactician_ir::{Op, Problem};
use tactician_kernels::{Arguments, Divisor, Grid, sources};
use tactician_types::Layout;

use crate::pointwise_cuda::{bytes, launch, spans, whole_step};
use crate::{Family, Tactic};

pub(crate) static FAMILY: ArgReduceCuda = ArgReduceCuda;

pub(crate) struct ArgReduceCuda;

impl Family for ArgReduceCuda {
    fn id(&self) -> &'static str {
        "argreduce.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        tactic(problem, device).into_iter().collect()
    }
}

fn tactic(problem: &Problem, device: &DeviceInfo) -> Option<Tactic> {
    let (Some(cuda), Op::ArgReduce(op)) = (device.cuda(), &problem.anchor) else { return None };
    let x = &problem.operands[0];
    let sizes = x.ty.sizes()?;
    if !problem.epilogue.is_identity() || op.axis >= sizes.len() {
        return None;
    }
    // Checks the number of elements.
    Grid::new(&sizes, &[])?;
    let n = sizes[op.axis] as u32;
    let inner: usize = sizes[op.axis + 1..].iter().product();
    let outputs = sizes.iter().product::<usize>() as u32 / n;
    let arguments = Arguments::new().u32(n).u32(outputs).divisor(Divisor::new(inner as u32));
    let mut args = spans(2);
    args.push(bytes(arguments));
    let launch = launch(cuda, sources::ARG_REDUCE, outputs.checked_mul(32)?, 256, args);
    let code = sources::arg_reduce(x.ty.dtype, op.largest, op.last);
    whole_step("argreduce.cuda/plain".into(), problem, Layout::Plain, code, vec![launch])
}
