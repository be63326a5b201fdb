//! What a selection takes in memory: the steps, lifetimes and homes that assembling a plan gives it.
//!
//! Inputs, outputs and constants lie outside the arena. A value that the caller wants is computed in the caller's memory,
//! in the layout wanted; a view passes its place on to what it views. Everything else has a buffer from the step that makes
//! it to the last that reads it. Changes of layout run right after a value is there. Scratch lives at its step only.

use std::collections::BTreeMap;

use tactician_types::Layout;

use crate::changes::scratch;
use crate::memory::{Buffer, place};
use crate::model::{Choice, Footprint, Instance};

#[derive(Clone, Copy, PartialEq)]
enum Home {
    Outside,
    Arena(usize),
}

struct Simulation<'a> {
    instance: &'a Instance,
    outputs: BTreeMap<(usize, Layout), Home>,
    homes: BTreeMap<(usize, Layout), Home>,
    buffers: Vec<(Buffer, String)>,
    /// Name and scratch of each step.
    steps: Vec<(String, u64)>,
    constants: u64,
}

/// The footprint of regions with their tactics, in execution order, and of the changes of each value.
pub(crate) fn footprint(
    instance: &Instance,
    chosen: &[Choice],
    reformats: &[Vec<(Layout, Layout)>],
) -> Footprint {
    let mut s = Simulation {
        instance,
        outputs: output_homes(instance, chosen, reformats),
        homes: BTreeMap::new(),
        buffers: Vec::new(),
        steps: Vec::new(),
        constants: instance.constants,
    };
    for (v, value) in instance.values.iter().enumerate() {
        if let Some(given) = value.given {
            s.homes.insert((v, given), Home::Outside);
            s.change(v, reformats);
        }
    }
    for c in chosen {
        let region = &instance.regions[c.region];
        let candidate = &region.candidates[c.candidate];
        s.constants += candidate.constants;
        let inputs: Vec<_> = region.inputs.iter().copied().zip(candidate.inputs.iter().copied()).collect();
        let out = (region.output, candidate.output);
        s.step(&region.name, &inputs, out, candidate.workspace, candidate.view);
        s.change(region.output, reformats);
    }
    s.finish()
}

/// What is computed straight into the caller's memory.
fn output_homes(
    instance: &Instance,
    chosen: &[Choice],
    reformats: &[Vec<(Layout, Layout)>],
) -> BTreeMap<(usize, Layout), Home> {
    let wanted = instance.values.iter().enumerate();
    let mut homes: BTreeMap<_, _> =
        wanted.filter_map(|(v, value)| Some(((v, value.wanted?), Home::Outside))).collect();
    for c in chosen.iter().rev() {
        let region = &instance.regions[c.region];
        let (v, candidate) = (region.output, &region.candidates[c.candidate]);
        for &(from, to) in reformats[v].iter().rev() {
            let view = instance.values[v].reformat.get(&(from, to)).is_some_and(|r| r.view);
            if view && homes.contains_key(&(v, to)) {
                homes.insert((v, from), Home::Outside);
            }
        }
        if candidate.view
            && homes.contains_key(&(v, candidate.output))
            && let (Some(&input), Some(&layout)) = (region.inputs.first(), candidate.inputs.first())
        {
            homes.insert((input, layout), Home::Outside);
        }
    }
    homes
}

impl Simulation<'_> {
    fn change(&mut self, v: usize, reformats: &[Vec<(Layout, Layout)>]) {
        let value = &self.instance.values[v];
        for &(from, to) in &reformats[v] {
            let Some(r) = value.reformat.get(&(from, to)) else { continue };
            self.constants += r.constants;
            let name = format!("reformat of {} to {to}", value.name);
            self.step(&name, &[(v, from)], (v, to), scratch(r), r.view);
        }
    }

    fn step(
        &mut self,
        name: &str,
        inputs: &[(usize, Layout)],
        out: (usize, Layout),
        scratch: u64,
        view: bool,
    ) {
        let home = |s: &Self, key| s.homes.get(key).copied().unwrap_or(Home::Outside);
        if view && let Some(first) = inputs.first() {
            let shared = home(self, first);
            self.homes.insert(out, shared);
            return;
        }
        let at = self.steps.len();
        self.steps.push((name.to_owned(), scratch));
        let made = self.outputs.get(&out).copied().unwrap_or_else(|| {
            let value = &self.instance.values[out.0];
            let bytes = value.bytes.get(&out.1).copied().unwrap_or(0);
            self.buffers.push((Buffer { bytes, first: at, last: at }, format!("{} ({})", value.name, out.1)));
            Home::Arena(self.buffers.len() - 1)
        });
        self.homes.insert(out, made);
        for key in inputs {
            if let Home::Arena(i) = home(self, key) {
                self.buffers[i].0.last = at;
            }
        }
    }

    fn finish(self) -> Footprint {
        let step = self.instance.step_of();
        // In the order of a plan: the placement depends on it.
        let mut all = self.buffers;
        for (at, (name, bytes)) in self.steps.iter().enumerate() {
            if *bytes > 0 {
                all.push((Buffer { bytes: *bytes, first: at, last: at }, format!("scratch of {name}")));
            }
        }
        let list: Vec<Buffer> = all.iter().map(|(b, _)| *b).collect();
        let placement = place(&list, step);
        let live = |at: usize| all.iter().filter(move |(b, _)| b.first <= at && at <= b.last);
        let sum = |at: usize| live(at).map(|(b, _)| b.bytes.div_ceil(step) * step).sum::<u64>();
        let at = (0..self.steps.len()).max_by_key(|&at| (sum(at), std::cmp::Reverse(at)));
        let mut peak_tensors: Vec<(String, u64)> = at
            .into_iter()
            .flat_map(live)
            .filter(|(b, _)| b.bytes > 0)
            .map(|(b, name)| (name.clone(), b.bytes))
            .collect();
        peak_tensors.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        Footprint {
            constants: self.constants,
            bindings: self.instance.bindings,
            arena: placement.total,
            peak: placement.lower_bound,
            peak_step: at.map_or_else(String::new, |at| self.steps[at].0.clone()),
            peak_tensors,
        }
    }
}
