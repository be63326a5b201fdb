//! Branches, loops and sequences, against what they mean.

use std::collections::BTreeMap;

use tactician_ir::Tensor;
use tactician_reference::eval_graph;

use crate::ShapeBindings;
use crate::proto::*;
use crate::tests::*;

pub(crate) fn nested(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &[&str]) -> GraphProto {
    let named = |n: &&str| value(n, &[]);
    GraphProto {
        node: nodes,
        input: inputs.iter().map(named).collect(),
        output: outputs.iter().map(named).collect(),
        ..Default::default()
    }
}

pub(crate) fn with_graph(mut n: NodeProto, name: &str, g: GraphProto) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), g: Some(g), ..Default::default() });
    n
}

fn bools(name: &str, value: i32) -> TensorProto {
    TensorProto { name: name.into(), data_type: 9, int32_data: vec![value], ..Default::default() }
}

fn scalar(name: &str, value: i64) -> TensorProto {
    TensorProto { dims: vec![], ..longs(name, &[value]) }
}

fn run(tensors: Vec<TensorProto>, nodes: Vec<NodeProto>, x: &[f32]) -> Result<Vec<f32>, String> {
    let size = x.len().to_string();
    let m = model(vec![value("x", &[&size])], tensors, nodes, "y");
    let g = graph(&m, ShapeBindings::default()).map_err(|e| e.to_string())?;
    let x = Tensor::new(&[x.len()], x).unwrap();
    let out = eval_graph(&g, &BTreeMap::from([("x".to_owned(), x)])).map_err(|e| e.to_string())?;
    Ok(out["y"].values::<f32>().unwrap().into_owned())
}

/// `-x` or `x + x`, which read `x` from outside.
fn choice(condition: &str) -> NodeProto {
    let n = node("If", &[condition], "y");
    let n = with_graph(n, "then_branch", nested(vec![node("Neg", &["x"], "a")], &[], &["a"]));
    with_graph(n, "else_branch", nested(vec![node("Add", &["x", "x"], "b")], &[], &["b"]))
}

#[test]
fn a_known_condition_chooses_its_branch_alone() {
    for (c, want) in [(1, [-1.0, 2.0]), (0, [2.0, -4.0])] {
        assert_eq!(run(vec![bools("c", c)], vec![choice("c")], &[1.0, -2.0]).unwrap(), want);
    }
    // What the other branch cannot do does not matter.
    let mut n = choice("c");
    n.attribute[1].g = Some(nested(vec![node("Nonsense", &["x"], "b")], &[], &["b"]));
    assert_eq!(run(vec![bools("c", 1)], vec![n.clone()], &[3.0]).unwrap(), [-3.0]);
    let text = run(vec![bools("c", 0)], vec![n], &[3.0]).unwrap_err();
    assert!(text.contains("Nonsense") && text.contains("not supported"), "{text}");
}

#[test]
fn a_condition_of_data_chooses_between_results() {
    let nodes = vec![
        with_int(node("ReduceSum", &["x"], "s"), "keepdims", 0),
        node("Greater", &["s", "zero"], "c"),
        choice("c"),
    ];
    let zero = TensorProto { name: "zero".into(), data_type: 1, float_data: vec![0.0], ..Default::default() };
    assert_eq!(run(vec![zero.clone()], nodes.clone(), &[1.0, 2.0]).unwrap(), [-1.0, -2.0]);
    assert_eq!(run(vec![zero.clone()], nodes.clone(), &[1.0, -2.0]).unwrap(), [2.0, -4.0]);
    let mut unequal = nodes;
    let longer = with_int(node("Concat", &["x", "x"], "b"), "axis", 0);
    unequal[2].attribute[1].g = Some(nested(vec![longer], &[], &["b"]));
    let text = run(vec![zero], unequal, &[1.0, 2.0]).unwrap_err();
    assert!(text.contains("branches give"), "{text}");
}

/// A loop that doubles its state and collects it, until the state's number of doublings says stop.
fn doubling() -> NodeProto {
    let nodes = vec![
        node("Add", &["v", "v"], "w"),
        node("Less", &["i", "last"], "go"),
        node("Identity", &["w"], "seen"),
    ];
    let n = with_graph(
        node("Loop", &["m", "c", "x"], "final"),
        "body",
        nested(nodes, &["i", "c_in", "v"], &["go", "w", "seen"]),
    );
    NodeProto { output: vec!["final".into(), "all".into()], ..n }
}

#[test]
fn loops_are_unrolled_until_count_or_condition_ends_them() {
    let flat = || with_ints(node("Reshape", &["all"], "y"), "shape", &[-1]);
    // `i < last` holds in steps 0 and 1, so step 2 is the last.
    for (most, steps) in [(10, 3), (2, 2)] {
        let tensors = vec![scalar("m", most), bools("c", 1), scalar("last", 2)];
        let got = run(tensors, vec![doubling(), flat()], &[1.0, -1.0]).unwrap();
        let want: Vec<f32> = (1..=steps).flat_map(|k| [2f32.powi(k), -2f32.powi(k)]).collect();
        assert_eq!(got, want, "at most {most} steps");
    }
    let tensors = vec![scalar("m", i64::MAX), bools("c", 1), scalar("last", i64::MAX)];
    let text = run(tensors, vec![doubling(), flat()], &[1.0]).unwrap_err();
    assert!(text.contains("too many nodes"), "{text}");
}

#[test]
fn loops_of_no_steps_collect_nothing_of_the_right_type() {
    let never = || vec![scalar("m", 0), bools("c", 1), scalar("last", 2)];
    // What is collected has the sizes [0, 2].
    let nodes = vec![
        doubling(),
        with_ints(node("ReduceProd", &["all"], "ones"), "axes", &[0]),
        node("Add", &["ones", "final"], "y"),
    ];
    assert_eq!(run(never(), nodes, &[3.0, 5.0]).unwrap(), [4.0, 6.0]);
    let scan = with_graph(
        node("Scan", &["none"], "y"),
        "body",
        nested(vec![node("ReduceSum", &["e"], "sum")], &["e"], &["sum"]),
    );
    let scan = with_int(scan, "num_scan_inputs", 1);
    let none = longs("shape", &[0, 4]);
    let nodes = vec![node("ConstantOfShape", &["shape"], "none"), scan];
    assert_eq!(run(vec![none], nodes, &[1.0]).unwrap(), []);
}

#[test]
fn scans_walk_both_ways() {
    let body = nested(
        vec![node("Add", &["sum", "e"], "next"), node("Identity", &["next"], "seen")],
        &["sum", "e"],
        &["next", "seen"],
    );
    let scan = |backward: i64| {
        let n = with_graph(node("Scan", &["start", "x"], "last"), "body", body.clone());
        let n = with_int(n, "num_scan_inputs", 1);
        let n = with_ints(n, "scan_input_directions", &[backward]);
        NodeProto { output: vec!["last".into(), "y".into()], ..n }
    };
    let start =
        TensorProto { name: "start".into(), data_type: 1, float_data: vec![0.5], ..Default::default() };
    assert_eq!(run(vec![start.clone()], vec![scan(0)], &[1., 2., 4.]).unwrap(), [1.5, 3.5, 7.5]);
    assert_eq!(run(vec![start.clone()], vec![scan(1)], &[1., 2., 4.]).unwrap(), [4.5, 6.5, 7.5]);
    let mut bad = scan(0);
    bad.attribute[1].i = Some(7);
    assert!(run(vec![start], vec![bad], &[1.0]).unwrap_err().contains("num_scan_inputs"));
}

#[test]
fn sequences_leave_tensors_behind() {
    let nodes = vec![
        node("SplitToSequence", &["x", "two"], "s"),
        node("SequenceAt", &["s", "end"], "tail"),
        node("SequenceErase", &["s", "zero"], "t"),
        node("SequenceInsert", &["t", "tail", "zero"], "u"),
        with_int(node("ConcatFromSequence", &["u"], "y"), "axis", 0),
    ];
    let tensors = || vec![scalar("two", 2), scalar("end", -1), scalar("zero", 0)];
    // Parts [1, 2], [3, 4], [5]: the first leaves, the last comes in front.
    assert_eq!(run(tensors(), nodes.clone(), &[1., 2., 3., 4., 5.]).unwrap(), [5., 3., 4., 5.]);
    let mut far = tensors();
    far[1] = scalar("end", 3);
    assert!(run(far, nodes.clone(), &[1., 2., 3.]).unwrap_err().contains("position 3"));
    let mut none = tensors();
    none[0] = scalar("two", 0);
    assert!(run(none, nodes, &[1., 2., 3.]).unwrap_err().contains("no elements"));
}

#[test]
fn sequences_do_not_double() {
    let nodes =
        vec![node("SequenceConstruct", &["x", "x"], "s"), node("SequenceConstruct", &["s", "s"], "y")];
    assert!(run(vec![], nodes, &[1.0]).unwrap_err().contains("inside a sequence"));
    let nodes = vec![node("SequenceConstruct", &["x"], "s"), node("SequenceInsert", &["s", "s"], "y")];
    assert!(run(vec![], nodes, &[1.0]).unwrap_err().contains("inside a sequence"));
}

#[test]
fn graphs_that_contain_their_own_names_or_miss_them_are_refused() {
    let n = with_graph(
        node("If", &["c"], "y"),
        "then_branch",
        nested(vec![node("Neg", &["nowhere"], "a")], &[], &["a"]),
    );
    let text = run(vec![bools("c", 1)], vec![with_graph(n, "else_branch", nested(vec![], &[], &[]))], &[1.0]);
    assert!(text.unwrap_err().contains("nowhere"));
    // A branch that reads what only comes of it.
    let n = with_graph(
        node("If", &["c"], "y"),
        "then_branch",
        nested(vec![node("Neg", &["y"], "a")], &[], &["a"]),
    );
    let text = run(vec![bools("c", 1)], vec![with_graph(n, "else_branch", nested(vec![], &[], &[]))], &[1.0]);
    assert!(text.unwrap_err().contains("cycle"));
}

#[test]
fn a_loop_that_makes_too_many_constants_is_refused() {
    // Each step numbers 2^20 places, 8 MiB; in tests the limit is 64 MiB.
    let body = nested(
        vec![node("Range", &["zero", "many", "one"], "r"), node("ReduceSum", &["r"], "s")],
        &["i", "c"],
        &["c", "s"],
    );
    let scalar = |name: &str, v: i64| {
        let mut t = longs(name, &[v]);
        t.dims = vec![];
        t
    };
    let tensors = vec![scalar("zero", 0), scalar("one", 1), scalar("many", 1 << 20), scalar("steps", 20)];
    let n = with_graph(node("Loop", &["steps", ""], "all"), "body", body);
    let mut m = model(vec![value("x", &["1"])], tensors, vec![n, node("Neg", &["all"], "y")], "y");
    m.opset_import[0].version = 13;
    let said = graph(&m, ShapeBindings::default()).unwrap_err().to_string();
    assert!(said.contains("MiB"), "{said}");
}
