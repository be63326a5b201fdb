//! The rules of the house that the compiler does not hold: who may depend on whom, and where `unsafe` may be.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Direct dependencies of every workspace package, without those of tests and build scripts.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo writes JSON");
    let text = |v: &serde_json::Value| v.as_str().expect("a string").to_owned();
    let list = |v: &serde_json::Value| v.as_array().expect("a list").clone();
    list(&meta["packages"])
        .iter()
        .map(|p| {
            let deps = list(&p["dependencies"]);
            let normal = deps.iter().filter(|d| d["kind"].is_null()).map(|d| text(&d["name"])).collect();
            (text(&p["name"]), normal)
        })
        .collect()
}

/// Everything in the workspace that a package reaches.
fn reach(packages: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(p) = open.pop() {
        for d in packages.get(&p).into_iter().flatten() {
            if seen.insert(d.clone()) {
                open.push(d.clone());
            }
        }
    }
    seen
}

#[test]
fn the_runtime_knows_nothing_of_building() {
    let p = packages();
    let reached = reach(&p, "tactician-runtime");
    assert!(["plan", "cpu", "cuda"].iter().all(|c| reached.contains(&format!("tactician-{c}"))));
    for other in ["ir", "onnx", "reference", "passes", "tactics", "tune", "select", "kernels"] {
        assert!(!reached.contains(&format!("tactician-{other}")), "the runtime reaches {other}");
    }
}

#[test]
fn only_the_graph_knows_petgraph() {
    for (name, deps) in packages() {
        assert_eq!(deps.contains("petgraph"), name == "tactician-ir", "{name}");
    }
}

#[test]
fn a_report_is_made_of_its_data_alone() {
    let p = packages();
    let reached = reach(&p, "tactician-report");
    assert!(reached.contains("serde") && !reached.iter().any(|d| d.starts_with("tactician-")), "{reached:?}");
}

#[test]
fn plans_and_selection_never_touch_a_device() {
    let p = packages();
    for name in ["tactician-plan", "tactician-select"] {
        let reached = reach(&p, name);
        assert!(!reached.contains("tactician-device") && !reached.contains("tactician-cpu"), "{name}");
    }
}

/// All Rust files below a folder.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    // `plan` and `onnx` map files; `runtime` and `tune` run steps on raw spans.
    let allowed = ["device", "cpu", "cuda", "cudnn-sys", "cublaslt-sys", "runtime", "plan", "tune", "onnx"];
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("crates")).expect("crates/ is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut files = Vec::new();
        sources(&path, &mut files);
        for f in files {
            // Tests that measure print for the person who runs them.
            if f.file_name().is_some_and(|n| n.to_string_lossy().ends_with("_tests.rs")) {
                continue;
            }
            let text = std::fs::read_to_string(&f).expect("readable");
            if text.lines().any(|l| l.contains("unsafe {") || l.contains("unsafe impl")) {
                found.insert(name.clone());
            }
        }
    }
    for name in &found {
        assert!(allowed.contains(&name.as_str()), "crates/{name} has unsafe code");
    }
    assert!(found.contains("cpu"), "the check finds nothing at all");
}

#[test]
fn only_the_program_prints() {
    for entry in std::fs::read_dir(root().join("crates")).expect("crates/ is there") {
        let path = entry.expect("an entry").path();
        if path.ends_with("cli") {
            continue;
        }
        let mut files = Vec::new();
        sources(&path.join("src"), &mut files);
        for f in files {
            // Tests that measure print for the person who runs them.
            if f.file_name().is_some_and(|n| n.to_string_lossy().ends_with("_tests.rs")) {
                continue;
            }
            let text = std::fs::read_to_string(&f).expect("readable");
            for macro_name in ["println!", "eprintln!", "print!(", "dbg!("] {
                let line = text.lines().find(|l| l.contains(macro_name) && !l.trim_start().starts_with("//"));
                assert!(line.is_none(), "{} prints: {}", f.display(), line.unwrap_or_default());
            }
        }
    }
}
