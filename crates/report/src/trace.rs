//! The timeline of a run, in the JSON form that Perfetto and Chrome's tracing page load.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceStep {
    /// Its name.
    pub name: String,
    /// What it does, such as `conv + relu`.
    pub op: String,
    /// The tactic that runs it.
    pub tactic: String,
    /// Bytes that it reads and writes.
    pub bytes: u64,
    /// Where it runs.
    pub row: TraceRow,
    /// When it starts, in microseconds from the start of the run.
    pub start_us: f64,
    /// How long it takes, in microseconds.
    pub duration_us: f64,
}

/// A row of the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceRow {
    /// The device that the plan is for.
    #[default]
    Device,
    /// The host: its CPU's steps in a plan for a GPU, and what enqueues the others.
    Host,
}

/// A trace with one event a step. Times that are no numbers become zero.
pub fn chrome_trace(steps: &[TraceStep]) -> String {
    let mut events = vec![name(0, "process_name", "tactician")];
    for row in [TraceRow::Device, TraceRow::Host] {
        if steps.iter().any(|s| s.row == row) {
            events.push(name(
                thread(row),
                "thread_name",
                if row == TraceRow::Device { "device" } else { "host" },
            ));
        }
    }
    let time = |us: f64| if us.is_finite() { us.max(0.0) } else { 0.0 };
    events.extend(steps.iter().map(|s| {
        json!({
            "name": s.name,
            "cat": s.op,
            "ph": "X",
            "ts": time(s.start_us),
            "dur": time(s.duration_us),
            "pid": 1,
            "tid": thread(s.row),
            "args": { "tactic": s.tactic, "op": s.op, "bytes": s.bytes },
        })
    }));
    json!({ "displayTimeUnit": "ns", "traceEvents": events }).to_string()
}

fn thread(row: TraceRow) -> u32 {
    match row {
        TraceRow::Device => 1,
        TraceRow::Host => 2,
    }
}

/// An event that names a row.
fn name(tid: u32, what: &str, text: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": 1, "tid": tid, "args": { "name": text } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_step_on_its_row() {
        let step = |name: &str, row, start_us| TraceStep {
            name: name.into(),
            op: "conv".into(),
            tactic: "conv.cudnn/e1".into(),
            bytes: 4096,
            row,
            start_us,
            duration_us: 2.5,
        };
        let text = chrome_trace(&[
            step("a</script>\"\u{1}é", TraceRow::Device, 0.0),
            step("b", TraceRow::Host, f64::NAN),
        ]);
        let v: Value = serde_json::from_str(&text).unwrap();
        let events = v["traceEvents"].as_array().unwrap();
        assert_eq!(events.iter().filter(|e| e["ph"] == "M").count(), 3);
        let steps: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0]["name"], "a</script>\"\u{1}é");
        assert_eq!((&steps[0]["tid"], &steps[1]["tid"]), (&json!(1), &json!(2)));
        assert_eq!((&steps[0]["dur"], &steps[1]["ts"]), (&json!(2.5), &json!(0.0)));
        assert_eq!(steps[0]["args"]["bytes"], 4096);
    }

    #[test]
    fn nothing_is_a_trace_too() {
        let v: Value = serde_json::from_str(&chrome_trace(&[])).unwrap();
        assert_eq!(v["traceEvents"].as_array().unwrap().len(), 1);
    }
}
