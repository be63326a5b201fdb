use proptest::prelude::*;
use tactician_types::{Binary, DType, Expr, ExprNode, Scalar, Unary};

use super::tests::every_op;
use super::*;
use crate::dim::Dim;
use crate::graph::Graph;
use crate::ops::*;
use crate::tensor::{Shape, Tensor, TensorType};
use crate::verify::check;

/// A random chain of operations over values of one shape.
fn random_graph() -> impl Strategy<Value = Graph> {
    let name = prop_oneof!["[a-c]", "[a-zA-Z0-9/._ -]{0,6}", "\\PC{0,4}"];
    let step = (0..7usize, any::<u16>(), any::<u16>(), name, any::<u64>());
    (prop::collection::vec(step, 1..30), "\\PC{0,8}", any::<bool>()).prop_map(|(steps, title, symbolic)| {
        let mut g = Graph::new(&title);
        let lead = if symbolic { Dim::from("N") } else { Dim::from(4) };
        let x = g.add_input("x", TensorType::new(DType::F32, Shape::from([lead, Dim::from(6)]))).unwrap();
        let mut values = vec![x];
        for (what, a, b, name, seed) in steps {
            let pick = |k: u16| values[k as usize % values.len()];
            let v = match what {
                0 => g.add(Op::Pointwise(Expr::unary(Unary::ALL[a as usize % 12])), &[pick(b)], &name),
                1 => g.add(
                    Op::Pointwise(Expr::binary(Binary::ALL[a as usize % 9])),
                    &[pick(a), pick(b)],
                    &name,
                ),
                2 => g.add(Op::Softmax(Softmax { axis: a as usize % 2, log: b % 2 == 0 }), &[pick(b)], &name),
                3 => g.add(
                    Op::RmsNorm(RmsNorm { axis: 1, epsilon: f32::from_bits(seed as u32) }),
                    &[pick(a)],
                    &name,
                ),
                4 => {
                    let bits: Vec<u8> = (0..24u32).map(|i| (seed >> (i % 57)) as u8).collect();
                    let t = Tensor::from_bytes(DType::F32, &[6], bits).unwrap();
                    let c = g.add_constant(&name, t);
                    g.add(Op::Pointwise(Expr::binary(Binary::Mul)), &[pick(a), c], &name)
                }
                5 => {
                    let pads = vec![(0, 0), (a as usize % 3, 0)];
                    let mode = PadMode::Constant(Scalar::float(DType::F32, seed as f64));
                    let p = g.add(Op::Pad(Pad { pads, mode }), &[pick(b)], &name).unwrap();
                    let len = Dim::from(6);
                    let axes = vec![SliceAxis { axis: 1, start: Dim::from(0), len, step: 1 }];
                    g.add(Op::Slice(Slice { axes }), &[p], &name)
                }
                _ => {
                    let mut e = Expr::binary(Binary::ALL[a as usize % 9]);
                    let r = e.root();
                    let c = e.push(ExprNode::Const(Scalar::float(DType::F32, f64::from_bits(seed))));
                    let s = e.push(ExprNode::Binary(Binary::ALL[b as usize % 9], r, c));
                    e.push(ExprNode::Binary(Binary::Mul, s, r));
                    g.add(Op::Pointwise(e), &[pick(a), pick(b)], &name)
                }
            };
            values.push(v.unwrap());
        }
        g.mark_output("y", values[values.len() - 1]);
        g.mark_output("z", values[values.len() / 2]);
        g
    })
}

/// A text with one edit: a byte changed, removed or inserted, the end cut, a part copied or cut out.
fn mutate(bytes: &mut Vec<u8>, at: usize, what: usize, b: u8) {
    if bytes.is_empty() {
        return bytes.push(b);
    }
    let i = at % bytes.len();
    let end = (i + usize::from(b)).min(bytes.len());
    match what {
        0 => bytes[i] = b,
        1 => drop(bytes.remove(i)),
        2 => bytes.insert(i, b"0123456789-%$(){}[]\"',:;=*+ NHx"[usize::from(b) % 31]),
        3 => bytes.truncate(i),
        4 => bytes.copy_within(i..end, 0),
        _ => drop(bytes.drain(i..end)),
    }
}

const FRAGMENTS: &str = "( *(%[ab]|:|=|f32|\\[|\\]|N|-|9223372036854775808|floor\\(|,|\\)|input|const|fill\
    |softmax\\(|axis|\\{|\\}|;|let|\\$0|1:f32)){0,20}";

proptest! {
    #[test]
    fn random_graphs_round_trip(g in random_graph()) {
        let text = print(&g);
        let back = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(print(&back), text);
        prop_assert_eq!(check(&back).len(), 0);
        prop_assert_eq!(abbreviated(&back), abbreviated(&g));
    }

    #[test]
    fn mutated_texts_never_panic(edits in prop::collection::vec((any::<u32>(), 0..6usize, any::<u8>()), 1..8)) {
        let mut bytes = print(&every_op()).into_bytes();
        for (at, what, b) in edits {
            mutate(&mut bytes, at as usize, what, b);
        }
        if let Ok(g) = parse(&String::from_utf8_lossy(&bytes)) {
            let text = print(&g);
            let back = parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(print(&back), text);
        }
    }

    #[test]
    fn fragments_never_panic(s in FRAGMENTS) {
        let _ = parse(&format!("graph g {{{s}"));
        let _ = parse_dim(&s);
        let _ = parse_expr(&s);
    }
}
