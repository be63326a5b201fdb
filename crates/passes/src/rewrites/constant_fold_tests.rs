use crate::testing::*;
use tactician_ir::{
    Binary, Concat, DType, Expand, Expr, ExprNode, Graph, Op, Shape, Tensor, Transpose, Unary, ValueId,
};

fn with_input(build: impl FnOnce(&mut Graph) -> ValueId) -> Graph {
    let mut g = Graph::new("t");
    let k = build(&mut g);
    let sizes = g.ty(k).sizes().unwrap();
    let x = input(&mut g, "x", &sizes);
    let y = binary(&mut g, Binary::Sub, x, k);
    g.mark_output("y", y);
    g
}

#[test]
fn folds_whole_trees() {
    let g = with_input(|g| {
        let (a, b) = (constant(g, &[2, 3], 1), constant(g, &[3, 2], 2));
        let t = g.add(Op::Transpose(Transpose { perm: vec![1, 0] }), &[a], "t").unwrap();
        let s = binary(g, Binary::Mul, t, b);
        let e = unary(g, Unary::Exp, s);
        g.add(Op::Concat(Concat { axis: 0 }), &[e, b], "c").unwrap()
    });
    let after = run("constant_fold", &g);
    assert_eq!(ops(&after), ["const", "pointwise"]);
    same_results(&g, &after, 0.0);
}

#[test]
fn folds_moderate_expansions_only() {
    let expanded = |n: usize| {
        with_input(|g| {
            let a = constant(g, &[16], 1);
            g.add(Op::Expand(Expand { shape: Shape::known(&[n, 16]) }), &[a], "e").unwrap()
        })
    };
    assert_eq!(ops(&check("constant_fold", &expanded(8))), ["const", "pointwise"]);
    // 2 MiB from 64 bytes.
    unchanged("constant_fold", &expanded(1 << 15));
}

#[test]
fn conversions_of_large_constants_fold() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1 << 20]);
    let k = g.add_constant("k", Tensor::new(&[1 << 20], &vec![half::f16::ONE; 1 << 20]).unwrap());
    let e = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(DType::F32, 0)]).unwrap();
    let wide = g.add(Op::Pointwise(e), &[k], "wide").unwrap();
    let y = binary(&mut g, Binary::Sub, x, wide);
    g.mark_output("y", y);
    assert_eq!(ops(&check("constant_fold", &g)), ["const", "pointwise"]);
}

#[test]
fn open_operands_and_outputs_stay() {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[3]);
    let k = constant(&mut g, &[3], 1);
    let y = binary(&mut g, Binary::Add, x, k);
    let z = unary(&mut g, Unary::Exp, k);
    g.mark_output("y", y);
    g.mark_output("z", z);
    unchanged("constant_fold", &g);
}
