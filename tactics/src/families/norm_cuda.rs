//! `norm.cuda`: layer, root-mean-square, instance, group and local response normalisation with any epilogue, floats, on
//! CUDA. (Batch normalisation is an expression: see `pointwise.cuda`.)
//!
//! `norm.cuda/group-nhwc.rows256.v8`: 256 threads a group of elements, 8 at a time. No scratch.

use tactician_device::{CudaInfo, DeviceInfo};
use tactician_ir::{Lrn, Op, Problem};
use tactician_kernels::{Arguments, Divisor, sources};
use tactician_types::{Binary, Expr, ExprNode, Layout};

use crate::pointwise_cpu::{Pass, after, pass, pass_channels};
use crate::pointwise_cuda::{
    after_anchor, bytes, epilogue, launch, layouts, one_step, spans, vector_of,
};
use crate::{Family, Tactic};

pub(crate) static FAMILY: NormCuda = NormCuda;

pub(crate) struct NormCuda;

impl Family for NormCuda {
    fn id(&self) -> &'static str {
        "norm.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cuda) = device.cuda().filter(|_| problem.result.dtype.is_float()) else { return vec![] };
        let Some(sizes) = problem.result.sizes() else { return vec![] };
        let each = |serve: &dyn Fn(Layout) -> Option<Vec<Tactic>>| {
            layouts(&sizes).into_iter().flat_map(|l| serve(l).unwrap_or_default()).collect()
        };
        let rows = |name, axis: usize, rms, epsilon| {
            Rows::tail(name, &sizes, axis, rms, epsilon)?.tactics(problem, cuda, &sizes, Layout::Plain)
        };
        match &problem.anchor {
            Op::LayerNorm(o) => rows("layer", o.axis, false, o.epsilon).unwrap_or_default(),
            Op::RmsNorm(o) => rows("rms", o.axis, true, o.epsilon).unwrap_or_default(),
            Op::InstanceNorm(o) => each(&|l| {
                let channels = *sizes.get(1)?;
                Rows::groups("instance", &sizes, channels, o.epsilon, l)?.tactics(problem, cuda, &sizes, l)
            }),
            Op::GroupNorm(o) => each(&|l| {
                Rows::groups("group", &sizes, o.groups, o.epsilon, l)?.tactics(problem, cuda, &sizes, l)
            }),
            Op::Lrn(o) => each(&|l| Some(vec![lrn(problem, cuda, o, &sizes, l)?])),
            _ => vec![],
        }
    }
}

/// Groups of elements to normalise: group `g` of `outer` starts at `outer * outer_step + g * group_step`; its element
/// `i` is `i / inner * step + i % inner` further on.
#[derive(Clone, Debug, PartialEq)]
struct Rows {
    name: &'static str,
    rows: u32,
    n: u32,
    groups: u32,
    outer_step: u32,
    group_step: u32,
    inner: u32,
    step: u32,
    rms: bool,
    epsilon: f32,
    /// Whether scale and bias are per channel, rather than broadcast to the result.
    channels: bool,
}

impl Rows {
    /// Over all axes from `axis` on.
    fn tail(name: &'static str, sizes: &[usize], axis: usize, rms: bool, epsilon: f32) -> Option<Rows> {
        let count = |of: &[usize]| u32::try_from(of.iter().product::<usize>()).ok().filter(|&n| n > 0);
        let (a, b) = sizes.split_at_checked(axis)?;
        let (rows, n) = (count(a)?, count(b)?);
        Some(Rows {
            name,
            rows,
            n,
            groups: 1,
            outer_step: n,
            group_step: 0,
            inner: n,
            step: 0,
            rms,
            epsilon,
            channels: false,
        })
    }

    /// Over groups of channels of each image.
    fn groups(name: &'static str, sizes: &[usize], groups: usize, epsilon: f32, layout: Layout) -> Option<Rows> {
        let count = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0);
        let [images, channels] = [*sizes.first()?, *sizes.get(1)?];
        let pixels = count(sizes[2..].iter().product())?;
        let (images, groups, channels) = (count(images)?, count(groups)?, count(channels)?);
        let own = channels / groups;
        let n = own.checked_mul(pixels)?;
        let outer_step = channels.checked_mul(pixels)?;
        let (group_step, inner, step) = match layout {
            Layout::ChannelsLast => (own, own, channels),
            _ => (n, n, 0),
        };
        let rows = images.checked_mul(groups)?;
        Some(Rows {
            name,
            rows,
            n,
            groups,
            outer_step,
            group_step,
            inner,
            step,
            rms: false,
            epsilon,
            channels: true,
        })
    }

    fn tactics(&self, problem: &Problem, cuda: &CudaInfo, sizes: &[usize], layout: Layout) -> Option<Vec<Tactic>> {
        // Scale and bias come before the epilogue's operands.
        let mut e = Expr::empty();
        let mut at = e.push(ExprNode::Input(0));
        for (i, op) in (1..problem.anchor_operands as u16).zip([Binary::Mul, Binary::Add]) {
            let operand = e.push(ExprNode::Input(i));
            at = e.push(ExprNode::Binary(op, at, operand));
        }
        let expr = after(&e.finish(at), problem.anchor_operands as u16, &problem.epilogue);
        let more: Option<Vec<Pass>> = (problem.operands.iter().enumerate().skip(1))
            .map(|(i, o)| match self.channels && i < problem.anchor_operands {
                true => pass_channels(o, sizes, layout),
                false => pass(o, sizes, layout),
            })
            .collect();
        let after = after_anchor(problem, &expr, layout, layout, more?)?;
        let dtype = problem.result.dtype;
        let mut v = vector_of(dtype);
        let steps = [self.n, self.inner, self.outer_step, self.group_step, self.step];
        while v > 1 && !(steps.iter().all(|s| s.is_multiple_of(v)) && after.grid.vector(v) == v) {
            v /= 2;
        }
        let mut arguments = Arguments::new().u32(self.n).u32(self.rows);
        arguments = arguments.divisor(Divisor::new(self.groups)).divisor(Divisor::new(self.inner));
        arguments = arguments.u32(self.outer_step).u32(self.group_step).u32(self.step).f32(self.epsilon);
        let mut args = spans(problem.operands.len() + 1);
        args.extend([bytes(arguments), bytes(after.grid.arguments())]);
        let mut ways = vec![32u32];
        if self.n / v > 32 {
            ways.push(256);
        }
        let one = |lanes: u32| {
            let together = self.inner == self.n;
            let code = sources::norm(&after.text, dtype, !self.rms, together, v, lanes);
            let launch = launch(cuda, sources::NORM, self.rows.checked_mul(lanes)?, 256, args.clone());
            let id = match layout {
                Layout::Plain => format!("norm.cuda/{}.rows{lanes}.v{v}", self.name),
                _ => format!("norm.cuda/{}-{layout}.rows{lanes}.v{v}", self.name),
            };
            one_step(id, problem, &after.passes, layout, code, launch)
        };
        Some(ways.into_iter().filter_map(one).collect())
    }
}

fn lrn(problem: &Problem, cuda: &CudaInfo, op: &Lrn, sizes: &[usize], layout: Layout) -> Option<Tactic> {
    let after = epilogue(problem, layout, layout)?;
    let channels = *sizes.get(1)?;
    let inner = if layout == Layout::ChannelsLast { 1 } else { sizes[2..].iter().product() };
    let reach = |n: usize| n.min(channels) as i32;
    let arguments = Arguments::new()
        .divisor(Divisor::new(inner as u32))
        .divisor(Divisor::new(channels as u32))
        .u32(after.grid.elements())
        .i32(reach((op.size - 1) / 2))
        .i32(reach(op.size / 2))
        .f32((f64::from(op.alpha) / op.size as f64) as f32)
        .f32(op.beta)
        .f32(op.bias);
    let mut args = spans(problem.operands.len() + 1);
    args.extend([bytes(arguments), bytes(after.grid.arguments())]);
    let launch = launch(cuda, sources::LRN, after.grid.elements(), 256, args);
    let code = sources::lrn(&after.text, problem.result.dtype);
    one_step(format!("norm.cuda/lrn-{layout}"), problem, &after.passes, layout, code, launch)
}

#[cfg(test)]
#[path = "norm_cuda_tests.rs"]
mod tests;
