//! From a selection to a plan: steps in order, constants packed once, buffers placed in the arena.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;
use tactician_device::{CodeSource, Device, DeviceError};
use tactician_ir::{ExprNode, Graph, Op, Problem, Region, Tensor, ValueId};
use tactician_plan::{ALIGNMENT, Constant, Place, Plan, PlanMeta, Port, Step, Target, ValueLife};
use tactician_select::{Buffer, place};
use tactician_tactics::{Ahead, Arg, Emission, Tactic, ahead_of};
use tactician_types::Layout;

use crate::cache::CacheFolder;
use crate::error::BuildError;

/// A region with its chosen tactic.
pub(crate) struct Chosen<'a> {
    pub(crate) region: &'a Region,
    pub(crate) problem: &'a Problem,
    pub(crate) tactic: Tactic,
    pub(crate) time_us: f64,
}

/// A change of layout with its tactic.
pub(crate) struct Change {
    pub(crate) from: Layout,
    pub(crate) to: Layout,
    pub(crate) problem: Problem,
    pub(crate) tactic: Tactic,
    pub(crate) time_us: f64,
}

/// Everything that a plan is made of.
pub(crate) struct Parts<'a> {
    pub(crate) graph: &'a Graph,
    /// Compiles the steps' code.
    pub(crate) device: &'a dyn Device,
    /// Where code is kept.
    pub(crate) cache: Option<&'a CacheFolder>,
    /// Producers before users.
    pub(crate) regions: Vec<Chosen<'a>>,
    /// Changes of layout to make right after a value is there, in order.
    pub(crate) changes: BTreeMap<ValueId, Vec<Change>>,
    pub(crate) target: Target,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) predicted_us: f64,
}

/// A value in a layout: one buffer, unless it shares another's.
type Stored = (ValueId, Layout);

/// Where a buffer lies, before offsets are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Input(u32),
    Output(u32),
    Constant(u32),
    Arena(usize),
}

/// A step whose arguments are homes.
struct Draft {
    step: Step,
    reads: Vec<Home>,
    writes: Vec<Home>,
    scratch: u64,
}

/// A tactic that becomes steps of the plan: of a region, or of a change of layout.
struct Part<'a> {
    tactic: &'a Tactic,
    /// What the tactic packs.
    constants: Vec<Option<Tensor>>,
    inputs: Vec<Stored>,
    out: Stored,
    name: &'a str,
    op: String,
    problem: &'a Problem,
    time_us: f64,
}

/// What a tactic puts into the plan, and the hashes of its constants.
struct Emitted {
    emission: Emission,
    hashes: Vec<[u8; 32]>,
}

struct Assembly<'a> {
    graph: &'a Graph,
    device: &'a dyn Device,
    cache: Option<&'a CacheFolder>,
    /// Machine code that is known already.
    codes: HashMap<CodeSource, Result<Arc<[u8]>, DeviceError>>,
    homes: BTreeMap<Stored, Home>,
    /// Size, first and last step, name of each arena buffer.
    buffers: Vec<(Buffer, String)>,
    constants: Vec<Constant>,
    constant_bytes: Vec<u8>,
    known: BTreeMap<[u8; 32], u32>,
    steps: Vec<Draft>,
}

/// Makes the plan.
///
/// # Errors
/// When a tactic cannot pack its constants.
pub(crate) fn assemble(parts: Parts<'_>) -> Result<Plan, BuildError> {
    let graph = parts.graph;
    let mut a = Assembly {
        graph,
        device: parts.device,
        cache: parts.cache,
        codes: codes(&parts),
        homes: BTreeMap::new(),
        buffers: Vec::new(),
        constants: Vec::new(),
        constant_bytes: Vec::new(),
        known: BTreeMap::new(),
        steps: Vec::new(),
    };
    let output_home = output_homes(&parts);
    for (i, &node) in graph.inputs().iter().enumerate() {
        a.homes.insert((node.value(), Layout::Plain), Home::Input(i as u32));
    }
    // As many at once as there are processors: packed constants are as large as those they are made of.
    for list in in_order(&parts).chunks(rayon::current_num_threads()) {
        let emitted: Vec<Result<Emitted, BuildError>> = list.par_iter().map(Part::emit).collect();
        for (part, emitted) in list.iter().zip(emitted) {
            a.add(part, emitted?, &output_home)?;
        }
    }
    // An output that some other output, an input or a constant already holds is copied at the end. There is nothing to copy
    // of one without elements.
    for (i, (name, value)) in graph.outputs().iter().enumerate() {
        if graph.ty(*value).elements() == Some(0) {
            continue;
        }
        let own = Home::Output(i as u32);
        let from = match graph.constant(*value) {
            Some(t) => Home::Constant(a.constant(hash(t.bytes()), &t.ty().to_string(), t.bytes())),
            None => a.home((*value, Layout::Plain))?,
        };
        if from != own {
            a.copy(name, from, own, *value);
        }
    }
    a.finish(parts.target, parts.options, parts.predicted_us)
}

/// The code of all steps as far as it is known before they are made. Compiling takes most of the time, so all processors do
/// it, and whatever else can be done ahead.
fn codes(parts: &Parts<'_>) -> HashMap<CodeSource, Result<Arc<[u8]>, DeviceError>> {
    let changes = parts.changes.values().flatten().map(|c| &c.tactic);
    let ahead = ahead_of(parts.regions.iter().map(|c| &c.tactic).chain(changes));
    let compiled = ahead.into_par_iter().filter_map(|a| match a {
        Ahead::Nothing => None,
        Ahead::Code(source) => Some((source.clone(), compile(parts.device, parts.cache, source))),
        Ahead::Work(work) => {
            work();
            None
        }
    });
    compiled.collect()
}

fn compile(
    device: &dyn Device,
    cache: Option<&CacheFolder>,
    source: &CodeSource,
) -> Result<Arc<[u8]>, DeviceError> {
    match cache {
        Some(cache) => cache.compile(device, source),
        None => device.compile(source),
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// The tactics of all regions and changes of layout, in the order in which they run.
fn in_order<'a>(parts: &'a Parts<'_>) -> Vec<Part<'a>> {
    let graph = parts.graph;
    let mut list = Vec::new();
    let changes = |list: &mut Vec<Part<'a>>, value: ValueId| {
        for change in parts.changes.get(&value).into_iter().flatten() {
            list.push(Part {
                tactic: &change.tactic,
                constants: vec![None],
                inputs: vec![(value, change.from)],
                out: (value, change.to),
                name: &graph.producer(value).name,
                op: format!("reformat {} to {}", change.from, change.to),
                problem: &change.problem,
                time_us: change.time_us,
            });
        }
    };
    for &node in graph.inputs() {
        changes(&mut list, node.value());
    }
    for Chosen { region, problem, tactic, time_us } in &parts.regions {
        list.push(Part {
            tactic,
            constants: region.constants(graph),
            inputs: region.inputs.iter().copied().zip(tactic.inputs.iter().copied()).collect(),
            out: (region.output, tactic.output),
            name: &graph.node(region.anchor).name,
            op: describe(graph, region),
            problem,
            time_us: *time_us,
        });
        changes(&mut list, region.output);
    }
    list
}

impl Part<'_> {
    fn emit(&self) -> Result<Emitted, BuildError> {
        let fail = |source| BuildError::Emit { region: self.name.to_owned(), source };
        let emission = self.tactic.emit(&self.constants).map_err(fail)?;
        let hashes = emission.packed.iter().map(|p| hash(&p.bytes)).collect();
        Ok(Emitted { emission, hashes })
    }
}

/// The values that may be computed straight into an output: those whose bytes are exactly one output's. A view passes its
/// place on to the value it views, and so does a change of layout that moves nothing.
fn output_homes(parts: &Parts<'_>) -> BTreeMap<Stored, Home> {
    let graph = parts.graph;
    let mut homes = BTreeMap::new();
    for (i, (_, value)) in graph.outputs().iter().enumerate() {
        homes.entry((*value, Layout::Plain)).or_insert(Home::Output(i as u32));
    }
    for chosen in parts.regions.iter().rev() {
        let (value, tactic) = (chosen.region.output, &chosen.tactic);
        for change in parts.changes.get(&value).into_iter().flatten().rev().filter(|c| c.tactic.view) {
            if let Some(&home) = homes.get(&(value, change.to)) {
                homes.entry((value, change.from)).or_insert(home);
            }
        }
        if tactic.view {
            let out = homes.get(&(value, tactic.output)).copied();
            if let (Some(home), Some(&input), Some(&layout)) =
                (out, chosen.region.inputs.first(), tactic.inputs.first())
            {
                homes.entry((input, layout)).or_insert(home);
            }
        }
    }
    homes
}

impl Assembly<'_> {
    fn home(&self, stored: Stored) -> Result<Home, BuildError> {
        self.homes.get(&stored).copied().ok_or_else(|| BuildError::Bug {
            what: format!("{:?} is needed as {} but nothing makes it so", stored.0, stored.1),
        })
    }

    fn bytes_of(&self, (value, layout): Stored) -> u64 {
        stored_bytes(self.graph, value, layout)
    }

    /// A home for a value that a step is about to write.
    fn make_home(&mut self, stored: Stored, outputs: &BTreeMap<Stored, Home>) -> Home {
        let home = outputs.get(&stored).copied().unwrap_or_else(|| {
            let name = format!("{} ({})", self.graph.producer(stored.0).name, stored.1);
            let at = self.steps.len();
            self.buffers.push((Buffer { bytes: self.bytes_of(stored), first: at, last: at }, name));
            Home::Arena(self.buffers.len() - 1)
        });
        self.homes.insert(stored, home);
        home
    }

    /// The number of a constant with this hash, shared with equal ones.
    fn constant(&mut self, hash: [u8; 32], note: &str, bytes: &[u8]) -> u32 {
        if let Some(&i) = self.known.get(&hash) {
            return i;
        }
        let offset = (self.constant_bytes.len() as u64).next_multiple_of(ALIGNMENT);
        self.constant_bytes.resize(offset as usize, 0);
        self.constant_bytes.extend_from_slice(bytes);
        let index = self.constants.len() as u32;
        self.constants.push(Constant { note: note.to_owned(), offset, len: bytes.len() as u64 });
        self.known.insert(hash, index);
        index
    }

    /// Adds what a tactic emitted.
    fn add(
        &mut self,
        part: &Part<'_>,
        emitted: Emitted,
        outputs: &BTreeMap<Stored, Home>,
    ) -> Result<(), BuildError> {
        let Emitted { emission, hashes } = emitted;
        if let Some(operand) = emission.view_of {
            let home = self.home(part.inputs[operand])?;
            self.homes.insert(part.out, home);
            return Ok(());
        }
        let with_hashes = emission.packed.iter().zip(hashes);
        let packed: Vec<u32> = with_hashes.map(|(p, hash)| self.constant(hash, &p.note, &p.bytes)).collect();
        let home = self.make_home(part.out, outputs);
        let count = emission.steps.len().max(1) as f64;
        for spec in emission.steps {
            let resolve = |arg: &Arg| match *arg {
                Arg::Operand(i) => self.home(part.inputs[i]),
                Arg::Packed(i) => Ok(Home::Constant(packed[i])),
                Arg::Output => Ok(home),
            };
            let reads = spec.inputs.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
            let writes = spec.outputs.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
            let code = match &spec.code {
                Some(source) => {
                    let known = self.codes.get(source).cloned();
                    let bytes = known.unwrap_or_else(|| compile(self.device, self.cache, source))?;
                    Some(self.constant(hash(&bytes), &format!("code of {}", source.name), &bytes))
                }
                None => None,
            };
            let step = Step {
                name: part.name.to_owned(),
                op: part.op.clone(),
                problem: part.problem.to_string(),
                tactic: part.tactic.id.clone(),
                kernel: spec.kernel.to_owned(),
                params: spec.params,
                inputs: vec![],
                outputs: vec![],
                scratch: None,
                code,
                predicted_us: part.time_us / count,
            };
            self.draft(step, reads, writes, spec.scratch);
        }
        Ok(())
    }

    fn draft(&mut self, step: Step, reads: Vec<Home>, writes: Vec<Home>, scratch: u64) {
        let at = self.steps.len();
        for h in reads.iter().chain(&writes) {
            if let Home::Arena(i) = *h {
                self.buffers[i].0.last = at;
            }
        }
        self.steps.push(Draft { step, reads, writes, scratch });
    }

    fn copy(&mut self, name: &str, from: Home, to: Home, value: ValueId) {
        let bytes = self.bytes_of((value, Layout::Plain));
        let step = Step {
            name: name.to_owned(),
            op: "copy to output".into(),
            problem: String::new(),
            tactic: "copy".into(),
            kernel: tactician_tactics::COPY_KERNEL.into(),
            params: tactician_tactics::copy_params(bytes),
            inputs: vec![],
            outputs: vec![],
            scratch: None,
            code: None,
            predicted_us: 0.0,
        };
        self.draft(step, vec![from], vec![to], 0);
    }

    /// Places buffers and scratch, and writes the offsets into the steps.
    fn finish(
        mut self,
        target: Target,
        options: BTreeMap<String, String>,
        predicted_us: f64,
    ) -> Result<Plan, BuildError> {
        let mut all: Vec<Buffer> = self.buffers.iter().map(|(b, _)| *b).collect();
        let mut scratch_of = vec![None; self.steps.len()];
        for (i, d) in self.steps.iter().enumerate() {
            if d.scratch > 0 {
                scratch_of[i] = Some(all.len());
                all.push(Buffer { bytes: d.scratch, first: i, last: i });
            }
        }
        let placement = place(&all, ALIGNMENT);
        let arena = |i: usize| Place::Arena { offset: placement.offsets[i], len: all[i].bytes };
        let to_place = |h: Home| match h {
            Home::Input(index) => Place::Input { index },
            Home::Output(index) => Place::Output { index },
            Home::Constant(index) => Place::Constant { index },
            Home::Arena(i) => arena(i),
        };
        let mut steps = Vec::with_capacity(self.steps.len());
        for (i, d) in self.steps.drain(..).enumerate() {
            steps.push(Step {
                inputs: d.reads.into_iter().map(to_place).collect(),
                outputs: d.writes.into_iter().map(to_place).collect(),
                scratch: scratch_of[i].map(arena),
                ..d.step
            });
        }
        let values = self
            .buffers
            .iter()
            .enumerate()
            .map(|(i, (b, name))| ValueLife {
                name: name.clone(),
                offset: placement.offsets[i],
                bytes: b.bytes,
                first: b.first as u32,
                last: b.last as u32,
            })
            .collect();
        let port = |name: &str, value: ValueId| {
            let ty = self.graph.ty(value);
            let shape = ty.sizes().unwrap_or_default().iter().map(|&d| d as u64).collect();
            Port { name: name.to_owned(), dtype: ty.dtype, shape }
        };
        let meta = PlanMeta {
            network: self.graph.name.clone(),
            producer: format!("tactician {}", env!("CARGO_PKG_VERSION")),
            target,
            options,
            inputs: self.graph.inputs().iter().map(|&n| port(&self.graph.node(n).name, n.value())).collect(),
            outputs: self.graph.outputs().iter().map(|(n, v)| port(n, *v)).collect(),
            constants: self.constants,
            arena_bytes: placement.total,
            scratch_bytes: scratch_of.iter().flatten().map(|&i| all[i].bytes).max().unwrap_or(0),
            predicted_us,
            steps,
            values,
            ..PlanMeta::default()
        };
        Plan::new(meta, self.constant_bytes)
            .map_err(|e| BuildError::Bug { what: format!("the assembled plan does not validate: {e}") })
    }
}

/// Bytes of a value in a layout.
pub(crate) fn stored_bytes(graph: &Graph, value: ValueId, layout: Layout) -> u64 {
    let ty = graph.ty(value);
    let n = ty.sizes().and_then(|s| layout.storage_len(&s)).unwrap_or(0);
    n as u64 * ty.dtype.size() as u64
}

/// A region's operations for people: `conv + add + relu`.
pub(crate) fn describe(graph: &Graph, region: &Region) -> String {
    let mut parts = Vec::new();
    for &n in &region.nodes {
        match &graph.node(n).op {
            Op::Pointwise(e) => {
                for node in e.nodes() {
                    match node {
                        ExprNode::Unary(op, _) => parts.push(op.name().to_owned()),
                        ExprNode::Binary(op, ..) => parts.push(op.name().to_owned()),
                        ExprNode::Select(..) => parts.push("select".to_owned()),
                        ExprNode::Cast(t, _) => parts.push(format!("cast to {t}")),
                        _ => {}
                    }
                }
            }
            op => {
                parts.push(op.name().to_owned());
                if matches!(op, Op::Conv(_)) && graph.node(n).inputs().len() > 2 {
                    parts.push("bias".to_owned());
                }
            }
        }
    }
    // `max` then `min` is what people call a clip; long chains are cut.
    let mut text = parts.join(" + ").replace("max + min", "clip");
    if parts.len() > 8 {
        text = format!("{} + … ({} operations)", parts[..6].join(" + "), parts.len());
    }
    text
}
