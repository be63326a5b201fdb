use std::collections::BTreeMap;

use prost::Message;
use tactician_ir::{Graph, Op, Recurrent, Tensor};
use tactician_reference::eval_graph;

use crate::proto::*;
use crate::{ImportError, Model, ShapeBindings};

fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfo {
    let dim = dims.iter().map(|&n| DimProto { value: Some(n), param: None }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) };
    ValueInfo { name: name.into(), r#type: Some(TypeProto { tensor: Some(tensor), ..Default::default() }) }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(i), ..Default::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: Some(s.as_bytes().to_vec().into()), ..Default::default() }
}

/// A model of one node whose operands are inputs of these names and sizes; an empty name is an operand left out.
fn import(
    op: &str,
    inputs: &[(&str, &[i64])],
    outputs: &[&str],
    attributes: &[AttributeProto],
) -> Result<Graph, ImportError> {
    let node = NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|(n, _)| (*n).into()).collect(),
        output: outputs.iter().map(|n| (*n).into()).collect(),
        attribute: attributes.to_vec(),
        ..Default::default()
    };
    let given = inputs.iter().filter(|(n, _)| !n.is_empty());
    let graph = GraphProto {
        input: given.map(|(n, d)| value(n, if *n == "lengths" { 6 } else { 1 }, d)).collect(),
        output: outputs.iter().filter(|n| !n.is_empty()).map(|n| value(n, 1, &[])).collect(),
        node: vec![node],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetId { domain: String::new(), version: 14 }];
    let model = ModelProto { ir_version: 7, graph: Some(graph), opset_import, functions: vec![] };
    Model::from_bytes(model.encode_to_vec())?.graph(&ShapeBindings::default())
}

fn layer(g: &Graph) -> Recurrent {
    let found = g.node_ids().find_map(|n| match &g.node(n).op {
        Op::Recurrent(o) => Some(o.clone()),
        _ => None,
    });
    found.expect("a recurrent layer")
}

fn run(g: &Graph, inputs: &[(&str, &[usize], Vec<f32>)]) -> BTreeMap<String, Tensor> {
    let tensor = |(n, d, v): &(&str, &[usize], Vec<f32>)| ((*n).to_owned(), Tensor::new(d, v).unwrap());
    eval_graph(g, &inputs.iter().map(tensor).collect()).unwrap()
}

#[test]
fn sums_by_hand() {
    // h' = max(2x + 3h, 0) from 1: 2 + 3, 4 + 15.
    let inputs: &[(&str, &[i64])] =
        &[("x", &[2, 1, 1]), ("w", &[1, 1, 1]), ("r", &[1, 1, 1]), ("", &[]), ("", &[]), ("h", &[1, 1, 1])];
    let relu = AttributeProto {
        name: "activations".into(),
        strings: vec![b"Relu".to_vec().into()],
        ..Default::default()
    };
    let g = import("RNN", inputs, &["y", "last"], &[relu]).unwrap();
    let one: &[usize] = &[1, 1, 1];
    let out = run(
        &g,
        &[
            ("x", &[2, 1, 1], vec![1.0, 2.0]),
            ("w", one, vec![2.0]),
            ("r", one, vec![3.0]),
            ("h", one, vec![1.0]),
        ],
    );
    assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), &[5.0, 19.0]);
    assert_eq!(out["y"].sizes(), &[2, 1, 1, 1]);
    assert_eq!(out["last"].values::<f32>().unwrap().as_ref(), &[19.0]);
    assert_eq!(out["last"].sizes(), &[1, 1, 1]);
}

#[test]
fn batches_come_first_in_layout_1() {
    let (t, b, i, h) = (3usize, 2usize, 2usize, 2usize);
    let dims = |list: &[usize]| list.iter().map(|&n| n as i64).collect::<Vec<i64>>();
    let x: Vec<f32> = (0..t * b * i).map(|v| v as f32 * 0.3 - 1.0).collect();
    let swapped: Vec<f32> = (0..b * t * i).map(|v| x[(v / i % t * b + v / (i * t)) * i + v % i]).collect();
    let w: Vec<f32> = (0..4 * h * i).map(|v| (v % 5) as f32 * 0.2 - 0.4).collect();
    let r: Vec<f32> = (0..4 * h * h).map(|v| (v % 7) as f32 * 0.1 - 0.3).collect();
    let (ws, rs): ([usize; 3], [usize; 3]) = ([1, 4 * h, i], [1, 4 * h, h]);
    let both = [(0, [t, b, i], x), (1, [b, t, i], swapped)].map(|(layout, sizes, x)| {
        let inputs: [(&str, &[i64]); 3] = [("x", &dims(&sizes)), ("w", &dims(&ws)), ("r", &dims(&rs))];
        let g = import("LSTM", &inputs, &["y", "h", "c"], &[int("layout", layout)]).unwrap();
        run(&g, &[("x", &sizes, x), ("w", &ws, w.clone()), ("r", &rs, r.clone())])
    });
    assert_eq!((both[0]["y"].sizes(), both[1]["y"].sizes()), (&[t, 1, b, h][..], &[b, t, 1, h][..]));
    assert_eq!((both[0]["c"].sizes(), both[1]["c"].sizes()), (&[1, b, h][..], &[b, 1, h][..]));
    let of = |i: usize, name: &str| both[i][name].values::<f32>().unwrap().into_owned();
    assert_eq!((of(0, "h"), of(0, "c")), (of(1, "h"), of(1, "c")));
    let (first, second) = (of(0, "y"), of(1, "y"));
    let turned: Vec<f32> = (0..b * t * h).map(|v| first[(v / h % t * b + v / (h * t)) * h + v % h]).collect();
    assert_eq!(turned, second);
}

#[test]
fn attributes_and_operands_may_be_left_out() {
    let sizes: [(&str, &[i64]); 3] = [("x", &[4, 2, 3]), ("w", &[2, 15, 3]), ("r", &[2, 15, 5])];
    let both = [text("direction", "bidirectional"), int("linear_before_reset", 1), int("hidden_size", 5)];
    let mut inputs = sizes.to_vec();
    inputs.extend([("", &[][..]), ("lengths", &[2]), ("h", &[2, 2, 5])]);
    let g = import("GRU", &inputs, &["", "last"], &both).unwrap();
    let o = layer(&g);
    assert!(o.lengths && o.initial_h && o.linear_before_reset && !o.bias && !o.initial_c);
    assert_eq!(o.functions.len(), 4);
    assert_eq!(g.ty(g.outputs()[0].1).to_string(), "f32[2,2,5]");

    let refused =
        |attributes: &[AttributeProto]| import("GRU", &sizes, &["y"], attributes).unwrap_err().to_string();
    assert!(refused(&[text("direction", "sideways")]).contains("sideways"));
    assert!(refused(&[text("direction", "forward")]).contains("operand w is f32[2,15,3]"));
    assert!(refused(&[both[0].clone(), int("hidden_size", 4)]).contains("hidden_size is 4"));
    let odd = AttributeProto {
        name: "activations".into(),
        strings: vec![b"Swish".to_vec().into()],
        ..Default::default()
    };
    assert!(refused(&[both[0].clone(), odd]).contains("Swish"));
}
