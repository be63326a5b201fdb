//! `cudnn`: what can be tested of cuDNN without a GPU: graphs, engine lists and plans for a described one.

use std::path::Path;

use anyhow::{Context, Result};

use crate::models::python;
use crate::{ROOT, cargo, driver, kernels};

/// cuDNN, and the library without which it ends the process, as Python packages; and where their libraries lie.
const PACKAGES: [(&str, &str); 2] =
    [("nvidia-cudnn-cu13==9.14.0.64", "nvidia/cudnn/lib"), ("nvidia-cublas==13.0.2.14", "nvidia/cu13/lib")];

/// Fetches the libraries where they are missing (1 GB), then runs the tests that ask them.
pub(crate) fn run() -> Result<()> {
    let root = format!("{ROOT}/target/cudnn");
    let mut folders = vec![kernels::nvrtc()?];
    let mut cudnn = None;
    for (package, libraries) in PACKAGES {
        let folder = format!("{root}/{package}");
        let libraries = format!("{folder}/{libraries}");
        if !Path::new(&libraries).exists() {
            std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
            let pip =
                ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
            python("installing cuDNN", &[&pip[..], &[&folder, package]].concat(), &folder)?;
        }
        let found =
            std::fs::canonicalize(&libraries).with_context(|| format!("{package} has no {libraries}"))?;
        cudnn.get_or_insert_with(|| found.display().to_string());
        folders.push(found.display().to_string());
    }
    let path = std::env::join_paths(&folders).context("a folder's name has a colon")?;
    let path = path.to_string_lossy();
    let driver = driver::stand_in(&cudnn.context("no libraries")?, &format!("{root}/driver"))?;
    let with_driver = format!("{driver}:{path}");
    let env = [
        ("LD_LIBRARY_PATH", &*with_driver),
        ("TACTICIAN_CUDA_LIBS", &*path),
        ("TACTICIAN_NEED_CUDNN", "1"),
        ("TACTICIAN_NO_DRIVER", "1"),
    ];
    cargo("cuDNN's graphs", &["test", "--package", "tactician-cuda", "--lib", "cudnn"], &env)?;
    // The folders are not on this test's own path: it hides libraries from its children.
    cargo("missing libraries", &["test", "--package", "tactician-cuda", "--test", "absent"], &env[1..])?;
    cargo("cuDNN's tactics", &["test", "--package", "tactician-tactics", "cudnn"], &env)?;
    cargo("networks on cuDNN", &["test", "--package", "tactician", "--test", "cudnn"], &env)
}
