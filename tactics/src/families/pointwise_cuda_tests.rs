use super::*;
use tactician_cuda::Launches;
use tactician_ir::{Operand, TensorType};

/// A GPU on paper.
pub(crate) fn gpu() -> DeviceInfo {
    CudaInfo::h100().on_paper()
}

/// A problem of one operation of these operands, which are no constants.
pub(crate) fn problem(anchor: Op, dtype: DType, operands: &[&[usize]]) -> Problem {
    let types: Vec<TensorType> = operands.iter().map(|s| TensorType::known(dtype, s)).collect();
    let result = anchor.infer(&types.iter().collect::<Vec<_>>()).unwrap().remove(0);
    Problem {
        anchor,
        anchor_operands: operands.len(),
        operands: types.into_iter().map(|ty| Operand { ty, constant: false }).collect(),
        epilogue: Expr::identity(),
        output: result.clone(),
        result,
    }
}

/// The ids of a problem's tactics; each launches within the limits of a GPU and needs no workspace.
pub(crate) fn ids(family: &dyn Family, problem: &Problem) -> Vec<String> {
    let list = family.tactics(problem, &gpu());
    for t in &list {
        assert_eq!(t.workspace, 0);
        let constants = vec![None; problem.operands.len()];
        for step in t.emit(&constants).unwrap().steps.iter().filter(|s| s.code.is_some()) {
            let Launches(launches) = postcard::from_bytes(&step.params).unwrap();
            for l in launches {
                assert!(step.code.as_ref().unwrap().text.contains(&format!("{}(", l.entry)), "{}", t.id);
                assert!(l.grid.iter().all(|&n| n > 0) && l.grid[0] < 1 << 31 && l.grid[1] < 1 << 16);
                let spans = step.inputs.len() + step.outputs.len();
                let inside = |a: &LaunchArg| !matches!(a, LaunchArg::Span(i) if *i as usize >= spans);
                assert!(l.args.iter().all(inside), "{}", t.id);
            }
        }
    }
    list.into_iter().map(|t| t.id).collect()
}

#[test]
fn vectors_follow_shapes_and_types() {
    let add = || Op::Pointwise(Expr::binary(Binary::Add));
    let image: &[usize] = &[8, 64, 56, 56];
    let of = |dtype, operands: &[&[usize]]| ids(&FAMILY, &problem(add(), dtype, operands));
    assert_eq!(of(DType::F16, &[image, image]), ["pointwise.cuda/plain.v8", "pointwise.cuda/nhwc.v8"]);
    assert_eq!(of(DType::F32, &[image, &[64, 1, 1]]), ["pointwise.cuda/plain.v4", "pointwise.cuda/nhwc.v4"]);
    assert_eq!(of(DType::F32, &[&[3, 5], &[5]]), ["pointwise.cuda/plain.v1"]);
    assert_eq!(of(DType::F16, &[&[1, 1000], &[1000]]), ["pointwise.cuda/plain.v8", "pointwise.cuda/plain.v2"]);
}

#[test]
fn nothing_for_what_is_empty_or_for_no_gpu() {
    let p = problem(Op::Pointwise(Expr::unary(Unary::Relu)), DType::F32, &[&[4, 0]]);
    assert!(FAMILY.tactics(&p, &gpu()).is_empty());
    let p = problem(Op::Pointwise(Expr::identity()), DType::F32, &[&[4]]);
    assert!(FAMILY.tactics(&p, &gpu()).is_empty());
}

#[test]
fn batch_norm_is_computed_in_f32() {
    let c: &[usize] = &[16];
    let p = problem(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), DType::F16, &[&[2, 16, 4, 4], c, c, c, c]);
    assert_eq!(ids(&FAMILY, &p).len(), 4);
    let expr = batch_norm(&BatchNorm { epsilon: 1e-5 }, DType::F16);
    let types = expr.dtypes(&[DType::F16; 5]).unwrap();
    assert_eq!(types[expr.root() as usize], DType::F16);
}
