use tactician_ir::{ConvTranspose, Tensor};

use super::*;
use crate::conv_cuda_mma::tests::{conv, h100, problem};

fn own(problem: &Problem) -> Vec<Tactic> {
    crate::tactics(problem, &h100()).into_iter().filter(|t| t.id.contains(".cuda.")).collect()
}

fn families(problem: &Problem) -> Vec<String> {
    let mut names: Vec<String> =
        own(problem).iter().map(|t| t.id.split('/').next().unwrap().to_owned()).collect();
    names.dedup();
    names
}

#[test]
fn each_kind_of_convolution_has_its_families() {
    let image = |dtype, c, k, groups| {
        conv(dtype, &[1, c, 14, 14], &[k, c / groups, 3, 3], (1, 1, groups))
    };
    let any = "conv.cuda.any";
    for (p, want) in [
        (image(DType::F16, 64, 64, 1), vec![any, "conv.cuda.mma", "conv.cuda.tma"]),
        (image(DType::F16, 3, 64, 1), vec![any, "conv.cuda.first", "conv.cuda.simt", "conv.cuda.stem"]),
        (image(DType::F32, 3, 64, 1), vec![any, "conv.cuda.simt"]),
        (image(DType::F32, 64, 64, 1), vec![any, "conv.cuda.mma", "conv.cuda.simt", "conv.cuda.tma"]),
        (image(DType::BF16, 64, 64, 4), vec![any, "conv.cuda.simt"]),
        (image(DType::F16, 64, 64, 64), vec![any, "conv.cuda.depthwise", "conv.cuda.simt"]),
        (conv(DType::F16, &[1, 8, 5, 5, 5], &[8, 8, 3, 3, 3], (1, 1, 1)), vec![any]),
    ] {
        assert_eq!(families(&p), want, "{p}");
        assert!(own(&p).iter().any(|t| t.workspace == 0));
    }
    let op = ConvTranspose {
        strides: vec![2, 2],
        pads: vec![(1, 1), (1, 1)],
        dilations: vec![1, 1],
        output_padding: vec![1, 1],
        groups: 2,
    };
    let p = problem(
        Op::ConvTranspose(op),
        DType::F16,
        2,
        &[(&[1, 8, 5, 5], false), (&[8, 3, 3, 3], true), (&[6, 1, 1], true)],
    );
    assert_eq!(own(&p)[0].id, "conv.cuda.any/transposed");
}

#[test]
fn emits_what_it_lists() {
    for (c, k, groups) in [(3, 24, 1), (32, 24, 1), (32, 32, 32), (12, 24, 4)] {
        for dtype in [DType::F16, DType::F32] {
            let p = conv(dtype, &[2, c, 14, 14], &[k, c / groups, 3, 3], (1, 1, groups));
            let zeros = |sizes: &[usize]| {
                let n: usize = sizes.iter().product();
                Some(Tensor::from_bytes(dtype, sizes, vec![0; n * dtype.size()]).unwrap())
            };
            for t in own(&p) {
                let constants = [None, zeros(&[k, c / groups, 3, 3]), zeros(&[k, 1, 1])];
                let out = t.emit(&constants).unwrap();
                assert_eq!((out.steps.len(), out.packed.len()), (1, 2), "{}", t.id);
            }
        }
    }
}
