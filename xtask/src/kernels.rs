//! `kernels`: compiles every CUDA kernel for every architecture, without a GPU.

use std::path::Path;

use anyhow::{Context, Result};

use crate::models::python;
use crate::{ROOT, cargo};

/// NVIDIA's compiler of CUDA sources, as a Python package.
const PACKAGE: &str = "nvidia-cuda-nvrtc==13.0.88";

/// Fetches NVRTC where it is missing, and says where its libraries lie.
pub(crate) fn nvrtc() -> Result<String> {
    let folder = format!("{ROOT}/target/nvrtc");
    let libraries = format!("{folder}/nvidia/cu13/lib");
    if !Path::new(&libraries).exists() {
        std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
        python("installing NVRTC", &[&pip[..], &[&folder, PACKAGE]].concat(), &folder)?;
    }
    let libraries =
        std::fs::canonicalize(&libraries).with_context(|| format!("{PACKAGE} has no {libraries}"))?;
    Ok(libraries.display().to_string())
}

/// Runs the compile check of `kernels`.
pub(crate) fn run() -> Result<()> {
    let libraries = nvrtc()?;
    cargo(
        "the CUDA kernels",
        &["test", "--package", "tactician-kernels", "--test", "compile"],
        &[("TACTICIAN_NVRTC_DIR", &libraries)],
    )
}
