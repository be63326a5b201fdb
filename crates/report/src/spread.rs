//! How far the times of each step spread.

use std::fmt::Write;

use crate::data::ReportData;
use crate::plot::{Axis, Chart, SIDE, labels, num};
use crate::text::{count, esc, percent, time};

/// The section's inside; empty when no step was timed.
pub(crate) fn html(r: &ReportData) -> String {
    let timed: Vec<_> = r.steps.iter().enumerate().filter_map(|(i, s)| Some((i, s, s.timing?))).collect();
    // Logarithms need something above zero.
    let least = 0.01;
    let positive = |us: f64| if us.is_finite() { us.max(least) } else { least };
    let all =
        timed.iter().flat_map(|(_, s, t)| [t.min_us, t.median_us + t.mad_us, s.predicted_us]).map(positive);
    let (lo, hi) = all.fold((f64::INFINITY, 0f64), |(lo, hi), v| (lo.min(v), hi.max(v)));
    if timed.is_empty() {
        return String::new();
    }
    let y = Axis::Log(lo / 1.2, hi * 1.2);
    let wide = SIDE / r.steps.len() as f64;
    let py = |us: f64| num(SIDE * (1.0 - y.at(positive(us))));
    let mut body = String::new();
    for (i, s, t) in &timed {
        let x = (*i as f64 + 0.5) * wide;
        let words = format!(
            "{}: median {} ± {}, fastest {}, predicted {}; {}",
            s.name,
            time(t.median_us),
            time(t.mad_us),
            time(t.min_us),
            time(s.predicted_us),
            count(u64::from(t.samples), "sample", "samples"),
        );
        _ = write!(
            body,
            "<g class=\"mark\"><title>{}</title><rect x=\"{}\" y=\"0\" width=\"{}\" height=\"{SIDE}\"/>\
             <path class=\"range\" d=\"M{x1} {}V{}\"/><path class=\"expected\" d=\"M{} {}h{}\"/>\
             <path class=\"dot measured\" d=\"M{x1} {}h0\"/></g>",
            esc(&words),
            num(x - wide / 2.0),
            num(wide),
            py(t.min_us),
            py(t.median_us + t.mad_us),
            num(x - wide * 0.35),
            py(s.predicted_us),
            num(wide * 0.7),
            py(t.median_us),
            x1 = num(x),
        );
    }
    let step = Axis::Linear(0.0, r.steps.len() as f64);
    let whole = step.ticks(8, false).into_iter().filter(|v| v.fract() == 0.0).collect::<Vec<_>>();
    let mut shares: Vec<f64> =
        timed.iter().map(|(_, _, t)| t.mad_us / t.median_us).filter(|s| s.is_finite()).collect();
    shares.sort_by(f64::total_cmp);
    let typical = shares.get(shares.len() / 2).map_or(String::new(), |&s| {
        format!("<p>For half of the steps the deviation is at most <b>{}</b> of the median.</p>", percent(s))
    });
    let chart = Chart {
        class: "spread",
        label: "Fastest time, median and deviation of every step",
        hint: "Point at a step to see its times.",
        x_name: "step",
        x: labels(step, &whole, |v| format!("{v:.0}")),
        y: labels(y, &y.ticks(6, false), time),
        top: Vec::new(),
        body,
    };
    format!(
        "{typical}<p class=\"key\"><span class=\"measured\">median</span><span class=\"range\">fastest to median + \
         deviation</span><span class=\"expected\">predicted</span></p>{}",
        chart.html()
    )
}
