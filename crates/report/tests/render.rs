//! The page as a whole: safe, complete, well-formed, and made in no time.

#[path = "../examples/sample/hostile.rs"]
mod hostile;
#[path = "../examples/sample/network.rs"]
mod network;
mod xml;

use std::time::Instant;

use tactician_report::{Breakpoint, ReportData, Step, chrome_trace, render};

/// The data as the page's script finds it.
fn embedded(page: &str) -> serde_json::Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let (_, behind) = page.split_once(start).expect("data is embedded");
    let (json, _) = behind.split_once("</script>").expect("its element ends");
    serde_json::from_str(json).expect("it is JSON")
}

/// What holds for every page.
fn check(page: &str) {
    assert_eq!(page.matches("</script>").count(), 3);
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(page.matches("</style>").count(), 1);
    let page = page.replacen("<link rel=\"icon\" href=\"data:,\">", "", 1);
    for outside in ["src=", "@import", "url(h", "url(\"", "https:", "<link", "<img", "<iframe"] {
        assert!(!page.contains(outside), "the page has `{outside}`");
    }
    let namespace = "http://www.w3.org/2000/svg";
    assert_eq!(page.matches("http:").count(), page.matches(namespace).count());
    let (_, body) = page.split_once("<main").expect("there is a main part");
    let (body, _) = body.split_once("</main>").expect("it ends");
    xml::check(&format!("<main{body}</main>"));
}

#[test]
fn the_sample_is_complete() {
    let data = network::resnet("ResNet-50", [3, 4, 6, 3]);
    let page = render(&data);
    check(&page);
    for part in ["curve", "graph", "steps-section", "memory", "spread", "policies", "churn", "versions"] {
        assert!(page.contains(&format!("<section id=\"{part}\"")), "there is no section {part}");
    }
    let back: ReportData = serde_json::from_value(embedded(&page)).expect("it reads back");
    assert_eq!((&back.graph, &back.memory, &back.options), (&data.graph, &data.memory, &data.options));
    for (b, d) in back.steps.iter().zip(&data.steps) {
        assert_eq!((&b.name, &b.fused), (&d.name, &d.fused));
        assert!((b.time_us() / d.time_us() - 1.0).abs() < 1e-5);
    }
    let lists = |r: &ReportData, i| -> Vec<String> { r.candidates(i).iter().map(|c| c.id.clone()).collect() };
    assert!((0..data.steps.len()).all(|i| lists(&back, i) == lists(&data, i)));
    assert!(back.steps.iter().any(|s| s.candidates_of.is_some()), "equal candidates are said once");
    let json = serde_json::to_string(&data).expect("it is JSON");
    assert_eq!(serde_json::from_str::<ReportData>(&json).expect("it reads back"), data);
    assert_eq!(page.matches("class=\"mark region").count(), data.steps.len());
}

#[test]
fn hostile_names_stay_text() {
    let data = hostile::report();
    let page = render(&data);
    // They have elements, attributes and ends of scripts: `check` sees whether one got out.
    assert!(!page.contains("<svg onload") && !page.contains("onerror=\""));
    check(&page.replace("src=x onerror=", ""));
    assert_eq!(embedded(&page)["steps"][0]["name"], hostile::NAME);
    assert!(!page.contains('\u{202e}') || embedded(&page)["network"] == hostile::NAME);
}

#[test]
fn nothing_is_a_page_too() {
    let page = render(&ReportData::default());
    check(&page);
    assert!(!page.contains("<section"));
    let one = ReportData {
        steps: vec![Step::default()],
        curve: tactician_report::Curve { workspace: vec![Breakpoint::default()], memory: Vec::new() },
        ..ReportData::default()
    };
    check(&render(&one));
    let old: ReportData =
        serde_json::from_str(r#"{"network":"n","steps":[{"name":"a"}]}"#).expect("fields may be missing");
    check(&render(&old));
}

#[test]
fn a_thousand_steps_take_less_than_a_second_and_five_megabytes() {
    let data = network::resnet("deep", [80, 80, 90, 82]);
    assert!(data.steps.len() >= 1000, "{}", data.steps.len());
    let start = Instant::now();
    let page = render(&data);
    let took = start.elapsed();
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    check(&page);
}

#[test]
fn the_trace_has_every_step() {
    let data = network::resnet("ResNet-50", [3, 4, 6, 3]);
    let trace: serde_json::Value =
        serde_json::from_str(&chrome_trace(&network::timeline(&data))).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    assert_eq!(events.iter().filter(|e| e["ph"] == "X").count(), data.steps.len() + 1);
}

/// Relative luminance of `#rrggbb`.
fn luminance(colour: &str) -> f64 {
    let part = |i: usize| {
        let c = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).expect("two digits")) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

#[test]
fn text_can_be_read_and_the_scale_has_one_direction() {
    let style = include_str!("../page/style.css");
    let (light, dark) = style.split_once("prefers-color-scheme: dark").expect("two schemes");
    for (scheme, text) in [("light", light), ("dark", dark)] {
        let colour = |name: &str| {
            let (_, behind) = text.split_once(&format!("--{name}: #")).expect(name);
            luminance(&format!("#{}", &behind[..6]))
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (colour(a), colour(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        let mut pairs: Vec<(String, String)> = (0..7).map(|k| (format!("t{k}"), format!("i{k}"))).collect();
        for ground in ["paper", "raised"] {
            for ink in ["ink", "muted", "accent", "warm", "bad", "good"] {
                pairs.push((ground.into(), ink.into()));
            }
        }
        pairs.extend([("accent-soft".into(), "ink".into()), ("accent-soft".into(), "good".into())]);
        for (ground, ink) in pairs {
            let c = contrast(&ground, &ink);
            assert!(c >= 4.5, "{scheme}: {ink} on {ground} has a contrast of {c:.2}");
        }
        let scale: Vec<f64> = (0..7).map(|k| colour(&format!("t{k}"))).collect();
        assert!(scale.windows(2).all(|w| (w[0] > w[1]) == (scheme == "light")), "{scheme}: {scale:?}");
    }
}
