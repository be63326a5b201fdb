//! `models`: trained models against ONNX Runtime.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo};

/// What `tests/models/check.py` imports.
const PACKAGES: [&str; 3] = ["onnxruntime==1.32.0", "numpy>=2,<3", "pillow>=10.1"];

/// Fetches what is missing into `target/models`, then builds and compares the models named, or all.
pub(crate) fn run(names: &[String]) -> Result<()> {
    cargo("the program", &["build", "--release", "--package", "tactician-cli"], &[])?;
    let folder = format!("{ROOT}/target/models");
    let packages = format!("{folder}/python");
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
    if !Path::new(&packages).join("onnxruntime").exists() {
        let mut args =
            vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", &packages];
        args.extend(PACKAGES);
        python("installing ONNX Runtime", &args, &packages)?;
    }
    let script = |name: &str| format!("{ROOT}/tests/models/{name}");
    python("fetching the models", &[&script("fetch.py"), &folder], &packages)?;
    let program = format!("{ROOT}/target/release/tactician");
    let table = format!("{folder}/models.tac");
    let check = script("check.py");
    let mut args = vec![check.as_str(), "--models", &folder, "--tactician", &program, "--table", &table];
    args.extend(names.iter().map(String::as_str));
    python("the models", &args, &packages)
}

/// Runs a Python program that finds its packages in a folder.
pub(crate) fn python(what: &str, args: &[&str], packages: &str) -> Result<()> {
    eprintln!("== {what}: python3 {}", args.join(" "));
    let status = Command::new("python3")
        .args(args)
        .env("PYTHONPATH", packages)
        .status()
        .context("could not start python3; install Python 3.11 or later with pip")?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
