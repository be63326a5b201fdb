//! Bad input of every kind: an error that says what, where and what to do, exit code 1, nothing half-written.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{
    Folder, bad, external, floats, good, model, node, run, small_model, sums_model, tactician, value,
};
use tactician::Tensor;

/// Builds `bytes` as a model, which must fail; no plan may be left.
#[track_caller]
fn refused(bytes: &[u8], more: &[&str], parts: &[&str]) {
    let dir = Folder::new();
    let path = dir.write("m.onnx", bytes);
    let plan = dir.file("m.plan");
    let mut args = vec!["build", &path, "--threads", "1", "-o", &plan];
    args.extend(more);
    bad(&args, parts);
    assert_eq!(dir.list(), ["m.onnx"]);
}

#[test]
fn models_that_are_none() {
    bad(&["build", "no/such.onnx", "-o", "p"], &["no/such.onnx"]);
    bad(&["build", "zoo:alexnet", "-o", "p"], &["alexnet", "resnet50"]);
    bad(&["build", "zoo:tiny@0", "-o", "p"], &["tiny@0", "BATCH"]);
    refused(b"", &[], &["m.onnx"]);
    refused(&[0xFF; 4096], &[], &["m.onnx"]);
    let whole = small_model();
    let mut refusals = 0;
    for len in 0..whole.len() {
        let dir = Folder::new();
        let path = dir.write("m.onnx", &whole[..len]);
        let out = run(&["inspect", &path, "--shape", "x=1x2x6x6"]);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(matches!(out.status.code(), Some(0 | 1)), "{len}: {text}");
        assert!(!text.contains("panicked"), "{len}: {text}");
        refusals += usize::from(out.status.code() == Some(1));
    }
    // Cut at a boundary of fields, what is left may still be a model.
    assert!(refusals > whole.len() * 9 / 10, "{refusals} of {}", whole.len());
}

#[test]
fn values_that_inputs_cannot_have() {
    refused(&sums_model(), &["--shape", "axes=1"], &["known when the model is imported", "--value"]);
    refused(&sums_model(), &["--value", "axis=1"], &["no input `axis`", "`axes`"]);
    refused(&sums_model(), &["--value", "axes=0.5"], &["`axes`", "i64", "0.5"]);
    refused(&sums_model(), &["--value", "axes=nan"], &["`axes`", "NaN"]);
    refused(&sums_model(), &["--value", "axes=1e300"], &["`axes`", "i64"]);
    refused(&sums_model(), &["--value", "axes=2"], &["axis 2"]);
    refused(&sums_model(), &["--value", "x=1"], &["`x`", "only scalars and vectors"]);
    bad(&["build", "zoo:tiny", "--value", "x=1", "-o", "p"], &["`x`", "only ONNX models"]);
    let text = run(&["build", "m.onnx", "--value", "axes=one", "-o", "p"]);
    assert_eq!(text.status.code(), Some(2));
}

#[test]
fn models_that_cannot_be_built() {
    let x = || [value("x", &["1", "2", "4", "4"])];
    let y = || [value("y", &["1", "2", "4", "4"])];
    let two = model(
        &[node("NonsenseOp", &["x"], &["a"], &[]), node("Unheard", &["a"], &["y"], &[])],
        &[],
        &x(),
        &y(),
    );
    refused(&two, &[], &["NonsenseOp", "Unheard"]);
    let cycle = [node("Relu", &["b"], &["a"], &[]), node("Relu", &["a"], &["b"], &[])];
    refused(&model(&cycle, &[], &x(), &[value("b", &["1"])]), &[], &["b"]);
    refused(&small_model(), &[], &["--shape", "`x`"]);
    refused(&small_model(), &["--shape", "z=1x2x6x6"], &["`z`", "x"]);
    refused(&small_model(), &["--shape", "x=1x3x6x6"], &["x", "3"]);
    refused(&small_model(), &["--shape", "x=1x2x0x0"], &["axis of 0"]);
    let huge = "--shape=x=1x2x4294967296x4294967296";
    refused(&small_model(), &[huge], &["x"]);
    refused(&small_model(), &["--shape=x=1x2x1000000x1000000"], &[]);
    let short = floats("w", &[2, 2, 3, 3], &[0.0; 5]);
    refused(&model(&[node("Conv", &["x", "w"], &["y"], &[])], &[short], &x(), &y()), &[], &["`w`"]);
}

#[test]
fn external_data_stays_in_the_folder() {
    let conv = [node("Conv", &["x", "w"], &["y"], &[("pads", &[1; 4])])];
    let with = |location: &str| {
        let w = external("w", &[2, 2, 3, 3], location);
        model(&conv, &[w], &[value("x", &["1", "2", "4", "4"])], &[value("y", &["1", "2", "4", "4"])])
    };
    refused(&with("missing.bin"), &[], &["missing.bin"]);
    refused(&with("../outside.bin"), &[], &["outside.bin"]);
    refused(&with("/etc/passwd"), &[], &["passwd"]);
    refused(&with("a/../../outside.bin"), &[], &["outside.bin"]);
    let dir = Folder::new();
    let path = dir.write("m.onnx", &with("w.bin"));
    dir.write("w.bin", &[0; 36 * 4 - 1]);
    bad(&["build", &path, "-o", &dir.file("p")], &["w.bin"]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.bin")).unwrap();
    let path = dir.write("l.onnx", &with("link.bin"));
    bad(&["build", &path, "-o", &dir.file("p")], &["link.bin"]);
    dir.write("w.bin", &[0; 36 * 4]);
    let path = dir.write("m.onnx", &with("w.bin"));
    good(&["build", &path, "--threads", "1", "-o", &dir.file("p")]);
}

#[test]
fn weights_that_are_no_numbers_still_build() {
    let w = floats("w", &[2, 2, 3, 3], &[f32::NAN; 36]);
    let m = model(
        &[node("Conv", &["x", "w"], &["y"], &[("pads", &[1; 4])])],
        &[w],
        &[value("x", &["1", "2", "4", "4"])],
        &[value("y", &["1", "2", "4", "4"])],
    );
    let dir = Folder::new();
    let path = dir.write("m.onnx", &m);
    good(&["build", &path, "--threads", "1", "-o", &dir.file("p")]);
    assert!(good(&["run", &dir.file("p")]).contains("NaN"));
}

#[test]
fn plans_that_are_none() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let plan = dir.file("m.plan");
    good(&["build", &model, "--shape", "x=1x2x6x6", "--threads", "1", "-o", &plan]);
    bad(&["run", "no/such.plan"], &["no/such.plan"]);
    bad(&["run", &model], &["`x`", "not given"]);
    bad(&["run", &dir.write("empty", b"")], &["empty"]);
    let whole = std::fs::read(&plan).unwrap();
    let broken = dir.file("broken.plan");
    for i in 0..60 {
        let at = whole.len() * i / 60;
        std::fs::write(&broken, &whole[..at]).unwrap();
        bad(&["run", &broken], &["broken.plan"]);
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (i % 8);
        std::fs::write(&broken, flipped).unwrap();
        bad(&["run", &broken], &["broken.plan"]);
    }
    let mut longer = whole.clone();
    longer.push(0);
    std::fs::write(&broken, longer).unwrap();
    bad(&["bench", &broken], &["broken.plan"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let plan = dir.file("m.plan");
    good(&["build", &model, "--shape", "x=1x2x6x6", "--threads", "1", "-o", &plan]);
    let write = |name: &str, t: Tensor| {
        let path = dir.file(name);
        t.write_npy(path.as_ref()).unwrap();
        path
    };
    let small = write("small.npy", Tensor::new(&[1, 2, 3, 3], &[0f32; 18]).unwrap());
    let ints = write("ints.npy", Tensor::new(&[1, 2, 6, 6], &[0i64; 72]).unwrap());
    bad(&["run", &plan, "--input", &format!("z={small}")], &["`z`", "x"]);
    bad(&["run", &plan, "--input", &format!("x={small}")], &["`x`", "6"]);
    bad(&["run", &plan, "--input", &format!("x={ints}")], &["`x`", "i64", "f32"]);
    bad(&["run", &plan, "--input", "x=no/such.npy"], &["no/such.npy"]);
    let text = dir.write("text.npy", b"hello");
    bad(&["run", &plan, "--input", &format!("x={text}")], &["text.npy"]);
}

#[test]
fn tables_that_are_none() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let table = dir.write("t.table", b"{\"version\": 1, ");
    let args = ["build", &model, "--shape", "x=1x2x6x6", "--table", &table, "-o", &dir.file("p")];
    bad(&args, &["t.table"]);
    dir.write("t.table", &[0xC3; 1000]);
    bad(&args, &["t.table"]);
    bad(&["inspect", &table], &["t.table"]);
    // What was there is not overwritten.
    assert_eq!(std::fs::read(&table).unwrap(), [0xC3; 1000]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let shape = ["--shape", "x=1x2x6x6", "--threads", "1"];
    let to = |out: &str| {
        let mut args = vec!["build", &model, "-o", out];
        args.extend(shape);
        bad(&args, &[out]);
    };
    to("/nonexistent/folder/m.plan");
    to(dir.path().to_str().unwrap());
    let plan = dir.file("m.plan");
    let mut args = vec!["build", model.as_str(), "-o", &plan];
    args.extend(shape);
    good(&args);
    bad(&["run", &plan, "--output-dir", &plan], &["m.plan"]);

    // A file-size limit stands in for a full disk.
    let before = std::fs::read(&plan).unwrap();
    let script = format!("trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\" -o {plan}");
    let mut sh = std::process::Command::new("sh");
    sh.args(["-c", &script, env!("CARGO_BIN_EXE_tactician"), "build", &model]).args(shape);
    let out = sh.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("m.plan") && !text.contains("panicked"), "{text}");
    assert_eq!(std::fs::read(&plan).unwrap(), before);
    assert_eq!(dir.list(), ["m.onnx", "m.plan"]);

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = tactician().args(["inspect", &plan, "--json"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_gpu_that_is_not_there() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let plan = dir.file("m.plan");
    // Beyond what any machine has, so that the test means the same everywhere.
    bad(&["build", &model, "--shape", "x=1x2x6x6", "--device", "cuda:4000", "-o", &plan], &["GPU 4000"]);
    assert_eq!(dir.list(), ["m.onnx"]);
}
