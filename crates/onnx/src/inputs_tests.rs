//! Sequences and optional values as inputs and outputs.

use std::collections::BTreeMap;

use prost::Message;
use tactician_ir::{Graph, Tensor};
use tactician_reference::eval_graph;

use crate::proto::*;
use crate::tests::*;
use crate::{ImportError, Model, ShapeBindings, Value, ValueKind, read_value};

fn of(element: TypeProto) -> Option<Box<ElementTypeProto>> {
    Some(Box::new(ElementTypeProto { elem_type: Some(Box::new(element)) }))
}

fn tensor(dims: &[&str]) -> TypeProto {
    value("", dims).r#type.unwrap()
}

fn sequence(t: TypeProto) -> TypeProto {
    TypeProto { sequence: of(t), ..Default::default() }
}

fn optional(t: TypeProto) -> TypeProto {
    TypeProto { optional: of(t), ..Default::default() }
}

fn info(name: &str, ty: TypeProto) -> ValueInfo {
    ValueInfo { name: name.into(), r#type: Some(ty) }
}

fn import(inputs: Vec<ValueInfo>, nodes: Vec<NodeProto>, b: ShapeBindings) -> Result<Graph, String> {
    graph(&model(inputs, vec![], nodes, "y"), b).map_err(|e| e.to_string())
}

fn names(g: &Graph) -> (Vec<&str>, Vec<&str>) {
    let inputs = g.inputs().iter().map(|&i| g.node(i).name.as_str()).collect();
    (inputs, g.outputs().iter().map(|(n, _)| n.as_str()).collect())
}

#[test]
fn a_sequence_is_inputs_and_outputs_with_numbers() {
    let inputs = || vec![info("s", sequence(tensor(&["N"]))), value("x", &["2"])];
    let nodes = || vec![node("SequenceInsert", &["s", "x"], "y")];
    let b = ShapeBindings::default().shape("s.0", &[3]).shape("s.1", &[1]);
    let g = import(inputs(), nodes(), b).unwrap();
    assert_eq!(names(&g), (vec!["s.0", "s.1", "x"], vec!["y.0", "y.1", "y.2"]));
    let given = [("s.0", vec![1f32, 2., 3.]), ("s.1", vec![4.]), ("x", vec![5., 6.])];
    let given: BTreeMap<_, _> =
        given.into_iter().map(|(n, v)| (n.to_owned(), Tensor::new(&[v.len()], &v).unwrap())).collect();
    let out = eval_graph(&g, &given).unwrap();
    assert_eq!((&out["y.0"], &out["y.1"], &out["y.2"]), (&given["s.0"], &given["s.1"], &given["x"]));

    let g = import(inputs(), nodes(), ShapeBindings::default().nothing("s")).unwrap();
    assert_eq!(names(&g), (vec!["x"], vec!["y.0"]));
}

#[test]
fn a_sequence_needs_shapes_that_fit() {
    let make =
        |b| import(vec![info("s", sequence(tensor(&["N", "2"])))], vec![node("Identity", &["s"], "y")], b);
    let text = make(ShapeBindings::default()).unwrap_err();
    assert!(text.contains("is a sequence") && text.contains("s.0"), "{text}");
    for bad in [&[3][..], &[3, 3]] {
        let text = make(ShapeBindings::default().shape("s.0", &[1, 2]).shape("s.1", bad)).unwrap_err();
        assert!(text.contains("`s.1`") && text.contains("[N,2]"), "{text}");
    }
    let value = Tensor::new(&[1, 2], &[1i64, 2]).unwrap();
    let text = make(ShapeBindings::default().value("s.0", value)).unwrap_err();
    assert!(text.contains("takes f32"), "{text}");
}

#[test]
fn numbered_names_may_not_clash() {
    let inputs = vec![info("s", sequence(tensor(&["N"]))), value("s.0", &["2"])];
    let b = ShapeBindings::default().shape("s.0", &[2]);
    let text = import(inputs, vec![node("Identity", &["s"], "y")], b).unwrap_err();
    assert!(text.contains("`s.0` twice"), "{text}");
}

#[test]
fn an_optional_value_is_there_unless_the_caller_says_so() {
    let make = |t, b| import(vec![info("o", optional(t))], vec![node("OptionalHasElement", &["o"], "y")], b);
    let has = |g: Graph| g.constant(g.outputs()[0].1).unwrap().bytes()[0];
    assert_eq!(has(make(tensor(&["2"]), ShapeBindings::default()).unwrap()), 1);
    assert_eq!(has(make(tensor(&["2"]), ShapeBindings::default().nothing("o")).unwrap()), 0);
    let some = ShapeBindings::default().shape("o.0", &[2]);
    assert_eq!(has(make(sequence(tensor(&["2"])), some).unwrap()), 1);
    assert_eq!(has(make(sequence(tensor(&["2"])), ShapeBindings::default().nothing("o")).unwrap()), 0);
    // What is not there is no output either.
    let nodes = vec![node("Identity", &["o"], "y")];
    let inputs = vec![info("o", optional(tensor(&["2"])))];
    let g = import(inputs, nodes, ShapeBindings::default().nothing("o")).unwrap();
    assert!(g.outputs().is_empty());
    let text = import(
        vec![value("x", &["2"])],
        vec![node("Neg", &["x"], "y")],
        ShapeBindings::default().nothing("x"),
    );
    assert!(text.unwrap_err().contains("cannot be nothing"));
}

#[test]
fn an_undeclared_rank_is_asked_for() {
    let mut x = value("x", &[]);
    x.r#type.as_mut().unwrap().tensor.as_mut().unwrap().shape = None;
    let make = |b| import(vec![x.clone()], vec![node("Neg", &["x"], "y")], b);
    assert!(make(ShapeBindings::default()).unwrap_err().contains("rank is not declared"));
    let g = make(ShapeBindings::default().shape("x", &[2, 3])).unwrap();
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[2,3]");
    assert!(make(ShapeBindings::default().shape("x", &[1; 9])).unwrap_err().contains("at most 8 axes"));
}

#[test]
fn names_of_parts_are_recognised() {
    let m = model(vec![info("s", sequence(tensor(&["N"]))), value("x", &["2"])], vec![], vec![], "x");
    let m = Model::from_bytes(m.encode_to_vec()).unwrap();
    let known = |n: &str| m.inputs().iter().any(|i| i.has(n));
    assert!(known("x") && known("s.0") && known("s.12"));
    assert!(["s", "s.", "s.01", "s.+1", "s.x", "s0", "x.0", "", "t"].iter().all(|n| !known(n)));
    assert_eq!(m.inputs()[0].kind, ValueKind::Sequence);
}

#[test]
fn maps_and_such_are_refused() {
    let e =
        Model::from_bytes(model(vec![info("m", TypeProto::default())], vec![], vec![], "y").encode_to_vec());
    assert!(matches!(e.map(|_| ()), Err(ImportError::Input { .. })));
}

#[test]
fn sequence_map_runs_its_graph_for_every_tensor() {
    let inner = GraphProto {
        node: vec![node("Add", &["e", "t"], "sum"), node("Shape", &["sum"], "size")],
        input: vec![value("e", &[]), value("t", &[])],
        output: vec![value("sum", &[]), value("size", &[])],
        ..Default::default()
    };
    let mut n = node("SequenceMap", &["s", "x"], "y");
    n.output.push("z".into());
    n.attribute.push(AttributeProto { name: "body".into(), g: Some(inner), ..Default::default() });
    let mut m = model(vec![info("s", sequence(tensor(&["N"]))), value("x", &["1"])], vec![], vec![n], "y");
    m.graph.as_mut().unwrap().output.push(value("z", &[]));
    let b = ShapeBindings::default().shape("s.0", &[3]).shape("s.1", &[2]);
    let g = graph(&m, b).unwrap();
    assert_eq!(names(&g).1, ["y.0", "y.1", "z.0", "z.1"]);
    let given = [("s.0", vec![1f32, 2., 3.]), ("s.1", vec![4., 5.]), ("x", vec![10.])];
    let given =
        given.into_iter().map(|(n, v)| (n.to_owned(), Tensor::new(&[v.len()], &v).unwrap())).collect();
    let out = eval_graph(&g, &given).unwrap();
    assert_eq!(out["y.1"].values::<f32>().unwrap().as_ref(), [14.0, 15.0]);
    assert_eq!(out["z.0"].values::<i64>().unwrap().as_ref(), [3]);
}

#[test]
fn values_in_files_are_read() {
    let t = |v: i64| longs("", &[v]);
    let want = |v: i64| Tensor::new(&[1], &[v]).unwrap();
    let read = |bytes: Vec<u8>, kind| read_value(&bytes, kind).unwrap();
    assert_eq!(
        read(TensorProto { name: "n".into(), ..t(1) }.encode_to_vec(), ValueKind::Tensor),
        ("n".to_owned(), Value::Tensor(want(1)))
    );
    let s = SequenceProto { name: "n".into(), tensor_values: vec![t(1), t(2)] };
    let list = Value::Sequence(vec![want(1), want(2)]);
    assert_eq!(read(s.encode_to_vec(), ValueKind::Sequence).1, list);
    let o = OptionalProto { sequence_value: Some(s), ..Default::default() };
    assert_eq!(read(o.encode_to_vec(), ValueKind::OptionalSequence).1, list);
    assert_eq!(read(vec![], ValueKind::Optional).1, Value::Nothing);
    assert!(read_value(&[0xff; 9], ValueKind::Sequence).is_err());
}

fn sparse(indices: TensorProto, dims: &[i64]) -> SparseTensorProto {
    let values = TensorProto { name: "s".into(), ..floats("s", &[2]) };
    SparseTensorProto { values: Some(values), indices: Some(indices), dims: dims.to_vec() }
}

#[test]
fn sparse_tensors_are_filled_with_zeros() {
    let run = |t: SparseTensorProto| {
        let mut m = model(vec![value("x", &["4"])], vec![], vec![node("Add", &["x", "s"], "y")], "y");
        m.graph.as_mut().unwrap().sparse_initializer.push(t);
        let g = graph(&m, ShapeBindings::default()).map_err(|e| e.to_string())?;
        let x = Tensor::new(&[4], &[10f32, 20., 30., 40.]).unwrap();
        let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).unwrap();
        Ok::<_, String>(out["y"].values::<f32>().unwrap().into_owned())
    };
    // The values are -3 and -2.
    assert_eq!(run(sparse(longs("", &[3, 1]), &[4])).unwrap(), [10., 18., 30., 37.]);
    let coordinates = TensorProto { dims: vec![2, 1], ..longs("", &[0, 2]) };
    assert_eq!(run(sparse(coordinates, &[4])).unwrap(), [7., 20., 28., 40.]);
    for (indices, dims, words) in [
        (longs("", &[4, 0]), &[4][..], "outside"),
        (longs("", &[-1, 0]), &[4], "outside"),
        (longs("", &[0]), &[4], "indices"),
        (longs("", &[0, 1]), &[1 << 20, 1 << 20], "too large"),
        (longs("", &[0, 1]), &[-4], "sizes"),
        (floats("", &[2]), &[4], "indices"),
    ] {
        let text = run(sparse(indices, dims)).unwrap_err();
        assert!(text.contains("`s`") && text.contains(words), "{text}");
    }
}

#[test]
fn a_symbol_binds_within_an_input() {
    let m = model(
        vec![value("x", &["n", "c"]), value("z", &["n", "n", "2*n"])],
        vec![],
        vec![node("Relu", &["x"], "y")],
        "y",
    );
    let x = || ShapeBindings::default().shape("x", &[2, 5]);
    // Another input may have another `n`: exporters give one name to sizes that differ.
    assert!(graph(&m, x().shape("z", &[3, 3, 6])).is_ok());
    for z in [[3, 4, 6], [3, 3, 5]] {
        let said = graph(&m, x().shape("z", &z)).unwrap_err().to_string();
        assert!(said.contains("does not fit"), "{said}");
    }
}
