use tactician_cuda::cudnn::Role;
use tactician_ir::{Attention, Op};
use tactician_types::Expr;

use super::*;
use crate::cudnn::tests::{h100, listed, operation};

/// 8 heads of queries and 4 of keys.
fn attention(dtype: DType, op: Attention, mask: Option<&[usize]>) -> Problem {
    let (q, kv): (&[usize], &[usize]) = (&[2, 8, 50, 64], &[2, 4, 70, 64]);
    let operands: Vec<&[usize]> = [q, kv, kv].into_iter().chain(mask).collect();
    operation(dtype, Op::Attention(op), operands.len(), &operands, q, Expr::identity())
}

fn op(causal: Option<i64>, softcap: f32) -> Attention {
    Attention { causal, softcap, ..Attention::new(0.125) }
}

fn functions(problem: &Problem) -> Vec<Function> {
    let functions = graph(problem).unwrap().graph.nodes.into_iter().filter_map(|n| match n {
        NodeSpec::Pointwise { function, .. } => Some(function),
        _ => None,
    });
    functions.collect()
}

#[test]
fn an_attention_is_a_chain_between_two_products() {
    use Function::*;
    let plain = attention(DType::F16, op(None, 0.0), None);
    assert_eq!(functions(&plain), [Mul, Sub, Exp, Log, Add, Div]);
    let graph = graph(&plain).unwrap().graph;
    assert!(matches!(graph.nodes[0], NodeSpec::MatMul { a: 0, b: 1, .. }));
    // Keys are read as they lie, transposed by their strides.
    assert_eq!(graph.tensors[1].sizes, [2, 4, 64, 70]);
    assert_eq!(graph.tensors[1].strides, [4 * 70 * 64, 70 * 64, 1, 64]);
    let thrown: Vec<&[u64]> =
        graph.tensors.iter().filter(|t| t.role == Role::Discarded).map(|t| &t.sizes[..]).collect();
    assert_eq!(thrown, [[2, 8, 50, 1]]);

    let whole = attention(DType::F16, op(Some(20), 5.0), Some(&[50, 70]));
    let (rows, columns) = (Index { axis: 2 }, Index { axis: 3 });
    let chain =
        [Mul, Div, Tanh, Mul, Add, rows, Add, columns, AtLeast, Sub, Exp, Log, Add, Div];
    assert_eq!(functions(&whole), chain);
}

#[test]
fn a_causal_offset_that_hides_nothing_is_none_and_one_that_hides_all_is_refused() {
    for (offset, chain) in [(Some(0), 9), (Some(68), 10), (Some(69), 6), (Some(i64::MAX), 6), (None, 6)] {
        assert_eq!(functions(&attention(DType::BF16, op(offset, 0.0), None)).len(), chain, "{offset:?}");
    }
    for offset in [-1, i64::MIN] {
        assert!(graph(&attention(DType::BF16, op(Some(offset), 0.0), None)).is_none());
    }
    assert!(graph(&attention(DType::F64, op(None, 0.0), None)).is_none());
}

#[test]
fn lists_tactics_where_cudnn_is() {
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for mask in [None, Some(&[2, 1, 1, 70][..]), Some(&[50, 70]), Some(&[8, 50, 70]), Some(&[])] {
            for (causal, cap) in [(None, 0.0), (Some(0), 0.0), (Some(20), 3.0)] {
                let p = attention(dtype, op(causal, cap), mask);
                let list = listed(&FAMILY, &p, "attention.cudnn/e", true);
                // What is discarded is scratch, and aligned.
                assert!(list.iter().all(|t| t.workspace >= 2 * 8 * 50 * 4), "{p}");
                assert!(list.iter().all(|t| t.id.ends_with(".tf32") == (dtype == DType::F32)), "{p}");
            }
        }
    }
    // Rows of keys that are no multiple of 16 bytes.
    let odd: &[usize] = &[1, 2, 9, 36];
    let o = Op::Attention(op(None, 0.0));
    let p = operation(DType::F16, o, 3, &[odd, odd, odd], odd, Expr::identity());
    assert!(FAMILY.tactics(&p, &h100()).is_empty());
}
