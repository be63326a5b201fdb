//! The fused graph: the network's nodes, boxed by the step that computes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::data::ReportData;
use crate::layout;
use crate::plot::num;
use crate::steps::Heat;
use crate::text::{bytes, count, esc, percent, shorten, time};

/// Height of a node's row.
const ROW: f64 = 21.0;
/// Height of a box's head.
const HEAD: f64 = 24.0;
/// Room inside a box, beside and below its nodes.
const INSIDE: f64 = 5.0;
/// Width of a box with nodes.
const WIDE: f64 = 196.0;
/// Width of a node without a box.
const ALONE: f64 = 150.0;
/// Most nodes that a box shows; the rest is counted.
const SHOWN: usize = 12;

/// A box: a step and its nodes, or a node that no step computes.
struct Region {
    step: Option<usize>,
    nodes: Vec<usize>,
}

impl Region {
    fn rows(&self) -> usize {
        self.nodes.len().min(SHOWN) + usize::from(self.nodes.len() > SHOWN)
    }

    fn size(&self) -> (f64, f64) {
        match self.step {
            Some(_) => (WIDE, HEAD + self.rows() as f64 * ROW + INSIDE),
            None => (ALONE, ROW),
        }
    }
}

/// The section's inside; empty when there is nothing to draw.
pub(crate) fn html(r: &ReportData, heat: &Heat) -> String {
    let nodes = &r.graph.nodes;
    if nodes.is_empty() {
        return String::new();
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut of_step: BTreeMap<usize, usize> = BTreeMap::new();
    let mut region_of = vec![0; nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        let step = n.step.map(|s| s as usize).filter(|&s| s < r.steps.len());
        let at = match step {
            Some(s) => *of_step.entry(s).or_insert(regions.len()),
            None => regions.len(),
        };
        if at == regions.len() {
            regions.push(Region { step, nodes: Vec::new() });
        }
        regions[at].nodes.push(i);
        region_of[i] = at;
    }
    let edges: Vec<(usize, usize)> = r
        .graph
        .edges
        .iter()
        .filter_map(|&(a, b)| Some((*region_of.get(a as usize)?, *region_of.get(b as usize)?)))
        .collect();
    let sizes: Vec<(f64, f64)> = regions.iter().map(Region::size).collect();
    let picture = layout::draw(&sizes, &edges);
    let mut body = String::new();
    for e in &picture.edges {
        _ = write!(
            body,
            "<path class=\"edge\" data-from=\"{}\" data-to=\"{}\" d=\"{}\" marker-end=\"url(#tip)\"/>",
            e.from, e.to, e.path
        );
    }
    for (i, (g, &(x, y))) in regions.iter().zip(&picture.at).enumerate() {
        body.push_str(&region(r, heat, g, i, x, y));
    }
    let fused = match regions.iter().filter(|g| g.nodes.len() > 1).count() {
        0 => "nothing is fused".to_owned(),
        1 => "one holds several".to_owned(),
        n => format!("{n} hold several"),
    };
    let (w, h) = (picture.size.0 + 16.0, picture.size.1);
    format!(
        "<p>{} in {}; {}. It reads downwards, column by column.</p>\
         <figure class=\"chart graph\" data-zoom=\"\"><div class=\"head\">{}<div class=\"buttons needs-script\">\
         <button type=\"button\" data-by=\"1.5\" aria-label=\"Zoom in\">+</button>\
         <button type=\"button\" data-by=\"0.6667\" aria-label=\"Zoom out\">−</button>\
         <button type=\"button\" data-by=\"0\">whole</button></div></div>\
         <div class=\"zoom\"><svg style=\"aspect-ratio:{}\" viewBox=\"{} 0 {} {}\" role=\"group\" aria-label=\"The network's nodes, boxed by step\" data-marks=\"\">\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 1L7 4L0 7z\"/></marker></defs>{body}</svg></div>\
         <div class=\"readout needs-script\" aria-live=\"polite\">Drag to move; pinch, use the buttons, or click the \
         picture and turn the wheel to zoom. A click on a box opens its step.</div></figure>",
        count(nodes.len() as u64, "node", "nodes"),
        count(regions.len() as u64, "box", "boxes"),
        fused,
        heat.legend(),
        num(w / h),
        num(-8.0),
        num(w),
        num(h),
    )
}

/// One box. Its parts have coordinates of its own.
fn region(r: &ReportData, heat: &Heat, g: &Region, i: usize, x: f64, y: f64) -> String {
    let (w, h) = g.size();
    let at = format!("data-box=\"{i}\" transform=\"translate({} {})\"", num(x), num(y));
    let Some(s) = g.step else {
        let n = &r.graph.nodes[g.nodes[0]];
        return format!(
            "<g class=\"mark alone\" {at}><title>{}</title><rect width=\"{w}\" height=\"{h}\" rx=\"10\"/>\
             <text x=\"{}\" y=\"14.5\">{}</text></g>",
            esc(&format!("{}: {} {}", n.name, n.op, n.shape)),
            num(w / 2.0),
            esc(&shorten(&n.name, 22)),
        );
    };
    let step = &r.steps[s];
    let us = step.time_us();
    let words = format!(
        "{}: {}, {} ({}), {}; workspace {}",
        step.name,
        step.op,
        time(us),
        percent(heat.share(step)),
        step.tactic,
        bytes(step.workspace_bytes),
    );
    let mut out = format!(
        "<a href=\"#step-{s}\" class=\"mark region t{}\" {at}><title>{}</title><rect class=\"box\" width=\"{w}\" \
         height=\"{h}\" rx=\"7\"/><text y=\"16.5\" class=\"name\"><tspan x=\"8\">{}</tspan><tspan x=\"{}\" \
         class=\"end\">{}</tspan></text>",
        heat.class(us),
        esc(&words),
        esc(&shorten(&step.name, 20)),
        num(w - 8.0),
        time(us),
    );
    let (mut rows, mut texts) = (String::new(), String::new());
    for (k, &n) in g.nodes.iter().take(SHOWN).enumerate() {
        let (n, top) = (&r.graph.nodes[n], HEAD + k as f64 * ROW);
        // Rounded by the stroke of style.css, which is 4 wide.
        let [x0, x1] = [INSIDE + 2.0, w - INSIDE - 2.0].map(num);
        _ = write!(rows, "M{x0} {}H{x1}V{}H{x0}z", num(top + 2.0), num(top + ROW - 4.0));
        _ = write!(
            texts,
            "<text y=\"{}\"><tspan x=\"11\">{}</tspan><tspan x=\"{}\" class=\"end\">{}</tspan></text>",
            num(top + 13.5),
            esc(&shorten(&n.op, 13)),
            num(w - INSIDE - 6.0),
            esc(&shorten(&n.shape, 20)),
        );
    }
    _ = write!(out, "<path d=\"{rows}\"/>{texts}");
    if let Some(more) = g.nodes.len().checked_sub(SHOWN).filter(|&n| n > 0) {
        let y = num(HEAD + SHOWN as f64 * ROW + 13.0);
        _ = write!(out, "<text class=\"more\" x=\"11\" y=\"{y}\">and {more} more</text>");
    }
    out.push_str("</a>");
    out
}
