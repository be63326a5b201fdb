//! The page.

use std::fmt::Write;
use std::io;

use serde::Serialize;

use crate::data::ReportData;
use crate::steps::Heat;
use crate::text::{bytes, count, esc, json_in_script, shorten, time};
use crate::{curve, graph, memory, spread, steps, tables};

const PAGE: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/style.css");
const SCRIPT: &[&str] =
    &[include_str!("../page/marks.js"), include_str!("../page/zoom.js"), include_str!("../page/steps.js")];

/// The report as one HTML file, which asks for nothing from anywhere. Any data gives a page: what is missing is left
/// out, and what is wrong in itself (positions of nothing, times that are no numbers) is ignored.
pub fn render(r: &ReportData) -> String {
    let heat = Heat::new(&r.steps);
    let sections = [
        ("curve", "What memory buys", curve::html(r)),
        ("graph", "The fused graph", graph::html(r, &heat)),
        ("steps-section", "Steps", steps::html(r, &heat)),
        ("memory", "Memory over time", memory::html(r)),
        ("spread", "Spread of times", spread::html(r)),
        ("policies", "Policies compared", tables::policies(r)),
        ("churn", "Builds repeated", r.churn.as_ref().map_or(String::new(), tables::churn)),
        ("versions", "Made on", tables::versions(r)),
    ];
    let (mut nav, mut body) = (String::new(), String::new());
    for (id, title, inside) in sections.iter().filter(|s| !s.2.is_empty()) {
        _ = write!(nav, "<a href=\"#{id}\">{title}</a>");
        _ = write!(
            body,
            "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>{inside}</section>"
        );
    }
    let name = if r.network.is_empty() { "A network" } else { &r.network };
    let json = short_json(&r.pooled());
    fill(
        PAGE,
        &[
            ("title", &esc(&shorten(name, 80))),
            ("style", STYLE),
            ("name", &esc(name)),
            ("summary", &summary(r)),
            ("numbers", &numbers(r)),
            ("nav", &nav),
            ("body", &body),
            ("producer", &esc(if r.producer.is_empty() { "tactician" } else { &r.producer })),
            ("data", &json_in_script(&json)),
            ("script", &SCRIPT.concat()),
        ],
    )
}

/// JSON with six significant digits: a page has tens of thousands of times, and shows three.
fn short_json(r: &ReportData) -> String {
    let mut out = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut out, SixDigits);
    // Its own types are always JSON, and JSON is always text.
    match r.serialize(&mut to) {
        Ok(()) => String::from_utf8(out).unwrap_or_else(|_| "{}".into()),
        Err(_) => "{}".into(),
    }
}

struct SixDigits;

impl serde_json::ser::Formatter for SixDigits {
    fn write_f64<W: ?Sized + io::Write>(&mut self, to: &mut W, value: f64) -> io::Result<()> {
        write!(to, "{}", format!("{value:.5e}").parse().unwrap_or(value))
    }
}

/// Puts values where the template names them, in one pass: what a value says is never looked at.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + values.iter().map(|v| v.1.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            break;
        };
        if let Some((_, value)) = values.iter().find(|v| v.0 == name) {
            out.push_str(value);
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// The plan in one sentence.
fn summary(r: &ReportData) -> String {
    let t = &r.totals;
    let on =
        if r.device.name.is_empty() { String::new() } else { format!(" on <b>{}</b>", esc(&r.device.name)) };
    let takes = match t.measured_us {
        Some(us) => format!("<b>{}</b>{on}, where {} were predicted", time(us), time(t.predicted_us)),
        None => format!("<b>{}</b>{on}, as predicted", time(t.predicted_us)),
    };
    let budget = match (t.workspace_bytes, t.budget_bytes) {
        (0, None) => "without workspace".to_owned(),
        (0, Some(b)) => format!("without workspace, of which {} were allowed", bytes(b)),
        (w, None) => format!("with {} of workspace", bytes(w)),
        (w, Some(b)) => format!("with {} of workspace out of {}", bytes(w), bytes(b)),
    };
    format!("A run takes {takes}, in {}, {budget}.", count(r.steps.len() as u64, "step", "steps"))
}

/// The plan in a few numbers.
fn numbers(r: &ReportData) -> String {
    let t = &r.totals;
    let mut out = String::new();
    let mut add = |name: &str, value: String, note: String| {
        _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd>");
        if !note.is_empty() {
            _ = write!(out, "<dd class=\"note\">{note}</dd>");
        }
        out.push_str("</div>");
    };
    if let Some(us) = t.measured_us {
        let off = (us / t.predicted_us - 1.0) * 100.0;
        let note = if off.is_finite() { format!("{off:+.1}\u{202f}% from predicted") } else { String::new() };
        add("measured", time(us), note);
    }
    add("predicted", time(t.predicted_us), String::new());
    add("launches", t.launches.to_string(), count(r.steps.len() as u64, "step", "steps"));
    let per_second = t.bytes_moved as f64 / t.measured_us.unwrap_or(t.predicted_us);
    let rate = match per_second {
        p if p.is_finite() && p > 0.0 => format!("{:.0}\u{202f}GB/s", p / 1e3),
        _ => String::new(),
    };
    add("moved", bytes(t.bytes_moved), rate);
    add("arena", bytes(t.arena_bytes), "activations and scratch".into());
    add("constants", bytes(t.constant_bytes), String::new());
    let allowed = t.budget_bytes.map_or(String::new(), |b| format!("of {} allowed", bytes(b)));
    add("workspace", bytes(t.workspace_bytes), allowed);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_templates() {
        assert_eq!(fill("a{{x}}b{{y}}{{z}}", &[("x", "{{y}}"), ("y", "1")]), "a{{y}}b1");
        assert_eq!(fill("a{{x", &[]), "a{{x");
    }
}
