//! Models whose sizes depend on data, by hand: which values each stage gives, and what comes of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tactician_ir::{DType, Graph, Tensor};
use tactician_reference::eval_graph;

use super::{Backend, Driver, Fed, StageError};
use crate::control_tests::{nested, with_graph};
use crate::error::ImportError;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
use crate::tests::{longs, model, node, value};
use crate::{Model, ShapeBindings};

fn open(m: &ModelProto) -> Arc<Model> {
    use prost::Message;
    Arc::new(Model::from_bytes(m.encode_to_vec()).unwrap())
}

/// Runs graphs with the reference, and notes what each gives.
#[derive(Default)]
struct Reference {
    made: RefCell<Vec<Vec<String>>>,
    /// Whether it makes nothing ready.
    refuses: Cell<bool>,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl Backend for Reference {
    type Ready = Graph;
    type Error = Failed;

    fn ready(&self, graph: Graph) -> Result<Graph, Failed> {
        if self.refuses.get() {
            return Err(StageError::TooDeep.into());
        }
        self.made.borrow_mut().push(graph.outputs().iter().map(|o| o.0.clone()).collect());
        Ok(graph)
    }

    fn run(
        &self,
        graph: &mut Graph,
        value: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<Vec<(String, Tensor)>, Failed> {
        let names = graph.inputs().iter().map(|&i| graph.node(i).name.clone());
        let given = names.map(|n| (n.clone(), value(&n).unwrap())).collect();
        Ok(eval_graph(graph, &given).unwrap().into_iter().collect())
    }
}

type Values = BTreeMap<String, Tensor>;

/// Runs a model with the reference; returns its outputs and what every stage but the last one gave.
fn run(m: &Arc<Model>, inputs: &Values) -> (Values, Vec<Vec<String>>) {
    let reference = Reference::default();
    let out = Driver::new(m.clone(), BTreeMap::new()).run(&reference, inputs).unwrap().into_iter().collect();
    let mut made = reference.made.into_inner();
    made.pop();
    (out, made)
}

fn refused(m: &Arc<Model>, inputs: &Values) -> String {
    let result = Driver::new(m.clone(), BTreeMap::new()).run(&Reference::default(), inputs);
    result.unwrap_err().to_string()
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
        // `r` is not computed again.
        assert_eq!(asked, [["r", "shape"]]);
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
            "c" => (n, Tensor::from_bytes(DType::Bool, &[3], t.bytes().to_vec()).unwrap()),
            _ => (n, t),
        })
        .collect();
    let (out, asked) = run(&m, &inputs);
    assert_eq!(out["y"].values::<i64>().unwrap().as_ref(), &[2, 3]);
    assert_eq!(out["u"].values::<f32>().unwrap().as_ref(), &[1., 2., 0.]);
    // What is compressed are inputs, for which nothing need be computed.
    assert_eq!(asked, [["b"]]);
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

fn scalar(name: &str, v: f32) -> crate::proto::TensorProto {
    crate::proto::TensorProto { name: name.into(), data_type: 1, float_data: vec![v], ..Default::default() }
}

fn of_type(name: &str, sizes: &[&str], elem_type: i32) -> crate::proto::ValueInfo {
    let mut v = value(name, sizes);
    v.r#type.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = elem_type;
    v
}

/// `y` doubles until its sum is 100 or more; `all` are the values on the way.
fn doubling() -> ModelProto {
    let body = nested(
        vec![
            node("Add", &["before", "before"], "after"),
            node("ReduceSum", &["after"], "sum"),
            node("Less", &["sum", "limit"], "small"),
            node("Reshape", &["small", "none"], "go"),
            node("Identity", &["weight"], "weight_after"),
            node("Mul", &["after", "weight"], "collected"),
        ],
        &["i", "c", "before", "weight"],
        &["go", "after", "weight_after", "collected"],
    );
    let mut n = with_graph(node("Loop", &["", "", "x", "w"], "y"), "body", body);
    n.output.extend(["w_after".to_owned(), "all".into()]);
    let mut none = longs("none", &[]);
    none.dims = vec![0];
    let mut m =
        model(vec![value("x", &["2"])], vec![scalar("limit", 100.), scalar("w", 3.), none], vec![n], "y");
    m.opset_import[0].version = 13;
    m.graph.as_mut().unwrap().output.push(value("all", &["n", "2"]));
    m
}

#[test]
fn a_loop_ends_when_its_values_say() {
    let m = open(&doubling());
    let reference = Reference::default();
    let mut driver = Driver::new(m.clone(), BTreeMap::new());
    let mut made = Vec::new();
    for (x, steps) in [([1f32, 1.], 6), ([20., 30.], 1), ([0.5, 0.25], 8)] {
        let inputs = BTreeMap::from([("x".into(), f32s(&[2], &x))]);
        let out: Values = driver.run(&reference, &inputs).unwrap().into_iter().collect();
        let at = |k: i32| x.map(|v| v * 2f32.powi(k));
        assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), at(steps));
        assert_eq!(out["all"].sizes(), [steps as usize, 2]);
        let want: Vec<f32> = (1..=steps).flat_map(|k| at(k).map(|v| 3. * v)).collect();
        assert_eq!(out["all"].values::<f32>().unwrap().as_ref(), want);
        made.push((reference.made.borrow().len(), driver.stages()));
    }
    // Later runs make a last stage for each new number of steps, and nothing else: the loop's own graph stays.
    assert_eq!(made.iter().map(|m| m.0).collect::<Vec<_>>(), [made[0].0, made[0].0 + 1, made[0].0 + 2]);
}

/// What is said of a loop that goes on unless `x` is no number, and makes `b` of `a` by a node.
fn endless(step: NodeProto) -> String {
    let body = nested(vec![step, node("Not", &["no"], "go")], &["i", "c", "a"], &["go", "b"]);
    let nodes =
        vec![node("IsNaN", &["x"], "no"), with_graph(node("Loop", &["", "", "x"], "y"), "body", body)];
    let m = open(&model(vec![value("x", &[])], vec![], nodes, "y"));
    refused(&m, &BTreeMap::from([("x".into(), f32s(&[], &[0.]))]))
}

#[test]
fn a_loop_that_never_ends_does() {
    let said = endless(node("Add", &["a", "a"], "b"));
    assert!(said.contains("does not end"), "{said}");
}

#[test]
fn what_a_loop_carries_may_grow() {
    // As many steps as a tensor says; each adds its own number, as the size of a range.
    let body = nested(
        vec![
            node("Add", &["i", "one"], "n"),
            node("Range", &["zero", "n", "one"], "numbers"),
            node("Concat", &["before", "numbers"], "after"),
        ],
        &["i", "c", "before"],
        &["c", "after"],
    );
    let nodes = vec![
        node("Reshape", &["count", "none"], "most"),
        with_graph(node("Loop", &["most", "", "start"], "grown"), "body", with_axis(body)),
        node("Neg", &["grown"], "y"),
    ];
    let mut none = longs("none", &[]);
    none.dims = vec![0];
    let mut scalars = [longs("zero", &[0]), longs("one", &[1])];
    scalars.iter_mut().for_each(|t| t.dims = vec![]);
    let [zero, one] = scalars;
    let count = of_type("count", &["1"], 7);
    let m = open(&model(vec![count], vec![none, zero, one, longs("start", &[7])], nodes, "y"));
    for count in [0i64, 1, 3] {
        let (out, _) = run(&m, &BTreeMap::from([("count".into(), Tensor::new(&[1], &[count]).unwrap())]));
        let want: Vec<i64> =
            std::iter::once(-7).chain((1..=count).flat_map(|n| (0..n).map(|v| -v))).collect();
        assert_eq!(out["y"].values::<i64>().unwrap().as_ref(), want);
    }
}

/// `Concat` nodes along axis 0.
fn with_axis(mut g: GraphProto) -> GraphProto {
    for n in g.node.iter_mut().filter(|n| n.op_type == "Concat") {
        *n = with(n.clone(), "axis", 0);
    }
    g
}

#[test]
fn a_branch_is_run_alone_where_both_do_not_agree() {
    // What is positive, or nothing but the sum.
    let some = nested(
        vec![
            node("NonZero", &["r"], "n"),
            node("Transpose", &["n"], "t"),
            node("GatherND", &["r", "t"], "picked"),
        ],
        &[],
        &["picked"],
    );
    let sum = nested(vec![node("ReduceSum", &["x"], "total")], &[], &["total"]);
    let choose = with_graph(with_graph(node("If", &["c"], "y"), "then_branch", some), "else_branch", sum);
    let nodes = vec![node("Relu", &["x"], "r"), node("Not", &["d"], "c"), choose];
    let mut m = model(vec![value("x", &["4"]), of_type("d", &[], 9)], vec![], nodes, "y");
    m.opset_import[0].version = 13;
    let m = open(&m);
    for (d, sizes, want) in [(0u8, vec![2usize], vec![1f32, 3.]), (1, vec![1], vec![-1.])] {
        let d = Tensor::from_bytes(DType::Bool, &[], vec![d]).unwrap();
        let inputs = BTreeMap::from([("x".into(), f32s(&[4], &[1., -2., 3., -3.])), ("d".into(), d)]);
        let (out, _) = run(&m, &inputs);
        assert_eq!(out["y"].sizes(), sizes);
        assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), want);
    }
}

#[test]
fn a_branch_may_read_what_another_stage_gives() {
    let yes = nested(vec![node("Neg", &["n"], "v")], &[], &["v"]);
    let no = nested(vec![], &[], &["n"]);
    let choose = with_graph(with_graph(node("If", &["c"], "y"), "then_branch", yes), "else_branch", no);
    let nodes = vec![node("NonZero", &["x"], "n"), node("Not", &["d"], "c"), choose];
    let m = open(&model(vec![value("x", &["3"]), of_type("d", &[], 9)], vec![], nodes, "y"));
    for (d, sign) in [(0u8, -1), (1, 1)] {
        let d = Tensor::from_bytes(DType::Bool, &[], vec![d]).unwrap();
        let inputs = BTreeMap::from([("x".into(), f32s(&[3], &[0., 5., 6.])), ("d".into(), d)]);
        let (out, _) = run(&m, &inputs);
        assert_eq!(out["y"].values::<i64>().unwrap().as_ref(), [sign, 2 * sign]);
    }
}

#[test]
fn a_loop_of_no_step_gives_nothing_of_the_declared_type() {
    let mut m = doubling();
    let graph = m.graph.as_mut().unwrap();
    graph.node[0].input[0] = "count".into();
    let mut count = longs("zero", &[0]);
    count.dims = vec![];
    graph.initializer.push(count);
    graph.node.insert(0, node("Add", &["zero", "n"], "count"));
    graph.input.push(of_type("n", &[], 7));
    let body = graph.node[1].attribute[0].g.as_mut().unwrap();
    body.output[3] = of_type("collected", &["2"], 1);
    let m = open(&m);
    let inputs = BTreeMap::from([("x".into(), f32s(&[2], &[1., 2.])), ("n".into(), Tensor::scalar(0i64))]);
    let (out, _) = run(&m, &inputs);
    assert_eq!(
        (out["all"].sizes(), out["y"].values::<f32>().unwrap().as_ref()),
        (&[0usize, 2][..], &[1f32, 2.][..])
    );
}

#[test]
fn a_condition_that_is_no_bool_is_refused() {
    let mut m = doubling();
    let body = m.graph.as_mut().unwrap().node[0].attribute[0].g.as_mut().unwrap();
    body.output[0] = value("sum", &[]);
    let said = refused(&open(&m), &BTreeMap::from([("x".into(), f32s(&[2], &[1., 2.]))]));
    assert!(said.contains("condition is f32"), "{said}");
}

#[test]
fn a_long_scan_is_run_step_by_step() {
    // Sums from the end, along the second axis; of each step also its double, put together along the second axis.
    let body = nested(
        vec![
            node("Add", &["sum", "x_t"], "next"),
            node("Identity", &["next"], "out"),
            node("Add", &["x_t", "x_t"], "double"),
        ],
        &["sum", "x_t"],
        &["next", "out", "double"],
    );
    let ints = |name: &str, ints: &[i64]| AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        ..Default::default()
    };
    for steps in [2usize, 1500] {
        let mut n =
            with_graph(with(node("Scan", &["zero", "x"], "y"), "num_scan_inputs", 1), "body", body.clone());
        n.output.extend(["sums".to_owned(), "doubles".into()]);
        n.attribute.extend([
            ints("scan_input_axes", &[1]),
            ints("scan_input_directions", &[1]),
            ints("scan_output_axes", &[0, -1]),
            ints("scan_output_directions", &[0, 1]),
        ]);
        let size = steps.to_string();
        let zero = node("Mul", &["first", "none"], "zero");
        let first = node("ReduceMax", &["x"], "first");
        let mut none = scalar("none", 0.);
        none.dims = vec![];
        let first = with_ints(with(first, "keepdims", 0), "axes", &[1]);
        let mut m = model(vec![value("x", &["2", &size])], vec![none], vec![first, zero, n], "y");
        m.opset_import[0].version = 13;
        let graph = m.graph.as_mut().unwrap();
        graph.output.extend([value("sums", &["n", "2"]), value("doubles", &["2", "n"])]);
        let x: Vec<f32> = (0..2 * steps).map(|i| (i % 5) as f32).collect();
        let inputs = BTreeMap::from([("x".into(), f32s(&[2, steps], &x))]);
        let (out, made) = run(&open(&m), &inputs);
        assert_eq!(made.is_empty(), steps == 2, "{made:?}");
        let mut sums = Vec::new();
        let mut sum = [0f32; 2];
        for t in (0..steps).rev() {
            sum = [sum[0] + x[t], sum[1] + x[steps + t]];
            sums.extend(sum);
        }
        assert_eq!(out["y"].values::<f32>().unwrap().as_ref(), sum);
        assert_eq!((out["sums"].sizes(), out["doubles"].sizes()), (&[steps, 2][..], &[2, steps][..]));
        assert_eq!(out["sums"].values::<f32>().unwrap().as_ref(), sums);
        let doubles: Vec<f32> = x.iter().map(|v| 2. * v).collect();
        assert_eq!(out["doubles"].values::<f32>().unwrap().as_ref(), doubles);
    }
}

fn with_ints(mut n: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    n.attribute.push(AttributeProto { name: name.into(), ints: ints.to_vec(), ..Default::default() });
    n
}

#[test]
fn outputs_that_an_operator_does_not_have_are_refused() {
    let mut n = node("NonZero", &["x"], "y");
    n.output.push("more".into());
    let m = open(&model(vec![value("x", &["3"])], vec![], vec![n], "y"));
    let said = refused(&m, &BTreeMap::from([("x".into(), f32s(&[3], &[0., 1., 2.]))]));
    assert!(said.contains("no output 1"), "{said}");
}

#[test]
fn what_a_loop_carries_keeps_its_type() {
    let said = endless(with(node("Cast", &["a"], "b"), "to", 7));
    assert!(said.contains("`a` as f32 first"), "{said}");
}

#[test]
fn whoever_wants_a_plan_is_told_of_stages() {
    let m = open(&doubling());
    let said = m.graph(&ShapeBindings::default()).unwrap_err().to_string();
    assert!(said.contains("stage by stage"), "{said}");
    // Not where it would not help.
    let m = open(&model(
        vec![value("x", &["2"])],
        vec![],
        vec![with(node("Softmax", &["x"], "y"), "axis", 7)],
        "y",
    ));
    let said = m.graph(&ShapeBindings::default()).unwrap_err().to_string();
    assert!(!said.contains("stage by stage"), "{said}");
}

#[test]
fn a_stage_that_could_not_be_made_ready_is_made_again() {
    let m = open(&doubling());
    let (reference, mut driver) = (Reference::default(), Driver::new(m.clone(), BTreeMap::new()));
    let inputs = BTreeMap::from([("x".into(), f32s(&[2], &[20., 30.]))]);
    let first = driver.run(&reference, &inputs).unwrap();
    // The loop's graph was interpreted in its only step; now it comes again.
    reference.refuses.set(true);
    for _ in 0..2 {
        assert!(driver.run(&reference, &inputs).is_err());
    }
    reference.refuses.set(false);
    assert!(driver.run(&reference, &inputs).unwrap() == first);
}
