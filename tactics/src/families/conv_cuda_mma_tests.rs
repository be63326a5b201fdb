
use tactician_ir::{Conv, Operand, TensorType};
use tactician_types::{Binary, Expr};

use super::*;

/// An H100, as far as families ask.
pub(crate) fn h100() -> DeviceInfo {
    CudaInfo::h100().on_paper()
}

/// A problem of these operands, the later ones added to the result one after the other.
pub(crate) fn problem(anchor: Op, dtype: DType, anchors: usize, operands: &[(&[usize], bool)]) -> Problem {
    let list: Vec<Operand> = operands
        .iter()
        .map(|&(sizes, constant)| Operand { ty: TensorType::known(dtype, sizes), constant })
        .collect();
    let types: Vec<&TensorType> = list[..anchors].iter().map(|o| &o.ty).collect();
    let result = anchor.infer(&types).unwrap().remove(0);
    let mut epilogue = Expr::identity();
    for i in 1..=(list.len() - anchors) as u16 {
        let sum = Expr::binary(Binary::Add).rename_inputs(|j| if j == 0 { 0 } else { i });
        epilogue = sum.substitute(
            &std::iter::once(epilogue)
                .chain((1..=i).map(|j| {
                    Expr::from_nodes(vec![tactician_types::ExprNode::Input(j)]).unwrap()
                }))
                .collect::<Vec<_>>(),
        );
    }
    Problem { anchor, anchor_operands: anchors, operands: list, epilogue, output: result.clone(), result }
}

/// A convolution over images with a bias.
pub(crate) fn conv(
    dtype: DType,
    x: &[usize],
    w: &[usize],
    (stride, pad, groups): (usize, usize, usize),
) -> Problem {
    let op = Conv {
        strides: vec![stride; x.len() - 2],
        pads: vec![(pad, pad); x.len() - 2],
        dilations: vec![1; x.len() - 2],
        groups,
    };
    let mut bias = vec![1; x.len() - 1];
    bias[0] = w[0];
    problem(Op::Conv(op), dtype, 2, &[(x, false), (w, true), (&bias, true)])
}

fn ids(problem: &Problem) -> Vec<String> {
    FAMILY.tactics(problem, &h100()).into_iter().map(|t| t.id).collect()
}

#[test]
fn lists_tiles_with_and_without_scratch() {
    let p = conv(DType::F16, &[1, 512, 7, 7], &[512, 512, 3, 3], (1, 1, 1));
    let list = FAMILY.tactics(&p, &h100());
    assert!((8..=MOST).contains(&list.len()), "{list:?}");
    assert!(list.iter().any(|t| t.workspace == 0 && t.id.contains(".c")), "{list:?}");
    assert!(list.iter().any(|t| t.workspace > 0), "{list:?}");
    for t in &list {
        let parts: u64 = t.id.rsplit_once(".s").and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
        assert_eq!(t.workspace, parts * 49 * 512 * 4, "{}", t.id);
        assert_eq!((t.inputs.as_slice(), t.output), ([Layout::ChannelsLast, Layout::Plain, Layout::Plain].as_slice(), Layout::ChannelsLast));
    }
}

#[test]
fn serves_whole_chunks_of_channels_in_one_group() {
    assert!(ids(&conv(DType::F16, &[1, 12, 9, 9], &[16, 12, 3, 3], (1, 1, 1))).is_empty());
    assert!(ids(&conv(DType::BF16, &[1, 16, 9, 9], &[16, 8, 3, 3], (1, 1, 2))).is_empty());
    assert!(!ids(&conv(DType::BF16, &[1, 8, 9, 9], &[5, 8, 3, 3], (1, 1, 1))).is_empty());
    assert!(!ids(&conv(DType::F16, &[1, 8, 9], &[5, 8, 3], (1, 1, 1))).is_empty());
    assert!(ids(&conv(DType::F16, &[1, 8, 9, 9, 9], &[5, 8, 3, 3, 3], (1, 1, 1))).is_empty());
}

/// Where the kernel's reader stands after `steps` stages, stepping as it does.
fn walk(channels: usize, width: usize, tile: usize, chunk: usize, steps: usize) -> (usize, usize, usize) {
    let window = tile / channels;
    let (step_r, step_s, step_c) = (window / width, window % width, tile % channels);
    let at = chunk / channels;
    let (mut r, mut s, mut c) = (at / width, at % width, chunk % channels);
    for _ in 0..steps {
        c += step_c;
        s += step_s;
        r += step_r;
        if c >= channels {
            c -= channels;
            s += 1;
        }
        if s >= width {
            s -= width;
            r += 1;
        }
    }
    (r, s, c)
}

#[test]
fn steps_along_the_window_agree_with_division() {
    for channels in [8, 16, 24, 40, 64, 72, 512] {
        for width in [1, 2, 3, 7] {
            for tile in [32, 64] {
                for chunk in (0..tile).step_by(8) {
                    for steps in 0..20 {
                        let depth = chunk + steps * tile;
                        let at = depth / channels;
                        let want = (at / width, at % width, depth % channels);
                        assert_eq!(walk(channels, width, tile, chunk, steps), want);
                    }
                }
            }
        }
    }
}

#[test]
fn one_kernel_serves_with_and_without_relu() {
    let plain = conv(DType::F16, &[1, 64, 56, 56], &[64, 64, 3, 3], (1, 1, 1));
    let mut relu = plain.clone();
    relu.epilogue = Expr::unary(tactician_types::Unary::Relu).substitute(std::slice::from_ref(&plain.epilogue));
    let families: [&dyn crate::Family; 2] = [&FAMILY, &crate::conv_cuda_tma::FAMILY];
    for family in families {
        let lists = [&plain, &relu].map(|p| family.tactics(p, &h100()));
        assert!(!lists[0].is_empty() && lists[0].len() == lists[1].len());
        for (without, with) in lists[0].iter().zip(&lists[1]) {
            assert_eq!((&without.id, without.code().unwrap()), (&with.id, with.code().unwrap()));
            let steps = |t: &Tactic| {
                let zeros = |sizes: &[usize]| {
                    let n: usize = sizes.iter().product();
                    Some(tactician_ir::Tensor::from_bytes(DType::F16, sizes, vec![0; 2 * n]).unwrap())
                };
                t.emit(&[None, zeros(&[64, 64, 3, 3]), zeros(&[64, 1, 1])]).unwrap().steps
            };
            assert_ne!(steps(without), steps(with), "the bound is a parameter");
        }
    }
}
