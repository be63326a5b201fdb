//! The test suite of the ONNX standard: every case is imported, built without measuring, run, and compared with the outputs
//! that the standard's authors ship. Other cases of the same form are run as well (`--suite NAME`).
//!
//! The data are not part of this project; `cargo xtask onnx` fetches them and runs this program. Every case ends as *pass*,
//! as *free* (its numbers may be any, types and sizes are right), as *unsupported* (import or build refuses it, and
//! `unsupported.txt` says why that is meant), or as *FAIL*.

#![allow(clippy::print_stdout, reason = "a test program that reports to the person who runs it")]

mod case;
mod compare;
mod list;
mod report;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tactician::DeviceName;

use case::{Case, Outcome};
use list::List;

/// Names the folder of the data (`onnx/backend/test/data` of the Python package).
const DATA: &str = "TACTICIAN_ONNX_SUITE";

/// Names the device, as `--device` does.
const DEVICE: &str = "TACTICIAN_TEST_DEVICE";

/// Suites in the data, without those whose models are not in the package.
const SUITES: [&str; 4] = ["node", "simple", "pytorch-operator", "pytorch-converted"];

/// Longest that one case may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the command line asks for.
struct Options {
    /// Those of the standard, if none is named.
    suites: Vec<String>,
    filters: Vec<String>,
    device: DeviceName,
    json: Option<PathBuf>,
    todo: bool,
    threads: usize,
}

impl Options {
    /// The suites to run.
    fn suites(&self) -> Vec<&str> {
        if self.suites.is_empty() {
            SUITES.to_vec()
        } else {
            self.suites.iter().map(String::as_str).collect()
        }
    }
}

fn options() -> Result<Options, String> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let device = std::env::var(DEVICE).unwrap_or_else(|_| "cpu".to_owned()).parse()?;
    let mut o = Options { suites: vec![], filters: vec![], device, json: None, todo: false, threads };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{a} takes a value"));
        match a.as_str() {
            "--suite" => o.suites.push(value()?),
            "--device" => o.device = value()?.parse()?,
            "--json" => o.json = Some(value()?.into()),
            "--todo" => o.todo = true,
            "--threads" => o.threads = value()?.parse().map_err(|_| "--threads takes a number".to_owned())?,
            f if f.starts_with('-') => {
                return Err(format!(
                    "there is no option {f}; there are --suite NAME, --device cpu|cuda, --json FILE, --todo, --threads N"
                ));
            }
            _ => o.filters.push(a),
        }
    }
    Ok(o)
}

fn main() -> ExitCode {
    let Some(data) = std::env::var_os(DATA) else {
        println!(
            "skipped the ONNX suite: {DATA} names no folder of its data; `cargo xtask onnx` fetches them"
        );
        return ExitCode::SUCCESS;
    };
    match options().and_then(|o| run(Path::new(&data), &o)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the cases; whether all were as they should be.
fn run(data: &Path, options: &Options) -> Result<bool, String> {
    // The list is of the standard's cases.
    let text = if options.suites.is_empty() { include_str!("unsupported.txt") } else { "" };
    let list = List::parse(text)?;
    let mut cases = Vec::new();
    for suite in options.suites() {
        cases.extend(case::find(data, suite)?);
    }
    let all = cases.len();
    cases.retain(|c| {
        options.filters.is_empty() || options.filters.iter().any(|f| c.name.contains(f.as_str()))
    });
    let device = options.device.open(Some(1)).map_err(|e| e.to_string())?;
    // Panics are results here.
    std::panic::set_hook(Box::new(|_| {}));
    let queue: Mutex<VecDeque<Case>> = Mutex::new(cases.clone().into());
    let results: Mutex<Vec<(Case, Outcome)>> = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..options.threads.max(1) {
            s.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(case) = next else { break };
                    let (send, receive) = mpsc::channel();
                    let (mine, device, loose) = (case.clone(), device.clone(), list.tolerance(&case.name));
                    let free = list.is_free(&case.name);
                    // Not joined: one that hangs must not hold up the others.
                    std::thread::spawn(move || _ = send.send(case::run(&mine, device, loose, free)));
                    let outcome = receive.recv_timeout(LIMIT).unwrap_or(Outcome::Late);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((case, outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by(|a, b| (&a.0.suite, &a.0.name).cmp(&(&b.0.suite, &b.0.name)));
    report::report(&results, &list, options, cases.len() == all)
}
