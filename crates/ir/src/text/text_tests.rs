use tactician_types::{Binary, DType, Expr, ExprNode, Scalar, Unary};

use super::*;
use crate::dim::Dim;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::*;
use crate::tensor::{Shape, Tensor, TensorType};
use crate::verify::check;

/// Asserts that two graphs are equal up to ids, inputs first and then in topological order.
fn assert_same(a: &Graph, b: &Graph) {
    let order = |g: &Graph| -> Vec<NodeId> {
        let rest = g.topo().into_iter().filter(|n| !g.inputs().contains(n));
        g.inputs().iter().copied().chain(rest).collect()
    };
    let (na, nb) = (order(a), order(b));
    assert_eq!((&a.name, na.len(), a.inputs().len()), (&b.name, nb.len(), b.inputs().len()));
    let at = |list: &[NodeId], v: ValueId| list.iter().position(|&n| n == v.node()).map(|i| (i, v.slot()));
    for (&x, &y) in na.iter().zip(&nb) {
        let (nx, ny) = (a.node(x), b.node(y));
        assert_eq!((&nx.name, nx.outputs()), (&ny.name, ny.outputs()));
        match (&nx.op, &ny.op) {
            (Op::Pointwise(e), Op::Pointwise(f)) => assert_eq!(e.to_string(), f.to_string()),
            (p, q) => assert_eq!(p, q),
        }
        let places = |g: &Graph, n, list: &[NodeId]| -> Vec<_> {
            g.node(n).inputs().iter().map(|&v| at(list, v)).collect()
        };
        assert_eq!(places(a, x, &na), places(b, y, &nb));
    }
    let outputs = |g: &Graph, list: &[NodeId]| -> Vec<_> {
        g.outputs().iter().map(|(n, v)| (n.clone(), at(list, *v))).collect()
    };
    assert_eq!(outputs(a, &na), outputs(b, &nb));
}

fn assert_round_trip(g: &Graph) {
    let text = print(g);
    let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(print(&back), text);
    assert_same(g, &back);
    assert_eq!(check(&back), check(g));
}

fn f32s(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32 * 0.1 - 1.0).collect()
}

/// A graph with every operation, attributes away from their defaults.
pub(super) fn every_op() -> Graph {
    let mut g = Graph::new("every op");
    let x = g.add_input("x", TensorType::new(DType::F32, ["N", "H"].map(Dim::from))).unwrap();
    let i = g.add_input("images", TensorType::known(DType::F32, &[2, 4, 9, 9])).unwrap();
    let w = g.add_constant("w", Tensor::new(&[6, 2, 3, 3], &f32s(108)).unwrap());
    let b =
        g.add_constant("b", Tensor::new(&[6], &[0.1f32, -0.0, f32::NAN, f32::INFINITY, 1e-30, 5.0]).unwrap());
    let conv =
        Op::Conv(Conv { strides: vec![2, 1], pads: vec![(1, 0), (2, 1)], dilations: vec![1, 2], groups: 2 });
    let c = g.add(conv, &[i, w, b], "c").unwrap();
    let t = ConvTranspose {
        strides: vec![2, 2],
        pads: vec![(1, 1), (0, 1)],
        dilations: vec![1, 1],
        output_padding: vec![1, 0],
        groups: 2,
    };
    let wt = g.add_constant("", Tensor::new(&[4, 3, 3, 3], &vec![0.5f32; 108]).unwrap());
    g.add(Op::ConvTranspose(t), &[i, wt], "ct").unwrap();
    g.add(Op::Conv(Conv::unit(2)), &[i, wt], "mismatch").unwrap_err();
    let tile = g.add_constant("tile", Tensor::new(&[5, 3], &f32s(15)).unwrap());
    g.add(Op::MatMul(MatMul { trans_a: true, trans_b: false }), &[tile, tile], "mm").unwrap();
    let mut silu = Expr::empty();
    let s = silu.push(ExprNode::Input(0));
    let k = silu.push(ExprNode::Const(Scalar::f32(0.5)));
    let sum = silu.push(ExprNode::Binary(Binary::Add, s, k));
    let sig = silu.push(ExprNode::Unary(Unary::Sigmoid, sum));
    let cond = silu.push(ExprNode::Binary(Binary::Lt, sum, k));
    let cast = silu.push(ExprNode::Cast(DType::F32, cond));
    let sel = silu.push(ExprNode::Select(cond, sig, cast));
    silu.push(ExprNode::Binary(Binary::Mul, sel, sum));
    g.add(Op::Pointwise(silu), &[x], "silu").unwrap();
    for (n, kind) in [
        PoolKind::Max,
        PoolKind::Average { count_pad: false },
        PoolKind::Average { count_pad: true },
        PoolKind::Lp { p: 3 },
    ]
    .into_iter()
    .enumerate()
    {
        let window = vec![3, 2];
        let (strides, pads, dilations) = (vec![2, 1], vec![(1, 1), (0, 0)], vec![1, 1 + n]);
        g.add(Op::Pool(Pool { kind, window, strides, pads, dilations, ceil: n % 2 == 0 }), &[i], "pool")
            .unwrap();
    }
    for (n, (name, kind)) in attributes::REDUCTIONS.into_iter().enumerate() {
        g.add(Op::Reduce(Reduce { kind, axes: vec![1, 3], keep_dims: n % 2 == 0 }), &[c], name).unwrap();
    }
    g.add(Op::ArgReduce(ArgReduce { largest: true, axis: 1, keep_dims: true, last: true }), &[c], "123")
        .unwrap();
    g.add(Op::ArgReduce(ArgReduce { largest: false, axis: 0, keep_dims: false, last: false }), &[x], "_7")
        .unwrap();
    g.add(Op::Softmax(Softmax { axis: 1, log: false }), &[x], "soft max\n\"q\" \u{7}é").unwrap();
    g.add(Op::Softmax(Softmax { axis: 0, log: true }), &[x], "/layer.1/log-softmax").unwrap();
    let heads = g.add_input("heads", TensorType::known(DType::F32, &[2, 4, 6, 8])).unwrap();
    let bias = g.add_input("scores", TensorType::known(DType::F32, &[6, 6])).unwrap();
    for (causal, softcap) in [(None, 0.0), (Some(0), 30.0), (Some(-3), 0.0), (Some(9), -0.0)] {
        let op = Op::Attention(Attention { causal, softcap, ..Attention::new(0.125) });
        g.add(op, &[heads, heads, heads, bias], "attention").unwrap();
    }
    let packed = g.add_input("packed", TensorType::known(DType::F32, &[6, 2, 100])).unwrap();
    let mut within = Attention { causal: Some(1), ..Attention::new(0.5) };
    for i in 0..3 {
        within.within[i] = Some(HeadsIn { offset: 4 + 32 * i, sizes: [2, 4, 6, 8], strides: [100, 8, 200] });
    }
    g.add(Op::Attention(within), &[packed, packed, packed], "within").unwrap();
    let inside = Attention { heads_inside: [true, false, false, true], ..Attention::new(0.5) };
    let lengths = g.add_input("lengths", TensorType::known(DType::F32, &[2, 6, 4, 8])).unwrap();
    g.add(Op::Attention(inside), &[lengths, heads, heads], "inside").unwrap();
    g.add(Op::BatchNorm(BatchNorm { epsilon: 1e-5 }), &[c, b, b, b, b], "").unwrap();
    g.add(Op::LayerNorm(LayerNorm { axis: 1, epsilon: 1e-12 }), &[c], "").unwrap();
    g.add(Op::RmsNorm(RmsNorm { axis: 3, epsilon: 0.0 }), &[c], "rms").unwrap();
    g.add(Op::InstanceNorm(InstanceNorm { epsilon: 1e-5 }), &[c, b, b], "in").unwrap();
    g.add(Op::GroupNorm(GroupNorm { groups: 3, epsilon: 1e-5 }), &[c, b, b], "gn").unwrap();
    g.add(Op::Lrn(Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 }), &[c], "lrn").unwrap();
    let flat = Shape::from([Dim::from("N") * Dim::from("H"), Dim::from(1)]);
    g.add(Op::Reshape(Reshape { shape: flat }), &[x], "flat").unwrap();
    g.add(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), &[i], "nhwc").unwrap();
    g.add(
        Op::Expand(Expand { shape: Shape::from([Dim::from(3), Dim::from("N"), Dim::from(1)]) }),
        &[x],
        "wide",
    )
    .unwrap();
    let cat = g.add(Op::Concat(Concat { axis: 1 }), &[x, x], "cat").unwrap();
    let half = Dim::from("H").div_floor(&Dim::from(2));
    let axes = vec![
        SliceAxis { axis: 0, start: Dim::from(0), len: Dim::from("N") - Dim::from(1), step: 1 },
        SliceAxis { axis: 1, start: Dim::from("H") - Dim::from(1), len: half, step: -2 },
    ];
    g.add(Op::Slice(Slice { axes }), &[cat], "slice").unwrap();
    let constant = PadMode::Constant(Scalar::f32(-0.5));
    for mode in [constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        g.add(Op::Pad(Pad { pads: vec![(0, 0), (0, 0), (1, 2), (0, 3)], mode }), &[i], "pad").unwrap();
    }
    let ids = g.add_constant("ids", Tensor::new(&[2, 1], &[0i64, -1]).unwrap());
    g.add(Op::Gather(Gather { axis: 0 }), &[x, ids], "gather").unwrap();
    g.add(Op::GatherElements(GatherElements { axis: 0 }), &[tile, ids], "ge").unwrap();
    let sequence = g.add_input("sequence", TensorType::known(DType::F32, &[5, 2, 3])).unwrap();
    let w = |g: &mut Graph, sizes: &[usize]| {
        g.add_constant("", Tensor::new(sizes, &vec![0.25f32; sizes.iter().product()]).unwrap())
    };
    for (cell, kind) in attributes::CELLS {
        for (_, direction) in attributes::DIRECTIONS {
            let (d, rows) = (direction.count(), kind.gates() * 4);
            let lstm = kind == RecurrentKind::Lstm;
            let mut o = Recurrent::new(kind, direction);
            let mut operands = vec![sequence, w(&mut g, &[d, rows, 3]), w(&mut g, &[d, rows, 4])];
            g.add(Op::Recurrent(o.clone()), &operands, cell).unwrap();
            (o.clip, o.input_forget) = (Some(0.5), lstm);
            o.linear_before_reset = kind == RecurrentKind::Gru;
            (o.bias, o.lengths, o.initial_h, o.initial_c, o.peepholes) = (true, true, true, lstm, lstm);
            for (i, a) in o.functions.iter_mut().enumerate() {
                let function = attributes::GATE_FUNCTIONS[(i + rows + d) % 11].1;
                *a = GateActivation { function, alpha: 0.1, beta: -2.5 };
            }
            operands.push(w(&mut g, &[d, 2 * rows]));
            operands.push(g.add_constant("", Tensor::new(&[2], &[5i32, 3]).unwrap()));
            let states = if lstm { 2 } else { 1 };
            operands.extend((0..states).map(|_| w(&mut g, &[d, 2, 4])));
            if lstm {
                operands.push(w(&mut g, &[d, 12]));
            }
            g.add(Op::Recurrent(o), &operands, "").unwrap();
        }
    }
    let row = g.add_constant("row", Tensor::new(&[2, 1], &[0.5f32, -1.0]).unwrap());
    for (_, reduction) in attributes::SCATTERS {
        g.add(Op::ScatterElements(ScatterElements { axis: 0, reduction }), &[row, ids, row], "sc").unwrap();
    }
    for largest in [false, true] {
        g.add(Op::TopK(TopK { axis: 0, k: 1, largest }), &[row], "top").unwrap();
    }
    let axes = |roi| vec![ResizeAxis { axis: 2, size: Dim::from(18), scale: 2.0, roi }];
    for (_, mode) in attributes::ROUNDINGS {
        for (_, coordinates) in attributes::COORDINATES {
            let mode = ResizeMode::Nearest(mode);
            let o = Resize { axes: axes((0.0, 1.0)), mode, coordinates, extrapolation: 0.0 };
            g.add(Op::Resize(o), &[i], "").unwrap();
        }
    }
    for mode in [
        ResizeMode::Linear { antialias: true },
        ResizeMode::Linear { antialias: false },
        ResizeMode::Cubic { coefficient: -0.75, exclude_outside: true, antialias: false },
        ResizeMode::Cubic { coefficient: -0.5, exclude_outside: false, antialias: true },
    ] {
        let coordinates = CoordinateMode::TfCropAndResize;
        let o = Resize { axes: axes((0.25, 0.75)), mode, coordinates, extrapolation: -1.5 };
        g.add(Op::Resize(o), &[i], "pad").unwrap();
    }
    g.mark_output("y", c);
    g.mark_output("also \\ y", c);
    g
}

#[test]
fn every_op_round_trips() {
    let g = every_op();
    assert!(check(&g).is_empty());
    assert_round_trip(&g);
    let names: std::collections::BTreeSet<_> = g.node_ids().map(|n| g.node(n).op.name()).collect();
    assert_eq!(names.len(), 29, "every operation is in the graph: {names:?}");
}

#[test]
fn constants_of_every_type_round_trip_bit_for_bit() {
    let mut g = Graph::new("constants");
    for dtype in DType::ALL {
        for sizes in [&[][..], &[0], &[3], &[2, 3], &[5, 7]] {
            let len = sizes.iter().product::<usize>() * dtype.size();
            let zeros = Tensor::from_bytes(dtype, sizes, vec![0; len]).unwrap();
            let ones = Tensor::from_bytes(dtype, sizes, vec![0xff; len]).unwrap();
            let mixed: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(89).wrapping_add(0x3c)).collect();
            for t in [zeros, ones, Tensor::from_bytes(dtype, sizes, mixed).unwrap()] {
                g.add_constant("", t);
            }
        }
    }
    let specials =
        [f32::NAN, -f32::NAN, f32::INFINITY, -f32::INFINITY, -0.0, f32::MIN_POSITIVE, 1e-45, 3.4e38, 0.1];
    g.add_constant("specials", Tensor::new(&[9], &specials).unwrap());
    assert_round_trip(&g);
}

#[test]
fn long_constants_are_left_out_of_the_abbreviated_form() {
    let mut g = Graph::new("g");
    g.add_constant("c", Tensor::new(&[100], &f32s(100)).unwrap());
    let text = format!("{g:#}");
    assert!(text.len() < 100, "{text}");
    let e = parse(&text).unwrap_err();
    assert!(e.expected.contains("abbreviated"), "{e}");
    assert_eq!(format!("{g:?}"), text);
    assert!(g.to_string().len() > 800);
}

#[test]
fn defaults_are_left_out() {
    let text = "graph g {
  %x: f32[N,3,8,8] = input \"x\"
  %w: f32[4,3,1,1] = const fill 0.5
  %y: f32[N,4,8,8] = conv(%x, %w)
  %z: f32[N,4,4,4] = pool(%y) max window=[2,2] strides=[2,2]
  output \"z\" %z
}
";
    assert_eq!(print(&parse(text).unwrap()), text);
    assert_eq!(attributes(&Op::Conv(Conv::unit(2))), "");
    assert_eq!(attributes(&Op::MatMul(MatMul { trans_a: true, trans_b: true })), "trans_a trans_b");
}

#[test]
fn seeds_are_reproducible_noise() {
    let text =
        "graph g { %a: f32[1000] = const seed 7  %b: f32[1000] = const seed 7  %c: i8[9] = const seed 8 }";
    let g = parse(text).unwrap();
    let values: Vec<_> = g.node_ids().map(|n| g.node(n).as_constant().unwrap().clone()).collect();
    assert_eq!(values[0], values[1]);
    let floats = values[0].values::<f32>().unwrap();
    let mean = floats.iter().sum::<f32>() / 1000.0;
    assert!(mean.abs() < 0.1 && floats.iter().all(|v| (-1.0..1.0).contains(v)), "{mean}");
    assert!(values[2].values::<i8>().unwrap().iter().all(|v| (-8..8).contains(v)));
}

#[test]
fn sizes_read_back() {
    let (n, h) = (Dim::from("N"), Dim::from("H"));
    let two = Dim::from(2);
    for d in [
        Dim::known(-3),
        n.clone() * two.clone() - Dim::known(1),
        (n.clone() - h.clone()) * (h.clone() + Dim::known(4)),
        ((h.clone() - Dim::known(1)).div_floor(&two) + n.clone()).div_floor(&(n.clone() + h.clone()))
            * h.clone(),
        Dim::known(-1) * n.clone() * n,
        Dim::from("batch size") * Dim::from("unk__1") - Dim::from("seq + 1'").div_floor(&two)
            + Dim::known(i64::MIN),
    ] {
        assert_eq!(parse_dim(&dims::dim_text(&d)).unwrap(), d, "{d}");
    }
    assert_eq!(parse_dim("2*N - N + floor(7, 2)").unwrap().to_string(), "N + 3");
}

#[test]
fn expressions_read_back() {
    for text in [
        "$0",
        "let t0 = add($0, $1); mul(t0, sigmoid(t0))",
        "select(lt($0, 0.5:f32), -1e-7:f32, cast($1, f32))",
        "add(NaN:f64, sub(inf:f64, -inf:f64))",
        "bitand($3, -9223372036854775808:i64)",
        "and(1:bool, not(0:bool))",
    ] {
        assert_eq!(parse_expr(text).unwrap().to_string(), text);
    }
    let dead = parse_expr("let a = neg($0); let b = relu($0); add(relu($0), b)").unwrap();
    assert_eq!(dead.to_string(), "let t0 = relu($0); add(t0, t0)");
    let deep = format!("{}$0{}", "neg(".repeat(4000), ")".repeat(4000));
    assert_eq!(parse_expr(&deep).unwrap().to_string(), deep);
    let deeper = format!("{}$0{}", "neg(".repeat(5000), ")".repeat(5000));
    assert_eq!(parse_expr(&deeper).unwrap_err().kind, TextErrorKind::Limit);
}

#[test]
fn mistakes_are_placed_and_named() {
    use TextErrorKind::*;
    let x = "graph g {\n  %x: f32[2,3] = input\n  ";
    let nested = "floor(".repeat(70);
    for (tail, kind, line, column, found) in [
        ("%y: f32[2,3] = relu(%x)", Unknown, 3, 18, "`relu`"),
        ("%y: f32[2,3] = softmax(%q) axis=0", Unknown, 3, 26, "`%q`"),
        ("%y: f32[2,3] = softmax(%x) axle=0", Unknown, 3, 30, "`axle`"),
        ("%y: f33[2,3] = softmax(%x) axis=0", Unknown, 3, 7, "`f33`"),
        ("%y: f32[2,3] = pointwise(%x) {rely($0)}", Unknown, 3, 33, "`rely`"),
        ("%y: f32[2,3] = softmax(%x)\n}", Syntax, 4, 1, "`}`"),
        ("%y: f32[2,3] = softmax(%x axis=0", Syntax, 3, 29, "`axis`"),
        ("%y: f32[2,3] = softmax(%x) axis 0", Syntax, 3, 35, "`0`"),
        ("%y f32[2,3]", Syntax, 3, 6, "`f32`"),
        ("output %x", Syntax, 3, 10, "`%x`"),
        ("output \"x", Syntax, 3, 10, "a string without an end"),
        ("output \"\\q\" %x", Syntax, 3, 11, "`\\q`"),
        ("é", Syntax, 3, 3, "`é`"),
        ("%x: f32[2,3] = input", Duplicate, 3, 3, "`%x`"),
        ("%y: f32[2,3] = input \"x\"", Duplicate, 3, 24, "a second input"),
        ("output \"a\" %x output \"a\" %x", Duplicate, 3, 24, "a second output"),
        ("%y: f32[2,3] = softmax(%x) axis=0 axis=1", Duplicate, 3, 37, "`axis`"),
        ("%y: f32[3,2] = softmax(%x) axis=0", Type, 3, 7, "type f32[3,2]"),
        ("%y: f32[2,3] = softmax(%x) axis=2", Type, 3, 18, "softmax(f32[2,3])"),
        ("%y: f32[N] = const fill 1.0", Type, 3, 7, "f32[N]"),
        ("%y: f32[2] = const {1.0}", Value, 3, 22, "values of 4 bytes"),
        ("%y: f32[31111111111*6,31111111111*6] = const {3,31}", Value, 3, 48, "values of 8 bytes"),
        ("%y: u8[1] = const {256}", Value, 3, 22, "`256`"),
        ("%y: u8[1] = const {0x100}", Value, 3, 22, "`0x100`"),
        ("%y: u8[1] = const hex \"0g\"", Value, 3, 25, "0g"),
        ("%y: f32[2,3] = softmax(%x) axis=99999999999999999999", Value, 3, 35, "`9999"),
        ("%y: f32[floor(4, 0)] = input", Value, 3, 21, "`)`"),
        ("%y: f32[1,1,1,1,1,1,1,1,1] = input", Limit, 3, 27, "`1`"),
        ("%y: f32[1048576,1048577] = input", Limit, 3, 7, "beyond the limits"),
        ("%y: u8[1048576,1048576] = const fill 0", Limit, 3, 35, "1048576"),
        (&format!("%y: f32[{nested}"), Limit, 3, 401, "`floor`"),
    ] {
        let text = format!("{x}{tail}\n}}\n");
        let e = parse(&text).unwrap_err();
        assert_eq!((e.kind, e.line), (kind, line), "{tail}: {e}");
        assert!(e.found.contains(found) || e.to_string().contains(found), "{tail}: {e}");
        assert_eq!(e.column, column, "{tail}: {e}");
    }
    assert_eq!(parse("").unwrap_err().found, "the end of the text");
    assert_eq!(parse("graph g {} x").unwrap_err().found, "`x`");
}

#[test]
fn growing_sizes_are_refused() {
    let sum: Vec<String> = (0..40).map(|i| format!("a{i}")).collect();
    let sum = sum.join(" + ");
    let e = parse(&format!("graph g {{ %x: f32[{sum},{sum}] = input }}")).unwrap_err();
    assert_eq!(e.kind, TextErrorKind::Limit);
    assert_eq!(
        parse_dim(&format!("floor(2*a + 2*b, 2){}", "*floor(2*a + 2*b, 2)".repeat(20))).unwrap_err().kind,
        TextErrorKind::Limit
    );
}

#[test]
fn broken_graphs_print() {
    let mut g = Graph::new("broken");
    let ty = TensorType::known(DType::F32, &[2]);
    let ghost = g.add_unchecked(Op::Pointwise(Expr::empty()), &[], "a", std::slice::from_ref(&ty));
    g.add_unchecked(Op::Concat(Concat { axis: 0 }), &[ghost.output(3)], "b", &[ty.clone(), ty]);
    g.mark_output("y", ghost.output(9));
    assert!(print(&g).contains("%a#3"));
    assert!(parse(&print(&g)).is_err());
}

#[test]
fn long_constants_may_stand_aside() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::known(DType::F32, &[5, 4])).unwrap();
    let weights: Vec<Tensor> = (1..4).map(|i| Tensor::new(&[5, 4 * i], &f32s(20 * i)).unwrap()).collect();
    let constants: Vec<ValueId> = weights.iter().map(|w| g.add_constant("", w.clone())).collect();
    let short = g.add_constant("s", Tensor::new(&[1], &[2.0f32]).unwrap());
    let sum = g.add(Op::Pointwise(parse_expr("add($0, $1)").unwrap()), &[x, constants[0]], "sum").unwrap();
    g.mark_output("sum", sum);
    g.mark_output("s", short);
    let (text, aside) = print_aside(&g);
    assert_eq!((text.matches("aside").count(), &aside), (3, &weights));
    let mut list = aside.into_iter();
    let back = parse_aside(&text, |_| list.next()).unwrap();
    assert_same(&g, &back);
    // Too few, none at all, and those of another type.
    assert_eq!(parse_aside(&text, |_| None).unwrap_err().kind, TextErrorKind::Value);
    assert_eq!(parse(&text).unwrap_err().kind, TextErrorKind::Value);
    assert_eq!(parse_aside(&text, |_| Some(weights[1].clone())).unwrap_err().kind, TextErrorKind::Value);
}
