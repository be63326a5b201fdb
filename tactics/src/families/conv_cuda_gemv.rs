//! `conv.cuda.gemv`: 1x1 convolutions of a few single pixels, such as the squeezed ones of squeeze-and-excitation, as
//! products of vectors and a matrix. Names and kernel are those of `matmul.cuda.gemv`.

use tactician_device::DeviceInfo;
use tactician_ir::{MatMul, Op, Problem, Shape, TensorType};

use crate::{Family, Tactic, matmul_cuda_gemv};

pub(crate) static FAMILY: ConvGemv = ConvGemv;

pub(crate) struct ConvGemv;

impl Family for ConvGemv {
    fn id(&self) -> &'static str {
        "conv.cuda.gemv"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let Some(product) = device.cuda().and_then(|_| product(problem)) else { return vec![] };
        let named = |mut t: Tactic| {
            t.id = t.id.replacen("matmul.", "conv.", 1);
            t
        };
        matmul_cuda_gemv::FAMILY.tactics(&product, device).into_iter().map(named).collect()
    }
}

/// The convolution as a product of matrices of the same bytes, `[N, C] · [K, C]ᵀ`, all its operands in plain order.
fn product(problem: &Problem) -> Option<Problem> {
    let Op::Conv(op) = &problem.anchor else { return None };
    let [x, w] = [0, 1].map(|i| problem.operands.get(i).and_then(|o| o.ty.sizes()));
    let (x, w, y) = (x?, w?, problem.result.sizes()?);
    let single = |sizes: &[usize]| sizes.len() > 2 && sizes[2..].iter().all(|&n| n == 1);
    let unpadded = op.pads.iter().all(|&p| p == (0, 0));
    if ![&x, &w, &y].into_iter().all(|s| single(s)) || op.groups != 1 || !unpadded {
        return None;
    }
    let rank = y.len();
    // What spreads over channels, images or both has the same bytes without the axes of one pixel.
    let matrix = |ty: &TensorType| -> Option<TensorType> {
        let sizes = ty.sizes()?;
        let lead = rank.checked_sub(sizes.len())?;
        let kept = sizes.iter().enumerate().filter(|(i, _)| i + lead < 2).map(|(_, &n)| n);
        Some(TensorType { dtype: ty.dtype, shape: Shape::known(&kept.collect::<Vec<_>>()) })
    };
    let mut product = problem.clone();
    product.anchor = Op::MatMul(MatMul { trans_a: false, trans_b: true });
    for o in &mut product.operands {
        o.ty = matrix(&o.ty)?;
    }
    product.result = matrix(&problem.result)?;
    product.output = matrix(&problem.output)?;
    Some(product)
}

#[cfg(test)]
mod tests {
    use tactician_ir::Tensor;
    use tactician_types::{DType, Layout};

    use super::*;
    use crate::conv_cuda_mma::tests::{conv, h100};

    #[test]
    fn serves_single_pixels() {
        let p = conv(DType::F16, &[2, 32, 1, 1], &[8, 32, 1, 1], (1, 0, 1));
        let list = FAMILY.tactics(&p, &h100());
        assert!(!list.is_empty());
        for t in &list {
            assert!(t.id.starts_with("conv.cuda.gemv/"), "{}", t.id);
            assert_eq!((t.workspace, t.output, t.inputs[0]), (0, Layout::Plain, Layout::Plain));
            let zeros = |sizes: &[usize]| {
                let bytes = vec![0; sizes.iter().product::<usize>() * 2];
                Some(Tensor::from_bytes(DType::F16, sizes, bytes).unwrap())
            };
            let out = t.emit(&[None, zeros(&[8, 32, 1, 1]), zeros(&[8, 1, 1])]).unwrap();
            assert_eq!((out.steps.len(), out.packed.len()), (1, 2));
        }
        // Larger images, and windows that reach into padding, are others' work.
        for (x, w, pad) in [(&[2, 32, 2, 1], &[8, 32, 1, 1], 0), (&[2, 32, 1, 1], &[8, 32, 3, 3], 1)] {
            assert!(FAMILY.tactics(&conv(DType::F16, x, w, (1, pad, 1)), &h100()).is_empty());
        }
    }
}
