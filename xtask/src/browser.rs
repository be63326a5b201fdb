//! `browser`: the reports' page in a real browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo};

/// What drives the browser, from npm.
const PACKAGE: &str = "playwright-core@1.65.1";

/// Where Debian's package puts the browser; `CHROMIUM` names another.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Writes sample pages, opens them in a headless Chromium and uses them; leaves screenshots in `target/browser/shots`.
pub(crate) fn run() -> Result<()> {
    let chromium = std::env::var_os("CHROMIUM").map_or(PathBuf::from(CHROMIUM), PathBuf::from);
    if !chromium.exists() {
        bail!(
            "there is no {}: install Chromium (`apt-get install chromium` on Debian), or name a Chromium or Chrome in \
             the variable CHROMIUM",
            chromium.display()
        );
    }
    let root = format!("{ROOT}/target/browser");
    let (modules, pages, shots) =
        (format!("{root}/{PACKAGE}"), format!("{root}/pages"), format!("{root}/shots"));
    for folder in [&modules, &pages, &shots] {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {folder}"))?;
    }
    if !Path::new(&modules).join("node_modules/playwright-core").exists() {
        let args =
            ["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", &modules, PACKAGE];
        program("fetching what drives the browser", "npm", &args)?;
    }
    cargo(
        "sample reports",
        &["run", "--quiet", "--package", "tactician-report", "--example", "sample", &pages],
        &[],
    )?;
    let script = format!("{ROOT}/crates/report/tests/browser/check.mjs");
    program(
        "the reports in a browser",
        "node",
        &[&script, &pages, &modules, &chromium.to_string_lossy(), &shots],
    )
}

/// Runs a program of Node.
fn program(what: &str, name: &str, args: &[&str]) -> Result<()> {
    eprintln!("== {what}: {name} {}", args.join(" "));
    let status = Command::new(name)
        .args(args)
        .status()
        .with_context(|| format!("could not start {name}; install Node.js 18 or later with npm"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
