//! `contrib`: operators of ONNX Runtime's own domain, against ONNX Runtime.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{ROOT, cargo, models};

/// What `tests/contrib/generate.py` imports.
const PACKAGES: [&str; 3] = ["onnxruntime==1.32.0", "onnx==1.22.0", "numpy>=2,<3"];

/// Writes the cases, with packages that it fetches into `target/contrib` if they are not there, and runs them.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let folder = format!("{ROOT}/target/contrib");
    let packages = format!("{folder}/python");
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
    if !PACKAGES.iter().all(|p| Path::new(&packages).join(p.split(['=', '>']).next().unwrap_or(p)).exists()) {
        let mut pip =
            vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", &packages];
        pip.extend(PACKAGES);
        models::python("installing ONNX Runtime and ONNX", &pip, "")?;
    }
    let cases = format!("{folder}/cases");
    let script = format!("{ROOT}/tests/contrib/generate.py");
    models::python("writing cases", &[&script, &format!("{cases}/contrib")], &packages)?;
    let mut test = vec!["test", "--quiet", "--package", "tactician", "--test", "onnx_suite", "--"];
    test.extend(["--suite", "contrib"]);
    test.extend(args.iter().map(String::as_str));
    cargo("operators of com.microsoft", &test, &[("TACTICIAN_ONNX_SUITE", &cases)])
}
