//! Project chores: `cargo xtask ci` is the whole gate.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// The machine that this was compiled for.
const HOST: &str = env!("HOST");

const HELP: &str = "cargo xtask COMMAND

  ci      everything the gate checks: format, lints, tests, documentation
  lint    format and lints only
  fuzz [SECONDS] [TARGET]
          fuzzes the importer, the text form, the plan and the table, each for so long [default: 15]; needs a
          C++ compiler; keeps what it finds in fuzz/corpus and fuzz/artifacts
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
            )
        }
        Some("lint") => lint(),
        Some("fuzz") => {
            let seconds = match std::env::args().nth(2) {
                Some(s) => s.parse().context("the length of fuzzing is a number of seconds")?,
                None => 15,
            };
            fuzz(seconds, std::env::args().nth(3).as_deref())
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

/// What libFuzzer counts coverage with, on a stable compiler.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1 --cfg fuzzing";

/// Runs each fuzz target, or one, for a number of seconds. Fails on the first finding.
fn fuzz(seconds: u32, only: Option<&str>) -> Result<()> {
    let targets: Vec<&str> =
        ["onnx", "text", "plan", "table"].into_iter().filter(|t| only.is_none_or(|o| o == *t)).collect();
    if targets.is_empty() {
        bail!("there is no fuzz target `{}`", only.unwrap_or_default());
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
    let build = |bins: &[&str], flags: &str| {
        let mut args = vec!["build", "--release", "--manifest-path", "fuzz/Cargo.toml"];
        // With a target named, the flags stay away from build scripts.
        args.extend(["--target", HOST]);
        args.extend(bins.iter().flat_map(|b| ["--bin", b]));
        cargo("the fuzz targets", &args, &[("RUSTFLAGS", flags)])
    };
    build(&targets, COVERAGE)?;
    let programs = format!("{folder}/target/{HOST}/release");
    let copies = format!("{folder}/target/fuzzers");
    std::fs::create_dir_all(&copies)?;
    for t in &targets {
        std::fs::copy(format!("{programs}/{t}"), format!("{copies}/{t}"))?;
    }
    cargo(
        "the seeds",
        &["run", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bin", "seeds", "--", "fuzz/corpus"],
        &[],
    )?;
    for t in targets {
        eprintln!("== fuzzing {t} for {seconds} s");
        let (corpus, artifacts) = (format!("{folder}/corpus/{t}"), format!("{folder}/artifacts/{t}/"));
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let status = Command::new(format!("{copies}/{t}"))
            .args([&corpus, &format!("-max_total_time={seconds}"), &format!("-artifact_prefix={artifacts}")])
            .args([
                "-rss_limit_mb=4096",
                "-timeout=20",
                "-max_len=65536",
                "-verbosity=0",
                "-print_final_stats=1",
            ])
            .status()
            .with_context(|| format!("could not start the fuzz target {t}"))?;
        if !status.success() {
            bail!("fuzzing {t} found something: see {artifacts}");
        }
    }
    Ok(())
}
