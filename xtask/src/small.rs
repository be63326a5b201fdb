//! `small`: the program that runs plans with the driver alone, and its size.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Most bytes of the stripped program.
const MOST: u64 = 3_000_000;

/// Features of the runtime that are checked apart; the gate's other steps check all of them together.
const FEATURES: [&str; 5] = ["", "cpu", "cuda", "cudnn", "cublaslt"];

/// What cargo is told to build the runtime with the driver alone.
const DRIVER_ONLY: [&str; 5] =
    ["--package", "tactician-runtime", "--no-default-features", "--features", "cuda"];

/// Builds the program and holds it to its size; returns where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let args = [&["build", "--profile", "small", "--example", "run_plan"][..], &DRIVER_ONLY].concat();
    cargo("the driver-only runtime program", &args, &[])?;
    let program = crate::target_folder().join("small/examples/run_plan");
    let bytes =
        std::fs::metadata(&program).with_context(|| format!("there is no {}", program.display()))?.len();
    if bytes > MOST {
        bail!("{} takes {bytes} bytes, more than {MOST}", program.display());
    }
    eprintln!("run_plan with the driver alone takes {bytes} bytes of {MOST}");
    Ok(program)
}

/// Checks the runtime with each feature by itself and tests what it says of the others; then builds the program.
pub(crate) fn check() -> Result<()> {
    for f in FEATURES {
        let what = format!("the runtime with the features `{f}`");
        let package = ["clippy", "--package", "tactician-runtime", "--all-targets", "--no-default-features"];
        cargo(&what, &[&package[..], &["--features", f, "--", "-D", "warnings"]].concat(), &[])?;
        let package = ["test", "--package", "tactician-runtime", "--lib", "--no-default-features"];
        cargo(&what, &[&package[..], &["--features", f]].concat(), &[])?;
    }
    build().map(drop)
}
