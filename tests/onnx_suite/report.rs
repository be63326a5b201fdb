//! Counts, failures, and what is left to do by operator.

use std::collections::BTreeMap;

use crate::Options;
use crate::case::{Case, Outcome};
use crate::list::List;

/// A case's end, with the list taken into account: a word, and who is to blame for what.
struct Verdict {
    word: &'static str,
    blame: Vec<(String, String)>,
}

fn verdict(case: &Case, outcome: &Outcome, list: &List) -> Verdict {
    let blamed = |word, operators: &[String], what: &str| Verdict {
        word,
        blame: vec![(operators.join("+"), what.to_owned())],
    };
    match (outcome, list.reason(&case.name)) {
        (Outcome::Pass, None) if list.is_free(&case.name) => Verdict { word: "free", blame: vec![] },
        (Outcome::Pass, None) => Verdict { word: "pass", blame: vec![] },
        (Outcome::Pass, Some(_)) => Verdict {
            word: "listed",
            blame: vec![(case.name.clone(), "it passes: take it off the list".to_owned())],
        },
        (Outcome::Refused(_), Some(reason)) => {
            Verdict { word: "unsupported", blame: vec![(String::new(), reason.to_owned())] }
        }
        (Outcome::Refused(list), None) => Verdict { word: "refused", blame: list.clone() },
        (Outcome::Wrong { operators, what }, _) => blamed("wrong", operators, what),
        (Outcome::Broken { operators, what }, _) => blamed("broken", operators, what),
        (Outcome::Panic { operators, what }, _) => blamed("panic", operators, what),
        (Outcome::Late, _) => {
            blamed("late", std::slice::from_ref(&case.name), "it took longer than the limit")
        }
    }
}

/// Prints; whether everything is as it should be. `complete`: every case of the data was run.
pub(crate) fn report(
    results: &[(Case, Outcome)],
    list: &List,
    options: &Options,
    complete: bool,
) -> Result<bool, String> {
    let verdicts: Vec<(&Case, Verdict)> = results.iter().map(|(c, o)| (c, verdict(c, o, list))).collect();
    let good = |v: &Verdict| matches!(v.word, "pass" | "free" | "unsupported");
    let failed: Vec<&(&Case, Verdict)> = verdicts.iter().filter(|(_, v)| !good(v)).collect();
    if options.todo {
        todo(&failed);
    } else {
        for (c, v) in &failed {
            let (who, what) = v.blame.first().map_or(("", ""), |(a, b)| (a, b));
            println!("FAIL {}/{} ({}) {who}: {}", c.suite, c.name, v.word, first_line(what));
        }
    }
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (c, v) in &verdicts {
        *counts.entry(c.suite.as_str()).or_default().entry(v.word).or_insert(0) += 1;
    }
    for suite in options.suites().into_iter().filter(|s| counts.contains_key(s)) {
        let words: Vec<String> = counts[suite].iter().map(|(w, n)| format!("{n} {w}")).collect();
        println!("{suite}: {} cases: {}", counts[suite].values().sum::<usize>(), words.join(", "));
    }
    let names: Vec<&str> = results.iter().map(|(c, _)| c.name.as_str()).collect();
    let mut exact = true;
    if complete {
        for e in list.idle(&names) {
            exact = false;
            println!("FAIL unsupported.txt: no case is called `{}` ({})", e.pattern, e.reason);
        }
    }
    if let Some(path) = &options.json {
        let cases: BTreeMap<String, &str> =
            verdicts.iter().map(|(c, v)| (format!("{}/{}", c.suite, c.name), v.word)).collect();
        let device = options.device.to_string();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, why) in verdicts.iter().filter(|(_, v)| v.word == "unsupported").flat_map(|(_, v)| &v.blame) {
            *reasons.entry(why).or_insert(0) += 1;
        }
        let json =
            serde_json::json!({ "device": device, "counts": counts, "unsupported": reasons, "cases": cases });
        let text = serde_json::to_string_pretty(&json).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("could not write {}: {e}", path.display()))?;
    }
    Ok(failed.is_empty() && exact)
}

fn first_line(text: &str) -> String {
    const MOST: usize = 220;
    let flat: Vec<&str> = text.lines().map(str::trim).collect();
    flat.join(" ").chars().take(MOST).collect()
}

/// Failures by operator, those with the most first.
fn todo(failed: &[&(&Case, Verdict)]) {
    let mut groups: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
    for (c, v) in failed {
        for (who, what) in &v.blame {
            groups.entry((who, v.word)).or_default().push((&c.name, what));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(k, l)| (std::cmp::Reverse(l.len()), *k));
    for ((who, word), list) in groups {
        let (name, what) = list[0];
        println!("{:4} {word:8} {who}: {name}: {}", list.len(), first_line(what));
    }
}
