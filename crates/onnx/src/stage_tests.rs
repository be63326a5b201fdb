//! Models whose sizes depend on data, by hand: which values each stage asks for, and what comes of them.

use std::collections::BTreeMap;

use tactician_ir::Tensor;
use tactician_reference::eval_graph;

use crate::proto::{AttributeProto, ModelProto, NodeProto};
use crate::tests::{model, node, value};
use crate::{Fed, Model, ShapeBindings, Stage, Step};

fn open(m: &ModelProto) -> Model {
    use prost::Message;
    Model::from_bytes(m.encode_to_vec()).unwrap()
}

/// Runs a model stage by stage with the reference; returns its outputs and, of every stage, what it computed and asked for.
fn run(m: &Model, inputs: &BTreeMap<String, Tensor>) -> (BTreeMap<String, Tensor>, Vec<Vec<String>>) {
    let (mut fed, mut asked_for) = (Fed::default(), Vec::new());
    loop {
        let mut shapes = ShapeBindings::default();
        for (name, t) in inputs {
            shapes = match fed.asked.contains(name) {
                true => shapes.value(name, t.clone()),
                false => shapes.shape(name, t.sizes()),
            };
        }
        let mut given = inputs.clone();
        given.extend(fed.values.clone());
        let of = |graph: &tactician_ir::Graph| {
            let names: Vec<&String> = graph.inputs().iter().map(|&i| &graph.node(i).name).collect();
            let list = names.into_iter().map(|n| (n.clone(), given[n].clone())).collect();
            eval_graph(graph, &list).unwrap()
        };
        match m.stage(&shapes, &fed).unwrap() {
            Stage::Whole(graph) => return (of(&graph), asked_for),
            Stage::Part(part) => {
                fed.values.extend(of(&part.graph));
                let wanted: Vec<String> = part.steps.iter().flat_map(|s: &Step| s.wanted.clone()).collect();
                assert!(asked_for.len() < 10, "no progress: {asked_for:?}");
                asked_for.push(wanted);
                for step in part.steps {
                    let mut known = inputs.clone();
                    known.extend(fed.values.clone());
                    match step.evaluated {
                        true => fed.values.extend(m.evaluate(&step, &known).unwrap()),
                        false => fed.asked.extend(step.wanted),
                    }
                }
            }
        }
    }
}

fn f32s(sizes: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(sizes, values).unwrap()
}

fn with(mut n: NodeProto, name: &str, i: i64) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), i: Some(i), ..AttributeProto::default() });
    n
}

#[test]
fn what_is_not_zero_is_gathered() {
    let nodes = vec![
        node("Relu", &["x"], "r"),
        node("NonZero", &["r"], "n"),
        node("Transpose", &["n"], "t"),
        node("GatherND", &["x", "t"], "y"),
    ];
    let m = open(&model(vec![value("x", &["2", "3"])], vec![], nodes, "y"));
    for (x, want) in [
        ([1f32, -2., 3., 0., -5., 6.], vec![1f32, 3., 6.]),
        ([-1., -2., 3., 4., 5., 6.], vec![3., 4., 5., 6.]),
        ([-1.; 6], vec![]),
    ] {
        let (out, asked) = run(&m, &BTreeMap::from([("x".into(), f32s(&[2, 3], &x))]));
        assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), &want);
        assert_eq!(asked, [["r"]]);
    }
}

#[test]
fn a_shape_that_is_computed_is_asked_for() {
    // The shape is that of another tensor, halved by data.
    let nodes = vec![
        node("Mul", &["s", "s"], "shape"),
        node("Relu", &["x"], "r"),
        node("Reshape", &["r", "shape"], "v"),
        node("Neg", &["v"], "y"),
    ];
    let mut s = value("s", &["2"]);
    s.r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = 7;
    let m = open(&model(vec![value("x", &["36"]), s], vec![], nodes, "y"));
    let x: Vec<f32> = (0..36).map(|i| i as f32).collect();
    for s in [[2i64, 3], [3, 2], [1, 6]] {
        let inputs =
            BTreeMap::from([("x".into(), f32s(&[36], &x)), ("s".into(), Tensor::new(&[2], &s).unwrap())]);
        let (out, asked) = run(&m, &inputs);
        assert_eq!(out["y"].sizes(), [(s[0] * s[0]) as usize, (s[1] * s[1]) as usize]);
        assert_eq!(out["y"].values::<f32>().unwrap()[35], -35.0);
        assert_eq!(asked, [["shape"]]);
    }
}

#[test]
fn one_stage_follows_another() {
    // Twice what is not zero, of what is left.
    let nodes = vec![
        with(node("Compress", &["x", "c"], "a"), "axis", 0),
        node("Relu", &["a"], "b"),
        node("NonZero", &["b"], "n"),
        with(node("Unique", &["b"], "u"), "sorted", 0),
        node("Shape", &["n"], "y"),
    ];
    let mut m = model(vec![value("x", &["3", "2"]), value("c", &["3"])], vec![], nodes, "y");
    let graph = m.graph.as_mut().unwrap();
    graph.input[1].r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = 9;
    let mut u = graph.output[0].clone();
    u.name = "u".into();
    graph.output.push(u);
    let m = open(&m);
    let inputs = BTreeMap::from([
        ("x".into(), f32s(&[3, 2], &[1., 2., 9., 9., -3., 2.])),
        ("c".into(), Tensor::new(&[3], &[true, false, true].map(u8::from)).unwrap()),
    ]);
    let inputs: BTreeMap<String, Tensor> = inputs
        .into_iter()
        .map(|(n, t): (String, Tensor)| match n.as_str() {
            "c" => (n, Tensor::from_bytes(tactician_ir::DType::Bool, &[3], t.bytes().to_vec()).unwrap()),
            _ => (n, t),
        })
        .collect();
    let (out, asked) = run(&m, &inputs);
    assert_eq!(out["y"].values::<i64>().unwrap().as_ref(), &[2, 3]);
    assert_eq!(out["u"].values::<f32>().unwrap().as_ref(), &[1., 2., 0.]);
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[test]
fn what_no_value_would_help_is_refused() {
    let m = open(&model(
        vec![value("x", &["2"])],
        vec![],
        vec![node("NonZero", &["x", "x"], "n"), with(node("Softmax", &["x"], "y"), "axis", 7)],
        "y",
    ));
    let e = m.stage(&ShapeBindings::default().shape("x", &[2]), &Fed::default()).err().unwrap().to_string();
    assert!(e.contains("Softmax") && e.contains("axis 7"), "{e}");
}

#[test]
fn boxes_that_overlap_are_suppressed() {
    let nodes = vec![node("Relu", &["s"], "r"), node("NonMaxSuppression", &["b", "r", "most", "iou"], "y")];
    let most = crate::tests::longs("most", &[3]);
    let mut iou = crate::tests::longs("iou", &[0]);
    (iou.data_type, iou.int64_data, iou.float_data) = (1, vec![], vec![0.5]);
    let m = open(&model(
        vec![value("b", &["1", "4", "4"]), value("s", &["1", "1", "4"])],
        vec![most, iou],
        nodes,
        "y",
    ));
    // The second lies on the first, the third beside them, the fourth again on the third with its corners swapped.
    let boxes = [0., 0., 1., 1., 0., 0.1, 1., 1.1, 0., 5., 1., 6., 1., 6.1, 0., 5.1];
    let inputs = BTreeMap::from([
        ("b".into(), f32s(&[1, 4, 4], &boxes)),
        ("s".into(), f32s(&[1, 1, 4], &[0.8, 0.9, 0.3, 0.2])),
    ]);
    let (out, _) = run(&m, &inputs);
    assert_eq!(out["y"].values::<i64>().unwrap().as_ref(), &[0, 0, 1, 0, 0, 2]);
    assert_eq!(out["y"].sizes(), [2, 3]);
}
