//! Conversions at the ends of a GPU's network, and steps of the CPU in its plan.

use super::*;

/// A node that converts to a type.
fn cast(to: DType) -> Op {
    let mut e = Expr::identity();
    e.push(ExprNode::Cast(to, 0));
    Op::Pointwise(e)
}

/// Networks of 16-bit floats whose inputs and outputs are `f32`: the ends are converted by the operations next to them.
#[test]
fn conversions_at_the_ends_on_the_gpu() {
    let mut list = Vec::new();
    for short in [DType::F16, DType::BF16] {
        let wide = || match cast(F) {
            Op::Pointwise(e) => (e, None),
            _ => unreachable!(),
        };
        let first = |x: [usize; 4], k: usize, window: usize, stride: usize| {
            let mut g = Graph::new("g");
            let image = g.add_input("x", TensorType::known(F, &x)).unwrap();
            let low = g.add(cast(short), &[image], "low").unwrap();
            let w = g.add_constant("w", tensor(&[k, x[1], window, window], short));
            let b = g.add_constant("b", tensor(&[k, 1, 1], short));
            let y = g.add(conv(2, window / 2, stride, 1, 1), &[low, w], "conv").unwrap();
            let y = g.add(Op::Pointwise(Expr::binary(Binary::Add)), &[y, b], "bias").unwrap();
            let y = g.add(Op::Pointwise(Expr::unary(Unary::Relu)), &[y], "relu").unwrap();
            g.mark_output("y", y);
            let nodes: Vec<NodeId> = g
                .topo()
                .into_iter()
                .filter(|&n| !matches!(g.node(n).op, Op::Input | Op::Constant(_)))
                .collect();
            Region::new("test", &g, &nodes).expect("a region").problem(&g)
        };
        let x: Given<'_> = (&[2, 16, 7, 9], short, false);
        list.extend([
            first([1, 3, 224, 224], 64, 7, 2),
            // Several tiles a block.
            first([8, 3, 224, 224], 64, 7, 2),
            first([2, 3, 33, 31], 32, 3, 2),
            first([1, 1, 17, 19], 20, 5, 1),
            first([3, 4, 20, 20], 24, 3, 1),
            problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], short, true)], &[relu(), wide()]),
            problem(conv(2, 0, 1, 1, 1), &[x, (&[255, 16, 1, 1], short, true)], &[wide()]),
            problem(conv(2, 1, 1, 1, 16), &[x, (&[16, 1, 3, 3], short, true)], &[wide()]),
            problem(conv(2, 1, 1, 1, 4), &[x, (&[16, 4, 3, 3], short, true)], &[wide()]),
            problem(
                Op::MatMul(MatMul { trans_a: false, trans_b: true }),
                &[(&[1, 2048], short, false), (&[1000, 2048], short, true)],
                &[add((&[1000], short, true)), wide()],
            ),
            problem(
                Op::MatMul(MatMul { trans_a: false, trans_b: false }),
                &[(&[100, 72], short, false), (&[72, 33], short, false)],
                &[wide()],
            ),
            problem(Op::Softmax(Softmax { axis: 1, log: false }), &[(&[3, 1000], short, false)], &[wide()]),
            problem(
                Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true }),
                &[x],
                &[wide()],
            ),
            problem(
                Op::Pool(Pool {
                    kind: PoolKind::Max,
                    window: vec![3; 2],
                    strides: vec![2; 2],
                    pads: vec![(1, 1); 2],
                    dilations: vec![1; 2],
                    ceil: false,
                }),
                &[x],
                &[wide()],
            ),
            problem(
                Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-5 }),
                &[(&[5, 64], short, false)],
                &[wide()],
            ),
            problem(cast(short), &[(&[2, 16, 7, 9], F, false)], &[relu(), wide()]),
        ]);
    }
    on_gpu_as_given(list, "f32 outside");
}

/// The CPU's tactics as steps of a GPU's plan: what has no kernel there, and what could do without them.
#[test]
fn steps_of_the_cpu_on_the_gpu() {
    let Some(device) = gpu() else { return };
    let x: Given<'_> = (&[1, 16, 12, 12], F, false);
    let w: Given<'_> = (&[24, 16, 3, 3], F, true);
    let matmul = || Op::MatMul(MatMul { trans_a: false, trans_b: false });
    let mut list = vec![
        problem(conv(2, 1, 1, 1, 1), &[x, w], &[add((&[24, 1, 1], F, true)), relu()]),
        problem(conv(2, 1, 1, 1, 1), &[x, (&[24, 16, 3, 3], F, false)], &[]),
        problem(matmul(), &[(&[7, 20], F, false), (&[20, 33], F, true)], &[relu()]),
        problem(Op::Softmax(Softmax { axis: 1, log: false }), &[(&[2, 18, 7, 9], F, false)], &[]),
        problem(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[(&[2, 32, 5, 6], F, false)], &[]),
        problem(Op::Pointwise(Expr::unary(Unary::Relu)), &[(&[], F, false)], &[]),
    ];
    let bias: Given<'_> = (&[24, 1, 1], F, true);
    for dtype in [DType::F64, DType::I64] {
        list.push(problem(matmul(), &[(&[7, 20], dtype, false), (&[20, 33], dtype, true)], &[]));
    }
    list.push(with_floats(&problem(conv(2, 1, 1, 1, 1), &[x, w], &[add(bias)]), DType::F64));
    pass_on(device.as_ref(), &list, "host.cpu".parse().unwrap(), "CPU steps on the GPU");
}
