//! Makes a library that stands in for the GPU's driver: without one cuDNN lists no engine that it would compile.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = include_str!("driver.c");

/// The folder of a `libcuda.so.1` that has every function which the libraries in `folder` name.
pub(crate) fn stand_in(libraries: &str, folder: &str) -> Result<String> {
    let target = format!("{folder}/libcuda.so.1");
    let source = format!("{folder}/driver.c");
    let known = std::fs::read_to_string(&source).unwrap_or_default();
    if known.starts_with(SOURCE) && Path::new(&target).exists() {
        return absolute(folder);
    }
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(libraries).with_context(|| format!("could not list {libraries}"))? {
        let path = entry?.path();
        let bytes = std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        names.extend(bytes.split(|&b| b == 0).filter_map(function).map(str::to_owned));
    }
    let mut text = SOURCE.to_owned();
    for name in names.iter().filter(|n| !SOURCE.contains(&format!(" {n}("))) {
        writeln!(text, "int {name}(void) {{ return 100; }}")?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {folder}"))?;
    std::fs::write(&source, text).with_context(|| format!("could not write {source}"))?;
    let arguments = ["-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", &target, &source];
    let status = Command::new("cc").args(arguments).status().context("no C compiler called cc")?;
    ensure!(status.success(), "cc could not compile {source}");
    absolute(folder)
}

fn absolute(folder: &str) -> Result<String> {
    let path = std::fs::canonicalize(folder).with_context(|| format!("there is no {folder}"))?;
    Ok(path.display().to_string())
}

/// A text that is the name of a function of the driver.
fn function(text: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(text).ok()?;
    let rest = name.strip_prefix("cu")?;
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ((5..60).contains(&rest.len()) && plain && rest.as_bytes()[0].is_ascii_uppercase()).then_some(name)
}
