use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;
use tactician_ir::{Op, Tensor};
use tactician_reference::eval_graph;

use crate::proto::*;
use crate::*;

pub(crate) fn value(name: &str, dims: &[&str]) -> ValueInfo {
    let dim = dims
        .iter()
        .map(|d| match d.parse::<i64>() {
            Ok(n) => DimProto { value: Some(n), param: None },
            Err(_) => DimProto { value: None, param: Some((*d).to_owned()) },
        })
        .collect();
    let tensor = TensorTypeProto { elem_type: 1, shape: Some(ShapeProto { dim }) };
    ValueInfo { name: name.into(), r#type: Some(TypeProto { tensor: Some(tensor), ..Default::default() }) }
}

pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

pub(crate) fn with_ints(mut n: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), ints: ints.to_vec(), ..Default::default() });
    n
}

pub(crate) fn with_int(mut n: NodeProto, name: &str, i: i64) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), i: Some(i), ..Default::default() });
    n
}

pub(crate) fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let n: i64 = dims.iter().product();
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: (0..n).map(|i| (i % 7) as f32 - 3.0).collect(),
        ..Default::default()
    }
}

pub(crate) fn longs(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: 7,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn model(
    inputs: Vec<ValueInfo>,
    tensors: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    output: &str,
) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetId { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            name: "g".into(),
            node: nodes,
            initializer: tensors,
            input: inputs,
            output: vec![value(output, &[])],
            ..Default::default()
        }),
        functions: vec![],
    }
}

pub(crate) fn graph(m: &ModelProto, shapes: ShapeBindings) -> Result<tactician_ir::Graph, ImportError> {
    Model::from_bytes(m.encode_to_vec())?.graph(&shapes)
}

fn classifier() -> ModelProto {
    model(
        vec![value("x", &["N", "3", "8", "8"])],
        vec![floats("w", &[4, 3, 3, 3]), floats("b", &[4])],
        vec![
            with_ints(node("Conv", &["x", "w", "b"], "c"), "pads", &[1, 1, 1, 1]),
            node("Relu", &["c"], "r"),
            node("GlobalAveragePool", &["r"], "p"),
            // The exporter's way to flatten: shape arithmetic.
            node("Shape", &["r"], "s"),
            node("Gather", &["s", "zero"], "n"),
            with_ints(node("Unsqueeze", &["n"], "n1"), "axes", &[0]),
            with_int(node("Concat", &["n1", "rest"], "to"), "axis", 0),
            node("Reshape", &["p", "to"], "y"),
        ],
        "y",
    )
}

fn classifier_with_constants() -> ModelProto {
    let mut m = classifier();
    let g = m.graph.as_mut().unwrap();
    let mut zero = longs("zero", &[0]);
    zero.dims = vec![];
    g.initializer.extend([zero, longs("rest", &[-1])]);
    // Opset 12: Unsqueeze with an attribute.
    m.opset_import[0].version = 12;
    m
}

#[test]
fn open_sizes_go_through_shape_arithmetic() {
    let m = classifier_with_constants();
    let g = graph(&m, ShapeBindings::default()).unwrap();
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[N,4]");
    let g = graph(&m, ShapeBindings::default().shape("x", &[2, 3, 8, 8])).unwrap();
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[2,4]");
    assert!(g.node_ids().all(|n| !matches!(g.node(n).op, Op::Gather(_) | Op::Concat(_))));
}

#[test]
fn a_value_given_for_an_input_is_a_constant() {
    let mut to = value("to", &["2"]);
    to.r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = 7;
    let m = model(vec![value("x", &["2", "3"]), to], vec![], vec![node("Reshape", &["x", "to"], "y")], "y");
    assert!(graph(&m, ShapeBindings::default()).unwrap_err().to_string().contains("operand 1"));
    let given = |t: Tensor| graph(&m, ShapeBindings::default().value("to", t));
    let g = given(Tensor::new(&[2], &[3i64, -1]).unwrap()).unwrap();
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[3,2]");
    assert_eq!(g.inputs().len(), 1);
    let text = given(Tensor::new(&[2], &[3i32, -1]).unwrap()).unwrap_err().to_string();
    assert!(text.contains("`to`") && text.contains("i64") && text.contains("i32[2]"), "{text}");
    assert!(given(Tensor::new(&[3], &[3i64, 2, 1]).unwrap()).is_err());
}

#[test]
fn operands_before_opset_7_broadcast_from_an_axis_on() {
    let run = |attributes: &[(&str, i64)]| {
        let add = attributes.iter().fold(node("Sub", &["x", "b"], "y"), |n, (k, v)| with_int(n, k, *v));
        let mut m = model(vec![value("x", &["2", "3", "2"])], vec![floats("b", &[3])], vec![add], "y");
        m.opset_import[0].version = 6;
        let g = graph(&m, ShapeBindings::default()).map_err(|e| e.to_string())?;
        let x = Tensor::new(&[2, 3, 2], &[10f32; 12]).unwrap();
        let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
        Ok::<_, String>(out["y"].values::<f32>().unwrap().to_vec())
    };
    // b = [-3, -2, -1] along the middle axis.
    let want = [13f32, 13., 12., 12., 11., 11., 13., 13., 12., 12., 11., 11.];
    assert_eq!(run(&[("broadcast", 1), ("axis", 1)]).unwrap(), want);
    assert_eq!(run(&[("broadcast", 1), ("axis", -2)]).unwrap(), want);
    assert!(run(&[]).unwrap_err().contains("`broadcast`"));
    assert!(run(&[("broadcast", 1), ("axis", 3)]).unwrap_err().contains("axis 3"));
    assert!(run(&[("broadcast", 1), ("axis", i64::MIN)]).unwrap_err().contains("does not fit"));
    assert!(run(&[("broadcast", 1)]).is_err(), "the last axis has another size");
}

#[test]
fn tensors_in_the_standards_form_are_read() {
    let t = floats("w", &[2, 3]);
    let read = |bytes: &[u8]| read_value(bytes, ValueKind::Tensor);
    let (name, value) = read(&t.encode_to_vec()).unwrap();
    let Value::Tensor(value) = value else { panic!() };
    assert_eq!((name.as_str(), value.sizes()), ("w", [2, 3].as_slice()));
    assert_eq!(value.values::<f32>().unwrap().as_ref(), t.float_data);
    assert!(read(&[0xff, 0xff]).is_err());
    let strings = TensorProto { data_type: 8, ..floats("s", &[1]) };
    assert!(read(&strings.encode_to_vec()).unwrap_err().to_string().contains("strings"));
}

#[test]
fn question_marks_are_different_sizes() {
    let m = model(vec![value("x", &["?", "3", "?"])], vec![], vec![node("Relu", &["x"], "y")], "y");
    let g = graph(&m, ShapeBindings::default().shape("x", &[2, 3, 5])).unwrap();
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[2,3,5]");
}

#[test]
fn values_are_right() {
    // Slice, Pad, Split, Clip and Gemm by hand-computed values.
    let m = model(
        vec![value("x", &["2", "4"])],
        vec![
            longs("s", &[-1]),
            longs("e", &[i64::MIN + 1]),
            longs("a", &[1]),
            longs("t", &[-2]),
            floats("w", &[2, 2]),
        ],
        vec![
            node("Slice", &["x", "s", "e", "a", "t"], "v"),
            with_int(node("Gemm", &["v", "w"], "y"), "transB", 1),
        ],
        "y",
    );
    let g = graph(&m, ShapeBindings::default()).unwrap();
    let x = Tensor::new(&[2, 4], &[1f32, 2., 3., 4., 5., 6., 7., 8.]).unwrap();
    let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
    // v = [[4,2],[8,6]], w = [[-3,-2],[-1,0]], y = v·wᵀ.
    assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), &[-16., -4., -36., -8.]);
}

#[test]
fn all_unsupported_nodes_are_listed() {
    let mut loops = node("StringConcat", &["x"], "z");
    loops.name = "outer".into();
    let mut custom = node("Fancy", &["z"], "y");
    custom.domain = "com.example".into();
    let m = model(vec![value("x", &["1"])], vec![], vec![loops, custom], "y");
    let text = graph(&m, ShapeBindings::default()).unwrap_err().to_string();
    assert!(text.contains("`outer` (StringConcat)") && text.contains("com.example.Fancy"), "{text}");
}

#[test]
fn bad_models_are_refused_with_reasons() {
    let check = |m: &ModelProto, words: &[&str]| {
        let text = graph(m, ShapeBindings::default()).unwrap_err().to_string();
        for w in words {
            assert!(text.contains(w), "`{w}` is not in: {text}");
        }
    };
    let x = || vec![value("x", &["1", "3"])];
    check(&model(x(), vec![], vec![node("Relu", &["q"], "y")], "y"), &["`q`", "nothing defines"]);
    check(
        &model(x(), vec![], vec![node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b")], "b"),
        &["cycle"],
    );
    check(
        &model(x(), vec![], vec![node("Relu", &["x"], "y"), node("Abs", &["x"], "y")], "y"),
        &["`y` twice"],
    );
    check(&model(x(), vec![], vec![node("Relu", &["x"], "y")], "z"), &["`z`"]);
    let mut old = model(x(), vec![], vec![node("Relu", &["x"], "y")], "y");
    old.opset_import[0].version = 0;
    check(&old, &["operator set 0", "1"]);
    let mut old = model(x(), vec![], vec![node("Clip", &["x"], "y")], "y");
    old.opset_import[0].version = 5;
    check(&old, &["Clip", "operator set 5", "version_converter"]);
    let mut short = floats("w", &[2, 2]);
    short.float_data.pop();
    check(&model(x(), vec![short], vec![node("MatMul", &["x", "w"], "y")], "y"), &["`w`", "16 bytes"]);
    let mut huge = floats("w", &[]);
    huge.dims = vec![i64::MAX, i64::MAX];
    check(&model(x(), vec![huge], vec![node("MatMul", &["x", "w"], "y")], "y"), &["too large"]);
    check(
        &model(x(), vec![floats("w", &[2, 2])], vec![node("MatMul", &["x", "w"], "y")], "y"),
        &["MatMul", "inner sizes"],
    );
}

#[test]
fn shapes_must_fit_the_inputs() {
    let m = Model::from_bytes(classifier_with_constants().encode_to_vec()).unwrap();
    let refuse =
        |sizes: &[usize]| m.graph(&ShapeBindings::default().shape("x", sizes)).unwrap_err().to_string();
    assert!(refuse(&[1, 4, 8, 8]).contains("[N,3,8,8]"));
    assert!(refuse(&[1, 3, 8]).contains("[1, 3, 8]"));
}

#[test]
fn external_data_stay_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    let bytes: Vec<u8> = [1f32, 2., 3.].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(inner.join("w.bin"), &bytes).unwrap();
    std::fs::write(folder.path().join("secret.bin"), &bytes).unwrap();
    let open = |location: &str, offset: &str, length: &str| {
        let entry = |k: &str, v: &str| StringString { key: k.into(), value: v.into() };
        let w = TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: 1,
            data_location: 1,
            external_data: vec![
                entry("location", location),
                entry("offset", offset),
                entry("length", length),
            ],
            ..Default::default()
        };
        let m = model(vec![value("x", &["2"])], vec![w], vec![node("Add", &["x", "w"], "y")], "y");
        let path = inner.join("m.onnx");
        std::fs::write(&path, m.encode_to_vec()).unwrap();
        Model::open(&path).unwrap().graph(&ShapeBindings::default())
    };
    let g = open("w.bin", "4", "8").unwrap();
    let w = g.node_ids().find_map(|n| g.node(n).as_constant().cloned()).unwrap();
    assert_eq!(w.values::<f32>().unwrap().as_ref(), &[2., 3.]);
    // In one piece it needs no folder any more.
    let whole = Model::open(&inner.join("m.onnx")).unwrap().whole(&BTreeMap::new()).unwrap();
    let again = Model::from_bytes(whole.clone()).unwrap();
    assert_eq!(again.graph(&ShapeBindings::default()).unwrap().to_string(), g.to_string());
    assert_eq!(again.whole(&BTreeMap::new()).unwrap(), whole);
    let x = again.inputs()[0].name.clone();
    let given = again.whole(&BTreeMap::from([(x, Tensor::new(&[2], &[1f32, 2.0]).unwrap())])).unwrap();
    assert!(Model::from_bytes(given).unwrap().inputs().is_empty());
    let text = |l: &str, o: &str, n: &str| open(l, o, n).unwrap_err().to_string();
    assert!(text("../secret.bin", "0", "8").contains("leads out"));
    assert!(text("/etc/hostname", "0", "8").contains("leads out"));
    assert!(text("none.bin", "0", "8").contains("none.bin"));
    assert!(text("w.bin", "8", "8").contains("12 bytes"));
    assert!(text("w.bin", "0", "4").contains("takes 8"));
    assert!(text("w.bin", "x", "8").contains("offset"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret.bin"), inner.join("link.bin")).unwrap();
        assert!(text("link.bin", "0", "8").contains("leads out"));
    }
}

#[test]
fn truncated_models_give_errors() {
    let bytes = classifier_with_constants().encode_to_vec();
    for n in 0..bytes.len() {
        if let Ok(m) = Model::from_bytes(bytes[..n].to_vec()) {
            let _ = m.graph(&ShapeBindings::default());
        }
    }
}

proptest! {
    #[test]
    fn damaged_models_never_panic(at in 0usize..10_000, to in any::<u8>(), at2 in 0usize..10_000, to2 in any::<u8>()) {
        let mut bytes = classifier_with_constants().encode_to_vec();
        let n = bytes.len();
        bytes[at % n] = to;
        bytes[at2 % n] = to2;
        if let Ok(m) = Model::from_bytes(bytes) {
            let _ = m.graph(&ShapeBindings::default());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(m) = Model::from_bytes(bytes) {
            let _ = m.graph(&ShapeBindings::default());
        }
    }
}

/// The first of causal queries sees the first key alone, so it gets that key's value, head by head.
#[test]
fn attention_of_flat_heads() {
    let mut n = node("Attention", &["x", "x", "v"], "y");
    for (name, i) in [("q_num_heads", 2), ("kv_num_heads", 2), ("is_causal", 1)] {
        n = with_int(n, name, i);
    }
    let mut m = model(vec![value("x", &["1", "3", "4"]), value("v", &["1", "3", "6"])], vec![], vec![n], "y");
    m.opset_import[0].version = 23;
    let g = graph(&m, ShapeBindings::default()).unwrap();
    let numbers = |n: usize| (0..n).map(|i| (i * 7 % 11) as f32 - 5.0).collect::<Vec<f32>>();
    let (x, v) =
        (Tensor::new(&[1, 3, 4], &numbers(12)).unwrap(), Tensor::new(&[1, 3, 6], &numbers(18)).unwrap());
    let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x), ("v".to_owned(), v.clone())])).unwrap();
    let (y, v) = (out["y"].values::<f32>().unwrap(), v.values::<f32>().unwrap());
    assert_eq!((out["y"].sizes(), &y[..6]), (&[1, 3, 6][..], &v[..6]));
    assert_ne!(y[6..12], v[6..12]);
}
