//! Runs a model stage by stage, with somebody's means to run a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use tactician_ir::{DType, Graph, Op, Tensor};
use tactician_reference::eval_graph;
use tactician_types::Recent;
use thiserror::Error;

use super::call::{Calls, call};
use super::{Fed, How, Stage, Step};
use crate::error::ImportError;
use crate::inputs::{ShapeBindings, ValueKind};
use crate::model::Model;

/// Most stages of a run: more than models have places that depend on data, and a bound for those made to waste time.
const MOST_STAGES: usize = 1000;

/// Stages kept ready, and of a loop's graph, whose sizes may change at every step; the ones unused for longest go first.
const KEPT: usize = 128;
const KEPT_OF_LOOPS: usize = 32;

/// Bytes that kept stages may have together: of values that they depend on, and in loops of all values that they compute.
const ROOM: u64 = 256 << 20;

/// Makes graphs ready, and runs them.
pub trait Backend {
    /// A graph that is ready.
    type Ready;
    /// What can go wrong.
    type Error: From<ImportError> + From<StageError>;

    /// Makes a graph ready to run.
    ///
    /// # Errors
    /// When it cannot be built.
    fn ready(&self, graph: Graph) -> Result<Self::Ready, Self::Error>;

    /// Runs a graph. `value` gives its inputs by name; all of them are there.
    ///
    /// # Errors
    /// When it fails.
    fn run(
        &self,
        ready: &mut Self::Ready,
        value: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<Vec<(String, Tensor)>, Self::Error>;
}

/// A model cannot be run stage by stage.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StageError {
    /// More stages follow each other than are run.
    #[error("the model's sizes depend on data in more than {MOST_STAGES} stages, one after the other")]
    TooDeep,
    /// The model computes the same sizes over and over: our mistake.
    #[error("this is a mistake of tactician, please report it: a stage made nothing known")]
    NoProgress,
    /// The reference interpreter refuses a graph.
    #[error("{0}")]
    Interpreted(String),
    /// A branch or a loop cannot be run.
    #[error("`{node}` ({op}): {problem}")]
    Control {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong.
        problem: String,
    },
}

/// What a stage depends on: types of the inputs and of what is known, and values of what was asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    types: Vec<(String, DType, Vec<usize>)>,
    values: Vec<(String, [u8; 32])>,
}

/// A stage that can run.
struct Made<R> {
    work: Work<R>,
    /// What follows; nothing behind the last stage.
    steps: Vec<Step>,
}

/// What a stage computes before its steps.
enum Work<R> {
    Nothing,
    /// A small graph of a loop that has not run. Interpreting it takes less time than making it ready, which is for graphs that
    /// come again.
    New(Graph),
    /// One that has run once.
    Seen(Graph),
    Ready(R),
}

/// Most elements that the nodes of a graph may read and give, and products sum, for it to be interpreted.
const INTERPRETED: u64 = 1 << 18;

/// Runs a model of any kind, and keeps the stages that it has made.
pub struct Driver<R> {
    model: Arc<Model>,
    /// Inputs that have one value once and for all.
    pub(super) constants: BTreeMap<String, Tensor>,
    stages: Recent<Key, Made<R>>,
    calls: Calls<R>,
}

impl<R> Driver<R> {
    /// Nothing is imported yet. `constants` are values of inputs, which need not be given then.
    pub fn new(model: Arc<Model>, constants: BTreeMap<String, Tensor>) -> Driver<R> {
        let kept = if model.often { KEPT_OF_LOOPS } else { KEPT };
        Driver { model, constants, stages: Recent::new(kept).with_room(ROOM), calls: Calls::new() }
    }

    /// The type of elements that an input has, where a tensor has another one.
    pub(super) fn other_type(&self, name: &str, t: &Tensor) -> Option<DType> {
        let input = self.model.inputs().iter().find(|i| i.name == name)?;
        (input.dtype != t.dtype()).then_some(input.dtype)
    }

    /// How many stages are ready, those of nested graphs included.
    pub fn stages(&self) -> usize {
        self.stages.len() + self.calls.values().map(Driver::stages).sum::<usize>()
    }

    /// Runs the model; returns its outputs by name. All inputs must be given that are tensors and no constants.
    ///
    /// # Errors
    /// When a part of the model cannot be imported, made ready or run.
    pub fn run<B: Backend<Ready = R>>(
        &mut self,
        backend: &B,
        given: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<(String, Tensor)>, B::Error> {
        let mut fed = Fed::default();
        for _ in 0..MOST_STAGES {
            let key = key(given, &fed);
            let new = match self.stages.contains(&key) {
                true => None,
                false => Some(self.make(backend, given, &fed)?),
            };
            let made = match new {
                Some((made, size)) => self.stages.insert_sized(key, made, size),
                None => self.stages.get(&key).ok_or(StageError::NoProgress)?,
            };
            let value = |name: &str| fed.values.get(name).or_else(|| given.get(name)).cloned();
            let outputs = made.work.run(backend, &value)?;
            if made.steps.is_empty() {
                return Ok(outputs);
            }
            let before = (fed.values.len(), fed.asked.len());
            fed.values.extend(outputs);
            for step in &made.steps {
                let value = |name: &str| fed.values.get(name).or_else(|| given.get(name)).cloned();
                let results = match step.how {
                    How::Asked => None,
                    How::Computed => Some(self.model.evaluate(step, &value)?),
                    // What is too large is left to the next stage.
                    How::Tried => self.model.evaluate(step, &value).ok(),
                    How::Called => Some(call(&self.model, &mut self.calls, backend, step, &value)?),
                };
                match results {
                    Some(list) => fed.values.extend(list),
                    None => fed.ask(&step.wanted, given),
                }
            }
            if before == (fed.values.len(), fed.asked.len()) {
                return Err(StageError::NoProgress.into());
            }
        }
        Err(StageError::TooDeep.into())
    }

    /// Imports the next stage and makes it ready; with the bytes that it counts for.
    fn make<B: Backend<Ready = R>>(
        &self,
        backend: &B,
        given: &BTreeMap<String, Tensor>,
        fed: &Fed,
    ) -> Result<(Made<R>, u64), B::Error> {
        let mut shapes = ShapeBindings::default();
        for (name, t) in given {
            shapes = match fed.asked.contains(name) {
                true => shapes.value(name, t.clone()),
                false => shapes.shape(name, t.sizes()),
            };
        }
        for (name, t) in &self.constants {
            shapes = shapes.value(name, t.clone());
        }
        let named = |i: &&crate::ModelInput| given.keys().chain(self.constants.keys()).any(|n| i.has(n));
        for i in self.model.inputs().iter().filter(|i| i.kind != ValueKind::Tensor && !named(i)) {
            shapes = shapes.nothing(&i.name);
        }
        let (graph, steps) = match self.model.stage(&shapes, fed)? {
            Stage::Whole(graph) => (graph, Vec::new()),
            Stage::Part(part) => (part.graph, part.steps),
        };
        let all = given.iter().chain(&fed.values);
        let asked: u64 =
            all.filter(|(n, _)| fed.asked.contains(*n)).map(|(_, t)| t.bytes().len() as u64).sum();
        let size = asked + if self.model.often { computed(&graph) } else { 0 };
        let work = match (graph.outputs().is_empty(), self.model.often && is_small(&graph)) {
            (true, _) => Work::Nothing,
            (false, true) => Work::New(graph),
            (false, false) => Work::Ready(backend.ready(graph)?),
        };
        Ok((Made { work, steps }, size))
    }
}

impl<R> Work<R> {
    fn run<B: Backend<Ready = R>>(
        &mut self,
        backend: &B,
        value: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<Vec<(String, Tensor)>, B::Error> {
        // A graph that cannot be made ready stays as it is, so that another run says so again.
        if let Work::Seen(graph) = self {
            *self = Work::Ready(backend.ready(graph.clone())?);
        }
        match self {
            Work::Nothing | Work::Seen(_) => Ok(Vec::new()),
            Work::Ready(ready) => backend.run(ready, value),
            Work::New(graph) => {
                let names = graph.inputs().iter().map(|&i| graph.node(i).name.clone());
                let given = names.filter_map(|n| Some((n.clone(), value(&n)?))).collect();
                let outputs =
                    eval_graph(graph, &given).map_err(|e| StageError::Interpreted(e.to_string()))?;
                *self = Work::Seen(std::mem::replace(graph, Graph::new("")));
                Ok(outputs.into_iter().collect())
            }
        }
    }
}

/// Bytes of all values that a graph computes and takes.
fn computed(graph: &Graph) -> u64 {
    let types = graph.node_ids().filter(|&n| !matches!(graph.node(n).op, Op::Constant(_)));
    types.flat_map(|n| graph.node(n).outputs()).filter_map(|t| t.bytes()).sum()
}

/// Whether a graph does so little that interpreting it is quick.
fn is_small(graph: &Graph) -> bool {
    let mut work = 0u64;
    for id in graph.node_ids() {
        let node = graph.node(id);
        let first = node.inputs().first().map_or(Some(1), |&v| graph.ty(v).elements());
        let all = node.outputs().iter().try_fold(0, |n, t| Some(n + t.elements()?));
        let (Some(first), Some(all)) = (first, all) else { return false };
        let each = match &node.op {
            Op::Constant(_) | Op::Input => 0,
            Op::MatMul(m) => {
                let sizes = graph.ty(node.inputs()[0]).sizes().unwrap_or_default();
                let axis = sizes.len().saturating_sub(if m.trans_a { 2 } else { 1 });
                all as u64 * sizes.get(axis).copied().unwrap_or(1) as u64
            }
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Attention(_) | Op::Recurrent(_) | Op::Pool(_) => {
                return false;
            }
            _ => all.max(first) as u64,
        };
        work = work.saturating_add(each);
    }
    work <= INTERPRETED
}

impl Fed {
    /// Makes the next stage depend on values; those of inputs are known already.
    fn ask(&mut self, names: &[String], given: &BTreeMap<String, Tensor>) {
        for name in names {
            if let Some(t) = given.get(name) {
                self.values.insert(name.clone(), t.clone());
            }
            self.asked.insert(name.clone());
        }
    }
}

fn key(given: &BTreeMap<String, Tensor>, fed: &Fed) -> Key {
    let all = given.iter().chain(&fed.values);
    let types = all.clone().map(|(n, t)| (n.clone(), t.dtype(), t.sizes().to_vec())).collect();
    let asked = all.filter(|(n, _)| fed.asked.contains(*n));
    Key { types, values: asked.map(|(n, t)| (n.clone(), *blake3::hash(t.bytes()).as_bytes())).collect() }
}
