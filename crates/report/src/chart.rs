//! The curve of latency against memory as an SVG that stands alone.

use std::fmt::Write;

use crate::data::Breakpoint;
use crate::plot::Axis;
use crate::text::{bytes, esc, time};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 56.0;

/// Draws breakpoints as a staircase: predicted times, and measured ones as dots. `axis` names the memory. Empty fronts
/// give a picture without a line.
pub fn curve_svg(title: &str, axis: &str, points: &[Breakpoint]) -> String {
    let times = points.iter().flat_map(|p| [Some(p.predicted_us), p.measured_us]).flatten();
    let (y, x) = (Axis::around(times), Axis::memory(points.iter().map(|p| p.bytes as f64)));
    let across = |v: f64| LEFT + x.at(v) * (WIDTH - LEFT - RIGHT);
    let down = |v: f64| HEIGHT - BOTTOM - y.at(v) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"15\" fill=\"#1c2330\">{0}</text>\n",
        esc(title)
    );
    for t in y.ticks(5, false) {
        let at = down(t);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e3e7ee\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\" fill=\"#556070\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            esc(&time(t))
        );
    }
    for t in x.ticks(7, true) {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#556070\">{}</text>",
            across(t),
            HEIGHT - BOTTOM + 20.0,
            esc(&bytes(t as u64))
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#1c2330\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        esc(axis)
    );
    let mut path = String::new();
    for p in points {
        let (px, py) = (across(p.bytes as f64), down(p.predicted_us));
        let _ =
            if path.is_empty() { write!(path, "M{px:.1} {py:.1}") } else { write!(path, "H{px:.1}V{py:.1}") };
    }
    if !path.is_empty() {
        let _ = writeln!(
            out,
            "<path d=\"{path}H{}\" fill=\"none\" stroke=\"#2a62d9\" stroke-width=\"2\"/>",
            WIDTH - RIGHT
        );
    }
    for p in points {
        let changed: Vec<String> =
            p.changes.iter().map(|c| format!("{}: {} to {}", c.step, c.from, c.to)).collect();
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"#2a62d9\"><title>{}</title></circle>",
            across(p.bytes as f64),
            down(p.predicted_us),
            esc(&format!("from {}: {}\n{}", bytes(p.bytes), time(p.predicted_us), changed.join("\n")))
        );
        if let Some(us) = p.measured_us {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#ffffff\" stroke=\"#b5480f\" stroke-width=\"2\">\
                 <title>{}</title></circle>",
                across(p.bytes as f64),
                down(us),
                esc(&format!("measured {}", time(us)))
            );
        }
    }
    let mut key = vec![("#2a62d9", "predicted")];
    if points.iter().any(|p| p.measured_us.is_some()) {
        key.push(("#b5480f", "measured"));
    }
    for (i, (colour, text)) in key.into_iter().enumerate() {
        let at = WIDTH - RIGHT - 210.0 + 110.0 * i as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{at}\" cy=\"22\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"26\" fill=\"#1c2330\">{text}</text>",
            at + 9.0
        );
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Change;

    #[test]
    fn names_are_escaped_and_every_point_is_drawn() {
        let point = |bytes, us| Breakpoint {
            bytes,
            predicted_us: us,
            measured_us: Some(us * 1.1),
            changes: vec![Change { step: "<a>&\"".into(), ..Change::default() }],
        };
        let svg = curve_svg("<net>", "workspace", &[point(0, 9.0), point(1 << 20, 7.0), point(1 << 24, 6.5)]);
        assert!(!svg.contains("<a>") && !svg.contains("<net>") && svg.contains("&lt;net&gt;"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3 + 3 + 2);
        assert!(curve_svg("", "", &[]).ends_with("</svg>\n"));
        let odd = [Breakpoint { bytes: u64::MAX, predicted_us: f64::NAN, ..Breakpoint::default() }];
        assert!(!curve_svg("", "", &odd).contains("NaN"));
    }
}
