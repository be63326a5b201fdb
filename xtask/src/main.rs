//! Project chores: `cargo xtask ci` is the whole gate.

use std::process::Command;

use anyhow::{Context, Result, bail};

const HELP: &str = "cargo xtask COMMAND

  ci      everything the gate checks: format, lints, tests, documentation
  lint    format and lints only
";

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("ci") => {
            lint()?;
            cargo("the tests", &["test", "--workspace", "--no-fail-fast"], &[])?;
            cargo(
                "the documentation",
                &["doc", "--workspace", "--no-deps"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            )
        }
        Some("lint") => lint(),
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

/// Runs cargo in the project's root and fails with the name of what was checked.
fn cargo(what: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    eprintln!("== {what}: cargo {}", args.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(args)
        .envs(env.iter().copied())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .with_context(|| format!("could not start cargo for {what}"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
