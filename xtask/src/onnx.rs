//! `onnx`: the test suite of the ONNX standard.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{ROOT, cargo, models};

/// The last version whose wheel holds the suite.
const WHEEL: &str = "onnx==1.22.0";

/// Unzips what the wheel in a folder holds of the suite.
const UNZIP: &str = "import glob, sys, zipfile
with zipfile.ZipFile(glob.glob(sys.argv[1] + '/onnx-*.whl')[0]) as wheel:
    names = [n for n in wheel.namelist() if n.startswith('onnx/backend/test/data/')]
    wheel.extractall(sys.argv[1], names)
open(sys.argv[1] + '/complete', 'w').close()
";

/// Fetches the suite into `target/onnx-suite` if it is not there, and runs it. A run of all of it on the CPU is compared with what
/// is kept of it in `benches/results`, or with `--record` kept there.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let folder = format!("{ROOT}/target/onnx-suite");
    if !Path::new(&folder).join("complete").exists() {
        std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
        let mut pip = vec!["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
        pip.extend(["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]);
        pip.extend(["--platform", "manylinux_2_28_x86_64", "--dest", &folder, WHEEL]);
        models::python("fetching the ONNX suite", &pip, "")?;
        models::python("unpacking the ONNX suite", &["-c", UNZIP, &folder], "")?;
    }
    let record = args.iter().any(|a| a == "--record");
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|a| *a != "--record").collect();
    let whole = args.is_empty();
    if record && !whole {
        bail!("--record keeps a run of the whole suite on the CPU, without other arguments");
    }
    let mut test = vec!["test", "--quiet", "--package", "tactician", "--test", "onnx_suite", "--"];
    test.extend(&args);
    let cases = format!("{folder}/cases.json");
    if whole {
        test.extend(["--device", "cpu", "--json", &cases]);
    }
    cargo("the ONNX suite", &test, &[("TACTICIAN_ONNX_SUITE", &format!("{folder}/onnx/backend/test/data"))])?;
    if !whole {
        return Ok(());
    }
    let script = format!("{ROOT}/benches/suite.py");
    let mut keep = vec![script.as_str(), &cases, "--source", WHEEL];
    keep.extend((!record).then_some("--check"));
    models::python("the suite's figures", &keep, "")
}
