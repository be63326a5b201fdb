//! A fusion policy of one's own, beside the default: `cargo run --release --example policy`.
//!
//! The network is built on the CPU with one thread, so that this runs anywhere; what a policy fuses is the same for
//! every device.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tactician::ir::{Graph, Op};
use tactician::passes::{Partition, Proposal};
use tactician::{Builder, CpuDevice, Engine, FusionPolicy, Greedy, NoFusion, zoo};

/// Convolutions take at most so many operations in, everything else stays apart.
struct ShortConvolutions {
    most: usize,
}

impl FusionPolicy for ShortConvolutions {
    fn name(&self) -> &str {
        "short-convolutions"
    }

    // Proposals come by anchor in execution order, small before large, and one of a single node is among those of every
    // anchor. Whatever is chosen must cover each node once: `Partition::check` tells.
    fn choose(&self, graph: &Graph, proposals: &[Proposal]) -> Partition {
        let mut regions = Vec::new();
        let mut taken = BTreeSet::new();
        for of_anchor in proposals.chunk_by(|a, b| a.anchor() == b.anchor()) {
            let convolution = matches!(graph.node(of_anchor[0].anchor()).op, Op::Conv(_));
            let most = if convolution { 1 + self.most } else { 1 };
            let free =
                |p: &&Proposal| p.nodes().len() <= most && p.nodes().iter().all(|n| !taken.contains(n));
            if let Some(best) = of_anchor.iter().rfind(free) {
                taken.extend(best.nodes().to_vec());
                regions.push(best.region.clone());
            }
        }
        Partition::new(graph, regions)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let own = ShortConvolutions { most: 1 };
    let policies: [&dyn FusionPolicy; 3] = [&NoFusion, &own, &Greedy];
    for policy in policies {
        compare(policy.name(), Builder::new().policy(policy))?;
    }
    // Without a policy every proposal is measured, and fusion is chosen with the tactics.
    compare("default", Builder::new())
}

/// Builds the network and prints what was predicted and what is measured.
fn compare(name: &str, builder: Builder<'_>) -> Result<(), Box<dyn Error>> {
    let plan = builder.threads(1).build(&zoo::tiny(1))?;
    let (steps, predicted) = (plan.meta.steps.len(), plan.meta.predicted_us);
    let engine = Engine::new(plan, Arc::new(CpuDevice::new(Some(1))?))?;
    let mut runs = engine.new_context()?.measure(Duration::from_millis(50), Duration::from_millis(300))?;
    runs.sort();
    let median = runs[runs.len() / 2].as_secs_f64() * 1e6;
    writeln!(
        std::io::stdout(),
        "{name:18} {steps:3} steps, predicted {predicted:6.1} us, measured {median:6.1} us"
    )?;
    Ok(())
}
