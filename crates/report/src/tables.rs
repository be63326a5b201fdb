//! The small tables: policies, churn, versions.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::data::{Churn, ReportData};
use crate::text::{bytes, count, esc, time, time_or_none};

/// The network under several policies; empty without any.
pub(crate) fn policies(r: &ReportData) -> String {
    if r.policies.is_empty() {
        return String::new();
    }
    let us =
        |p: &crate::data::Policy| Some(p.measured_us.unwrap_or(p.predicted_us)).filter(|us| us.is_finite());
    let most = r.policies.iter().filter_map(us).fold(0.0, f64::max);
    let mut rows = String::new();
    for p in &r.policies {
        let width =
            us(p).map_or(0.0, |us| if most > 0.0 { us / most * 100.0 } else { 0.0 }).clamp(0.0, 100.0);
        _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"bar\"><i \
             style=\"width:{width:.1}%\"></i></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            esc(&p.name),
            time_or_none(p.measured_us),
            time(p.predicted_us),
            bytes(p.workspace_bytes),
            p.steps,
            esc(&p.note),
        );
    }
    format!(
        "<div class=\"scroll\"><table class=\"plain\"><thead><tr><th scope=\"col\">policy</th><th scope=\"col\" \
         class=\"n\">measured</th><th scope=\"col\" class=\"n\">predicted</th><td></td><th scope=\"col\" \
         class=\"n\">workspace</th><th scope=\"col\" class=\"n\">steps</th><th scope=\"col\">note</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// What changed between equal builds.
pub(crate) fn churn(c: &Churn) -> String {
    let whole = |b: &crate::data::ChurnBuild| b.measured_us.unwrap_or(b.predicted_us);
    let (lo, hi) = c
        .builds
        .iter()
        .map(whole)
        .filter(|us| us.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), us| (lo.min(us), hi.max(us)));
    let range = if lo <= hi { format!(", which took {} to {}", time(lo), time(hi)) } else { String::new() };
    let mut out = format!(
        "<p>{} from new measurements{range}. {} not always run by the same tactic.</p>",
        count(c.builds.len() as u64, "build", "builds"),
        match c.steps.len() {
            0 => "No step was".to_owned(),
            1 => "1 step was".to_owned(),
            n => format!("{n} steps were"),
        },
    );
    if !c.builds.is_empty() {
        let mut rows = String::new();
        for (i, b) in c.builds.iter().enumerate() {
            _ = write!(
                rows,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                i + 1,
                time_or_none(b.measured_us),
                time(b.predicted_us),
                b.changed
            );
        }
        _ = write!(
            out,
            "<div class=\"scroll\"><table class=\"plain\"><thead><tr><th scope=\"col\">build</th><th scope=\"col\" \
             class=\"n\">measured</th><th scope=\"col\" class=\"n\">predicted</th><th scope=\"col\" \
             class=\"n\">steps unlike the first build's</th></tr></thead><tbody>{rows}</tbody></table></div>"
        );
    }
    if !c.steps.is_empty() {
        let mut rows = String::new();
        for s in &c.steps {
            let list: Vec<String> =
                s.tactics.iter().map(|(t, n)| format!("<code>{}</code> ×{n}", esc(t))).collect();
            _ = write!(
                rows,
                "<tr><th scope=\"row\">{}</th><td class=\"words\">{}</td></tr>",
                esc(&s.step),
                list.join("<br>")
            );
        }
        _ = write!(
            out,
            "<div class=\"scroll\"><table class=\"plain\"><thead><tr><th scope=\"col\">step</th><th \
             scope=\"col\">tactics, and in how many builds</th></tr></thead><tbody>{rows}</tbody></table></div>"
        );
    }
    out
}

/// Device, libraries and options.
pub(crate) fn versions(r: &ReportData) -> String {
    let mut device = r.device.facts.clone();
    if !r.device.name.is_empty() {
        device.insert("name".into(), r.device.name.clone());
    }
    let lists = [("Device", &device), ("Libraries", &r.device.libraries), ("Options", &r.options)];
    let mut out = String::new();
    for (title, list) in lists {
        if !list.is_empty() {
            _ = write!(out, "<div><h3>{title}</h3>{}</div>", facts(list));
        }
    }
    if out.is_empty() { out } else { format!("<div class=\"facts\">{out}</div>") }
}

fn facts(list: &BTreeMap<String, String>) -> String {
    let items = list.iter().map(|(k, v)| format!("<div><dt>{}</dt><dd>{}</dd></div>", esc(k), esc(v)));
    format!("<dl>{}</dl>", items.collect::<String>())
}
