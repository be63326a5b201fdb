//! `bundle`: programs for a machine without Rust, such as one with a GPU.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo, small, target_folder};

/// Test programs that have something to say on a GPU: package and target.
const TESTS: [(&str, &str); 14] = [
    ("tactician", "attention"),
    ("tactician", "gate"),
    ("tactician", "tactics"),
    ("tactician", "race"),
    ("tactician", "gpu_runtime"),
    ("tactician", "cudnn"),
    ("tactician", "precision"),
    ("tactician", "dynamic"),
    ("tactician", "session"),
    ("tactician", "onnx_suite"),
    ("tactician-cuda", "gpu"),
    ("tactician-cuda", "gpu_fault"),
    ("tactician", "host"),
    ("tactician-cuda", "gpu_host"),
];

/// Builds the program, the examples that run plans (small, for the driver alone, and with all backends) and take their
/// times apart, and the tests, and puts them stripped into `bundle/`, and packed into `bundle.tar.xz`.
pub(crate) fn run() -> Result<()> {
    let folder = PathBuf::from(ROOT).join("bundle");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("could not empty bundle/")?;
    }
    std::fs::create_dir_all(&folder).context("could not make bundle/")?;
    cargo("the program", &["build", "--release", "--package", "tactician-cli"], &[])?;
    let runtime = ["build", "--release", "--package", "tactician-runtime", "--example", "run_plan"];
    cargo("the runtime program", &runtime, &[])?;
    cargo("the program that takes times apart", &["build", "--release", "--example", "dissect"], &[])?;
    let release = target_folder().join("release");
    take(&release.join("tactician"), &folder.join("tactician"))?;
    take(&release.join("examples/dissect"), &folder.join("dissect"))?;
    take(&release.join("examples/run_plan"), &folder.join("run_plan-all"))?;
    take(&small::build()?, &folder.join("run_plan"))?;
    for (package, test) in TESTS {
        let program = program("test", package, test)?;
        take(&program, &folder.join(format!("test-{test}")))?;
    }
    take(&program("bench", "tactician", "tactics")?, &folder.join("bench-tactics"))?;
    let mut total = 0;
    for entry in std::fs::read_dir(&folder)? {
        total += entry?.metadata()?.len();
    }
    eprintln!("bundle/ holds {:.1} MiB", total as f64 / f64::from(1 << 20));
    let packed = PathBuf::from(ROOT).join("bundle.tar.xz");
    let status = Command::new("tar")
        .env("XZ_DEFAULTS", "-1 -T0")
        .args(["-C", ROOT, "-cJf"])
        .args([packed.as_path(), Path::new("bundle")])
        .status();
    if !status.context("could not start `tar`")?.success() {
        bail!("could not pack {}", packed.display());
    }
    let size = std::fs::metadata(&packed)?.len();
    eprintln!("bundle.tar.xz, the same packed, {:.1} MiB", size as f64 / f64::from(1 << 20));
    Ok(())
}

/// Builds a target of a kind, `test` or `bench`, and says where it is.
fn program(kind: &str, package: &str, name: &str) -> Result<PathBuf> {
    eprintln!("== the {kind} `{name}` of {package}");
    let release = if kind == "test" { &["--release"][..] } else { &[] };
    let out = Command::new(env!("CARGO"))
        .arg(kind)
        .args(release)
        .args(["--no-run", "--message-format=json", "--package", package, &format!("--{kind}"), name])
        .current_dir(ROOT)
        .stderr(Stdio::inherit())
        .output()
        .context("could not start cargo")?;
    if !out.status.success() {
        bail!("the {kind} `{name}` does not build");
    }
    // One JSON object a line; the last with an executable is the target.
    let text = String::from_utf8_lossy(&out.stdout);
    let key = "\"executable\":\"";
    let found = text.lines().filter_map(|l| Some(l.split_once(key)?.1.split_once('"')?.0)).next_back();
    found.map(PathBuf::from).with_context(|| format!("cargo names no program for the {kind} `{name}`"))
}

/// Copies a program without its symbols.
fn take(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("strip").arg("-o").args([to, from]).status();
    if !status.context("could not start `strip` (binutils)")?.success() {
        bail!("could not strip {}", from.display());
    }
    Ok(())
}
