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

/// The targets, and the inputs that the gate tries of each: some ten seconds' worth.
const TARGETS: [(&str, u32); 5] =
    [("onnx", 1_000_000), ("stages", 1_000_000), ("text", 800_000), ("plan", 600_000), ("table", 200_000)];

/// The seed of the gate. With it goes a number of inputs, not of seconds: a change then passes or fails alike on every
/// machine, and nobody's gate fails for what an unlucky number finds in code that was there before.
const GATE_SEED: u32 = 1;

/// How long a target is fuzzed.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// The same inputs each time.
    Gate,
    /// Others each time, for so long.
    Seconds(u32),
}

/// Runs each fuzz target, or one. Fails on the first finding.
pub(crate) fn run(length: Length, only: Option<&str>) -> Result<()> {
    let targets: Vec<(&str, u32)> =
        TARGETS.into_iter().filter(|(t, _)| only.is_none_or(|o| o == *t)).collect();
    if targets.is_empty() {
        bail!("there is no fuzz target `{}`", only.unwrap_or_default());
    }
    let folder = format!("{ROOT}/fuzz");
    let build = |bins: &[(&str, u32)], flags: &str| {
        let mut args = vec!["build", "--release", "--manifest-path", "fuzz/Cargo.toml"];
        // With a target named, the flags stay away from build scripts.
        args.extend(["--target", HOST]);
        args.extend(bins.iter().flat_map(|(b, _)| ["--bin", b]));
        cargo("the fuzz targets", &args, &[("RUSTFLAGS", flags)])
    };
    build(&targets, COVERAGE)?;
    let programs = format!("{folder}/target/{HOST}/release");
    let copies = format!("{folder}/target/fuzzers");
    std::fs::create_dir_all(&copies)?;
    for (t, _) in &targets {
        std::fs::copy(format!("{programs}/{t}"), format!("{copies}/{t}"))?;
    }
    // The gate starts from the seeds alone.
    let corpora = match length {
        Length::Gate => format!("{folder}/target/gate"),
        Length::Seconds(_) => format!("{folder}/corpus"),
    };
    if matches!(length, Length::Gate) && std::path::Path::new(&corpora).exists() {
        std::fs::remove_dir_all(&corpora)?;
    }
    cargo("the seeds", &["run", "--package", "tactician", "--example", "seeds", "--", &corpora], &[])?;
    for (t, inputs) in targets {
        let limits = match length {
            Length::Gate => vec![format!("-runs={inputs}"), format!("-seed={GATE_SEED}")],
            Length::Seconds(s) => vec![format!("-max_total_time={s}")],
        };
        eprintln!("== fuzzing {t} {}", limits.join(" "));
        let (corpus, artifacts) = (format!("{corpora}/{t}"), format!("{folder}/artifacts/{t}/"));
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let status = Command::new(format!("{copies}/{t}"))
            .args([&corpus, &format!("-artifact_prefix={artifacts}")])
            .args(limits)
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
