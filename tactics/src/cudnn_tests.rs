//! What tests of the families on cuDNN share.

use std::collections::BTreeSet;

use tactician_cuda::cudnn;
use tactician_device::CudaInfo;
use tactician_ir::{Conv, Op, Operand, TensorType};
use tactician_types::{Binary, Expr, ExprId, ExprNode, Scalar, Unary};

use super::*;
use crate::Family;

/// An operation on operands of these sizes, of which the first `anchor_operands` are its own. All but the first are
/// constant where they are of lower rank than the result.
pub(crate) fn operation(
    dtype: DType,
    anchor: Op,
    anchor_operands: usize,
    operands: &[&[usize]],
    result: &[usize],
    epilogue: Expr,
) -> Problem {
    let operand = |(i, sizes): (usize, &&[usize])| Operand {
        ty: TensorType::known(dtype, sizes),
        constant: i > 0 && sizes.len() < result.len(),
    };
    let output = TensorType::known(dtype, result);
    Problem {
        anchor,
        anchor_operands,
        operands: operands.iter().enumerate().map(operand).collect(),
        epilogue,
        result: output.clone(),
        output,
    }
}

/// A convolution of `x` with `w`, same padding, and an epilogue over operands of these sizes.
pub(crate) fn convolution(
    dtype: DType,
    x: &[usize],
    w: &[usize],
    stride: usize,
    more: &[&[usize]],
    epilogue: Expr,
) -> Problem {
    let axes = x.len() - 2;
    let pads: Vec<(usize, usize)> = w[2..].iter().map(|k| (k / 2, k / 2)).collect();
    let conv = Conv { strides: vec![stride; axes], pads, groups: x[1] / w[1], ..Conv::unit(axes) };
    let mut y = vec![x[0], w[0]];
    y.extend((0..axes).map(|i| (x[2 + i] + w[2 + i] / 2 * 2 - w[2 + i]) / stride + 1));
    let operand = |sizes: &[usize], constant| Operand { ty: TensorType::known(dtype, sizes), constant };
    let mut operands = vec![operand(x, false), operand(w, true)];
    operands.extend(more.iter().map(|s| operand(s, s.len() < x.len())));
    let output = TensorType::known(dtype, &y);
    Problem { anchor: Op::Conv(conv), anchor_operands: 2, operands, epilogue, result: output.clone(), output }
}

/// An expression written by `make` over the sum of inputs 0 to `inputs`.
pub(crate) fn after_sum(inputs: u16, make: impl FnOnce(&mut Expr, ExprId) -> ExprId) -> Expr {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for i in 1..=inputs {
        let b = e.push(ExprNode::Input(i));
        at = e.push(ExprNode::Binary(Binary::Add, at, b));
    }
    let root = make(&mut e, at);
    e.finish(root)
}

pub(crate) fn number(e: &mut Expr, v: f64) -> ExprId {
    e.push(ExprNode::Const(Scalar::float(DType::F16, v)))
}

pub(crate) fn relu_of_sum(inputs: u16) -> Expr {
    after_sum(inputs, |e, x| e.push(ExprNode::Unary(Unary::Relu, x)))
}

/// An H100 with the cuDNN that is found.
pub(crate) fn h100() -> DeviceInfo {
    CudaInfo { nvrtc: None, cudnn: cudnn::version(), ..CudaInfo::h100() }.on_paper()
}

/// The tactics of a family, if cuDNN is there to be asked and can compile engines: with names of their own that begin
/// with `prefix`, one of them without scratch unless `scratch` says that all need some.
pub(crate) fn listed(family: &dyn Family, p: &Problem, prefix: &str, scratch: bool) -> Vec<Tactic> {
    let device = h100();
    let list = family.tactics(p, &device);
    if cudnn::version().is_none() {
        assert!(list.is_empty());
        return list;
    }
    if list.is_empty() && !compiles() {
        eprintln!("skipped {p}: cuDNN compiles no engines without libcuda.so.1");
        return list;
    }
    assert!(!list.is_empty(), "no tactics for {p}");
    assert!(scratch || list.iter().any(|t| t.workspace == 0), "{p}: all need scratch");
    let ids: BTreeSet<&str> = list.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids.len(), list.len(), "{p}: names repeat");
    assert!(ids.iter().all(|id| id.starts_with(prefix)), "{ids:?}");
    assert!(list.iter().all(|t| crate::library_of(&t.id) == Some("cudnn")));
    assert_eq!(family.tactics(p, &device).len(), list.len(), "the second answer differs");
    list
}

/// Whether cuDNN can compile: it lists no such engines without a driver. `TACTICIAN_NEED_CUDNN` demands it.
fn compiles() -> bool {
    let e = convolution(
        DType::F16,
        &[1, 64, 8, 8],
        &[64, 64, 3, 3],
        1,
        &[],
        after_sum(0, |e, x| e.push(ExprNode::Unary(Unary::Erf, x))),
    );
    let call = crate::cudnn::tests::described(&e);
    let info = h100();
    let found = cudnn::candidates(&call, info.cuda().expect("a GPU")).map_or(0, |l| l.len());
    assert!(found > 0 || std::env::var_os("TACTICIAN_NEED_CUDNN").is_none(), "cuDNN compiles no engines");
    found > 0
}

/// The graph of a convolution.
fn described(problem: &Problem) -> GraphSpec {
    let mut d = Description::new(problem, View::images(4, Layout::ChannelsLast).unwrap()).unwrap();
    let (x, w) = (d.image(0).unwrap(), d.image(1).unwrap());
    let node = |y| NodeSpec::Convolution {
        x,
        w,
        y,
        pads: vec![(1, 1); 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
    };
    d.finish(node).unwrap().graph
}
