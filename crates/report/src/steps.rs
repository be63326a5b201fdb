//! The table of steps, and the colours of time.

use std::fmt::Write;

use crate::data::{ReportData, Step};
use crate::text::{NONE, bytes, count, esc, percent, time, time_or_none};

/// Classes of the colour scale, `t0` the fastest.
const CLASSES: usize = 7;

/// How much of the whole each step takes, as a colour and as a share.
pub(crate) struct Heat {
    least: f64,
    most: f64,
    sum: f64,
}

impl Heat {
    pub(crate) fn new(steps: &[Step]) -> Heat {
        let times = || steps.iter().map(Step::time_us);
        let least = times().filter(|&us| us > 0.0).fold(f64::INFINITY, f64::min);
        let most = times().fold(0.0, f64::max);
        Heat { least: if least < most { least } else { 0.0 }, most, sum: times().sum() }
    }

    /// The colour of a time, between the fastest step's and the slowest's. By square roots: a few steps take most of the
    /// time, the others should still differ.
    pub(crate) fn class(&self, us: f64) -> usize {
        let (lo, hi) = (self.least.sqrt(), self.most.sqrt());
        let place = if hi > lo { (us.max(0.0).sqrt() - lo) / (hi - lo) * CLASSES as f64 } else { 0.0 };
        (place as usize).min(CLASSES - 1)
    }

    /// A step's share of the whole.
    pub(crate) fn share(&self, s: &Step) -> f64 {
        match s.share {
            Some(share) if share.is_finite() => share,
            _ if self.sum > 0.0 => s.time_us() / self.sum,
            _ => 0.0,
        }
    }

    /// What the colours mean.
    pub(crate) fn legend(&self) -> String {
        if self.most <= 0.0 {
            return String::new();
        }
        let mut out = String::from("<p class=\"key heat\"><span class=\"label\">time of a step up to</span>");
        for k in 0..CLASSES {
            let (lo, hi) = (self.least.sqrt(), self.most.sqrt());
            let up_to = (lo + (hi - lo) * (k + 1) as f64 / CLASSES as f64).powi(2);
            _ = write!(out, "<span class=\"t{k}\">{}</span>", time(up_to));
        }
        out.push_str("</p>");
        out
    }
}

/// A column: its title, whether it is a number, and whether it gives way on narrow screens.
const COLUMNS: [(&str, &str, bool); 9] = [
    ("#", "n", false),
    ("step", "", false),
    ("tactic", "", false),
    ("time", "n", false),
    ("share", "n", false),
    ("predicted", "n", true),
    ("workspace", "n", false),
    ("launches", "n", true),
    ("needs", "", true),
];

/// The section's inside; empty without steps.
pub(crate) fn html(r: &ReportData, heat: &Heat) -> String {
    if r.steps.is_empty() {
        return String::new();
    }
    let mut head = String::new();
    for (i, (title, class, gives_way)) in COLUMNS.iter().enumerate() {
        let class = [*class, if *gives_way { "wide" } else { "" }].join(" ");
        let sort = if i == 0 { " aria-sort=\"ascending\"" } else { "" };
        _ = write!(head, "<th scope=\"col\" class=\"{}\"{sort}>{title}</th>", class.trim());
    }
    let mut rows = String::new();
    let largest = r.steps.iter().map(|s| heat.share(s)).fold(0.0, f64::max);
    for (i, s) in r.steps.iter().enumerate() {
        rows.push_str(&row(s, i, heat, largest));
    }
    format!(
        "<p>{}</p><div class=\"tools needs-script\"><label>Filter <input type=\"search\" id=\"filter\" \
         placeholder=\"name, operation, tactic or library\" autocomplete=\"off\"></label>\
         <output id=\"count\" for=\"filter\">{}</output></div>\
         <noscript><p>What else could have run each step is in the data at the end of this page; showing it here needs \
         JavaScript.</p></noscript>\
         <table id=\"steps\"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>",
        concentration(r, heat),
        count(r.steps.len() as u64, "step", "steps"),
    )
}

/// How few steps take half the time.
fn concentration(r: &ReportData, heat: &Heat) -> String {
    let mut times: Vec<f64> = r.steps.iter().map(Step::time_us).collect();
    times.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut n) = (0.0, 0u64);
    for t in &times {
        if sum * 2.0 >= heat.sum {
            break;
        }
        sum += t;
        n += 1;
    }
    if heat.sum <= 0.0 {
        return "No step has a time.".into();
    }
    let considered: usize = (0..r.steps.len()).map(|i| r.candidates(i).len()).sum();
    let half = match n {
        1 => "The slowest step takes".to_owned(),
        n => format!("The <b>{n}</b> slowest take"),
    };
    let chosen = match considered {
        0 => String::new(),
        n => format!(
            " They were chosen among {}; open a step to see its own.",
            count(n as u64, "tactic", "tactics")
        ),
    };
    format!("{half} half of the {} that all {} take.{chosen}", time(heat.sum), times.len())
}

fn row(s: &Step, i: usize, heat: &Heat, largest: f64) -> String {
    let us = s.time_us();
    let share = heat.share(s);
    let bar = if largest > 0.0 { (share / largest).clamp(0.0, 1.0) } else { 0.0 };
    // What to sort by, where the text would sort wrongly.
    let key = |v: f64| format!("{v:.4}");
    let needs = if s.needs.is_empty() { NONE.to_owned() } else { esc(&s.needs.join(", ")) };
    let measured = match s.timing {
        Some(t) => time(t.median_us),
        None => format!("<span class=\"guess\" title=\"predicted\">{}</span>", time(us)),
    };
    format!(
        "<tr id=\"step-{i}\" data-step=\"{i}\"><td class=\"n at\" data-key=\"{i}\">{i}</td>\
         <th scope=\"row\" class=\"name\"><span>{}</span><small>{}</small></th><td class=\"tactic\"><code>{}</code></td>\
         <td class=\"n time\" data-key=\"{}\">{measured}</td><td class=\"n share\" data-key=\"{}\"><i class=\"t{}\" \
         style=\"--w:{bar:.3}\"></i><span>{}</span></td><td class=\"n wide\" data-key=\"{}\">{}</td>\
         <td class=\"n workspace\" data-key=\"{}\">{}</td><td class=\"n wide\" data-key=\"{}\">{}</td>\
         <td class=\"wide\">{needs}</td></tr>",
        esc(&s.name),
        esc(&s.op),
        esc(&s.tactic),
        key(us),
        key(share),
        heat.class(us),
        percent(share),
        key(s.predicted_us),
        time_or_none(Some(s.predicted_us)),
        s.workspace_bytes,
        if s.workspace_bytes == 0 { NONE.to_owned() } else { bytes(s.workspace_bytes) },
        s.launches,
        s.launches,
    )
}
