use tactician_ir::{MatMul, Tensor};

use super::*;
use crate::conv_cuda_mma::tests::{h100, problem};

fn matmul(dtype: DType, trans: (bool, bool), operands: &[(&[usize], bool)]) -> Problem {
    problem(Op::MatMul(MatMul { trans_a: trans.0, trans_b: trans.1 }), dtype, 2, operands)
}

#[test]
fn merges_batches() {
    let p = matmul(DType::F16, (false, false), &[(&[2, 3, 5, 8], false), (&[2, 3, 8, 16], false)]);
    let m = Matrices::new(&p).unwrap();
    assert_eq!((m.m, m.n, m.k, m.axes.as_slice()), (5, 16, 8, [(6, 40, 128)].as_slice()));
    assert!(m.b_along_n && !m.turns_b);
    // Only the left operand has batches: they are rows.
    let p = matmul(DType::F16, (false, false), &[(&[2, 3, 5, 8], false), (&[8, 16], true)]);
    let m = Matrices::new(&p).unwrap();
    assert_eq!((m.m, m.axes.len(), m.turns_b, m.b_along_n), (30, 0, true, false));
    // A middle axis that the right operand lacks keeps three axes apart.
    let p = matmul(DType::F16, (false, true), &[(&[2, 3, 4, 5, 8], false), (&[2, 1, 4, 16, 8], false)]);
    let m = Matrices::new(&p).unwrap();
    assert_eq!(m.axes, [(2, 480, 512), (3, 160, 0), (4, 40, 128)]);
}

#[test]
fn turns_matrices() {
    assert_eq!(turn(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 2, 3, 1).unwrap(), [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
    assert!(turn(&[1, 2, 3], 2, 2, 1).is_err());
}

#[test]
fn every_product_has_a_tactic_without_scratch() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for trans in [(false, false), (false, true), (true, false), (true, true)] {
            for (m, n, k) in [(1, 1, 1), (1, 1000, 2048), (7, 33, 19), (64, 64, 64), (1024, 1024, 1024)] {
                for (batch, constant) in [(1, true), (1, false), (12, false)] {
                    let a = if trans.0 { [batch, k, m] } else { [batch, m, k] };
                    let b = if trans.1 { [batch, n, k] } else { [batch, k, n] };
                    let p = matmul(dtype, trans, &[(&a, false), (&b, constant), (&[n], true)]);
                    let found: Vec<Tactic> =
                        crate::tactics(&p, &h100()).into_iter().filter(|t| t.id.contains(".cuda.")).collect();
                    assert!(found.iter().any(|t| t.workspace == 0), "{p}");
                    assert!(found.iter().any(|t| !t.id.ends_with("any/plain")), "{p}");
                    let mut ids: Vec<&String> = found.iter().map(|t| &t.id).collect();
                    ids.dedup();
                    assert_eq!(ids.len(), found.len(), "{ids:?}");
                }
            }
        }
    }
}

#[test]
fn emits_what_it_lists() {
    let p = matmul(DType::F16, (false, false), &[(&[1, 64], false), (&[64, 24], true), (&[24], true)]);
    let weights = Tensor::from_bytes(DType::F16, &[64, 24], vec![0; 64 * 24 * 2]).unwrap();
    let bias = Tensor::from_bytes(DType::F16, &[24], vec![0; 48]).unwrap();
    for t in crate::tactics(&p, &h100()) {
        let out = t.emit(&[None, Some(weights.clone()), Some(bias.clone())]).unwrap();
        assert_eq!((out.steps.len(), out.packed.len()), (1, 2), "{}", t.id);
        assert!(t.emit(&[None, None, None]).is_err());
    }
}
