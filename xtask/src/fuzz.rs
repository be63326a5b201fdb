//! `fuzz`: libFuzzer on a stable compiler.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo};

/// The machine that this was compiled for.
const HOST: &str = env!("HOST");

/// What libFuzzer counts coverage with, on a stable compiler.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1 --cfg fuzzing";

/// The seed of the gate, which shall not fail for what an unlucky number finds in code that was there before. By hand every
/// run draws another.
pub(crate) const GATE_SEED: u32 = 1;

/// Runs each fuzz target, or one, for a number of seconds. Fails on the first finding.
pub(crate) fn run(seconds: u32, only: Option<&str>, seed: Option<u32>) -> Result<()> {
    let targets: Vec<&str> = ["onnx", "stages", "text", "plan", "table"]
        .into_iter()
        .filter(|t| only.is_none_or(|o| o == *t))
        .collect();
    if targets.is_empty() {
        bail!("there is no fuzz target `{}`", only.unwrap_or_default());
    }
    let folder = format!("{ROOT}/fuzz");
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
    cargo("the seeds", &["run", "--package", "tactician", "--example", "seeds", "--", "fuzz/corpus"], &[])?;
    for t in targets {
        eprintln!("== fuzzing {t} for {seconds} s");
        let (corpus, artifacts) = (format!("{folder}/corpus/{t}"), format!("{folder}/artifacts/{t}/"));
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let status = Command::new(format!("{copies}/{t}"))
            .args([&corpus, &format!("-max_total_time={seconds}"), &format!("-artifact_prefix={artifacts}")])
            .args(seed.map(|s| format!("-seed={s}")))
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
