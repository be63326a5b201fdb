use super::*;
use crate::pointwise_cuda::tests::{ids, problem};
use tactician_types::DType;

fn pool(kind: PoolKind, window: usize) -> Op {
    Op::Pool(Pool {
        kind,
        window: vec![window; 2],
        strides: vec![2; 2],
        pads: vec![(1, 1); 2],
        dilations: vec![1; 2],
        ceil: false,
    })
}

#[test]
fn channels_come_in_vectors() {
    let of = |dtype, sizes: &[usize]| ids(&FAMILY, &problem(pool(PoolKind::Max, 3), dtype, &[sizes]));
    let all = ["pool.cuda/plain.v1", "pool.cuda/nhwc.v8", "pool.cuda/nhwc.v4", "pool.cuda/nhwc.v2"];
    assert_eq!(of(DType::F16, &[2, 64, 112, 112]), all);
    let turned = "pool.cuda/nhwc-plain.v1";
    assert_eq!(of(DType::F32, &[1, 6, 9, 9]), ["pool.cuda/plain.v1", "pool.cuda/nhwc.v2", turned]);
    assert_eq!(of(DType::I32, &[1, 3, 9, 9]), ["pool.cuda/plain.v1", "pool.cuda/nhwc.v1", turned]);
}

#[test]
fn windows_beyond_32_bits_are_refused() {
    let mut op = pool(PoolKind::Average { count_pad: true }, 3);
    if let Op::Pool(p) = &mut op {
        p.strides = vec![1 << 31; 2];
    }
    assert!(ids(&FAMILY, &problem(op, DType::F32, &[&[1, 2, 9, 9]])).is_empty());
}
