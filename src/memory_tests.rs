//! What a selection says that it takes is what the assembled plan takes.

use std::sync::Arc;
use std::time::Duration;

use tactician_device::replay::ReplayDevice;
use tactician_select::{Budget, Selection, memory_front, select, workspace_front};

use crate::tuning::TuneOptions;
use crate::{Builder, Network, Plan, Tuned, zoo};

/// Views, several outputs, an output that views another, a value read in several layouts, and an input that is an output.
const MIXED: &str = "graph mixed {
  %x: f32[1,16,8,8] = input
  %z: f32[1,32] = input
  %w: f32[16,16,3,3] = const fill 0.5
  %v: f32[32,16,1,1] = const fill 0.25
  %u: f32[32,32,1,1] = const fill 0.125
  %c: f32[1,16,8,8] = conv(%x, %w) pads=[(1,1),(1,1)]
  %r: f32[1,16,8,8] = pointwise(%c) {relu($0)}
  %d: f32[1,16,8,8] = conv(%r, %w) pads=[(1,1),(1,1)]
  %s: f32[1,16,8,8] = pointwise(%d, %r) {add($0, $1)}
  %p: f32[1,16,4,4] = pool(%s) max window=[2,2] strides=[2,2]
  %q: f32[1,16,4,4] = pool(%r) average window=[2,2] strides=[2,2]
  %cat: f32[1,32,4,4] = concat(%p, %q) axis=1
  %m: f32[1,32,1,1] = reduce(%cat) mean axes=[2,3] keep_dims
  %e: f32[1,32,1,1] = conv(%m, %u)
  %g: f32[1,32,1,1] = pointwise(%e) {sigmoid($0)}
  %gated: f32[1,32,4,4] = pointwise(%cat, %g) {mul($0, $1)}
  %flat: f32[1,32] = reshape(%g) shape=[1,32]
  %sum: f32[1,32] = pointwise(%flat, %z) {add($0, $1)}
  %n: f32[1,32,8,8] = conv(%s, %v)
  %t: f32[1,8,8,32] = transpose(%n) perm=[0,2,3,1]
  %long: f32[1,2048] = reshape(%t) shape=[1,2048]
  output \"gated\" %gated
  output \"flat\" %flat
  output \"sum\" %sum
  output \"long\" %long
  output \"n\" %n
  output \"again\" %n
  output \"z\" %z
}";

/// A network with made-up times, different for every seed.
fn tuned(net: &Network, seed: u64) -> Tuned {
    let device = ReplayDevice::new().timer(move |call| {
        let sum = call.params.iter().chain(call.kernel.as_bytes());
        let sum = sum.fold(seed * 77 + 7, |s, &b| (s * 31 + u64::from(b)) % 10_007);
        Duration::from_nanos(1_000 + sum)
    });
    let options = TuneOptions { gate: false, ..TuneOptions::default() };
    Builder::new().device(Arc::new(device)).tuning(options).tune(net).unwrap()
}

fn check(tuned: &Tuned, selection: &Selection, what: &str) -> Plan {
    let plan = tuned.plan_of(selection, Budget::workspace(selection.workspace), None).unwrap();
    let (meta, memory) = (&plan.meta, &selection.memory);
    assert_eq!(meta.arena_bytes, memory.arena, "{what}");
    assert_eq!(meta.scratch_bytes, selection.workspace, "{what}");
    let ports = meta.inputs.iter().chain(&meta.outputs);
    let bytes = |p: &tactician_plan::Port| p.shape.iter().product::<u64>() * p.dtype.size() as u64;
    assert_eq!(ports.map(bytes).sum::<u64>(), memory.bindings, "{what}");
    // Equal constants are stored once, so a plan may hold fewer.
    let held = meta.constants.iter().map(|c| c.offset + c.len).max().unwrap_or(0);
    assert!(held <= memory.constants && memory.constants <= 3 * held + 4096, "{what}: {held}, {memory:?}");
    plan
}

#[test]
fn a_selection_takes_what_its_plan_takes() {
    let mixed = Network::from_graph(tactician_ir::text::parse(MIXED).unwrap());
    let (mut points, mut arenas) = (0, std::collections::BTreeSet::new());
    for (name, net) in [("mixed", &mixed), ("tiny", &zoo::tiny(1)), ("tiny of 3", &zoo::tiny(3))] {
        for seed in 0..4 {
            let tuned = tuned(net, seed);
            let instance = tuned.instance();
            for p in workspace_front(instance).unwrap() {
                let plan =
                    check(&tuned, &p.selection, &format!("{name}, seed {seed}, workspace {}", p.budget));
                arenas.insert((name, plan.meta.arena_bytes));
                points += 1;
            }
            for p in memory_front(instance, u64::MAX).unwrap() {
                check(&tuned, &p.selection, &format!("{name}, seed {seed}, memory {}", p.budget));
                points += 1;
                let budget = Budget { workspace: u64::MAX, memory: Some(p.budget) };
                assert_eq!(select(instance, budget).unwrap().predicted_us, p.selection.predicted_us);
            }
        }
    }
    assert!(points > 30 && arenas.len() > 6, "{points} {arenas:?}");
}
