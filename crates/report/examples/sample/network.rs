//! Made-up data in the shape of a ResNet on an H100: for tests, and to look at the page without a GPU. Times come
//! from a simple formula with noise, and everything else is derived from them as a build would.

#![allow(dead_code, reason = "several programs share this file, and none uses all of it")]

use std::collections::BTreeMap;

use tactician_report::{
    Breakpoint, Buffer, BufferKind, Candidate, Change, Churn, ChurnBuild, ChurnStep, Curve, DeviceFacts,
    MemoryPlan, Node, Outcome, Policy, ReportData, Step, Timing, Totals, TraceRow, TraceStep,
};

const BUDGET: u64 = 4 << 20;

/// A pseudo-random number from 0 to 1.
fn random(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) as f64 / (1u64 << 31) as f64
}

struct Maker {
    r: ReportData,
    /// Output bytes of each step, and the last step that reads them.
    lives: Vec<(u64, u32)>,
    moved: u64,
}

/// A convolution: channels in and out, side of the filter, side of the output.
#[derive(Clone, Copy)]
struct Conv {
    cin: u64,
    cout: u64,
    k: u64,
    side: u64,
}

impl Maker {
    fn node(&mut self, name: String, op: &str, shape: String, step: Option<u32>, from: &[u32]) -> u32 {
        let at = self.r.graph.nodes.len() as u32;
        self.r.graph.nodes.push(Node { name, op: op.into(), shape, step });
        self.r.graph.edges.extend(from.iter().map(|&f| (f, at)));
        for &f in from {
            if let (Some(s), Some(now)) = (self.r.graph.nodes[f as usize].step, step) {
                self.lives[s as usize].1 = self.lives[s as usize].1.max(now);
            }
        }
        at
    }

    /// The nodes of one convolution step; returns the last.
    fn conv(&mut self, name: &str, c: Conv, from: u32, residual: Option<u32>, relu: bool) -> u32 {
        let s = self.r.steps.len() as u32;
        let shape = format!("f16[1,{},{},{}]", c.cout, c.side, c.side);
        let out = c.cout * c.side * c.side * 2;
        self.lives.push((out, s));
        let mut fused = vec![name.to_owned(), format!("{name}.bn")];
        let mut op = "conv + bn".to_owned();
        let mut last = self.node(name.to_owned(), "Conv", shape.clone(), Some(s), &[from]);
        last = self.node(format!("{name}.bn"), "BatchNorm", shape.clone(), Some(s), &[last]);
        if let Some(r) = residual {
            op.push_str(" + add");
            fused.push(format!("{name}.add"));
            last = self.node(format!("{name}.add"), "Add", shape.clone(), Some(s), &[last, r]);
        }
        if relu {
            op.push_str(" + relu");
            fused.push(format!("{name}.relu"));
            last = self.node(format!("{name}.relu"), "Relu", shape, Some(s), &[last]);
        }
        let flops = 2 * c.cin * c.cout * c.k * c.k * c.side * c.side;
        let weights = c.cin * c.cout * c.k * c.k * 2;
        self.r.memory.constant_bytes += weights;
        let bytes = weights + out * 2 + c.cin * c.side * c.side * 2;
        let least = (flops as f64 / 3.2e8).max(bytes as f64 / 2.2e6) + 1.9;
        self.step(name, op, fused, least, out, bytes, c.k);
        last
    }

    /// A step with candidates around the least time that it could take.
    fn step(&mut self, name: &str, op: String, fused: Vec<String>, least: f64, out: u64, bytes: u64, k: u64) {
        self.moved += bytes;
        let families: &[(&str, u64, f64)] = match (op.starts_with("conv"), k) {
            (true, 1) => &[
                ("conv.cuda.mma/128x64x32.s1", 0, 1.25),
                ("conv.cuda.mma/64x64x32.s2", 0, 1.12),
                ("conv.cuda.mma/64x32x64.s4", 0, 1.18),
                ("conv.cuda.tma/128x128x64.c2", 0, 1.22),
                ("conv.cublaslt/a13.t20.s1", 0, 1.09),
                ("conv.cublaslt/a66.t18.s4", 1, 1.02),
                ("conv.cudnn/e0.k2=3", 0, 1.4),
                ("conv.cudnn/e41.k2=5", 2, 1.2),
                ("conv.cudnn/e41.k2=13", 2, 1.31),
                ("conv.cuda.direct/8x8", 0, 4.5),
            ],
            (true, _) => &[
                ("conv.cuda.mma/128x64x32.s1", 0, 1.34),
                ("conv.cuda.mma/64x64x32.s2", 0, 1.16),
                ("conv.cuda.mma/64x64x64.s8", 0, 1.21),
                ("conv.cuda.winograd/4x4", 9, 1.02),
                ("conv.cuda.winograd/2x2", 4, 1.09),
                ("conv.cudnn/e0.k2=3", 0, 1.5),
                ("conv.cudnn/e34", 3, 1.3),
                ("conv.cudnn/e41.k2=5", 1, 1.18),
                ("conv.cudnn/e57.k2=1", 40, 0.97),
                ("conv.cudnn/e58", 2, 1.25),
                ("conv.cuda.direct/8x8", 0, 5.0),
                ("conv.cuda.stem/16x8", 0, 1.7),
                ("conv.cudnn/e43.k2=9", 1, 1.44),
                ("conv.cudnn/e41.k2=13", 1, 1.29),
            ],
            _ => &[("pool.cuda/v8", 0, 1.0), ("pool.cuda/v4", 0, 1.1), ("pool.cuda/v2", 0, 1.5)],
        };
        // Equal steps are measured once.
        let mut seed = out * 31 + bytes * 7 + k + op.len() as u64;
        let candidates = families
            .iter()
            .map(|&(id, scratch, factor)| {
                let median = least * factor * (0.94 + 0.14 * random(&mut seed));
                let mad = median * (0.002 + 0.015 * random(&mut seed));
                let samples = if factor > 1.3 { 12 } else { 180 + (40.0 * random(&mut seed)) as u32 };
                let timing = Timing { min_us: median - 2.2 * mad, median_us: median, mad_us: mad, samples };
                let error = Some(3e-4 * (1.0 + random(&mut seed)));
                let workspace_bytes = scratch * out.max(65_536) / 4;
                Candidate {
                    id: id.into(),
                    timing: Some(timing),
                    workspace_bytes,
                    error,
                    ..Candidate::default()
                }
            })
            .collect();
        self.r.steps.push(Step { name: name.into(), op, fused, launches: 1, candidates, ..Step::default() });
    }
}

/// A ResNet of bottleneck blocks, for one image; `blocks` of each of the four stages.
pub(crate) fn resnet(name: &str, blocks: [usize; 4]) -> ReportData {
    let mut m = Maker { r: ReportData::default(), lives: Vec::new(), moved: 0 };
    let image = m.node("image".into(), "Input", "f16[1,3,224,224]".into(), None, &[]);
    let mut x = m.conv("conv1", Conv { cin: 3, cout: 64, k: 7, side: 112 }, image, None, true);
    x = other(&mut m, "maxpool", "MaxPool", "f16[1,64,56,56]", x, 2.4, 401_408);
    let (mut cin, mut side) = (64, 56);
    for (stage, &n) in blocks.iter().enumerate() {
        let wide = 64 << stage;
        for block in 0..n {
            let at = format!("layer{}.{block}", stage + 1);
            let c = |cin, cout, k| Conv { cin, cout, k, side };
            let shortcut = match block {
                0 => m.conv(&format!("{at}.downsample"), c(cin, wide * 4, 1), x, None, false),
                _ => x,
            };
            let a = m.conv(&format!("{at}.conv1"), c(cin, wide, 1), x, None, true);
            let b = m.conv(&format!("{at}.conv2"), c(wide, wide, 3), a, None, true);
            x = m.conv(&format!("{at}.conv3"), c(wide, wide * 4, 1), b, Some(shortcut), true);
            cin = wide * 4;
        }
        side = (side / 2).max(7);
    }
    x = other(&mut m, "avgpool", "GlobalAveragePool", "f16[1,2048,1,1]", x, 2.1, 4096);
    x = m.conv("fc", Conv { cin: 2048, cout: 1000, k: 1, side: 1 }, x, None, false);
    m.node("scores".into(), "Output", "f16[1,1000]".into(), None, &[x]);
    finish(m, name)
}

fn other(m: &mut Maker, name: &str, op: &str, shape: &str, from: u32, least: f64, out: u64) -> u32 {
    let s = m.r.steps.len() as u32;
    m.lives.push((out, s));
    let n = m.node(name.into(), op, shape.into(), Some(s), &[from]);
    m.step(name, op.to_lowercase(), vec![name.into()], least, out, out * 3, 0);
    n
}

fn median(c: &Candidate) -> f64 {
    c.timing.map_or(f64::INFINITY, |t| t.median_us)
}

/// The candidate of a step that is fastest within a budget.
fn best(s: &Step, budget: u64) -> &Candidate {
    let fits = s.candidates.iter().filter(|c| c.workspace_bytes <= budget && !c.id.contains("e57.k2=1"));
    fits.min_by(|a, b| median(a).total_cmp(&median(b))).expect("one needs nothing")
}

fn finish(mut m: Maker, name: &str) -> ReportData {
    m.r.curve.workspace = workspace_curve(&m.r.steps);
    let mut seed = 23;
    for s in &mut m.r.steps {
        let chosen = best(s, BUDGET).clone();
        let us = median(&chosen);
        for (k, c) in s.candidates.iter_mut().enumerate() {
            (c.outcome, c.verdict) = verdict(c, &chosen, us, k);
            if matches!(c.outcome, Outcome::Wrong | Outcome::Failed) {
                (c.timing, c.error) = (None, None);
            }
        }
        s.needs = match chosen.id.split_once('/') {
            Some(("conv.cudnn", _)) => vec!["cuDNN".into()],
            Some(("conv.cublaslt", _)) => vec!["cuBLASLt".into()],
            _ => Vec::new(),
        };
        s.launches = 1 + u32::from(chosen.workspace_bytes > 0) * 2;
        s.workspace_bytes = chosen.workspace_bytes;
        s.tactic = chosen.id;
        s.predicted_us = us;
        let inside = us * (1.02 + 0.2 * random(&mut seed));
        let mad = inside * (0.004 + 0.03 * random(&mut seed) * random(&mut seed));
        s.timing = Some(Timing { min_us: inside - 2.5 * mad, median_us: inside, mad_us: mad, samples: 400 });
    }
    memory(&mut m);
    let r = &mut m.r;
    let most = r.curve.workspace.last().map_or(0, |b| b.bytes);
    let total = |b: &Breakpoint| r.memory.constant_bytes + r.memory.arena_bytes - (most - b.bytes) * 2 / 5;
    r.curve = Curve {
        memory: r.curve.workspace.iter().map(|b| Breakpoint { bytes: total(b), ..b.clone() }).collect(),
        workspace: std::mem::take(&mut r.curve.workspace),
    };
    r.totals = Totals {
        predicted_us: r.steps.iter().map(|s| s.predicted_us).sum(),
        measured_us: Some(r.steps.iter().map(Step::time_us).sum::<f64>() + 3.1),
        launches: r.steps.iter().map(|s| u64::from(s.launches)).sum(),
        bytes_moved: m.moved,
        arena_bytes: r.memory.arena_bytes,
        constant_bytes: r.memory.constant_bytes,
        workspace_bytes: r.steps.iter().map(|s| s.workspace_bytes).max().unwrap_or(0),
        budget_bytes: Some(BUDGET),
    };
    r.network = name.into();
    facts(r);
    m.r
}

fn verdict(c: &Candidate, chosen: &Candidate, us: f64, odd: usize) -> (Outcome, String) {
    let behind = median(c) - us;
    if c.id == chosen.id {
        (Outcome::Chosen, "chosen".into())
    } else if c.workspace_bytes > BUDGET {
        let over = (c.workspace_bytes - BUDGET) as f64 / f64::from(1 << 20);
        (Outcome::OverBudget, format!("over budget by {over:.1} MiB"))
    } else if c.id.contains("e57.k2=1") {
        (Outcome::Wrong, "wrong: 4 of 200704 elements beyond their bound, the worst 3.1 times".into())
    } else if c.id.contains("stem") {
        (Outcome::Failed, "not for this shape: it wants at most 4 input channels".into())
    } else if behind < us * 0.01 {
        (Outcome::Tie, "tie, larger name".into())
    } else if odd == 8 && behind < 1.0 {
        (Outcome::Lost, format!("its layout would cost {:.1} µs more", behind + 0.8))
    } else {
        (Outcome::Lost, format!("lost by {behind:.2} µs"))
    }
}

fn workspace_curve(steps: &[Step]) -> Vec<Breakpoint> {
    let mut budgets: Vec<u64> =
        steps.iter().flat_map(|s| s.candidates.iter().map(|c| c.workspace_bytes)).collect();
    budgets.sort_unstable();
    budgets.dedup();
    let mut points: Vec<Breakpoint> = Vec::new();
    let mut last: Vec<&Candidate> = Vec::new();
    for bytes in budgets {
        let now: Vec<&Candidate> = steps.iter().map(|s| best(s, bytes)).collect();
        let predicted_us: f64 = now.iter().map(|c| median(c)).sum();
        if points.last().is_some_and(|p| p.predicted_us <= predicted_us) {
            continue;
        }
        let changes = last
            .iter()
            .zip(&now)
            .zip(steps)
            .filter(|((a, b), _)| a.id != b.id)
            .map(|((a, b), s)| Change {
                step: s.name.clone(),
                from: a.id.clone(),
                to: b.id.clone(),
                saves_us: median(a) - median(b),
            })
            .collect();
        let measured_us = (points.len() % 3 != 1).then_some(predicted_us * 1.09 + 5.0);
        points.push(Breakpoint { bytes, predicted_us, measured_us, changes });
        last = now;
    }
    points
}

/// Places activations and scratch, each as low as it can be.
fn memory(m: &mut Maker) {
    let mut buffers: Vec<Buffer> = Vec::new();
    for (i, s) in m.r.steps.iter().enumerate() {
        let (bytes, last) = m.lives[i];
        let first = i as u32;
        let shape = m.r.graph.nodes.iter().rev().find(|n| n.step == Some(first)).map_or("", |n| &n.shape);
        let name = format!("{} {shape} channels last", s.name);
        buffers.push(Buffer { name, bytes, first, last, ..Buffer::default() });
        if s.workspace_bytes > 0 {
            let (name, bytes) = (format!("scratch of {}", s.name), s.workspace_bytes);
            buffers.push(Buffer { name, bytes, first, last: first, kind: BufferKind::Scratch, offset: 0 });
        }
    }
    for i in 0..buffers.len() {
        let (b, placed) = (buffers[i].clone(), &buffers[..i]);
        let near: Vec<&Buffer> = placed.iter().filter(|p| p.first <= b.last && b.first <= p.last).collect();
        let starts = near.iter().map(|p| (p.offset + p.bytes).next_multiple_of(256)).chain([0]);
        let free = |&at: &u64| near.iter().all(|p| at + b.bytes <= p.offset || p.offset + p.bytes <= at);
        buffers[i].offset = starts.filter(free).min().expect("there is room at the end");
    }
    let arena_bytes = buffers.iter().map(|b| b.offset + b.bytes).max().unwrap_or(0);
    m.r.memory = MemoryPlan { buffers, arena_bytes, constant_bytes: m.r.memory.constant_bytes };
}

fn facts(r: &mut ReportData) {
    let map = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|&(k, v)| (k.into(), v.into())).collect()
    };
    r.producer = "tactician 0.1.0 (made-up sample data)".into();
    r.device = DeviceFacts {
        name: "NVIDIA H100 80GB HBM3".into(),
        facts: map(&[
            ("architecture", "sm_90a"),
            ("multiprocessors", "132"),
            ("level 2 cache", "50 MiB"),
            ("memory", "79.2 GiB"),
            ("clocks", "1980 MHz, not locked"),
        ]),
        libraries: map(&[
            ("driver", "580.159.04"),
            ("NVRTC", "13.0"),
            ("cuDNN", "9.14.0"),
            ("cuBLASLt", "13.1.0"),
        ]),
    };
    r.options = map(&[
        ("workspace", "4 MiB"),
        ("precision", "f16"),
        ("tactics", "all"),
        ("refine", "no"),
        ("fusion", "yes"),
    ]);
    let (us, measured) = (r.totals.predicted_us, r.totals.measured_us.unwrap_or(0.0));
    let policy = |name: &str, factor: f64, workspace_bytes, note: &str| Policy {
        name: name.into(),
        predicted_us: us * factor,
        measured_us: Some(measured * factor),
        workspace_bytes,
        steps: r.steps.len() as u32,
        note: note.into(),
    };
    r.policies = vec![
        policy("all tactics", 1.0, r.totals.workspace_bytes, "this plan"),
        policy("own kernels only", 1.07, 1 << 20, "needs the driver alone"),
        policy("cuDNN only", 1.38, 2 << 20, ""),
        policy("no workspace", 1.05, 0, ""),
        policy("no fusion", 2.4, 1 << 20, "every operation by itself"),
    ];
    let build = |i: u32| ChurnBuild {
        predicted_us: us * (1.0 + 0.002 * f64::from(i % 3)),
        measured_us: Some(measured * (1.0 + 0.001 * f64::from(i * i % 4))),
        changed: i * 2 % 5,
    };
    let churned = r.steps.iter().skip(5).step_by(17).take(3);
    r.churn = Some(Churn {
        builds: (0..5).map(build).collect(),
        steps: churned
            .map(|s| ChurnStep {
                step: s.name.clone(),
                tactics: vec![(s.tactic.clone(), 4), ("conv.cuda.mma/64x64x32.s4".into(), 1)],
            })
            .collect(),
    });
}

/// One run, step behind step, and what enqueues it.
pub(crate) fn timeline(r: &ReportData) -> Vec<TraceStep> {
    let mut at = 6.0;
    let host = TraceStep {
        name: "enqueue".into(),
        op: "launch of a recording".into(),
        row: TraceRow::Host,
        duration_us: 5.2,
        ..TraceStep::default()
    };
    let device = r.steps.iter().map(|s| {
        let duration_us = s.time_us();
        at += duration_us;
        TraceStep {
            name: s.name.clone(),
            op: s.op.clone(),
            tactic: s.tactic.clone(),
            bytes: s.workspace_bytes,
            row: TraceRow::Device,
            start_us: at - duration_us,
            duration_us,
        }
    });
    std::iter::once(host).chain(device).collect()
}
