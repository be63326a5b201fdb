//! The memory plan: what lies where in the arena, and when.

use std::fmt::Write;

use crate::data::{Buffer, BufferKind, ReportData};
use crate::plot::{Axis, Chart, SIDE, labels, num, size_name};
use crate::text::{bytes, count, esc};

/// The section's inside; empty when there is nothing to draw.
pub(crate) fn html(r: &ReportData) -> String {
    let plan = &r.memory;
    let buffers: Vec<&Buffer> = plan.buffers.iter().filter(|b| b.bytes > 0 && b.first <= b.last).collect();
    if buffers.is_empty() {
        return String::new();
    }
    let last = buffers.iter().map(|b| b.last as usize).max().unwrap_or(0);
    // Far more steps than the plan has would be a mistake, and nothing to draw.
    let steps = (last + 1).min(r.steps.len().max(buffers.len() * 64)).max(r.steps.len());
    let top =
        buffers.iter().map(|b| b.offset.saturating_add(b.bytes)).max().unwrap_or(0).max(plan.arena_bytes);
    let y = Axis::Linear(0.0, top as f64);
    let (px, py) = (|s: f64| (SIDE * s / steps as f64).min(SIDE), |b: u64| SIDE * (1.0 - y.at(b as f64)));
    let (peak, live) = peak(&buffers, steps);
    let mut body = String::new();
    for b in &buffers {
        let (x0, x1) = (px(f64::from(b.first)), px(f64::from(b.last) + 1.0));
        let (y0, y1) = (py(b.offset.saturating_add(b.bytes)), py(b.offset));
        let (class, kind) = match b.kind {
            BufferKind::Activation => ("activation", "activation"),
            BufferKind::Scratch => ("scratch", "scratch"),
        };
        let during = if b.first == b.last {
            format!("in step {}", b.first)
        } else {
            format!("from step {} to step {}", b.first, b.last)
        };
        _ = write!(
            body,
            "<g class=\"mark {class}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></g>",
            esc(&format!("{}, {kind}, {} at {}, {during}", b.name, bytes(b.bytes), bytes(b.offset))),
            num(x0),
            num(y0),
            num(x1 - x0),
            num(y1 - y0),
        );
    }
    let middle = num(px(peak as f64 + 0.5));
    _ = write!(body, "<path class=\"peak\" d=\"M{middle} 0V{SIDE}\"/>");
    let step = Axis::Linear(0.0, steps as f64);
    let names = step.ticks(8, false).into_iter().filter(|v| v.fract() == 0.0).collect::<Vec<_>>();
    let chart = Chart {
        class: "memory",
        label: "The arena over the steps of a run",
        hint: "Point at a rectangle to see what lies there.",
        x_name: "step",
        x: labels(step, &names, |v| format!("{v:.0}")),
        y: labels(y, &y.ticks(5, true), size_name),
        top: vec![((peak as f64 + 0.5) / steps as f64, format!("peak, step {peak}"))],
        body,
    };
    let at = r.steps.get(peak).map_or(String::new(), |s| format!(" (<b>{}</b>)", esc(&s.name)));
    let arena = plan.arena_bytes.max(top);
    let waste = arena.saturating_sub(live);
    let fit = match waste {
        0 => "the arena is exactly as large".to_owned(),
        w => format!("the arena takes {} more", bytes(w)),
    };
    let scratch = buffers.iter().filter(|b| b.kind == BufferKind::Scratch).count() as u64;
    format!(
        "<p>{} and {} share an arena of <b>{}</b>. Most lives at step {peak}{at}: <b>{}</b>; {fit}. Constants, \
         <b>{}</b>, lie elsewhere.</p><p class=\"key\"><span class=\"activation\">activations</span>\
         <span class=\"scratch\">scratch</span><span class=\"peak\">peak</span></p>{}",
        count(buffers.len() as u64 - scratch, "activation", "activations"),
        count(scratch, "piece of scratch", "pieces of scratch"),
        bytes(arena),
        bytes(live),
        bytes(plan.constant_bytes),
        chart.html()
    )
}

/// The step at which most bytes live, and how many.
fn peak(buffers: &[&Buffer], steps: usize) -> (usize, u64) {
    let mut change = vec![0i128; steps + 1];
    for b in buffers {
        change[(b.first as usize).min(steps)] += i128::from(b.bytes);
        change[(b.last as usize + 1).min(steps)] -= i128::from(b.bytes);
    }
    let (mut live, mut best) = (0i128, (0, 0i128));
    for (s, c) in change.iter().enumerate().take(steps) {
        live += c;
        if live > best.1 {
            best = (s, live);
        }
    }
    (best.0, u64::try_from(best.1).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_where_most_lives() {
        let b = |bytes, first, last| Buffer { bytes, first, last, ..Buffer::default() };
        let list = [b(10, 0, 1), b(20, 1, 2), b(5, 1, 1), b(24, 2, 9)];
        let all: Vec<&Buffer> = list.iter().collect();
        assert_eq!(peak(&all, 4), (2, 44));
    }
}
