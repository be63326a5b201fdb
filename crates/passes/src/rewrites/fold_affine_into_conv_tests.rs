use crate::testing::*;
use tactician_ir::{Binary, Conv, ConvTranspose, DType, Graph, MatMul, Op, Scalar, TensorType, ValueId};

const NAME: &str = "fold_affine_into_conv";

fn graph(build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 4, 5, 5]);
    let y = build(&mut g, x);
    g.mark_output("y", y);
    g
}

fn scaled_and_shifted(g: &mut Graph, c: ValueId) -> ValueId {
    let channels = g.ty(c).sizes().unwrap()[1];
    let (a, b) = (constant(g, &[channels, 1, 1], 1), constant(g, &[1, channels, 1, 1], 2));
    let m = binary(g, Binary::Mul, a, c);
    binary(g, Binary::Add, m, b)
}

#[test]
fn scales_weights_and_bias() {
    for bias in [false, true] {
        let g = graph(|g, x| {
            let c = conv(g, x, 6, 3, bias);
            let k = constant(g, &[6, 1, 1], 1);
            binary(g, Binary::Mul, k, c)
        });
        let want: &[&str] = if bias { &["const", "const", "conv"] } else { &["const", "conv"] };
        assert_eq!(ops(&check(NAME, &g)), want);
        let g = graph(|g, x| {
            let c = conv(g, x, 6, 3, bias);
            scaled_and_shifted(g, c)
        });
        // The shift becomes a bias afterwards, or in the same round once the scale is gone.
        let (after, _) = crate::canonicalize(g.clone()).unwrap();
        assert_eq!(ops(&after), ["const", "const", "conv"]);
        same_results(&g, &after, 1e-5);
    }
}

#[test]
fn groups_find_their_channels() {
    let g = graph(|g, x| {
        let w = constant(g, &[6, 2, 3, 3], 2);
        let c = g.add(Op::Conv(Conv { groups: 2, ..Conv::unit(2) }), &[x, w], "c").unwrap();
        let k = constant(g, &[6, 1, 1], 1);
        binary(g, Binary::Mul, k, c)
    });
    assert_eq!(ops(&check(NAME, &g)), ["const", "conv"]);
    for groups in [1, 2, 4] {
        let g = graph(|g, x| {
            let w = constant(g, &[4, 3, 2, 2], 2);
            let op = ConvTranspose {
                strides: vec![2; 2],
                pads: vec![(1, 0); 2],
                dilations: vec![1; 2],
                output_padding: vec![0; 2],
                groups,
            };
            let c = g.add(Op::ConvTranspose(op), &[x, w], "c").unwrap();
            let k = constant(g, &[3 * groups, 1, 1], 1);
            binary(g, Binary::Mul, k, c)
        });
        assert_eq!(ops(&check(NAME, &g)), ["const", "conv_transpose"]);
    }
}

#[test]
fn scales_the_columns_of_a_matrix() {
    for (trans_b, w, k) in [
        (false, &[4, 7][..], &[7][..]),
        (true, &[7, 4], &[7]),
        (false, &[2, 4, 7], &[1]),
        (true, &[2, 7, 4], &[7]),
    ] {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3, 4]);
        let w = constant(&mut g, w, 1);
        let m = g.add(Op::MatMul(MatMul { trans_a: false, trans_b }), &[x, w], "m").unwrap();
        let k = constant(&mut g, k, 2);
        let y = binary(&mut g, Binary::Mul, m, k);
        g.mark_output("y", y);
        assert_eq!(ops(&check(NAME, &g)), ["const", "matmul"]);
    }
}

#[test]
fn matrices_take_no_shift_and_no_row_scale() {
    for (op, k) in [(Binary::Add, &[7][..]), (Binary::Mul, &[3, 1])] {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[2, 3, 4]);
        let w = constant(&mut g, &[4, 7], 1);
        let m = g.add(Op::MatMul(MatMul::default()), &[x, w], "m").unwrap();
        let k = constant(&mut g, k, 2);
        let y = binary(&mut g, op, m, k);
        g.mark_output("y", y);
        unchanged(NAME, &g);
    }
}

#[test]
fn stays_away() {
    // Another reader.
    let mut g = graph(|g, x| {
        let c = conv(g, x, 6, 3, true);
        let k = constant(g, &[6, 1, 1], 1);
        binary(g, Binary::Mul, k, c)
    });
    let c = g.topo().into_iter().find(|&n| matches!(g.node(n).op, Op::Conv(_))).unwrap();
    g.mark_output("c", c.value());
    unchanged(NAME, &g);
    // Open weights, open bias.
    for open in 1..3 {
        unchanged(
            NAME,
            &graph(|g, x| {
                let mut operands = vec![x];
                for (i, sizes) in [(1, &[6, 4, 3, 3][..]), (2, &[6])] {
                    operands.push(if i == open { input(g, "w", sizes) } else { constant(g, sizes, 1) });
                }
                let c = g.add(Op::Conv(Conv::unit(2)), &operands, "c").unwrap();
                let k = constant(g, &[6, 1, 1], 1);
                binary(g, Binary::Mul, k, c)
            }),
        );
    }
}

#[test]
fn weights_that_would_overflow_stay() {
    let mut g = Graph::new("t");
    let x = g.add_input("x", TensorType::known(DType::F16, &[1, 1, 2, 2])).unwrap();
    let w = tactician_ir::Tensor::new(&[1, 1, 1, 1], &[half::f16::from_f32(6e4)]).unwrap();
    let w = g.add_constant("w", w);
    let c = g.add(Op::Conv(Conv::unit(2)), &[x, w], "c").unwrap();
    let mut e = tactician_ir::Expr::identity();
    let two = e.push(tactician_ir::ExprNode::Const(Scalar::float(DType::F16, 2.0)));
    e.push(tactician_ir::ExprNode::Binary(Binary::Mul, 0, two));
    let y = g.add(Op::Pointwise(e), &[c], "y").unwrap();
    g.mark_output("y", y);
    unchanged(NAME, &g);
}
