use crate::conv_cuda_mma::tests::{conv, h100};

use super::*;

/// A first convolution whose image is stored as `stored`.
fn first(stored: DType, dtype: DType, channels: usize) -> Problem {
    let mut p = conv(dtype, &[1, channels, 32, 32], &[64, channels, 7, 7], (2, 3, 1));
    p.operands[0].ty.dtype = stored;
    p
}

#[test]
fn reads_images_of_f32_too() {
    for dtype in [DType::F16, DType::BF16] {
        let (narrow, wide) = (first(dtype, dtype, 3), first(DType::F32, dtype, 3));
        assert_eq!(wide.read_as(0), Some(dtype));
        let [narrow, wide] = [narrow, wide].map(|p| FAMILY.tactics(&p, &h100()));
        assert_eq!(narrow.len(), wide.len());
        for (n, w) in narrow.iter().zip(&wide) {
            assert_eq!((&n.id, &n.inputs, n.output), (&w.id, &w.inputs, w.output));
            // Otherwise one would be taken for the other.
            assert_ne!(n.code(), w.code(), "{}", n.id);
        }
        assert!(wide.iter().any(|t| t.inputs[0] == Layout::Plain && t.workspace == 0));
    }
}

#[test]
fn few_serve_images_of_another_type() {
    let list = crate::tactics(&first(DType::F32, DType::F16, 3), &h100());
    let reads = |id: &str| id.starts_with("conv.cuda.first/") || id.starts_with("conv.cuda.stem/");
    assert!(list.iter().all(|t| reads(&t.id)), "{list:?}");
    assert!(FAMILY.tactics(&first(DType::F32, DType::F16, 16), &h100()).is_empty());
    assert!(FAMILY.tactics(&first(DType::F64, DType::F16, 3), &h100()).is_empty());
    assert!(FAMILY.tactics(&first(DType::BF16, DType::F16, 3), &h100()).is_empty());
}
