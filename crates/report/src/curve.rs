//! What memory buys: latency as a falling staircase.

use std::fmt::Write;

use crate::data::{Breakpoint, Change, ReportData};
use crate::plot::{Axis, Chart, SIDE, labels, num, size_name};
use crate::text::{bytes, count, esc, time, time_or_none};

/// The section's inside; empty when there is nothing to draw.
pub(crate) fn html(r: &ReportData) -> String {
    let mut out = String::new();
    if !r.curve.workspace.is_empty() {
        let at = Some(r.totals.workspace_bytes);
        out.push_str(&staircase("w", "workspace of any one step", &r.curve.workspace, at));
    }
    if !r.curve.memory.is_empty() {
        let total = r.totals.arena_bytes.saturating_add(r.totals.constant_bytes);
        let at = (total > 0).then_some(total);
        out.push_str(&staircase("m", "all memory: arena and constants", &r.curve.memory, at));
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<p class=\"key\"><span class=\"predicted\">predicted</span><span class=\"measured\">measured</span></p>\
         <div class=\"pair\">{out}</div>"
    )
}

/// One curve and its table. `id` begins the names of its rows.
fn staircase(id: &str, axis_name: &str, points: &[Breakpoint], here: Option<u64>) -> String {
    let sizes: Vec<f64> = points.iter().map(|p| p.bytes as f64).chain(here.map(|h| h as f64)).collect();
    let x = Axis::memory(sizes);
    let y =
        Axis::around(points.iter().flat_map(|p| [Some(p.predicted_us), p.measured_us].into_iter().flatten()));
    let (px, py) = (|b: u64| SIDE * x.at(b as f64), |us: f64| SIDE * (1.0 - y.at(us)));
    let mut body = String::new();
    if let Some(b) = here {
        _ = write!(body, "<path class=\"here\" d=\"M{} 0V{SIDE}\"/>", num(px(b)));
    }
    let stairs = |of: &dyn Fn(&Breakpoint) -> Option<f64>| {
        let (mut d, mut join) = (String::new(), "M");
        for (i, p) in points.iter().enumerate() {
            let Some(us) = of(p).filter(|us| us.is_finite()) else {
                join = "M";
                continue;
            };
            let to = points.get(i + 1).map_or(SIDE, |n| px(n.bytes));
            _ = write!(d, "{join}{} {}H{}", num(px(p.bytes)), num(py(us)), num(to));
            join = "L";
        }
        d
    };
    let predicted = stairs(&|p| Some(p.predicted_us));
    let measured = stairs(&|p| p.measured_us);
    for (i, p) in points.iter().enumerate() {
        let from = px(p.bytes);
        let to = points.get(i + 1).map_or(SIDE, |n| px(n.bytes));
        let words = words(points, i);
        _ = write!(
            body,
            "<g class=\"mark\" data-more=\"{id}{i}\"><title>{}</title><rect x=\"{}\" y=\"0\" width=\"{}\" \
             height=\"{SIDE}\"/><path class=\"dot predicted\" d=\"M{} {}h0\"/>",
            esc(&words),
            num(from),
            num((to - from).max(4.0)),
            num(from),
            num(py(p.predicted_us)),
        );
        if let Some(us) = p.measured_us {
            _ = write!(body, "<path class=\"dot measured\" d=\"M{} {}h0\"/>", num(from), num(py(us)));
        }
        body.push_str("</g>");
    }
    _ = write!(
        body,
        "<path class=\"predicted\" d=\"{predicted}\"/><path class=\"measured\" d=\"{measured}\"/>"
    );
    let label = format!("Latency against {axis_name}, {}", count(points.len() as u64, "plan", "plans"));
    let chart = Chart {
        class: "curve",
        label: &label,
        hint: "Point at the curve, or walk along it with the arrow keys: each step tells what it bought.",
        x_name: axis_name,
        x: labels(x, &x.ticks(5, true), size_name),
        y: labels(y, &y.ticks(5, false), time),
        top: here.map(|b| (x.at(b as f64), "this plan".to_owned())).into_iter().collect(),
        body,
    };
    format!("<div>{}{}</div>", chart.html(), table(id, axis_name, points))
}

/// A breakpoint in one sentence.
fn words(points: &[Breakpoint], i: usize) -> String {
    let p = &points[i];
    let mut out = format!("from {}: {} predicted", bytes(p.bytes), time(p.predicted_us));
    if let Some(us) = p.measured_us {
        _ = write!(out, ", {} measured", time(us));
    }
    if let Some(before) = i.checked_sub(1).map(|b| &points[b]) {
        _ = write!(out, "; {} less", time(before.predicted_us - p.predicted_us));
    }
    out
}

fn table(id: &str, axis_name: &str, points: &[Breakpoint]) -> String {
    let mut rows = String::new();
    for (i, p) in points.iter().enumerate() {
        _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"words\" id=\"{id}{i}\">{}</td></tr>",
            bytes(p.bytes),
            time(p.predicted_us),
            time_or_none(p.measured_us),
            changes(&p.changes, i == 0)
        );
    }
    format!(
        "<details><summary aria-label=\"{}, as a table\">As a table</summary><div class=\"scroll\"><table class=\"plain\"><thead><tr>\
         <th scope=\"col\">from</th><th scope=\"col\">predicted</th><th scope=\"col\">measured</th>\
         <th scope=\"col\">what changes</th></tr></thead><tbody>{rows}</tbody></table></div></details>",
        esc(&format!("Latency against {axis_name}"))
    )
}

/// Most changes that are listed; the rest is counted.
const LISTED: usize = 8;

fn changes(list: &[Change], first: bool) -> String {
    if list.is_empty() {
        return if first { "the smallest plan".into() } else { "nothing that is known".into() };
    }
    let mut sorted: Vec<&Change> = list.iter().collect();
    sorted.sort_by(|a, b| b.saves_us.total_cmp(&a.saves_us));
    let mut out = String::from("<ul class=\"changes\">");
    for c in sorted.iter().take(LISTED) {
        let saves = if c.saves_us < 0.0 { "costs" } else { "saves" };
        _ = write!(
            out,
            "<li><b>{}</b> {saves} {}<br><code>{}</code> → <code>{}</code></li>",
            esc(&c.step),
            time(c.saves_us.abs()),
            esc(&c.from),
            esc(&c.to)
        );
    }
    if let Some(more) = list.len().checked_sub(LISTED).filter(|&n| n > 0) {
        _ = write!(out, "<li>and {}</li>", count(more as u64, "more step", "more steps"));
    }
    out.push_str("</ul>");
    out
}
