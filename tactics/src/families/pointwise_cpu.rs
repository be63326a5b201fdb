//! `pointwise.cpu`: expressions over operands that broadcast, on the CPU.
//!
//! `f32` in every layout that the processor likes; other types and very large expressions interpreted in plain
//! layout. Also here: how operands are passed to kernels that work on stored axes, which the pool, reduction, softmax
//! and normalisation families share.

use std::sync::Arc;

use tactician_cpu::Kernel;
use tactician_cpu::ops::{Grid, GridExpr, Pointwise, PointwiseAny};
use tactician_device::{CpuInfo, DeviceInfo};
use tactician_ir::{BatchNorm, Op, Operand, Problem};
use tactician_types::{Binary, DType, Expr, ExprNode, Growth, Layout, Scalar, Unary};

use crate::cpu::{all_f32, encode, one_float};
use crate::{Ahead, Arg, Constants, Emission, EmitError, Family, Packed, StepSpec, Tactic, layout};

pub(crate) static FAMILY: PointwiseCpu = PointwiseCpu;

pub(crate) struct PointwiseCpu;

impl Family for PointwiseCpu {
    fn id(&self) -> &'static str {
        "pointwise.cpu"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(cpu) = device.cpu() else { return vec![] };
        match &problem.anchor {
            Op::Pointwise(e) if !e.is_identity() => serve(problem, cpu, e),
            Op::BatchNorm(b) if all_f32(problem) => batch_norm(problem, cpu, b),
            Op::BatchNorm(b) if one_float(problem).is_some() => {
                batch_norm_any(problem, cpu, b).into_iter().collect()
            }
            _ => vec![],
        }
    }
}

fn serve(problem: &Problem, cpu: &CpuInfo, expr: &Expr) -> Vec<Tactic> {
    let Some(sizes) = problem.output.sizes() else { return vec![] };
    let fast = |layout: Layout| {
        let passes: Option<Vec<Pass>> = problem.operands.iter().map(|o| pass(o, &sizes, layout)).collect();
        let passes = passes.filter(|p| p.iter().any(|p| p.layout == layout))?;
        let kernel = Pointwise::new(GridExpr { expr: expr.clone(), grid: grid(&sizes, layout, &passes) });
        tactic(format!("pointwise.cpu/{layout}"), problem, cpu, kernel, passes, layout)
    };
    let mut list: Vec<Tactic> = Vec::new();
    if all_f32(problem) {
        list.extend(layouts(&sizes, cpu).into_iter().filter_map(fast));
    }
    if !list.iter().any(|t| t.output == Layout::Plain) {
        let passes: Option<Vec<Pass>> =
            problem.operands.iter().map(|o| pass(o, &sizes, Layout::Plain)).collect();
        list.extend(passes.and_then(|passes| {
            let types = problem.operands.iter().map(|o| o.ty.dtype).collect();
            let kernel = PointwiseAny::new(expr.clone(), types, grid(&sizes, Layout::Plain, &passes));
            tactic("pointwise.cpu/any".into(), problem, cpu, kernel, passes, Layout::Plain)
        }));
    }
    list
}

/// Of floats that are not `f32`: in `f64`, rounded once.
fn batch_norm_any(problem: &Problem, cpu: &CpuInfo, norm: &BatchNorm) -> Option<Tactic> {
    let dtype = one_float(problem)?;
    let mut wide = Vec::with_capacity(5);
    for i in 0..5 {
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(i));
        e.push(ExprNode::Cast(DType::F64, x));
        wide.push(e);
    }
    let mut e = batch_norm_expr(norm, DType::F64).substitute(&wide);
    let root = e.root();
    e.push(ExprNode::Cast(dtype, root));
    let sizes = problem.result.sizes()?;
    let passes: Option<Vec<Pass>> = (problem.operands.iter().enumerate())
        .map(|(i, o)| match i {
            0 => pass(o, &sizes, Layout::Plain),
            _ => pass_channels(o, &sizes, Layout::Plain),
        })
        .collect();
    let passes = passes?;
    let kernel = PointwiseAny::new(e, vec![dtype; 5], grid(&sizes, Layout::Plain, &passes));
    tactic("pointwise.cpu/batchnorm-any".into(), problem, cpu, kernel, passes, Layout::Plain)
}

/// An unfolded batch normalisation is an expression whose parameters are per channel.
fn batch_norm_expr(norm: &BatchNorm, dtype: DType) -> Expr {
    let mut e = Expr::empty();
    let [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map(|i| e.push(ExprNode::Input(i)));
    let epsilon = e.push(ExprNode::Const(Scalar::float(dtype, f64::from(norm.epsilon))));
    let sum = e.push(ExprNode::Binary(Binary::Add, variance, epsilon));
    let root = e.push(ExprNode::Unary(Unary::Sqrt, sum));
    let factor = e.push(ExprNode::Binary(Binary::Div, scale, root));
    let centred = e.push(ExprNode::Binary(Binary::Sub, x, mean));
    let scaled = e.push(ExprNode::Binary(Binary::Mul, centred, factor));
    e.push(ExprNode::Binary(Binary::Add, scaled, bias));
    e
}

fn batch_norm(problem: &Problem, cpu: &CpuInfo, norm: &BatchNorm) -> Vec<Tactic> {
    let expr = after(&batch_norm_expr(norm, DType::F32), 5, &problem.epilogue);
    let Some(sizes) = problem.result.sizes() else { return vec![] };
    let fast = |layout: Layout| {
        let passes: Option<Vec<Pass>> = (problem.operands.iter().enumerate())
            .map(|(i, o)| match i {
                1..=4 => pass_channels(o, &sizes, layout),
                _ => pass(o, &sizes, layout),
            })
            .collect();
        let passes = passes?;
        let kernel = Pointwise::new(GridExpr { expr: expr.clone(), grid: grid(&sizes, layout, &passes) });
        tactic(format!("pointwise.cpu/batchnorm-{layout}"), problem, cpu, kernel, passes, layout)
    };
    layouts(&sizes, cpu).into_iter().filter_map(fast).collect()
}

/// An anchor's expression over `operands` operands followed by an epilogue, as one over all operands in order.
pub(crate) fn after(anchor: &Expr, operands: u16, epilogue: &Expr) -> Expr {
    let mut with = vec![anchor.clone()];
    for i in 1..epilogue.arity().max(1) as u16 {
        let mut input = Expr::empty();
        input.push(ExprNode::Input(operands + i - 1));
        with.push(input);
    }
    epilogue.substitute(&with)
}

/// How an operand is passed to a kernel that works on stored axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pass {
    /// The stored axes of the result that it spans.
    pub(crate) mask: u16,
    /// The layout that it is wanted in.
    pub(crate) layout: Layout,
    /// Its sizes with leading axes of 1: what a constant is packed as.
    pub(crate) sizes: Vec<usize>,
}

/// The layouts that kernels of this processor like for a tensor.
pub(crate) fn layouts(sizes: &[usize], cpu: &CpuInfo) -> Vec<Layout> {
    let mut list = vec![Layout::Plain];
    // With one channel or pixel, and with few channels, these gain nothing.
    if sizes.len() >= 3 && sizes[1] >= 4 {
        list.extend([Layout::ChannelsLast, Layout::Blocked(cpu.isa.channel_block())]);
    }
    list
}

/// Sizes of the stored axes of a tensor in a layout.
pub(crate) fn stored(sizes: &[usize], layout: Layout) -> Vec<usize> {
    match layout {
        Layout::Plain => sizes.to_vec(),
        Layout::ChannelsLast => {
            let mut out = vec![sizes[0]];
            out.extend(&sizes[2..]);
            out.push(sizes[1]);
            out
        }
        Layout::Blocked(b) => {
            let mut out = vec![sizes[0], sizes[1].div_ceil(b as usize)];
            out.extend(&sizes[2..]);
            out.push(b as usize);
            out
        }
    }
}

/// The stored axes, as bits, that a logical axis of a tensor of this rank becomes.
pub(crate) fn stored_axis(axis: usize, rank: usize, layout: Layout) -> u16 {
    match (layout, axis) {
        (Layout::ChannelsLast, 1) => 1 << (rank - 1),
        (Layout::ChannelsLast, 2..) => 1 << (axis - 1),
        (Layout::Blocked(_), 1) => 1 << rank | 1 << 1,
        _ => 1 << axis,
    }
}

/// How an operand that broadcasts to a result of these sizes, stored in `layout`, is passed; `None` when it would
/// have to be laid out as it cannot.
pub(crate) fn pass(operand: &Operand, result: &[usize], layout: Layout) -> Option<Pass> {
    let sizes = operand.ty.sizes()?;
    pass_as(&sizes, sizes.len(), operand.constant, result, layout)
}

/// The same for an operand `[C]` with one value a channel.
pub(crate) fn pass_channels(operand: &Operand, result: &[usize], layout: Layout) -> Option<Pass> {
    let mut sizes = operand.ty.sizes().filter(|s| s.len() == 1 && result.len() >= 2)?;
    sizes.extend(vec![1; result.len() - 2]);
    pass_as(&sizes, 1, operand.constant, result, layout)
}

fn pass_as(view: &[usize], rank: usize, constant: bool, result: &[usize], layout: Layout) -> Option<Pass> {
    let r = result.len();
    let mut sizes = vec![1; r.checked_sub(view.len())?];
    sizes.extend(view);
    if r > 8 || sizes.iter().zip(result).any(|(&s, &n)| s != n && s != 1) {
        return None;
    }
    // An operand of the result's own shape comes in its layout even if there is only one channel.
    let whole = sizes == result && layout != Layout::Plain;
    let has = |axis: usize| sizes[axis] != 1 || (whole && axis == 1);
    let mask = (0..r).filter(|&a| has(a)).map(|a| stored_axis(a, r, layout)).fold(0, |m, b| m | b);
    let spatial = (2..r).any(has);
    let wanted = match layout {
        _ if r < 3 || !has(1) => Layout::Plain,
        _ if constant || rank == r => layout,
        // Of lower rank: a channel vector in plain order.
        Layout::Plain => Layout::Plain,
        Layout::ChannelsLast if !spatial => Layout::Plain,
        Layout::Blocked(b) if !spatial && result[1].is_multiple_of(b as usize) => Layout::Plain,
        _ => return None,
    };
    Some(Pass { mask, layout: wanted, sizes })
}

/// The grid of a result and its operands.
pub(crate) fn grid(result: &[usize], layout: Layout, passes: &[Pass]) -> Grid {
    Grid { sizes: stored(result, layout), operands: passes.iter().map(|p| p.mask).collect() }
}

/// A problem's epilogue over the result stored in `layout`, and how its operands are passed. All `f32`.
pub(crate) fn epilogue(problem: &Problem, layout: Layout) -> Option<(GridExpr, Vec<Pass>)> {
    let sizes = problem.result.sizes()?;
    let passes: Option<Vec<Pass>> =
        problem.epilogue_inputs().iter().map(|o| pass(o, &sizes, layout)).collect();
    let passes = passes?;
    let grid = grid(&sizes, layout, &passes);
    Some((GridExpr { expr: problem.epilogue.clone(), grid }, passes))
}

/// An anchor operand that is passed whole in a layout.
pub(crate) fn whole(operand: &Operand, layout: Layout) -> Option<Pass> {
    Some(Pass { mask: 0, layout, sizes: operand.ty.sizes()? })
}

/// A tactic of one kernel that takes the operands in order as `passes` says. `None` when the kernel refuses its own
/// parameters.
pub(crate) fn tactic<K: Kernel + Clone>(
    id: String,
    problem: &Problem,
    cpu: &CpuInfo,
    kernel: K,
    passes: Vec<Pass>,
    output: Layout,
) -> Option<Tactic> {
    let scratch = kernel.sizes(cpu.threads).ok()?.scratch;
    debug_assert_eq!(passes.len(), problem.operands.len());
    let constant: Vec<bool> = problem.operands.iter().map(|o| o.constant).collect();
    let inputs =
        passes.iter().zip(&constant).map(|(p, &c)| if c { Layout::Plain } else { p.layout }).collect();
    let name = id.clone();
    let emit = move |constants: &Constants<'_>| {
        let fail = |problem: String| EmitError { tactic: name.clone(), problem };
        let mut out = Emission::default();
        let mut args = Vec::with_capacity(passes.len());
        for (i, p) in passes.iter().enumerate() {
            if !constant[i] {
                args.push(Arg::Operand(i));
                continue;
            }
            let tensor = constants
                .values
                .get(i)
                .and_then(Option::as_ref)
                .filter(|t| t.len() == p.sizes.iter().product::<usize>())
                .ok_or_else(|| fail(format!("operand {i} must be a constant of sizes {:?}", p.sizes)))?;
            args.push(Arg::Packed(out.packed.len()));
            out.packed.push(Packed {
                note: format!("{} {}", tensor.ty(), p.layout),
                bytes: layout::from_plain(tensor.bytes(), tensor.dtype().size(), &p.sizes, p.layout).into(),
            });
        }
        let params = encode(&kernel).map_err(fail)?;
        out.steps.push(StepSpec {
            kernel: K::NAME,
            params,
            inputs: args,
            outputs: vec![Arg::Output],
            scratch,
            code: None,
        });
        Ok(out)
    };
    Some(Tactic { id, inputs, output, workspace: scratch, growth: Growth::NONE, view: false, ahead: Ahead::Nothing, emit: Arc::new(emit) })
}

#[cfg(test)]
#[path = "pointwise_cpu_tests.rs"]
pub(crate) mod tests;
