//! `models`: trained models, and exported ones, against ONNX Runtime.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo, target_folder};

/// What `tests/models/check.py` imports.
const PACKAGES: [&str; 3] = ["onnxruntime==1.32.0", "numpy>=2,<3", "pillow>=10.1"];

/// What the command line asks for.
#[derive(Default)]
struct Options {
    /// The folder of models that `tests/models/export.py` made.
    large: Option<String>,
    /// The folder of models that `tests/models/architectures.py` made.
    run: Option<String>,
    /// Times instead of checking.
    time: bool,
    /// Models by name, or all.
    names: Vec<String>,
}

fn options(args: &[String]) -> Result<Options> {
    let mut out = Options::default();
    let mut args = args.iter();
    while let Some(a) = args.next() {
        match a.as_str() {
            "--large" | "--run" => {
                let folder =
                    args.next().with_context(|| format!("{a} needs the folder of the exported models"))?;
                let folder = std::fs::canonicalize(folder).with_context(|| format!("no folder {folder}"))?;
                let folder = folder.to_str().context("the folder's name is no text")?.to_owned();
                let which = if a == "--run" { &mut out.run } else { &mut out.large };
                *which = Some(folder);
            }
            "--time" => out.time = true,
            _ if a.starts_with('-') => bail!("`models` has no option {a}"),
            _ => out.names.push(a.clone()),
        }
    }
    Ok(out)
}

/// Fetches what is missing into `models` in cargo's target folder, then builds and compares, or times, the models named, or
/// all.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let o = options(args)?;
    cargo("the program", &["build", "--release", "--package", "tactician-cli"], &[])?;
    let target = target_folder();
    let target = target.to_str().context("the target folder's name is no text")?;
    let folder = format!("{target}/models");
    let packages = format!("{folder}/python");
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
    if !Path::new(&packages).join("onnxruntime").exists() {
        let mut args =
            vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", &packages];
        args.extend(PACKAGES);
        python("installing ONNX Runtime", &args, &packages)?;
    }
    let script = |name: &str| format!("{ROOT}/tests/models/{name}");
    if o.large.is_none() && o.run.is_none() || o.time {
        python("fetching the models", &[&script("fetch.py"), &folder], &packages)?;
    }
    let program = format!("{target}/release/tactician");
    let table = format!("{folder}/models.tac");
    let (check, latency) = (script("check.py"), script("latency.py"));
    let out = format!("{ROOT}/benches/results/cpu-models.json");
    let mut args = vec!["--tactician", &program, "--table", &table];
    match (&o.run, &o.large, o.time) {
        (Some(run), ..) => drop(args.splice(..0, [check.as_str(), "--run", "--models", run])),
        (None, large, true) => {
            args.splice(..0, [latency.as_str(), "--models", &folder, "--out", &out]);
            args.extend(large.iter().flat_map(|l| ["--large", l]));
        }
        (None, Some(large), false) => drop(args.splice(..0, [check.as_str(), "--large", "--models", large])),
        (None, None, false) => drop(args.splice(..0, [check.as_str(), "--models", &folder])),
    }
    args.extend(o.names.iter().map(String::as_str));
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
