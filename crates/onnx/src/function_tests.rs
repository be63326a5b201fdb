//! Functions that models define, against what they mean.

use std::collections::BTreeMap;

use tactician_ir::Tensor;
use tactician_reference::eval_graph;

use crate::proto::*;
use crate::tests::*;
use crate::{ImportError, Model, ShapeBindings};

fn function(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, output: &str) -> FunctionProto {
    FunctionProto {
        domain: "own".into(),
        name: name.into(),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: vec![output.into()],
        node: nodes,
        ..Default::default()
    }
}

fn call(name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto { domain: "own".into(), ..node(name, inputs, output) }
}

fn refer(mut n: NodeProto, name: &str, to: &str) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), ref_attr_name: to.into(), ..Default::default() });
    n
}

fn with_float(mut n: NodeProto, name: &str, f: f32) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), f: Some(f), ..Default::default() });
    n
}

fn model_of(functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto { functions, ..model(vec![value("x", &["3"])], vec![], nodes, "y") }
}

fn run(functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> Result<Vec<f32>, String> {
    let g = graph(&model_of(functions, nodes), ShapeBindings::default()).map_err(|e| e.to_string())?;
    let x = Tensor::new(&[3], &[-1f32, 2.0, 4.0]).unwrap();
    let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).map_err(|e| e.to_string())?;
    Ok(out["y"].values::<f32>().unwrap().into_owned())
}

/// `leaky(x)·2`, the slope of the negative side an attribute.
fn leaky(default: Option<f32>) -> FunctionProto {
    let nodes = vec![refer(node("LeakyRelu", &["a"], "b"), "alpha", "slope"), node("Add", &["b", "b"], "c")];
    let mut f = function("Twice", &["a"], nodes, "c");
    match default {
        None => f.attribute.push("slope".into()),
        Some(v) => {
            f.attribute_proto.push(AttributeProto { name: "slope".into(), f: Some(v), ..Default::default() })
        }
    }
    f
}

#[test]
fn attributes_come_from_the_call_or_the_default_or_the_operator() {
    let plain = || call("Twice", &["x"], "y");
    let given = || with_float(plain(), "slope", 0.5);
    assert_eq!(run(vec![leaky(None)], vec![given()]).unwrap(), [-1.0, 4.0, 8.0]);
    assert_eq!(run(vec![leaky(Some(0.25))], vec![given()]).unwrap(), [-1.0, 4.0, 8.0]);
    assert_eq!(run(vec![leaky(Some(0.25))], vec![plain()]).unwrap(), [-0.5, 4.0, 8.0]);
    // An attribute that nobody gives is not there: LeakyRelu's slope is 0.01 then.
    assert_eq!(run(vec![leaky(None)], vec![plain()]).unwrap(), [-0.02, 4.0, 8.0]);
}

#[test]
fn functions_call_functions_and_hand_attributes_on() {
    let inner = refer(call("Twice", &["p"], "q"), "slope", "s");
    let mut outer = function("Outer", &["p"], vec![inner, node("Neg", &["q"], "r")], "r");
    outer.attribute.push("s".into());
    let nodes = vec![
        with_float(call("Outer", &["x"], "u"), "s", 0.5),
        // Names inside are a call's own: the second call does not clash with the first.
        with_float(call("Outer", &["u"], "y"), "s", 2.0),
    ];
    // -leaky(x)·2 twice.
    let once = |v: f32, s: f32| -2.0 * if v < 0.0 { v * s } else { v };
    let want = [-1f32, 2.0, 4.0].map(|v| once(once(v, 0.5), 2.0));
    assert_eq!(run(vec![leaky(None), outer], nodes).unwrap(), want);
}

#[test]
fn attributes_reach_into_branches() {
    let branch = |slope: &str| GraphProto {
        node: vec![refer(node("LeakyRelu", &["a"], "b"), "alpha", slope)],
        output: vec![value("b", &[])],
        ..Default::default()
    };
    let mut choice = node("If", &["always"], "c");
    for (name, slope) in [("then_branch", "slope"), ("else_branch", "other")] {
        choice.attribute.push(AttributeProto {
            name: name.into(),
            g: Some(branch(slope)),
            ..Default::default()
        });
    }
    let always = with_int(with_int(node("Constant", &[], "one"), "value_int", 1), "unused", 0);
    let nodes = vec![always, with_int(node("Cast", &["one"], "always"), "to", 9), choice];
    let mut f = function("Choose", &["a"], nodes, "c");
    f.attribute = vec!["slope".into(), "other".into()];
    let n = with_float(with_float(call("Choose", &["x"], "y"), "slope", 0.5), "other", 3.0);
    assert_eq!(run(vec![f], vec![n]).unwrap(), [-0.5, 2.0, 4.0]);
}

#[test]
fn operands_may_be_left_out() {
    let f = || function("Clamp", &["a", "low", "high"], vec![node("Clip", &["a", "low", "high"], "b")], "b");
    let three = with_float(node("Constant", &[], "three"), "value_float", 3.0);
    let zero = with_float(node("Constant", &[], "zero"), "value_float", 0.0);
    let low = vec![zero.clone(), call("Clamp", &["x", "zero"], "y")];
    assert_eq!(run(vec![f()], low).unwrap(), [0.0, 2.0, 4.0]);
    let high = vec![three, call("Clamp", &["x", "", "three"], "y")];
    assert_eq!(run(vec![f()], high).unwrap(), [-1.0, 2.0, 3.0]);
    let text = run(vec![f()], vec![zero, call("Clamp", &["x", "zero", "zero", "zero"], "y")]).unwrap_err();
    assert!(text.contains("takes 3 operands and is given 4"), "{text}");
    let same = function("Same", &["a", "b"], vec![], "b");
    assert!(run(vec![same], vec![call("Same", &["x"], "y")]).unwrap_err().contains("left out"));
}

#[test]
fn a_function_has_an_operator_set_of_its_own() {
    // Until set 12 the axis of a softmax begins what is flattened.
    let mut f = function("Soft", &["a"], vec![node("Softmax", &["a"], "b")], "b");
    f.opset_import = vec![OperatorSetId { domain: String::new(), version: 12 }];
    let m = ModelProto {
        functions: vec![f.clone()],
        ..model(vec![value("x", &["2", "3", "4"])], vec![], vec![call("Soft", &["x"], "y")], "y")
    };
    let g = graph(&m, ShapeBindings::default()).unwrap();
    assert!(g.node_ids().any(|n| matches!(g.node(n).op, tactician_ir::Op::Reshape(_))));
    f.opset_import[0].version = 0;
    let old = ModelProto { functions: vec![f], ..m };
    assert!(matches!(graph(&old, ShapeBindings::default()), Err(ImportError::Opset { found: 0, .. })));
}

#[test]
fn a_function_comes_before_an_operator_of_its_name() {
    let f = FunctionProto {
        domain: "ai.onnx".into(),
        ..function("Relu", &["a"], vec![node("Neg", &["a"], "b")], "b")
    };
    assert_eq!(run(vec![f], vec![node("Relu", &["x"], "y")]).unwrap(), [1.0, -2.0, -4.0]);
}

#[test]
fn overloads_are_functions_of_their_own() {
    let f = |overload: &str, op: &str| FunctionProto {
        overload: overload.into(),
        ..function("F", &["a"], vec![node(op, &["a"], "b")], "b")
    };
    let list = || vec![f("", "Neg"), f("loud", "Abs")];
    let n = |overload: &str| NodeProto { overload: overload.into(), ..call("F", &["x"], "y") };
    assert_eq!(run(list(), vec![n("")]).unwrap(), [1.0, -2.0, -4.0]);
    assert_eq!(run(list(), vec![n("loud")]).unwrap(), [1.0, 2.0, 4.0]);
    assert!(run(list(), vec![n("quiet")]).unwrap_err().contains("own.F"));
    let twice = model_of(vec![f("", "Neg"), f("", "Abs")], vec![n("")]);
    assert!(matches!(
        Model::from_bytes(prost::Message::encode_to_vec(&twice)),
        Err(ImportError::Duplicate { .. })
    ));
}

#[test]
fn recursion_is_refused() {
    let direct = function("F", &["a"], vec![call("F", &["a"], "b")], "b");
    assert!(run(vec![direct], vec![call("F", &["x"], "y")]).unwrap_err().contains("calls itself"));
    let there = function("F", &["a"], vec![call("G", &["a"], "b")], "b");
    let back = function("G", &["a"], vec![call("F", &["a"], "b")], "b");
    assert!(run(vec![there, back], vec![call("F", &["x"], "y")]).unwrap_err().contains("calls itself"));
}

/// Functions `F0` to `Fn`, each of which calls the next so many times.
fn chain(depth: usize, calls: usize) -> Vec<FunctionProto> {
    let one = |k: usize| {
        let name = |i: usize| if i == 0 { "a".to_owned() } else { format!("v{i}") };
        let op = |i: usize| match k + 1 == depth {
            true => node("Neg", &[&name(i)], &name(i + 1)),
            false => call(&format!("F{}", k + 1), &[&name(i)], &name(i + 1)),
        };
        function(&format!("F{k}"), &["a"], (0..calls).map(op).collect(), &name(calls))
    };
    (0..depth).map(one).collect()
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    assert_eq!(run(chain(40, 1), vec![call("F0", &["x"], "y")]).unwrap(), [1.0, -2.0, -4.0]);
    assert!(run(chain(200, 1), vec![call("F0", &["x"], "y")]).unwrap_err().contains("nested deeper"));
    // 10^10 calls.
    assert!(run(chain(10, 10), vec![call("F0", &["x"], "y")]).unwrap_err().contains("too many nodes"));
}

#[test]
fn what_a_function_cannot_do_is_named() {
    let f = function("F", &["a"], vec![node("Nonsense", &["a"], "b"), node("Rubbish", &["b"], "c")], "c");
    let text = run(vec![f], vec![call("F", &["x"], "y")]).unwrap_err();
    assert!(text.contains("Nonsense") && text.contains("Rubbish"), "{text}");
    let f = function("F", &["a"], vec![with_int(node("Concat", &["a"], "b"), "axis", 7)], "b");
    let text = run(vec![f], vec![call("F", &["x"], "y")]).unwrap_err();
    assert!(text.contains("in the function `F`") && text.contains("axis 7"), "{text}");
    let f = function("F", &["a"], vec![node("Neg", &["x"], "b")], "b");
    let text = run(vec![f], vec![call("F", &["x"], "y")]).unwrap_err();
    assert!(text.contains("`x`, which nothing defines"), "{text}");
    let f = function("F", &["a"], vec![], "b");
    assert!(run(vec![f], vec![call("F", &["x"], "y")]).unwrap_err().contains("does not define its output"));
}
