//! A report that its network's maker would like to break.

#![allow(dead_code, reason = "several programs share this file, and none uses all of it")]

use std::collections::BTreeMap;

use tactician_report::{Breakpoint, Buffer, DeviceFacts, ReportData, Timing};

use crate::network::resnet;

/// What a name must not be able to do.
pub(crate) const NAME: &str = "</script></style></title>--><svg onload=alert(1)><img src=x onerror=\"alert('2')\">\u{0}\u{7}\u{202e}é😀{{data}}`${1}`";

/// A small network whose names are all [`NAME`], and whose figures make no sense.
pub(crate) fn report() -> ReportData {
    let mut r = resnet(NAME, [1, 1, 1, 1]);
    let name = || NAME.to_owned();
    for s in &mut r.steps {
        (s.name, s.op, s.tactic, s.needs) = (name(), name(), name(), vec![name()]);
        s.fused = vec![name(), "x".repeat(3000)];
        for c in &mut s.candidates {
            (c.id, c.verdict) = (name(), name());
        }
    }
    for n in &mut r.graph.nodes {
        (n.name, n.op, n.shape) = (name(), name(), name());
    }
    // Edges to nowhere, a loop, a cycle; steps that are not there.
    r.graph.edges.extend([(0, 99_999), (3, 3), (9, 2)]);
    r.graph.nodes[5].step = Some(77_777);
    for b in &mut r.memory.buffers {
        b.name = name();
    }
    let odd =
        |offset, bytes, first, last| Buffer { name: name(), offset, bytes, first, last, ..Buffer::default() };
    r.memory.buffers.extend([odd(u64::MAX, u64::MAX, 0, u32::MAX), odd(0, 0, 0, 0), odd(1, 1, 5, 2)]);
    for p in r.curve.workspace.iter_mut().chain(&mut r.curve.memory) {
        p.changes.iter_mut().for_each(|c| (c.step, c.from, c.to) = (name(), name(), name()));
    }
    r.curve.workspace.push(Breakpoint { bytes: u64::MAX, predicted_us: f64::NAN, ..Breakpoint::default() });
    r.steps[1].timing = Some(Timing { min_us: -1.0, median_us: f64::INFINITY, mad_us: f64::NAN, samples: 0 });
    r.steps[2].predicted_us = f64::NEG_INFINITY;
    r.policies.iter_mut().for_each(|p| (p.name, p.note) = (name(), name()));
    if let Some(c) = &mut r.churn {
        c.steps.iter_mut().for_each(|s| (s.step, s.tactics) = (name(), vec![(name(), 1)]));
    }
    let map = || BTreeMap::from([(name(), name()), ("x".repeat(500), "y".repeat(500))]);
    r.device = DeviceFacts { name: name(), facts: map(), libraries: map() };
    (r.options, r.producer) = (map(), name());
    r
}
