//! Operators made of several operations, against plain loops.

use std::collections::BTreeMap;

use tactician_ir::Tensor;
use tactician_reference::eval_graph;

use crate::ShapeBindings;
use crate::proto::*;
use crate::tests::*;

/// `x[i] = (i % 7) − 3`, as the constants of these tests are.
fn at(i: usize) -> f32 {
    (i % 7) as f32 - 3.0
}

pub(crate) fn with_text(mut n: NodeProto, name: &str, text: &str) -> NodeProto {
    let s = Some(text.as_bytes().to_vec().into());
    n.attribute.push(AttributeProto { name: name.into(), s, ..Default::default() });
    n
}

/// The output `y` of nodes over `x` of these sizes, which holds `at`.
fn run(sizes: &[usize], tensors: Vec<TensorProto>, nodes: Vec<NodeProto>, opset: i64) -> Tensor {
    let dims: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut m = model(vec![value("x", &dims)], tensors, nodes, "y");
    m.opset_import[0].version = opset;
    let g = graph(&m, ShapeBindings::default()).unwrap();
    let data: Vec<f32> = (0..sizes.iter().product()).map(at).collect();
    let x = Tensor::new(sizes, &data).unwrap();
    eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).unwrap()["y"].clone()
}

fn refused(sizes: &[&str], tensors: Vec<TensorProto>, nodes: Vec<NodeProto>) -> String {
    let mut m = model(vec![value("x", sizes)], tensors, nodes, "y");
    m.opset_import[0].version = 20;
    graph(&m, ShapeBindings::default()).unwrap_err().to_string()
}

fn near(got: &Tensor, sizes: &[usize], want: &[f64]) {
    assert_eq!(got.sizes(), sizes);
    for (g, w) in got.values::<f32>().unwrap().iter().zip(want) {
        assert!((f64::from(*g) - w).abs() < 1e-4, "{got:?}: {g} instead of {w}");
    }
}

#[test]
fn gathers_by_tuples() {
    let mut indices = longs("i", &[0, -1, 2, 1]);
    indices.dims = vec![2, 2];
    let got = run(&[3, 4, 2], vec![indices.clone()], vec![node("GatherND", &["x", "i"], "y")], 17);
    let want = [(0, 3), (2, 1)]
        .into_iter()
        .flat_map(|(a, b)| (0..2).map(move |c| f64::from(at((a * 4 + b) * 2 + c))));
    near(&got, &[2, 2], &want.collect::<Vec<_>>());
    // One batch axis: tuple `b` picks in image `b`.
    let n = with_int(node("GatherND", &["x", "i"], "y"), "batch_dims", 1);
    let got = run(&[2, 3, 4, 2], vec![indices.clone()], vec![n.clone()], 17);
    let place = |b: usize, (h, w): (usize, usize), c| f64::from(at(((b * 3 + h) * 4 + w) * 2 + c));
    let want = (0..2).flat_map(|b| (0..2).map(move |c| place(b, [(0, 3), (2, 1)][b], c)));
    near(&got, &[2, 2], &want.collect::<Vec<_>>());
    assert!(refused(&["3", "4"], vec![indices.clone()], vec![n]).contains("do not fit"));
    // Indices of 32 bits, in batches.
    let cast = with_int(node("Cast", &["i"], "j"), "to", 6);
    let n = with_int(node("GatherND", &["x", "j"], "y"), "batch_dims", 1);
    let narrow = run(&[2, 3, 4, 2], vec![indices], vec![cast, n], 17);
    assert_eq!(narrow, got);
}

#[test]
fn refuses_indices_that_are_no_integers() {
    for op in ["GatherND", "ScatterND"] {
        let said = refused(
            &["2", "1"],
            vec![],
            vec![node(op, &["x", "x", "x"][..if op == "GatherND" { 2 } else { 3 }], "y")],
        );
        assert!(said.contains("expected integers"), "{op}: {said}");
    }
}

#[test]
fn refuses_attention_of_integers() {
    let cast = with_int(node("Cast", &["x"], "i"), "to", 7);
    for softcap in [false, true] {
        let mut n = node("Attention", &["i", "i", "i"], "y");
        if softcap {
            n.attribute.push(AttributeProto { name: "softcap".into(), f: Some(2.0), ..Default::default() });
        }
        let mut m = model(vec![value("x", &["1", "2", "3", "4"])], vec![], vec![cast.clone(), n], "y");
        m.opset_import[0].version = 23;
        let said = graph(&m, ShapeBindings::default()).unwrap_err().to_string();
        assert!(said.contains("i64"), "{said}");
    }
}

#[test]
fn sums_by_equation() {
    let w = || vec![floats("w", &[4, 5])];
    let einsum = |inputs: &[&str], e: &str| vec![with_text(node("Einsum", inputs, "y"), "equation", e)];
    let (x, v) =
        (|a: usize, b: usize| f64::from(at(a * 4 + b)), |b: usize, c: usize| f64::from(at(b * 5 + c)));
    let product: Vec<f64> =
        (0..5).flat_map(|c| (0..3).map(move |a| (0..4).map(|b| x(a, b) * v(b, c)).sum())).collect();
    near(&run(&[3, 4], w(), einsum(&["x", "w"], "ab,bc->ca"), 17), &[5, 3], &product);
    let all: f64 =
        (0..4).map(|b| (0..3).map(|a| x(a, b)).sum::<f64>() * (0..5).map(|c| v(b, c)).sum::<f64>()).sum();
    near(&run(&[3, 4], w(), einsum(&["x", "w"], "ab,bc->"), 17), &[], &[all]);
    let trace: f64 = (0..3).map(|a| f64::from(at(a * 3 + a))).sum();
    near(&run(&[3, 3], vec![], einsum(&["x"], "ii"), 17), &[], &[trace]);
    for (e, part) in
        [("ab,bd->zz", "twice"), ("ab,b-d", "character"), ("abc,bd->a", "does not name"), ("ab->a", "terms")]
    {
        let text = refused(&["3", "4"], w(), einsum(&["x", "w"], e));
        assert!(text.contains(part), "{e}: {text}");
    }
}

#[test]
fn transforms_of_every_direction() {
    let n = 6;
    let wave = |inverse: bool, k: usize| -> (f64, f64) {
        let sign = if inverse { 1.0 } else { -1.0 };
        (0..n).fold((0.0, 0.0), |(re, im), t| {
            let angle = sign * std::f64::consts::TAU * (k * t) as f64 / n as f64;
            let (a, b) = (f64::from(at(2 * t)), f64::from(at(2 * t + 1)));
            (re + a * angle.cos() - b * angle.sin(), im + a * angle.sin() + b * angle.cos())
        })
    };
    for inverse in [false, true] {
        let dft = with_int(node("DFT", &["x"], "y"), "inverse", i64::from(inverse));
        let by = if inverse { 1.0 / n as f64 } else { 1.0 };
        let want: Vec<f64> = (0..n).map(|k| wave(inverse, k)).flat_map(|(a, b)| [a * by, b * by]).collect();
        near(&run(&[1, n, 2], vec![], vec![dft], 20), &[1, n, 2], &want);
    }
    // One side of a real signal, and back.
    for len in [5usize, 6] {
        let mut size = longs("n", &[len as i64]);
        size.dims = vec![];
        let there = with_int(node("DFT", &["x"], "s"), "onesided", 1);
        let back = with_int(with_int(node("DFT", &["s", "n"], "y"), "onesided", 1), "inverse", 1);
        let want: Vec<f64> = (0..len).map(|k| f64::from(at(k))).collect();
        near(&run(&[1, len, 1], vec![size], vec![there, back], 20), &[1, len, 1], &want);
    }
    let mut huge = longs("n", &[1 << 40]);
    huge.dims = vec![];
    assert!(refused(&["1", "6", "1"], vec![huge], vec![node("DFT", &["x", "n"], "y")]).contains("length"));
}

#[test]
fn losses_leave_ignored_targets_out() {
    let mut targets = longs("t", &[1, -1, 0]);
    targets.dims = vec![3];
    let l = with_int(node("SoftmaxCrossEntropyLoss", &["x", "t", "w"], "y"), "ignore_index", -1);
    let got = run(&[3, 4], vec![targets, floats("w", &[4])], vec![l], 17);
    let log = |row: usize, class: usize| {
        let sum: f64 = (0..4).map(|k| f64::from(at(row * 4 + k)).exp()).sum();
        f64::from(at(row * 4 + class)) - sum.ln()
    };
    let (a, b) = (f64::from(at(1)), f64::from(at(0)));
    near(&got, &[], &[-(a * log(0, 1) + b * log(2, 0)) / (a + b)]);
}

#[test]
fn tables_are_bounded() {
    let mut depth = longs("d", &[1 << 40]);
    depth.dims = vec![];
    let hot = node("OneHot", &["x", "d", "v"], "y");
    assert!(refused(&["3"], vec![depth, floats("v", &[2])], vec![hot]).contains("depth"));
    let size = || {
        let mut t = longs("n", &[1 << 50]);
        t.dims = vec![];
        t
    };
    assert!(refused(&["3"], vec![size()], vec![node("HannWindow", &["n"], "y")]).contains("size"));
}

#[test]
fn runs_over_axes() {
    for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for (op, start) in [("CumSum", 0.0), ("CumProd", 1.0)] {
            let mut axis = longs("a", &[1]);
            axis.dims = vec![];
            let n =
                with_int(with_int(node(op, &["x", "a"], "y"), "exclusive", exclusive), "reverse", reverse);
            let got = run(&[2, 11, 3], vec![axis], vec![n], 26);
            let mut want = vec![0.0; 66];
            for (o, i) in (0..2).flat_map(|o| (0..3).map(move |i| (o, i))) {
                let mut sum = start;
                for k in 0..11 {
                    let p = (o * 11 + if reverse == 1 { 10 - k } else { k }) * 3 + i;
                    let x = f64::from(at(p));
                    let next = if op == "CumSum" { sum + x } else { sum * x };
                    want[p] = if exclusive == 1 { sum } else { next };
                    sum = next;
                }
            }
            near(&got, &[2, 11, 3], &want);
        }
    }
}

#[test]
fn grids_of_the_identity_give_the_image() {
    for corners in [0, 1] {
        for (mode, outside) in
            [("linear", "zeros"), ("nearest", "border"), ("cubic", "reflection"), ("cubic", "zeros")]
        {
            let mut theta = floats("t", &[1, 2, 3]);
            theta.float_data = vec![1., 0., 0., 0., 1., 0.];
            let grid = with_int(node("AffineGrid", &["t", "s"], "g"), "align_corners", corners);
            let sample = with_text(node("GridSample", &["x", "g"], "y"), "mode", mode);
            let sample = with_int(with_text(sample, "padding_mode", outside), "align_corners", corners);
            let got = run(&[1, 2, 4, 5], vec![theta, longs("s", &[1, 2, 4, 5])], vec![grid, sample], 20);
            near(&got, &[1, 2, 4, 5], &(0..40).map(|k| f64::from(at(k))).collect::<Vec<_>>());
        }
    }
}

#[test]
fn grids_far_outside_read_nothing_outside() {
    let mut grid = floats("g", &[1, 1, 4, 2]);
    grid.float_data = vec![f32::NAN, 0., f32::INFINITY, 0., -1e30, 1e30, 0., 0.];
    for outside in ["zeros", "border", "reflection"] {
        let n = with_text(node("GridSample", &["x", "g"], "y"), "padding_mode", outside);
        let got = run(&[1, 1, 3, 3], vec![grid.clone()], vec![n], 20);
        assert!((f64::from(got.values::<f32>().unwrap()[3]) - f64::from(at(4))).abs() < 1e-5, "{outside}");
    }
}

#[test]
fn columns_add_up_where_windows_overlap() {
    let sizes = || vec![longs("i", &[4, 5]), longs("w", &[2, 2])];
    let n = with_ints(node("Col2Im", &["x", "i", "w"], "y"), "pads", &[1, 0, 0, 0]);
    let n = with_ints(n, "strides", &[2, 1]);
    // Two places down (of an image of 5 rows with its border), four across.
    let got = run(&[1, 8, 8], sizes(), vec![n.clone()], 18);
    let mut want = vec![0.0; 2 * 20];
    for (ch, kh, kw) in (0..8).map(|r| (r / 4, r / 2 % 2, r % 2)) {
        for (oh, ow) in (0..8).map(|l| (l / 4, l % 4)) {
            let (h, w) = ((oh * 2 + kh) as i64 - 1, ow + kw);
            if (0..4).contains(&h) {
                want[(ch * 4 + h as usize) * 5 + w] +=
                    f64::from(at((ch * 4 + kh * 2 + kw) * 8 + oh * 4 + ow));
            }
        }
    }
    near(&got, &[1, 2, 4, 5], &want);
    assert!(refused(&["1", "8", "9"], sizes(), vec![n]).contains("9 columns"));
}

#[test]
fn determinants_by_minors() {
    let got = run(&[2, 3, 3], vec![], vec![node("Det", &["x"], "y")], 22);
    let of = |k: usize| {
        let m = |r: usize, c: usize| f64::from(at(k * 9 + r * 3 + c));
        (0..3)
            .map(|c| {
                m(0, c) * (m(1, (c + 1) % 3) * m(2, (c + 2) % 3) - m(1, (c + 2) % 3) * m(2, (c + 1) % 3))
            })
            .sum()
    };
    near(&got, &[2], &[of(0), of(1)]);
    assert!(refused(&["5", "5"], vec![], vec![node("Det", &["x"], "y")]).contains("up to 4 rows"));
}

fn bytes(name: &str, number: i32, dims: &[i64], values: &[i32]) -> TensorProto {
    let (dims, int32_data) = (dims.to_vec(), values.to_vec());
    TensorProto { name: name.into(), data_type: number, dims, int32_data, ..Default::default() }
}

fn scales(dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto { float_data: values.to_vec(), ..floats("s", dims) }
}

#[test]
fn quantising_rounds_halves_to_even_and_saturates() {
    let tensors = vec![scales(&[], &[0.4]), bytes("z", 3, &[], &[125])];
    let there = node("QuantizeLinear", &["x", "s", "z"], "q");
    let back = node("DequantizeLinear", &["q", "s", "z"], "y");
    let got = run(&[7], tensors, vec![there, back], 21);
    let want = |x: f32| {
        let q = ((x / 0.4).round_ties_even() + 125.0).clamp(-128.0, 127.0);
        f64::from((q - 125.0) * 0.4)
    };
    near(&got, &[7], &(0..7).map(|i| want(at(i))).collect::<Vec<_>>());
    // Scales of rows, and of blocks of two columns, of which the last is cut off.
    for (dims, block, scale) in [(vec![2], 0, [0.5, 0.25, 0.0, 0.0]), (vec![2, 2], 2, [0.5, 0.25, 1.0, 2.0])]
    {
        let n: i64 = dims.iter().product();
        let zeros = bytes("z", 2, &dims, &vec![8; n as usize]);
        let given = |op: &str, from: &str, to: &str| {
            let axis = if block == 0 { 0 } else { 1 };
            let n = with_int(node(op, &[from, "s", "z"], to), "axis", axis);
            with_int(n, "block_size", block)
        };
        let nodes = vec![given("QuantizeLinear", "x", "q"), given("DequantizeLinear", "q", "y")];
        let got = run(&[2, 3], vec![scales(&dims, &scale[..n as usize]), zeros], nodes, 21);
        let want = (0..6).map(|i| {
            let s = if block == 0 { scale[i / 3] } else { scale[i / 3 * 2 + i % 3 / 2] };
            f64::from(((at(i) / s).round_ties_even() + 8.0).clamp(0.0, 255.0) - 8.0) * f64::from(s)
        });
        near(&got, &[2, 3], &want.collect::<Vec<_>>());
    }
}

#[test]
fn scales_and_zero_points_that_do_not_fit_are_refused() {
    let check = |scale: TensorProto, zero: TensorProto, block: i64, words: &str| {
        let n = with_int(node("QuantizeLinear", &["x", "s", "z"], "y"), "block_size", block);
        let text = refused(&["2", "3"], vec![scale, zero], vec![n]);
        assert!(text.contains(words), "{text}");
    };
    check(scales(&[2], &[1.0; 2]), bytes("z", 2, &[2], &[0; 2]), 0, "does not fit [2, 3]");
    check(scales(&[3], &[1.0; 3]), bytes("z", 2, &[2], &[0; 2]), 0, "does not fit [2, 3]");
    check(scales(&[], &[1.0]), bytes("z", 6, &[], &[0]), 0, "quantised to i32");
    for block in [1, 2, i64::MAX, i64::MIN] {
        let words = if block < 0 { "block_size" } else { "does not fit" };
        check(scales(&[2, 4], &[1.0; 8]), bytes("z", 2, &[2, 4], &[0; 8]), block, words);
    }
    let q = node("QuantizeLinear", &["x", "s"], "q");
    let d = node("DequantizeLinear", &["q", "s", "z"], "y");
    let text = refused(&["2"], vec![scales(&[], &[1.0]), bytes("z", 3, &[], &[0])], vec![q, d]);
    assert!(text.contains("zero point has the type i8"), "{text}");
}

#[test]
fn scatters_by_tuples_and_sorts() {
    let mut indices = longs("i", &[0, -1, 2, 1, 0, 3]);
    indices.dims = vec![3, 2];
    let mut n = node("ScatterND", &["x", "i", "u"], "y");
    n = with_text(n, "reduction", "add");
    let got = run(&[3, 4, 2], vec![indices.clone(), floats("u", &[3, 2])], vec![n.clone()], 18);
    let mut want: Vec<f64> = (0..24).map(|k| f64::from(at(k))).collect();
    // The first and the last tuple are one place.
    for (t, row) in [(0, 3), (1, 9), (2, 3)] {
        (0..2).for_each(|k| want[row * 2 + k] += f64::from(at(t * 2 + k)));
    }
    near(&got, &[3, 4, 2], &want);
    assert!(refused(&["3", "4", "2"], vec![indices, floats("u", &[3, 1])], vec![n]).contains("do not fit"));
    let mut top = node("TopK", &["x", "k"], "v");
    top.output = vec!["y".into(), "p".into()];
    let got = run(&[2, 6], vec![longs("k", &[3])], vec![top.clone()], 18);
    // Rows are −3 … 2 and 3, −3 … 1.
    near(&got, &[2, 3], &[2., 1., 0., 3., 1., 0.]);
    assert!(refused(&["2", "6"], vec![longs("k", &[7])], vec![top]).contains("7 elements"));
}
