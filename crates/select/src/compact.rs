//! An instance in the form that the search works on: layouts as bits, times as whole picoseconds, candidates in classes of
//! one layout signature with only those left that some budget could use.

use std::collections::BTreeMap;

use tactician_types::Layout;

use crate::model::{Candidate, Instance, SelectError};
use crate::pareto::useful;

/// Most layouts that one value may meet.
const MAX_LAYOUTS: usize = 8;

/// A set of a value's layouts, one bit each.
pub(crate) type Mask = u8;

/// Time in the high bits, scratch in the low ones, so that equal times prefer less scratch.
pub(crate) type Cost = u128;

/// Larger than any sum of costs; a few of it can be added up.
pub(crate) const FORBIDDEN: Cost = u128::MAX / 8;

/// A cost of so many picoseconds and bytes of scratch.
pub(crate) fn cost(picoseconds: u64, scratch: u64) -> Cost {
    (u128::from(picoseconds) << 56) | u128::from(scratch.min(1 << 44))
}

/// The time in a cost, in microseconds.
pub(crate) fn time_us(cost: Cost) -> f64 {
    (cost >> 56) as f64 / 1e6
}

/// Microseconds as whole picoseconds.
pub(crate) fn picoseconds(time_us: f64) -> u64 {
    (time_us * 1e6).round().clamp(0.0, 1e17) as u64
}

/// A value in bits.
pub(crate) struct Value {
    /// The layouts that anyone makes or wants, sorted; bit `i` stands for the `i`th.
    pub(crate) layouts: Vec<Layout>,
    /// The layout that it arrives in.
    pub(crate) given: Option<usize>,
    /// What the caller wants.
    pub(crate) wanted: Mask,
    /// The node that computes it.
    pub(crate) node: Option<usize>,
}

/// A candidate that some budget could use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) candidate: usize,
    /// Time in picoseconds: that of a candidate with less scratch where it is not clearly faster.
    pub(crate) time: u64,
    pub(crate) workspace: u64,
    pub(crate) constants: u64,
}

/// Candidates of a region that differ in nothing but numbers.
pub(crate) struct Class {
    /// Values and the layouts wanted of them, one entry a value that does not lie there as wanted from the start.
    pub(crate) inputs: Vec<(usize, Mask)>,
    /// Layout of the output.
    pub(crate) output: usize,
    /// The value and the layout whose bytes the output shares.
    pub(crate) view_of: Option<(usize, usize)>,
    /// By time, then scratch, then name.
    pub(crate) members: Vec<Member>,
}

/// A region in bits.
pub(crate) struct Region {
    pub(crate) nodes: Vec<usize>,
    pub(crate) output: usize,
    pub(crate) classes: Vec<Class>,
}

/// An instance in bits; indices are those of the instance.
pub(crate) struct Compact<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) values: Vec<Value>,
    pub(crate) regions: Vec<Region>,
    /// The regions whose last node each node is.
    pub(crate) ending: Vec<Vec<usize>>,
}

impl<'a> Compact<'a> {
    /// Checks an instance and takes it over, with the regions that `allowed` lets through.
    pub(crate) fn new(
        instance: &'a Instance,
        allowed: impl Fn(usize) -> bool,
    ) -> Result<Compact<'a>, SelectError> {
        instance.check()?;
        let mut values = Vec::with_capacity(instance.values.len());
        let mut met: Vec<Vec<Layout>> =
            instance.values.iter().map(|v| v.given.into_iter().chain(v.wanted).collect()).collect();
        let mut node = vec![None; instance.values.len()];
        for r in &instance.regions {
            node[r.output] = r.nodes.last().copied();
            for c in &r.candidates {
                met[r.output].push(c.output);
                r.inputs.iter().zip(&c.inputs).for_each(|(&v, &l)| met[v].push(l));
            }
        }
        for ((v, mut layouts), node) in instance.values.iter().zip(met).zip(node) {
            layouts.sort_unstable();
            layouts.dedup();
            if layouts.len() > MAX_LAYOUTS {
                let what = format!("`{}` meets more than {MAX_LAYOUTS} layouts", v.name);
                return Err(SelectError::Malformed { what });
            }
            let at = |l: Layout| layouts.binary_search(&l).ok();
            let (given, wanted) = (v.given.and_then(at), v.wanted.and_then(at).map_or(0, |i| 1 << i));
            values.push(Value { layouts, given, wanted, node });
        }
        let mut ending = vec![Vec::new(); instance.nodes];
        let mut regions = Vec::with_capacity(instance.regions.len());
        for (i, r) in instance.regions.iter().enumerate() {
            let classes = if allowed(i) { classes(instance, i, &values) } else { Vec::new() };
            if let Some(&last) = r.nodes.last().filter(|_| !classes.is_empty()) {
                ending[last].push(i);
            }
            regions.push(Region { nodes: r.nodes.clone(), output: r.output, classes });
        }
        Ok(Compact { instance, values, regions, ending })
    }

    /// Every size of scratch that matters, ascending.
    pub(crate) fn scratch_sizes(&self) -> Vec<u64> {
        let members = self.regions.iter().flat_map(|r| &r.classes).flat_map(|c| &c.members);
        let changes = self.instance.values.iter().flat_map(|v| v.reformat.values());
        let mut sizes: Vec<u64> = members
            .map(|m| m.workspace)
            .chain(changes.filter(|r| !r.view).map(|r| r.workspace))
            .chain([0])
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

/// The classes of a region, by the name of their first member.
fn classes(instance: &Instance, region: usize, values: &[Value]) -> Vec<Class> {
    let r = &instance.regions[region];
    let mut by_layout: BTreeMap<(&[Layout], Layout), Vec<usize>> = BTreeMap::new();
    for (i, c) in r.candidates.iter().enumerate() {
        by_layout.entry((&c.inputs, c.output)).or_default().push(i);
    }
    let bit = |v: usize, l: Layout| values[v].layouts.binary_search(&l).unwrap_or(0);
    let mut out = Vec::new();
    for ((layouts, output), members) in by_layout {
        let mut inputs: BTreeMap<usize, Mask> = BTreeMap::new();
        for (&v, &l) in r.inputs.iter().zip(layouts) {
            if values[v].given != Some(bit(v, l)) {
                *inputs.entry(v).or_default() |= 1 << bit(v, l);
            }
        }
        let inputs: Vec<(usize, Mask)> = inputs.into_iter().collect();
        let timed = counted(&r.candidates, &members);
        for view in [true, false] {
            let same: Vec<Member> =
                timed.iter().filter(|m| r.candidates[m.candidate].view == view).copied().collect();
            if same.is_empty() {
                continue;
            }
            let first = r.inputs.first().zip(layouts.first());
            out.push(Class {
                inputs: inputs.clone(),
                output: bit(r.output, output),
                view_of: first.filter(|_| view).map(|(&v, &l)| (v, bit(v, l))),
                members: undominated(&r.candidates, same),
            });
        }
    }
    out.sort_by(|a, b| {
        let id = |c: &Class| &r.candidates[c.members[0].candidate].id;
        id(a).cmp(id(b)).then(a.view_of.cmp(&b.view_of))
    });
    out
}

/// Candidates of one signature with the times that they count for: a candidate that is not clearly faster than a useful
/// one with no more scratch counts as fast as that. So times over scratch fall, whatever else decides, and a larger budget
/// never makes the noise choose.
fn counted(all: &[Candidate], members: &[usize]) -> Vec<Member> {
    let line = useful(members.iter().map(|&i| {
        let c = &all[i];
        (c.time_us, c.noise_us, c.workspace, c.id.as_str())
    }));
    let count = |&i: &usize| {
        let c = &all[i];
        let best = line.iter().map(|&k| &all[members[k]]).rfind(|k| k.workspace <= c.workspace);
        let time = best.map_or(c.time_us, |k| k.time_us.max(c.time_us));
        Member { candidate: i, time: picoseconds(time), workspace: c.workspace, constants: c.constants }
    };
    members.iter().map(count).collect()
}

/// Those that no other beats in time, scratch and constants, by time, scratch and name.
fn undominated(all: &[Candidate], mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by(|a, b| {
        (a.time, a.workspace, &all[a.candidate].id, a.candidate).cmp(&(
            b.time,
            b.workspace,
            &all[b.candidate].id,
            b.candidate,
        ))
    });
    let mut kept: Vec<Member> = Vec::new();
    for m in members {
        if !kept.iter().any(|k| k.workspace <= m.workspace && k.constants <= m.constants) {
            kept.push(m);
        }
    }
    kept
}
