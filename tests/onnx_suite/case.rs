//! One case: a model, and sets of inputs with the outputs expected.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tactician::ir::{self, Graph};
use tactician::{BuildError, Builder, Device, Engine, ImportError, Network, Session, SessionError, Tensor};
use tactician_onnx::{Model, ShapeBindings, Value, ValueKind, read_value};

use crate::compare::{self, Tolerance};

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) suite: String,
    pub(crate) name: String,
    folder: PathBuf,
}

/// How a case ends.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Pass,
    /// Import or build refuses it: operators and reasons.
    Refused(Vec<(String, String)>),
    /// Outputs that are not those expected.
    Wrong {
        operators: Vec<String>,
        what: String,
    },
    /// An error where none is expected.
    Broken {
        operators: Vec<String>,
        what: String,
    },
    /// A panic.
    Panic {
        operators: Vec<String>,
        what: String,
    },
    /// It took longer than the limit.
    Late,
}

/// The cases of a suite, by name.
pub(crate) fn find(data: &Path, suite: &str) -> Result<Vec<Case>, String> {
    let folder = data.join(suite);
    let entries =
        std::fs::read_dir(&folder).map_err(|e| format!("could not read {}: {e}", folder.display()))?;
    let mut cases = Vec::new();
    for entry in entries {
        let folder = entry.map_err(|e| e.to_string())?.path();
        if folder.join("model.onnx").exists() {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            cases.push(Case { suite: suite.to_owned(), name, folder });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Runs all data sets of a case. `loose` is its absolute tolerance, where it is not the suite's; `free`: its numbers may be any.
/// A file `tolerance` beside the model says what all of the tolerance is.
pub(crate) fn run(case: &Case, device: Arc<dyn Device>, loose: Option<f64>, free: bool) -> Outcome {
    let mut operators = Vec::new();
    let mut tolerance = Tolerance::default();
    if let Ok(text) = std::fs::read_to_string(case.folder.join("tolerance")) {
        match text.parse() {
            Ok(t) => tolerance = t,
            Err(what) => return Outcome::Broken { operators, what },
        }
    }
    (tolerance.atol, tolerance.free) = (loose.unwrap_or(tolerance.atol), free);
    let mut body = || run_sets(case, &device, tolerance, &mut operators);
    match catch_unwind(AssertUnwindSafe(&mut body)) {
        Ok(Ok(())) => Outcome::Pass,
        Ok(Err(Failure::Refused(list))) => Outcome::Refused(list),
        Ok(Err(Failure::Wrong(what))) => Outcome::Wrong { operators, what },
        Ok(Err(Failure::Broken(what))) => Outcome::Broken { operators, what },
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Outcome::Panic { operators, what: text.to_owned() }
        }
    }
}

enum Failure {
    Refused(Vec<(String, String)>),
    Wrong(String),
    Broken(String),
}

/// Import errors name the nodes to blame, build errors blame the model's operators.
fn refusal(e: &BuildError, operators: &[String]) -> Failure {
    Failure::Refused(match e {
        BuildError::Import(ImportError::Unsupported { nodes }) => {
            nodes.iter().map(|n| (n.op.clone(), n.reason.clone())).collect()
        }
        e => vec![(operators.join("+"), e.to_string())],
    })
}

fn run_sets(
    case: &Case,
    device: &Arc<dyn Device>,
    tolerance: Tolerance,
    operators: &mut Vec<String>,
) -> Result<(), Failure> {
    let model = Model::open(&case.folder.join("model.onnx"))
        .map_err(|e| refusal(&e.into(), std::slice::from_ref(&case.name)))?;
    operators.extend(model.operators());
    let mut sets = 0;
    while case.folder.join(format!("test_data_set_{sets}")).exists() {
        let folder = case.folder.join(format!("test_data_set_{sets}"));
        run_set(&model, &folder, device, tolerance, operators)?;
        sets += 1;
    }
    if sets == 0 { Err(Failure::Broken("it has no data".into())) } else { Ok(()) }
}

/// The values `PREFIX_0.pb`, `PREFIX_1.pb` and so on, of these kinds.
fn values(
    folder: &Path,
    prefix: &str,
    kinds: impl Iterator<Item = ValueKind>,
    operators: &[String],
) -> Result<Vec<Value>, Failure> {
    let mut list = Vec::new();
    for (k, kind) in kinds.enumerate() {
        let path = folder.join(format!("{prefix}_{k}.pb"));
        if !path.exists() {
            break;
        }
        let bytes = std::fs::read(&path).map_err(|e| Failure::Broken(e.to_string()))?;
        list.push(read_value(&bytes, kind).map_err(|e| refusal(&e.into(), operators))?.1);
    }
    Ok(list)
}

/// What a value is made of: names of tensors as the graph has them. What is nothing, or empty, is left out.
fn tensors(name: &str, value: &Value) -> Vec<(String, ir::Tensor)> {
    match value {
        Value::Tensor(t) => vec![(name.to_owned(), t.clone())],
        Value::Sequence(list) => {
            list.iter().enumerate().map(|(k, t)| (format!("{name}.{k}"), t.clone())).collect()
        }
        Value::Nothing => vec![],
    }
}

fn run_set(
    model: &Model,
    folder: &Path,
    device: &Arc<dyn Device>,
    tolerance: Tolerance,
    operators: &[String],
) -> Result<(), Failure> {
    let given = values(folder, "input", model.inputs().iter().map(|i| i.kind), operators)?;
    let given: Vec<(&str, Value)> = model.inputs().iter().map(|i| i.name.as_str()).zip(given).collect();
    let inputs: Vec<(String, ir::Tensor)> = given.iter().flat_map(|(n, v)| tensors(n, v)).collect();
    let expected = values(folder, "output", model.outputs().map(|(_, k)| k), operators)?;
    let broken = |e: &dyn std::fmt::Display| Failure::Broken(e.to_string());
    let mut bound = Vec::new();
    for (name, t) in &inputs {
        let t = Tensor::from_bytes(t.dtype(), t.sizes(), t.bytes());
        bound.push((name.as_str(), t.ok_or_else(|| broken(&"an input is too large"))?));
    }
    let outputs = match import(model, &given, &inputs) {
        Ok(graph) => run_graph(graph, &bound, device, operators)?,
        Err(_) => run_stages(folder, &bound, device, operators)?,
    };
    let names = model.outputs().map(|(n, _)| n);
    let want: Vec<(String, ir::Tensor)> = names.zip(&expected).flat_map(|(n, v)| tensors(n, v)).collect();
    // Some data have not all of a model's outputs.
    if expected.len() == model.outputs().count()
        && let Some((name, _)) = outputs.iter().find(|(n, _)| want.iter().all(|(w, _)| w != n))
    {
        return Err(Failure::Wrong(format!("there is an output `{name}`, which is not expected")));
    }
    for (name, want) in &want {
        let got = outputs.iter().find(|(n, _)| n == name);
        let Some((_, got)) = got else { return Err(Failure::Wrong(format!("there is no output `{name}`"))) };
        let got =
            ir::Tensor::from_bytes(got.dtype(), got.shape(), got.bytes().to_vec()).map_err(|e| broken(&e))?;
        if let Some(what) = compare::difference(&got, want, tolerance) {
            return Err(Failure::Wrong(format!("`{name}` {what}")));
        }
    }
    Ok(())
}

type Named = Vec<(String, Tensor)>;

/// Runs a model whose sizes are known, in one plan.
fn run_graph(
    graph: Graph,
    inputs: &[(&str, Tensor)],
    device: &Arc<dyn Device>,
    operators: &[String],
) -> Result<Named, Failure> {
    let wanted: Vec<String> = graph.inputs().iter().map(|&n| graph.node(n).name.clone()).collect();
    let builder = Builder::new().device(device.clone());
    let plan = builder.untuned(&Network::from_graph(graph)).map_err(|e| refusal(&e, operators))?;
    let broken = |e: &dyn std::fmt::Display| Failure::Broken(e.to_string());
    let engine = Engine::new(plan, device.clone()).map_err(|e| broken(&e))?;
    let mut context = engine.new_context().map_err(|e| broken(&e))?;
    let known = inputs.iter().filter(|(n, _)| wanted.iter().any(|w| w == n));
    let refs: Vec<(&str, &Tensor)> = known.map(|(n, t)| (*n, t)).collect();
    context.run(&refs).map_err(|e| broken(&e))
}

/// Runs a model whose sizes depend on data, stage by stage; twice, so that the second run takes the stages of the first.
fn run_stages(
    folder: &Path,
    inputs: &[(&str, Tensor)],
    device: &Arc<dyn Device>,
    operators: &[String],
) -> Result<Named, Failure> {
    let path = folder.parent().unwrap_or(folder).join("model.onnx");
    let network = Network::from_onnx(path).map_err(|e| refusal(&e.into(), operators))?;
    let refs: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (*n, t)).collect();
    let broken = |e: SessionError| match e {
        SessionError::Import(e) => refusal(&e.into(), operators),
        SessionError::Build(e) => refusal(&e, operators),
        e => Failure::Broken(e.to_string()),
    };
    let mut session = Session::new(&network, device.clone()).map_err(broken)?;
    let first = session.run(&refs).map_err(broken)?;
    let stages = session.stages();
    let again = session.run(&refs).map_err(broken)?;
    let same = first.iter().zip(&again).all(|((a, x), (b, y))| a == b && x.bytes() == y.bytes());
    if session.stages() != stages || first.len() != again.len() || !same {
        return Err(Failure::Broken("a second run differs".into()));
    }
    Ok(again)
}

/// Imports with the inputs' shapes. Where that is not enough because a shape, an axis or a count is an input, it is given its
/// value: first the integers that can be such, then every vector or scalar.
fn import(
    model: &Model,
    given: &[(&str, Value)],
    inputs: &[(String, ir::Tensor)],
) -> Result<Graph, ImportError> {
    let nothing = |v: &Value| match v {
        Value::Nothing => true,
        Value::Sequence(list) => list.is_empty(),
        Value::Tensor(_) => false,
    };
    let nothing = given.iter().filter(|(_, v)| nothing(v));
    let start = nothing.fold(ShapeBindings::default(), |b, (n, _)| b.nothing(n));
    let bindings = |bound: &dyn Fn(usize, &ir::Tensor) -> bool| {
        inputs.iter().enumerate().fold(start.clone(), |b, (i, (name, t))| {
            if bound(i, t) { b.value(name, t.clone()) } else { b.shape(name, t.sizes()) }
        })
    };
    let integers = |i: usize, t: &ir::Tensor| i > 0 && t.sizes().len() < 2 && t.dtype().is_int();
    let vectors = |i: usize, t: &ir::Tensor| i > 0 && t.sizes().len() < 2;
    let all_integers = |_: usize, t: &ir::Tensor| {
        t.sizes().len() < 2 && (t.dtype().is_int() || t.dtype() == ir::DType::Bool)
    };
    let scalars = |_: usize, t: &ir::Tensor| t.sizes().is_empty();
    let plain = model.graph(&bindings(&|_, _| false));
    let Err(reason) = plain else { return plain };
    let attempts: [&dyn Fn(usize, &ir::Tensor) -> bool; 4] = [&integers, &vectors, &all_integers, &scalars];
    attempts.iter().find_map(|a| model.graph(&bindings(*a)).ok()).ok_or(reason)
}
