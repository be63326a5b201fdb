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
    if !chromium.exists() && std::env::var_os("CHROMIUM").is_none() {
        install()?;
    }
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

/// Installs Debian's package where that can be done without asking: as root, on a system that has packages.
fn install() -> Result<()> {
    let says = |name: &str, args: &[&str]| {
        let out = Command::new(name).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    if says("id", &["-u"]).as_deref() != Some("0") || says("apt-get", &["--version"]).is_none() {
        return Ok(());
    }
    program("the lists of packages", "apt-get", &["update", "-qq"])?;
    program("the browser", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "chromium"])
}

/// Runs a program.
fn program(what: &str, name: &str, args: &[&str]) -> Result<()> {
    eprintln!("== {what}: {name} {}", args.join(" "));
    let status = Command::new(name)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("could not start {name}; node and npm come with Node.js 18 or later"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
