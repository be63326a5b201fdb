//! `pointwise.cuda`: expressions over operands that broadcast, and batch normalisation, of any types, on CUDA.
//!
//! `pointwise.cuda/nhwc.v8` has threads compute 8 neighbouring elements of channels-last tensors. No scratch. Also here:
//! what the other families of our kernels share.

use tactician_cuda::{Launch, LaunchArg};
use tactician_device::{CodeSource, CudaInfo, DeviceInfo};
use tactician_ir::{BatchNorm, Op, Problem, Tensor};
use tactician_kernels::{Arguments, Grid, grid_text, sources};
use tactician_types::{Binary, DType, Expr, ExprNode, Growth, Layout, Scalar, Unary};

use crate::cuda::{DeviceStep, Use, step_tactic};
use crate::pointwise_cpu::{Pass, after, pass, pass_channels, stored, whole};
use crate::{Family, Tactic, layout};

pub(crate) static FAMILY: PointwiseCuda = PointwiseCuda;

pub(crate) struct PointwiseCuda;

impl Family for PointwiseCuda {
    fn id(&self) -> &'static str {
        "pointwise.cuda"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cuda), Some(sizes)) = (device.cuda(), problem.output.sizes()) else { return vec![] };
        let (expr, channels) = match &problem.anchor {
            Op::Pointwise(e) if !e.is_identity() => (e.clone(), false),
            Op::BatchNorm(b) => (after(&batch_norm(b, problem.result.dtype), 5, &problem.epilogue), true),
            _ => return vec![],
        };
        let serve = |layout: Layout| {
            let passes: Option<Vec<Pass>> = (problem.operands.iter().enumerate())
                .map(|(i, o)| match i {
                    1..=4 if channels => pass_channels(o, &sizes, layout),
                    _ => pass(o, &sizes, layout),
                })
                .collect();
            let passes = passes.filter(|p| p.iter().any(|p| p.layout == layout)).unwrap_or_default();
            if passes.is_empty() { vec![] } else { over(problem, cuda, &expr, &sizes, layout, &passes) }
        };
        layouts(&sizes).into_iter().flat_map(serve).collect()
    }
}

/// Batch normalisation of `x, scale, bias, mean, variance`, computed in at least `f32`.
fn batch_norm(norm: &BatchNorm, dtype: DType) -> Expr {
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut e = Expr::empty();
    let [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map(|i| {
        let input = e.push(ExprNode::Input(i));
        if wide == dtype { input } else { e.push(ExprNode::Cast(wide, input)) }
    });
    let epsilon = e.push(ExprNode::Const(Scalar::float(wide, f64::from(norm.epsilon))));
    let sum = e.push(ExprNode::Binary(Binary::Add, variance, epsilon));
    let root = e.push(ExprNode::Unary(Unary::Sqrt, sum));
    let factor = e.push(ExprNode::Binary(Binary::Div, scale, root));
    let centred = e.push(ExprNode::Binary(Binary::Sub, x, mean));
    let scaled = e.push(ExprNode::Binary(Binary::Mul, centred, factor));
    let result = e.push(ExprNode::Binary(Binary::Add, scaled, bias));
    if wide != dtype {
        e.push(ExprNode::Cast(dtype, result));
    }
    e
}

fn over(
    problem: &Problem,
    cuda: &CudaInfo,
    expr: &Expr,
    sizes: &[usize],
    layout: Layout,
    passes: &[Pass],
) -> Vec<Tactic> {
    let masks: Vec<u16> = passes.iter().map(|p| p.mask).collect();
    let types: Vec<DType> = problem.operands.iter().map(|o| o.ty.dtype).collect();
    let Some(grid) = Grid::new(&stored(sizes, layout), &masks) else { return vec![] };
    let Ok(text) = grid_text(expr, &types, false, &grid) else { return vec![] };
    let n = grid.elements();
    let widest = grid.vector(vector_of(problem.output.dtype));
    let mut vectors = vec![widest];
    // Few threads leave processors idle: narrower ones may be quicker.
    if widest >= 4 && n / widest / 256 < 2 * cuda.multiprocessors {
        vectors.push(widest / 4);
    }
    let tactic = |v: u32| {
        let mut args = spans(problem.operands.len() + 1);
        args.push(LaunchArg::Bytes(grid.arguments().bytes()));
        args.push(bytes(Arguments::new().u32(n)));
        let launch = launch(cuda, sources::POINTWISE, n.div_ceil(v), 256, args);
        one_step(
            format!("pointwise.cuda/{layout}.v{v}"),
            problem,
            passes,
            layout,
            sources::pointwise(&text, v),
            launch,
        )
    };
    vectors.into_iter().filter_map(tactic).collect()
}

/// Elements of a type that a thread should take at once.
pub(crate) fn vector_of(dtype: DType) -> u32 {
    (16 / dtype.size() as u32).clamp(1, 8)
}

/// The layouts that kernels work in, those with equal bytes once.
pub(crate) fn layouts(sizes: &[usize]) -> Vec<Layout> {
    if sizes.len() < 3 || Layout::Plain.same_bytes(Layout::ChannelsLast, sizes) {
        return vec![Layout::Plain];
    }
    vec![Layout::Plain, Layout::ChannelsLast]
}

/// An expression behind an anchor, over the anchor's stored result.
pub(crate) struct After {
    /// Generated text that begins the kernel.
    pub(crate) text: String,
    pub(crate) grid: Grid,
    /// How every operand of the problem is passed.
    pub(crate) passes: Vec<Pass>,
}

/// A problem's epilogue over the result in layout `to`, the only anchor operand being passed whole in `from`.
pub(crate) fn epilogue(problem: &Problem, from: Layout, to: Layout) -> Option<After> {
    if problem.anchor_operands != 1 {
        return None;
    }
    let sizes = problem.result.sizes()?;
    let more: Option<Vec<Pass>> = problem.epilogue_inputs().iter().map(|o| pass(o, &sizes, to)).collect();
    after_anchor(problem, &problem.epilogue, from, to, more?)
}

/// An expression over the result of operand 0 in layout `to`, and the other operands as they are passed.
pub(crate) fn after_anchor(
    problem: &Problem,
    expr: &Expr,
    from: Layout,
    to: Layout,
    more: Vec<Pass>,
) -> Option<After> {
    let sizes = problem.result.sizes()?;
    let masks: Vec<u16> = more.iter().map(|p| p.mask).collect();
    let grid = Grid::new(&stored(&sizes, to), &masks)?;
    let mut types = vec![problem.result.dtype];
    types.extend(problem.operands[1..].iter().map(|o| o.ty.dtype));
    let text = grid_text(expr, &types, true, &grid).ok()?;
    let mut passes = vec![whole(&problem.operands[0], from)?];
    // Kernels count the input's elements in 31 bits.
    if passes[0].sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b))? >= 1 << 31 {
        return None;
    }
    passes.extend(more);
    Some(After { text, grid, passes })
}

/// The first `n` arguments of a step.
pub(crate) fn spans(n: usize) -> Vec<LaunchArg> {
    (0..n).map(|i| LaunchArg::Span(i as u16)).collect()
}

/// A parameter passed by value.
pub(crate) fn bytes(arguments: Arguments) -> LaunchArg {
    LaunchArg::Bytes(arguments.bytes())
}

/// A launch of `work` threads in blocks of `block`. Our kernels wait for those before them, so they may start early.
pub(crate) fn launch(cuda: &CudaInfo, entry: &str, work: u32, block: u32, args: Vec<LaunchArg>) -> Launch {
    Launch {
        entry: entry.to_owned(),
        grid: [work.div_ceil(block).max(1), 1, 1],
        block: [block, 1, 1],
        cluster: [1, 1, 1],
        shared: 0,
        overlaps: cuda.capability.0 >= 9,
        args,
    }
}

/// A tactic of one launch that takes the operands in order as `passes` says, then the output.
pub(crate) fn one_step(
    id: String,
    problem: &Problem,
    passes: &[Pass],
    output: Layout,
    code: CodeSource,
    launch: Launch,
) -> Option<Tactic> {
    let step = DeviceStep::launches(code, vec![launch], 0);
    step_tactic(id, problem, uses(problem, passes), output, Growth::NONE, step)
}

/// The same for operands that are all passed whole in one layout.
pub(crate) fn whole_step(
    id: String,
    problem: &Problem,
    layout: Layout,
    code: CodeSource,
    launches: Vec<Launch>,
) -> Option<Tactic> {
    let passes: Option<Vec<Pass>> = problem.operands.iter().map(|o| whole(o, layout)).collect();
    let step = DeviceStep::launches(code, launches, 0);
    step_tactic(id, problem, uses(problem, &passes?), layout, Growth::NONE, step)
}

/// What becomes of operands that are passed so.
pub(crate) fn uses(problem: &Problem, passes: &[Pass]) -> Vec<Use> {
    let one = |(p, constant): (&Pass, bool)| {
        if !constant {
            return Use::As(p.layout);
        }
        let (sizes, to) = (p.sizes.clone(), p.layout);
        let note = if to == Layout::ChannelsLast { "nhwc" } else { "plain" };
        let of = sizes.clone();
        let pack = move |t: &Tensor| {
            if t.len() != sizes.iter().product::<usize>() {
                return Err(format!("expected a constant of sizes {sizes:?}, found {}", t.ty()));
            }
            Ok(layout::from_plain(t.bytes(), t.dtype().size(), &sizes, to))
        };
        Use::packed(note, &of, pack)
    };
    passes.iter().zip(problem.operands.iter().map(|o| o.constant)).map(one).collect()
}

#[cfg(test)]
#[path = "pointwise_cuda_tests.rs"]
pub(crate) mod tests;
