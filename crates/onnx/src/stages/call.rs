//! Branches and loops whose conditions depend on data: their graphs are models of their own, which are run as often as the data
//! say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tactician_ir::{DType, Tensor};

use super::Step;
use super::drive::{Backend, Driver, StageError};
use crate::import::{label, operator};
use crate::model::Model;
use crate::proto::{GraphProto, NodeProto, ValueInfo};
use crate::tensor;
use crate::walk::captured_by;

/// Most steps of a loop, so that one that never ends does.
const MOST_STEPS: i64 = if cfg!(any(test, fuzzing)) { 1 << 10 } else { 1 << 20 };

/// What runs nested graphs, by the number of the node and of its graph.
pub(super) type Calls<R> = BTreeMap<(usize, usize), Driver<R>>;

/// The operators that can be run so. Until operator set 8 a `Scan` has a batch axis in front of everything.
pub(crate) fn can_be_called(op: &str, opset: i64) -> bool {
    matches!(op, "If" | "Loop") || op == "Scan" && opset >= 9
}

/// A node that is run, and what its operands are.
struct Call<'a, R, B> {
    model: &'a Arc<Model>,
    calls: &'a mut Calls<R>,
    backend: &'a B,
    step: &'a Step,
    node: &'a NodeProto,
    value: &'a dyn Fn(&str) -> Option<Tensor>,
}

/// Runs a node with nested graphs; gives its outputs by name.
pub(super) fn call<B: Backend>(
    model: &Arc<Model>,
    calls: &mut Calls<B::Ready>,
    backend: &B,
    step: &Step,
    value: &dyn Fn(&str) -> Option<Tensor>,
) -> Result<Vec<(String, Tensor)>, B::Error> {
    let nodes = model.proto.graph.as_ref().map_or(&[][..], |g| &g.node);
    let Some(node) = nodes.get(step.node) else { return Ok(vec![]) };
    let mut call = Call { model, calls, backend, step, node, value };
    let results = match node.op_type.as_str() {
        "If" => call.branch()?,
        "Loop" => call.steps()?,
        _ => call.scan()?,
    };
    if results.len() < node.output.len() {
        return Err(call.fail(format!(
            "it has {} outputs, its graph gives {}",
            node.output.len(),
            results.len()
        )));
    }
    Ok(node.output.iter().cloned().zip(results).filter(|(name, _)| !name.is_empty()).collect())
}

/// Results of a nested graph, in its order; some are inputs as they came.
type Results = Vec<Tensor>;

impl<'a, B: Backend> Call<'a, B::Ready, B> {
    fn fail(&self, problem: impl Into<String>) -> B::Error {
        StageError::Control { node: label(self.node), op: operator(self.node), problem: problem.into() }
            .into()
    }

    fn named(&self, name: &str) -> Result<Tensor, B::Error> {
        let found = self.step.constants.get(name).cloned().or_else(|| (self.value)(name));
        found.ok_or_else(|| self.fail(format!("the value `{name}` is not known")))
    }

    /// Operand `k`, if it is given.
    fn operand(&self, k: usize) -> Result<Option<Tensor>, B::Error> {
        match self.node.input.get(k).filter(|n| !n.is_empty()) {
            Some(name) => self.named(name).map(Some),
            None => Ok(None),
        }
    }

    fn graph(&self, name: &str) -> Result<&'a GraphProto, B::Error> {
        let found = self.node.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
        found.ok_or_else(|| self.fail(format!("attribute `{name}` is missing or no graph")))
    }

    fn truth(&self, t: &Tensor) -> Result<bool, B::Error> {
        match t.dtype() == DType::Bool && t.len() == 1 {
            true => Ok(t.bytes()[0] != 0),
            false => Err(self.fail(format!("its condition is {}, expected one bool", t.ty()))),
        }
    }

    fn branch(&mut self) -> Result<Results, B::Error> {
        let condition = self.operand(0)?.ok_or_else(|| self.fail("its condition is missing"))?;
        let (at, name) = match self.truth(&condition)? {
            true => (0, "then_branch"),
            false => (1, "else_branch"),
        };
        let graph = self.graph(name)?;
        let outside = self.outside(graph)?;
        self.nested(at, graph, &BTreeMap::new(), &outside)
    }

    /// What a graph reads from around it: values that stay, and values that may be others each time.
    fn outside(&self, graph: &GraphProto) -> Result<Outside, B::Error> {
        let mut outside = Outside::default();
        for name in captured_by(graph) {
            let (list, t) = match self.step.constants.get(name) {
                Some(t) => (&mut outside.constants, t.clone()),
                None => (&mut outside.values, self.named(name)?),
            };
            list.insert(name.to_owned(), t);
        }
        Ok(outside)
    }

    /// Runs a nested graph once.
    fn nested(
        &mut self,
        at: usize,
        graph: &GraphProto,
        inputs: &BTreeMap<String, Tensor>,
        outside: &Outside,
    ) -> Result<Results, B::Error> {
        let key = (self.step.node, at);
        let known = |name: &String| {
            let there = inputs.get(name).or_else(|| outside.values.get(name));
            there.or_else(|| outside.constants.get(name)).cloned()
        };
        let fits = |d: &Driver<B::Ready>| {
            d.constants.len() == outside.constants.len()
                && d.constants.iter().zip(&outside.constants).all(|(a, b)| a.0 == b.0 && is_same(a.1, b.1))
        };
        if !self.calls.get(&key).is_some_and(fits) {
            let of = |(n, t): (&String, &Tensor)| (n.clone(), t.dtype());
            let types = inputs.iter().chain(&outside.values).chain(&outside.constants).map(of).collect();
            // What is handed through need not be computed.
            let made: BTreeSet<&String> = graph.node.iter().flat_map(|n| &n.output).collect();
            let is_made = |o: &&ValueInfo| made.contains(&o.name) || known(&o.name).is_none();
            let mut wanted: Vec<ValueInfo> = Vec::new();
            for o in graph.output.iter().filter(is_made) {
                if wanted.iter().all(|w| w.name != o.name) {
                    wanted.push(o.clone());
                }
            }
            let model = self.model.nested(graph, types, wanted, at == LOOP);
            self.calls.insert(key, Driver::new(Arc::new(model), outside.constants.clone()));
        }
        let given: BTreeMap<String, Tensor> =
            inputs.iter().chain(&outside.values).map(|(n, t)| (n.clone(), t.clone())).collect();
        let other =
            |d: &Driver<B::Ready>| given.iter().find_map(|(n, t)| Some((n.clone(), d.other_type(n, t)?)));
        if let Some((name, was)) = self.calls.get(&key).and_then(other) {
            return Err(
                self.fail(format!("its graph is given `{name}` as {was} first, and as another type then"))
            );
        }
        let Some(driver) = self.calls.get_mut(&key) else { return Err(StageError::NoProgress.into()) };
        let computed: BTreeMap<String, Tensor> = driver.run(self.backend, &given)?.into_iter().collect();
        let result = |o: &ValueInfo| {
            let found = computed.get(&o.name).cloned().or_else(|| known(&o.name));
            found.ok_or_else(|| self.fail(format!("its graph gives no tensor `{}`", o.name)))
        };
        graph.output.iter().map(result).collect()
    }

    fn steps(&mut self) -> Result<Results, B::Error> {
        let graph = self.graph("body")?;
        let carried = self.node.input.len().saturating_sub(2);
        if graph.input.len() != 2 + carried || graph.output.len() < 1 + carried {
            return Err(self.fail("its graph has too few inputs or outputs"));
        }
        let most = match self.operand(0)? {
            Some(t) => {
                Some(integer(&t).ok_or_else(|| self.fail(format!("its number of steps is {}", t.ty())))?)
            }
            None => None,
        };
        let mut go = self.operand(1)?.map_or(Ok(true), |t| self.truth(&t))?;
        let mut state = Vec::with_capacity(carried);
        for k in 0..carried {
            state.push(self.operand(2 + k)?.ok_or_else(|| self.fail("a value that it carries is missing"))?);
        }
        let mut carries = self.carries(graph, (2, 1), state)?;
        let always = Tensor::bools(&[], &[true]).map_err(|e| self.fail(e.to_string()))?;
        let mut step = 0;
        while go && most.is_none_or(|m| step < m) {
            if step == MOST_STEPS {
                return Err(self.fail(format!("it does not end within {MOST_STEPS} steps")));
            }
            let inputs = BTreeMap::from([
                (graph.input[0].name.clone(), Tensor::scalar(step)),
                (graph.input[1].name.clone(), always.clone()),
            ]);
            let condition = self.step_of(graph, &mut carries, inputs)?;
            let condition = condition.first().ok_or_else(|| self.fail("its graph has no outputs"))?;
            go = self.truth(condition)?;
            step += 1;
        }
        for (list, like) in carries.lists.iter().zip(&graph.output[1 + carried..]) {
            carries.state.push(stacked(list, like, 0).map_err(|problem| self.fail(problem))?);
        }
        Ok(carries.state)
    }

    /// A loop before its first step. `first` are the numbers of the graph's input and output that are the first value carried;
    /// the input is also the number of the node's operand.
    fn carries(
        &self,
        graph: &GraphProto,
        first: (usize, usize),
        state: Vec<Tensor>,
    ) -> Result<Carries, B::Error> {
        let (given, results) = first;
        let source = |name: &str| {
            let maker = graph.node.iter().find(|n| n.output.iter().any(|o| o == name));
            match maker {
                None => Some(name.to_owned()),
                Some(n) if n.op_type == "Identity" => n.input.first().cloned(),
                Some(_) => None,
            }
        };
        let stays =
            |k: usize| source(&graph.output[results + k].name).as_ref() == Some(&graph.input[given + k].name);
        let stays: Vec<bool> = (0..state.len()).map(stays).collect();
        let mut outside = self.outside(graph)?;
        for k in (0..state.len()).filter(|&k| stays[k]) {
            let list = match self.step.constants.contains_key(&self.node.input[given + k]) {
                true => &mut outside.constants,
                false => &mut outside.values,
            };
            list.insert(graph.input[given + k].name.clone(), state[k].clone());
        }
        let lists = vec![Vec::new(); graph.output.len() - results - state.len()];
        Ok(Carries { first, state, stays, lists, outside })
    }

    /// One step of a loop, given `inputs` beside what it carries; what its graph gives before that.
    fn step_of(
        &mut self,
        graph: &GraphProto,
        c: &mut Carries,
        mut inputs: BTreeMap<String, Tensor>,
    ) -> Result<Results, B::Error> {
        let (given, results) = c.first;
        for (k, t) in c.state.iter().enumerate().filter(|(k, _)| !c.stays[*k]) {
            inputs.insert(graph.input[given + k].name.clone(), t.clone());
        }
        let mut all = self.nested(LOOP, graph, &inputs, &c.outside)?.into_iter();
        let before = all.by_ref().take(results).collect();
        for (slot, t) in c.state.iter_mut().zip(all.by_ref()) {
            *slot = t;
        }
        for (list, t) in c.lists.iter_mut().zip(all) {
            list.push(t);
        }
        Ok(before)
    }

    fn numbers(&self, name: &str) -> &[i64] {
        self.node.attribute.iter().find(|a| a.name == name).map_or(&[], |a| &a.ints)
    }

    fn scan(&mut self) -> Result<Results, B::Error> {
        let graph = self.graph("body")?;
        let over = self.node.attribute.iter().find(|a| a.name == "num_scan_inputs").and_then(|a| a.i);
        let over =
            over.and_then(|k| usize::try_from(k).ok()).filter(|&k| k > 0 && k <= self.node.input.len());
        let over = over.ok_or_else(|| self.fail("`num_scan_inputs` does not fit its operands"))?;
        let carried = self.node.input.len() - over;
        if graph.input.len() != carried + over || graph.output.len() < carried {
            return Err(self.fail("its graph has too few inputs or outputs"));
        }
        let mut operands = Vec::with_capacity(self.node.input.len());
        for k in 0..self.node.input.len() {
            operands.push(self.operand(k)?.ok_or_else(|| self.fail("an operand is missing"))?);
        }
        let walked = operands.split_off(carried);
        let mut carries = self.carries(graph, (0, 0), operands)?;
        let (axes, backward) = (self.numbers("scan_input_axes"), self.numbers("scan_input_directions"));
        let at = |list: &[i64], k: usize| list.get(k).copied().unwrap_or(0);
        let mut ways = Vec::with_capacity(over);
        for (k, t) in walked.iter().enumerate() {
            let axis = axis(at(axes, k), t.sizes().len()).map_err(|problem| self.fail(problem))?;
            ways.push((axis, at(backward, k) != 0));
        }
        let count = walked[0].sizes()[ways[0].0];
        if let Some((t, (axis, _))) =
            walked.iter().zip(&ways).find(|(t, (axis, _))| t.sizes()[*axis] != count)
        {
            return Err(
                self.fail(format!("it walks along axes of {count} and {} elements", t.sizes()[*axis]))
            );
        }
        for step in 0..count {
            let mut inputs = BTreeMap::new();
            for (k, (t, (axis, backward))) in walked.iter().zip(&ways).enumerate() {
                let at = if *backward { count - 1 - step } else { step };
                let part = part(t, *axis, at).map_err(|problem| self.fail(problem))?;
                inputs.insert(graph.input[carried + k].name.clone(), part);
            }
            self.step_of(graph, &mut carries, inputs)?;
        }
        let (axes, backward) = (self.numbers("scan_output_axes"), self.numbers("scan_output_directions"));
        for (k, (list, like)) in carries.lists.iter_mut().zip(&graph.output[carried..]).enumerate() {
            if at(backward, k) != 0 {
                list.reverse();
            }
            carries.state.push(stacked(list, like, at(axes, k)).map_err(|problem| self.fail(problem))?);
        }
        Ok(carries.state)
    }
}

/// The number of a loop's graph; those of branches are 0 and 1.
const LOOP: usize = 2;

/// What a nested graph reads from around it.
#[derive(Default)]
struct Outside {
    /// Constants of the stage around, such as weights.
    constants: BTreeMap<String, Tensor>,
    values: BTreeMap<String, Tensor>,
}

/// A loop between two steps.
struct Carries {
    /// The numbers of the graph's input and output that are the first value carried.
    first: (usize, usize),
    state: Vec<Tensor>,
    /// Which values every step hands on as they are; the graph is told those once. Converters carry weights so.
    stays: Vec<bool>,
    /// What is collected of the steps.
    lists: Vec<Vec<Tensor>>,
    outside: Outside,
}

/// Whether two tensors are equal; quick where they share memory.
fn is_same(a: &Tensor, b: &Tensor) -> bool {
    a.ty() == b.ty() && (std::ptr::eq(a.bytes(), b.bytes()) || a.bytes() == b.bytes())
}

fn integer(t: &Tensor) -> Option<i64> {
    match t.dtype() {
        DType::I64 if t.len() == 1 => t.values::<i64>()?.first().copied(),
        DType::I32 if t.len() == 1 => t.values::<i32>()?.first().map(|&v| i64::from(v)),
        _ => None,
    }
}

fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|&a| a < rank).ok_or_else(|| format!("axis {axis} of rank {rank}"))
}

/// A tensor at one place of an axis, without that axis.
fn part(t: &Tensor, axis: usize, at: usize) -> Result<Tensor, String> {
    let mut sizes = t.sizes().to_vec();
    let len = sizes.remove(axis);
    let piece = sizes[axis..].iter().product::<usize>() * t.dtype().size();
    let outer: usize = sizes[..axis].iter().product();
    let bytes = (0..outer).flat_map(|o| &t.bytes()[(o * len + at) * piece..][..piece]).copied().collect();
    Tensor::from_bytes(t.dtype(), &sizes, bytes).map_err(|e| e.to_string())
}

/// What the steps of a loop gave, along a new axis. That of no steps has the declared type.
fn stacked(list: &[Tensor], like: &ValueInfo, at: i64) -> Result<Tensor, String> {
    let (dtype, mut sizes) = match list.first() {
        Some(first) => (first.dtype(), first.sizes().to_vec()),
        None => {
            let t = like.r#type.as_ref().and_then(|t| t.tensor.as_ref());
            let t = t.ok_or_else(|| {
                format!("it takes no step, and the type of `{}` is not declared", like.name)
            })?;
            let dims = t.shape.iter().flat_map(|s| &s.dim);
            let size = |n: Option<i64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            (tensor::dtype(t.elem_type)?, dims.map(|d| size(d.value)).collect())
        }
    };
    if let Some(other) = list.iter().find(|t| t.dtype() != dtype || t.sizes() != sizes) {
        return Err(format!("its steps give `{}` as {} and as {}", like.name, list[0].ty(), other.ty()));
    }
    let at = axis(at, sizes.len() + 1)?;
    let piece = sizes[at..].iter().product::<usize>() * dtype.size();
    let outer: usize = sizes[..at].iter().product();
    let bytes = (0..outer).flat_map(|o| list.iter().flat_map(move |t| &t.bytes()[o * piece..][..piece]));
    let bytes = bytes.copied().collect();
    sizes.insert(at, list.len());
    Tensor::from_bytes(dtype, &sizes, bytes).map_err(|e| e.to_string())
}
