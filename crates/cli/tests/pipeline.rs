//! The program from a model to outputs, and that what it prints for machines can be read.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Folder, bad, good, model, node, run, small_model, sums_model, tactician, value};
use serde_json::Value;
use tactician::Tensor;

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&good(args)).unwrap()
}

/// Builds the small model; the folder keeps model, plan and table.
fn built() -> (Folder, String) {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let (plan, table) = (dir.file("m.plan"), dir.file("t.table"));
    let args = [
        "build",
        &model,
        "--shape",
        "x=1x2x6x6",
        "--threads",
        "1",
        "--table",
        &table,
        "-o",
        &plan,
        "--json",
        "--no-check",
    ];
    let report = json(&args);
    assert!(report["measured"].as_u64().unwrap() > 2);
    let again = json(&args);
    assert_eq!(again["measured"], 0);
    assert_eq!(again["predicted_us"], report["predicted_us"]);
    (dir, plan)
}

#[test]
fn a_model_is_built_and_run() {
    let (dir, plan) = built();
    let x: Vec<f32> = (0..72).map(|i| i as f32 - 50.0).collect();
    let file = dir.file("x.npy");
    Tensor::new(&[1, 2, 6, 6], &x).unwrap().write_npy(file.as_ref()).unwrap();
    let out = dir.file("out");
    let report = json(&["run", &plan, "--input", &format!("x={file}"), "--output-dir", &out, "--json"]);
    assert_eq!(report[0]["name"], "y");
    let y = Tensor::read_npy(format!("{out}/y.npy").as_ref()).unwrap();
    let want: Vec<f32> = x.iter().enumerate().map(|(i, v)| (if i < 36 { *v } else { -v }).max(0.0)).collect();
    assert_eq!(y.values::<f32>().unwrap(), want);
}

/// An input that decides the graph is given its value, which a table remembers.
#[test]
fn values_are_given_to_inputs() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &sums_model());
    let x = dir.file("x.npy");
    Tensor::new(&[2, 3], &[1f32, 2.0, 3.0, 10.0, 20.0, 30.0]).unwrap().write_npy(x.as_ref()).unwrap();
    let (plan, out) = (dir.file("m.plan"), dir.file("out"));
    for (axes, sums) in
        [("axes=1", &[6.0, 60.0][..]), ("axes=0", &[11.0, 22.0, 33.0]), ("axes=-1,0", &[66.0])]
    {
        let table = dir.file(&format!("{axes}.tac"));
        let common = ["--threads", "1", "--table", &table, "-o", &plan];
        good(&[&["build", &model, "--shape", "x=2x3", "--value", axes], &common[..]].concat());
        let check = || {
            good(&["run", &plan, "--input", &format!("x={x}"), "--output-dir", &out]);
            let y = Tensor::read_npy(format!("{out}/y.npy").as_ref()).unwrap();
            assert_eq!(y.values::<f32>().unwrap(), sums, "{axes}");
        };
        check();
        std::fs::remove_file(&plan).unwrap();
        good(&["replan", &table, "-o", &plan]);
        check();
    }
    // A plan for open shapes keeps the network, and with it the value.
    good(&[
        "build",
        &model,
        "--value",
        "axes=1",
        "--profile",
        "x=1x3:2x3:4x3",
        "--threads",
        "1",
        "-o",
        &plan,
    ]);
    for rows in 1..=4 {
        let x: Vec<f32> = (0..3 * rows).map(|i| i as f32).collect();
        let file = dir.file("rows.npy");
        Tensor::new(&[rows, 3], &x).unwrap().write_npy(file.as_ref()).unwrap();
        good(&["run", &plan, "--input", &format!("x={file}"), "--output-dir", &out]);
        let y = Tensor::read_npy(format!("{out}/y.npy").as_ref()).unwrap();
        assert_eq!(y.values::<f32>().unwrap(), x.chunks(3).map(|r| r.iter().sum()).collect::<Vec<f32>>());
    }
    let shown = json(&["inspect", &model, "--value", "axes=1", "--json"]);
    assert_eq!(shown["inputs"].as_array().unwrap().len(), 1);
}

#[test]
fn random_inputs_repeat() {
    let (_dir, plan) = built();
    let one = good(&["run", &plan, "--seed", "7"]);
    assert_eq!(one, good(&["run", &plan, "--seed", "7"]));
    assert_ne!(one, good(&["run", &plan, "--seed", "8"]));
}

#[test]
fn figures_are_json() {
    let (dir, plan) = built();
    let bench = json(&["bench", &plan, "--seconds", "0.05", "--json"]);
    for key in ["min_us", "mean_us", "median_us", "p90_us", "p95_us", "p99_us"] {
        assert!(bench["latency"][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(!bench["steps"].as_array().unwrap().is_empty());
    assert!(bench["how"] == "alone" && bench["rounds"].as_u64().unwrap() >= 3);
    assert!(good(&["bench", &plan, "--seconds", "0.05"]).contains("p99"));
    let turns = json(&["bench", &plan, &plan, "--seconds", "0.05", "--steps", "0", "--json"]);
    for one in turns.as_array().unwrap() {
        assert_eq!(one["turns_us"].as_array().unwrap().len(), 5);
        assert!(one["plan"] == plan && one.get("steps").is_none(), "{one}");
    }
    assert_eq!(turns.as_array().unwrap().len(), 2);
    for file in [plan, dir.file("t.table"), dir.file("m.onnx"), "zoo:tiny".into()] {
        assert!(json(&["inspect", &file, "--json"]).is_object(), "{file}");
        assert!(good(&["inspect", &file]).lines().count() > 2, "{file}");
    }
    assert!(json(&["devices", "--json"]).as_array().is_some_and(|d| !d.is_empty()));
    assert!(good(&["devices"]).contains("threads"));
}

#[test]
fn tables_are_exported() {
    let (dir, _plan) = built();
    let table = dir.file("t.table");
    let rows = json(&["export", &table, "--json"]);
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 2);
    assert!(
        rows.iter().all(|r| r["device"] == "cpu" && r["threads"] == 1 && r["flops"].is_u64()),
        "{rows:?}"
    );
    let fused = |r: &&Value| r["op"] == "conv" && r["epilogue_ops"] == 1 && r["verdict"] == "timed";
    let conv = rows.iter().find(fused).unwrap();
    assert!(conv["median_us"].as_f64().unwrap() > 0.0);
    assert_eq!((&conv["in_channels"], &conv["kernel_h"], &conv["out_w"]), (&2.into(), &3.into(), &6.into()));
    // 72 results of 18 products each, and a ReLU.
    assert_eq!((&conv["anchor_flops"], &conv["flops"]), (&2592.into(), &2664.into()));
    let csv = good(&["export", &table, "--csv"]);
    assert_eq!(csv.lines().count(), rows.len() + 1);
    let prefix = json(&["export", &table, "--json", "--tactic", "conv.", "--problem", "conv"]);
    assert!(prefix.as_array().unwrap().iter().all(|r| r["tactic"].as_str().unwrap().starts_with("conv.")));
    let file = dir.file("d.parquet");
    assert!(good(&["export", &table, "--parquet", "-o", &file]).contains("rows of"));
    assert!(std::fs::read(&file).unwrap().starts_with(b"PAR1"));
    let none = run(&["export", &table, "--csv", "--tactic", "magic"]);
    assert!(none.status.success() && String::from_utf8_lossy(&none.stderr).contains("--tactic"));
    bad(&["export", &table, "--csv", "-o", &table], &["t.table", "--output"]);
    bad(&["export", &dir.file("m.plan"), "--csv"], &["m.plan", "tactic table"]);
    bad(&["export", &table, "--csv", "-o", &dir.file("no/such.csv")], &["no/such.csv", "folder"]);
    assert_eq!(dir.list(), ["d.parquet", "m.onnx", "m.plan", "t.table", "t.table.lock"]);
    let help = good(&["help", "export"]);
    assert!(help.contains("Examples:") && help.contains("research.md"), "{help}");
}

#[test]
fn the_demo_tells_its_story() {
    let dir = Folder::new();
    let plan = dir.file("demo.plan");
    let report = json(&["demo", "zoo:tiny", "--threads", "1", "-o", &plan, "--json"]);
    let budgets = report["budgets"].as_array().unwrap();
    assert_eq!(budgets.len(), 3);
    for (b, limit) in budgets.iter().zip([0u64, 4 << 20, 512 << 20]) {
        assert!(b["workspace_used"].as_u64().unwrap() <= limit);
        assert!(b["relative_error"].as_f64().unwrap() < 1e-4);
        assert!(b["latency"]["median_us"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(dir.list(), ["demo.plan"]);
}

#[test]
fn help_documents_everything() {
    for command in ["build", "run", "bench", "inspect", "export", "devices", "demo"] {
        assert!(good(&["--help"]).contains(command));
        let help = good(&["help", command]);
        assert!(help.contains("--json"), "{help}");
    }
    assert!(good(&["--help"]).contains("Exit codes"));
}

#[test]
fn tactics_can_be_chosen() {
    let dir = Folder::new();
    let plan = dir.file("p.plan");
    let build = |tactics: &str| {
        json(&["build", "zoo:tiny", "--threads", "1", "--tactics", tactics, "-o", &plan, "--json"])
    };
    let tactics = || -> Vec<String> {
        let plan = json(&["inspect", &plan, "--json"]);
        assert!(plan["needs"].as_array().unwrap().iter().all(|n| n == "nothing"));
        plan["steps"].as_array().unwrap().iter().map(|s| s["tactic"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(build("own")["host_steps"], serde_json::json!([]));
    assert!(good(&["inspect", &plan]).contains("option tactics: own"));
    build("-conv.cpu.gemm,-conv.cpu.winograd");
    let without = tactics();
    assert!(without.iter().any(|t| t.starts_with("conv.cpu.")));
    assert!(!without.iter().any(|t| t.starts_with("conv.cpu.gemm") || t.starts_with("conv.cpu.winograd")));
    bad(
        &["build", "zoo:tiny", "--threads", "1", "--tactics", "conv", "-o", &plan],
        &["no tactic is left for", "the list of tactics `conv` excludes all", "add one of these"],
    );
    bad(
        &["build", "zoo:tiny", "--threads", "1", "--tactics", "conv.cudnn", "-o", &plan],
        &["`conv.cudnn` excludes all", ".cpu"],
    );
    assert!(good(&["help", "build"]).contains("conv.cuda.mma/128x"));
}

#[cfg(unix)]
#[test]
fn only_files_are_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = Folder::new();
    let (pipe, link, plan) = (dir.file("pipe"), dir.file("link"), dir.file("p.plan"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let build = ["build", "zoo:tiny", "--threads", "1", "-o"];
    for more in [&[&pipe[..]][..], &[&plan, "--table", &pipe]] {
        bad(&[&build[..], more].concat(), &["pipe", "give the name of a file"]);
    }
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
    symlink("p.plan", &link).unwrap();
    good(&[&build[..], &[&link]].concat());
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::metadata(&plan).unwrap().is_file());
    assert_eq!(dir.list(), ["link", "p.plan", "pipe"]);
}

#[test]
fn wrong_arguments_exit_with_2() {
    for args in [
        &["bild"][..],
        &["build"],
        &["build", "m.onnx", "-o", "p", "--workspace", "much"],
        &["build", "m.onnx", "-o", "p", "--shape", "x"],
        &["build", "m.onnx", "-o", "p", "--threads", "0"],
        &["build", "m.onnx", "-o", "p", "--tactics", "conv.magic"],
        &["build", "m.onnx", "-o", "p", "--tactics", "own,cudnn"],
        &["bench", "p", "--seconds", "-1"],
        &["run", "p", "--input", "x"],
        &["export", "t"],
        &["export", "t", "--csv", "--json"],
        &["export", "t", "--parquet"],
    ] {
        let out = run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn processes_share_a_table() {
    let dir = Folder::new();
    let model = dir.write("m.onnx", &small_model());
    let table = dir.file("t.table");
    let start = |size: usize| {
        let plan = dir.file(&format!("{size}.plan"));
        let shape = format!("x=1x2x{size}x{size}");
        tactician()
            .args(["build", &model, "--shape", &shape, "--threads", "1", "--table", &table, "-o", &plan])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut running: Vec<_> = (4..8).map(start).collect();
    for p in &mut running {
        assert!(p.wait().unwrap().success());
    }
    for size in 4..8 {
        // Everything that each of them measured is there.
        let shape = format!("x=1x2x{size}x{size}");
        let plan = dir.file("again.plan");
        good(&[
            "build",
            &model,
            "--shape",
            &shape,
            "--threads",
            "1",
            "--table",
            &table,
            "--frozen",
            "-o",
            &plan,
        ]);
    }
    bad(
        &[
            "build",
            &model,
            "--shape",
            "x=1x2x9x9",
            "--threads",
            "1",
            "--table",
            &table,
            "--frozen",
            "-o",
            "p",
        ],
        &["frozen"],
    );
}

/// A plan says how it came about, and so does its page.
#[test]
fn plans_are_explained() {
    let (dir, plan) = built();
    let all = json(&["explain", &plan, "--json"]);
    let steps = all["steps"].as_array().unwrap();
    assert!(!steps.is_empty() && !all["curve"]["workspace"].as_array().unwrap().is_empty());
    for s in steps {
        let list = s["candidates"].as_array().unwrap();
        assert_eq!(list.iter().filter(|c| c["verdict"] == "chosen").count(), 1, "{s}");
    }
    let name = steps[0]["name"].as_str().unwrap();
    let text = good(&["explain", &plan, name]);
    assert!(text.contains("chosen") && text.contains("why these nodes"), "{text}");
    assert!(good(&["explain", &plan]).contains("the workspace of 1 GiB"));
    assert!(good(&["explain", &plan, "--all"]).lines().count() > steps.len());
    bad(&["explain", &plan, "no such step"], &["no step is called `no such step`", "numbered from 0"]);
    let page = dir.file("r.html");
    good(&["report", &plan, "--measure", "-o", &page]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains(name));
    let trace = dir.file("t.json");
    good(&["bench", &plan, "--seconds", "0.05", "--trace", &trace]);
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|e| e["ph"] == "X").count(), steps.len());
}

/// The curve and the plans on it come from the table alone, and repeat whatever the number of threads.
#[test]
fn budgets_come_from_a_table() {
    let dir = Folder::new();
    let (table, plan) = (dir.file("t.tac"), dir.file("p.plan"));
    let measure = ["build", "zoo:tiny", "--threads", "1", "--table", &table, "--no-check", "-o", &plan];
    good(&measure);
    let svg = dir.file("c.svg");
    let sweep = json(&["sweep", &table, "--memory", "--svg", &svg, "--json"]);
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    assert_eq!(sweep["largest_gap_us"], 0.0);
    let front = sweep["workspace"].as_array().unwrap();
    let last = front.last().unwrap();
    for point in front {
        let bytes = point["bytes"].as_u64().unwrap().to_string();
        let mut made = Vec::new();
        for threads in ["1", "2"] {
            let other = dir.file("o.plan");
            let args = ["replan", &table, "--workspace", &bytes, "-o", &other, "--json"];
            let out = tactician().args(args).env("RAYON_NUM_THREADS", threads).output().unwrap();
            let report: Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(report["predicted_us"], point["predicted_us"]);
            made.push(std::fs::read(&other).unwrap());
        }
        assert_eq!(made[0], made[1]);
        let frozen = dir.file("f.plan");
        good(&[
            "build",
            "zoo:tiny",
            "--threads",
            "1",
            "--table",
            &table,
            "--frozen",
            "--workspace",
            &bytes,
            "-o",
            &frozen,
        ]);
        assert_eq!(made[0], std::fs::read(&frozen).unwrap());
    }
    assert!(last["predicted_us"].as_f64() <= front[0]["predicted_us"].as_f64());
    let least = sweep["memory"][0]["bytes"].as_u64().unwrap();
    let small = |bytes: u64| {
        let args = ["replan", &table, "--memory", &bytes.to_string(), "-o", &plan].map(str::to_owned);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(small(least).status.success());
    let out = small(least - 1);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && text.contains("at the least") && text.contains("most is alive at"),
        "{text}"
    );
    // A table of measurements alone does not say for what.
    let bare = dir.file("bare.tac");
    let text = std::fs::read_to_string(&table).unwrap();
    let kept: Vec<&str> = text.lines().filter(|l| !l.starts_with("{\"measured_for\"")).collect();
    std::fs::write(&bare, kept.join("\n") + "\n").unwrap();
    bad(&["replan", &bare, "-o", &plan], &["does not say what it was measured for"]);
}

/// Policies on the same measurements: none beats the exact choice.
#[test]
fn policies_and_builds_are_compared() {
    let rows = json(&["policies", "zoo:tiny", "--threads", "1", "--json"]);
    let rows = rows.as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["policy"].as_str().unwrap()).collect();
    assert!(
        names.starts_with(&["measured"])
            && names.contains(&"tensorrt")
            && names.ends_with(&["heuristics alone"])
    );
    for r in rows {
        assert!(r["ratio"].as_f64().unwrap() >= 1.0 - 1e-12 && r["launches"].as_u64().unwrap() > 0, "{r}");
    }
    let churn = json(&["churn", "zoo:tiny", "--threads", "1", "--times", "2", "--json"]);
    assert_eq!(churn["builds"].as_array().unwrap().len(), 2);
    assert_eq!(churn["builds"][0]["changed"], 0);
    assert!(churn["churn"].as_f64().unwrap() <= 1.0);
}

#[test]
fn a_plan_with_profiles_runs_every_shape_in_them() {
    let dir = Folder::new();
    let (model, plan) = (dir.write("m.onnx", &small_model()), dir.file("m.plan"));
    let profile = "x=1x2x4x4:1x2x6x6:3x2x9x9";
    let build = ["build", &model, "--profile", profile, "--threads", "1", "-o", &plan, "--json"];
    assert!(json(&build)["measured"].as_u64().unwrap() > 2);
    let shown = good(&["inspect", &plan]);
    assert!(shown.contains("profile 0: x [1..=3 (tuned at 1), 2, 4..=9 (tuned at 6), 4..=9"), "{shown}");
    // The model is gone: the plan keeps the network.
    std::fs::remove_file(&model).unwrap();
    for sizes in [[1usize, 2, 6, 6], [3, 2, 9, 9], [2, 2, 7, 7]] {
        let n: usize = sizes.iter().product();
        let x: Vec<f32> = (0..n).map(|i| i as f32 - 50.0).collect();
        let file = dir.file("x.npy");
        Tensor::new(&sizes, &x).unwrap().write_npy(file.as_ref()).unwrap();
        let out = dir.file("out");
        good(&["run", &plan, "--input", &format!("x={file}"), "--output-dir", &out]);
        let y = Tensor::read_npy(format!("{out}/y.npy").as_ref()).unwrap();
        assert_eq!(y.shape(), sizes);
        let plane = sizes[2] * sizes[3];
        let want = |(i, v): (usize, &f32)| (if i / plane % 2 == 0 { *v } else { -v }).max(0.0);
        assert_eq!(y.values::<f32>().unwrap(), x.iter().enumerate().map(want).collect::<Vec<f32>>());
    }
    assert!(good(&["run", &plan, "--shape", "x=2x2x5x5"]).contains("[2,2,5,5]"));
    let bench = json(&["bench", &plan, "--shape", "x=3x2x9x9", "--seconds", "0.05", "--json"]);
    assert!(bench["latency"]["median_us"].as_f64().unwrap() > 0.0);
    bad(&["run", &plan, "--shape", "x=4x2x5x5"], &["`x`", "[4, 2, 5, 5]", "[1..=3, 2, 4..=9, 4..=9]"]);
    // Within the ranges, and not of this network: height and width are one symbol.
    bad(&["run", &plan, "--shape", "x=1x2x5x7"], &["[N,2,H,H]"]);
    bad(&["run", &plan, "--shape", "z=4"], &["`z`", "`x`"]);
    bad(&["build", &model, "--profile", "x=1x2:1x2:1x2", "-o", &plan], &["m.onnx"]);
}

#[test]
fn a_model_whose_sizes_depend_on_data_runs_as_it_is() {
    let dir = Folder::new();
    let nodes = [
        node("Relu", &["x"], &["r"], &[]),
        node("NonZero", &["r"], &["n"], &[]),
        node("Transpose", &["n"], &["t"], &[]),
        node("GatherND", &["x", "t"], &["y"], &[]),
    ];
    let file = dir.write("m.onnx", &model(&nodes, &[], &[value("x", &["N", "3"])], &[value("y", &["M"])]));
    for (x, want) in
        [(vec![1f32, -2., 3., 0., -5., 6.], vec![1f32, 3., 6.]), (vec![4., -1., 4.], vec![4., 4.])]
    {
        let (npy, out) = (dir.file("x.npy"), dir.file("out"));
        Tensor::new(&[x.len() / 3, 3], &x).unwrap().write_npy(npy.as_ref()).unwrap();
        let input = format!("x={npy}");
        good(&["run", &file, "--threads", "1", "--input", &input, "--output-dir", &out]);
        let y = Tensor::read_npy(format!("{out}/y.npy").as_ref()).unwrap();
        assert_eq!(y.values::<f32>().unwrap(), want);
    }
    assert!(good(&["run", &file, "--threads", "1", "--shape", "x=2x3"]).contains('y'));
    bad(&["run", &file, "--threads", "1"], &["`x`", "not given"]);
    bad(&["run", "zoo:tiny"], &["zoo:tiny"]);
}
