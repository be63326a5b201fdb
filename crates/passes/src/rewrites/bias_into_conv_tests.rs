use crate::testing::*;
use tactician_ir::{Binary, Conv, ConvTranspose, Graph, Op, ValueId};

fn graph(build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[2, 4, 5, 5]);
    let y = build(&mut g, x);
    g.mark_output("y", y);
    g
}

fn plus_channels(bias: bool) -> Graph {
    graph(|g, x| {
        let c = conv(g, x, 6, 3, bias);
        let k = constant(g, &[6, 1, 1], 1);
        binary(g, Binary::Add, k, c)
    })
}

#[test]
fn makes_and_extends_the_bias() {
    for bias in [false, true] {
        let after = check("bias_into_conv", &plus_channels(bias));
        assert_eq!(ops(&after), ["const", "const", "conv"]);
    }
}

#[test]
fn subtraction_is_a_bias_and_weights_may_be_open() {
    let g = graph(|g, x| {
        let w = input(g, "w", &[6, 4, 1, 1]);
        let c = g.add(Op::Conv(Conv::unit(2)), &[x, w], "c").unwrap();
        let k = constant(g, &[1, 6, 1, 1], 1);
        binary(g, Binary::Sub, c, k)
    });
    assert_eq!(ops(&check("bias_into_conv", &g)), ["const", "conv"]);
}

#[test]
fn transposed_convolutions_too() {
    let g = graph(|g, x| {
        let w = constant(g, &[4, 3, 2, 2], 2);
        let op = ConvTranspose {
            strides: vec![2; 2],
            pads: vec![(0, 0); 2],
            dilations: vec![1; 2],
            output_padding: vec![0; 2],
            groups: 2,
        };
        let c = g.add(Op::ConvTranspose(op), &[x, w], "c").unwrap();
        let k = constant(g, &[6, 1, 1], 1);
        binary(g, Binary::Add, c, k)
    });
    assert_eq!(ops(&check("bias_into_conv", &g)), ["const", "const", "conv_transpose"]);
}

#[test]
fn stays_away() {
    // The convolution has another reader.
    let mut g = plus_channels(true);
    let c = g.topo().into_iter().find(|&n| matches!(g.node(n).op, Op::Conv(_))).unwrap();
    g.mark_output("c", c.value());
    unchanged("bias_into_conv", &g);
    // What is added varies over the image, or is no constant, or scales.
    unchanged(
        "bias_into_conv",
        &graph(|g, x| {
            let c = conv(g, x, 6, 3, false);
            let k = constant(g, &[5], 1);
            binary(g, Binary::Add, k, c)
        }),
    );
    unchanged(
        "bias_into_conv",
        &graph(|g, x| {
            let c = conv(g, x, 6, 3, false);
            let k = input(g, "k", &[6, 1, 1]);
            binary(g, Binary::Add, k, c)
        }),
    );
    unchanged(
        "bias_into_conv",
        &graph(|g, x| {
            let c = conv(g, x, 6, 3, false);
            let k = constant(g, &[6, 1, 1], 1);
            binary(g, Binary::Mul, k, c)
        }),
    );
    // The bias is an operand of its own.
    unchanged(
        "bias_into_conv",
        &graph(|g, x| {
            let w = constant(g, &[6, 4, 1, 1], 2);
            let b = input(g, "b", &[6]);
            let c = g.add(Op::Conv(Conv::unit(2)), &[x, w, b], "c").unwrap();
            let k = constant(g, &[6, 1, 1], 1);
            binary(g, Binary::Add, k, c)
        }),
    );
}
