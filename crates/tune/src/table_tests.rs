use super::*;

fn timed(median_us: f64, samples: u32) -> Row {
    Row {
        inputs: vec![Layout::Plain, Layout::Blocked(16)],
        output: Layout::Blocked(16),
        workspace: 4096,
        constants: 1024,
        verdict: Verdict::Timed(Timing {
            median_us,
            min_us: median_us * 0.9,
            mad_us: 0.25,
            samples,
            error_ratio: 0.125,
            relative_l2: 1e-7,
        }),
    }
}

fn sample() -> TacticTable {
    let mut t = TacticTable::new();
    let c = t.context(&[("isa".into(), "avx512".into()), ("threads".into(), "2".into())]);
    t.insert(&c, "conv {…} (f32[1,3])", "conv.cpu.direct/14x2", timed(12.5, 10));
    t.insert(
        &c,
        "conv {…} (f32[1,3])",
        "conv.cpu.bad/1",
        Row { verdict: Verdict::Wrong { reason: "element 3 is 1, expected 2".into() }, ..timed(0.0, 0) },
    );
    t
}

fn read(text: &str) -> Result<TacticTable, TableError> {
    TacticTable::read(text.as_bytes(), Path::new("t.tac"))
}

fn features() -> Features {
    Features {
        op: "conv".into(),
        dtype: tactician_types::DType::F32,
        result: vec![1, 3],
        window: None,
        product: Some(tactician_ir::ProductFeatures { matrices: 1, m: 2, n: 3, k: 4 }),
        anchor_flops: 48,
        epilogue_flops: 6,
        epilogue_ops: 1,
        epilogue_operands: 0,
        bytes_read: 32,
        constant_bytes: 48,
        bytes_written: 24,
    }
}

#[test]
fn features_make_version_2() {
    let old = sample();
    assert!(old.to_text().starts_with("{\"format\":\"tactician-table\",\"version\":1}\n"));
    assert_eq!(read(&old.to_text()).unwrap().features("conv {…} (f32[1,3])"), None);
    let mut new = old.clone();
    new.describe("conv {…} (f32[1,3])", features());
    // A problem without rows has a line too.
    new.describe("a pool", Features { op: "pool".into(), ..features() });
    let text = new.to_text();
    assert!(text.starts_with("{\"format\":\"tactician-table\",\"version\":2}\n"), "{text}");
    assert_eq!(text.lines().nth(2).unwrap().split(',').next().unwrap(), "{\"problem\":\"a pool\"");
    let again = read(&text).unwrap();
    assert_eq!(again, new);
    assert_eq!(again.features("conv {…} (f32[1,3])"), Some(&features()));
    // A table of version 1 may be told to be one of version 2.
    assert_eq!(read(&old.to_text().replacen("\"version\":1", "\"version\":2", 1)).unwrap(), old);
    for (from, to) in [("\"anchor_flops\":48", "\"anchor_flops\":-1"), ("\"F32\"", "\"F33\"")] {
        let error = read(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }
}

#[test]
fn merging_keeps_features_of_both() {
    let (mut a, mut b) = (sample(), sample());
    let other = Features { anchor_flops: 1, ..features() };
    a.describe("p", features());
    b.describe("p", other.clone());
    b.describe("q", other.clone());
    a.merge(b);
    assert_eq!((a.features("p"), a.features("q")), (Some(&features()), Some(&other)));
}

#[test]
fn text_round_trips() {
    let t = sample();
    assert_eq!(read(&t.to_text()).unwrap(), t);
}

#[test]
fn merging_keeps_the_better_measured() {
    let (mut a, mut b) = (sample(), TacticTable::new());
    let c = b.context(&[("isa".into(), "avx512".into()), ("threads".into(), "2".into())]);
    b.insert(&c, "conv {…} (f32[1,3])", "conv.cpu.direct/14x2", timed(11.0, 20));
    b.insert(&c, "pool", "pool.cpu/1", timed(1.0, 3));
    a.merge(b);
    assert_eq!(a.len(), 3);
    assert_eq!(a.rows(&c, "conv {…} (f32[1,3])").unwrap()["conv.cpu.direct/14x2"], timed(11.0, 20));
}

#[test]
fn broken_text_is_refused_by_line() {
    let text = sample().to_text();
    assert!(matches!(read("hello\n"), Err(TableError::NotATable { .. })));
    assert!(matches!(read(""), Err(TableError::NotATable { .. })));
    let other = text.replacen("\"version\":1", "\"version\":9", 1);
    assert!(matches!(read(&other), Err(TableError::Version { found: 9, .. })));
    let zero = text.replacen("\"version\":1", "\"version\":0", 1);
    assert!(matches!(read(&zero), Err(TableError::Version { found: 0, .. })));
    let changed = text.replace("avx512", "avx2");
    assert!(read(&changed).unwrap_err().to_string().contains("does not match"));
    let late = text.replacen("\"workspace\":4096", "\"workspace\":-1", 1);
    assert!(read(&late).unwrap_err().to_string().contains("line 3"));
}

#[test]
fn no_truncation_panics_or_loses_rows_silently() {
    let text = sample().to_text();
    for cut in 0..text.len() {
        if !text.is_char_boundary(cut) {
            continue;
        }
        if let Ok(t) = read(&text[..cut]) {
            assert!(cut == 0 || text.as_bytes()[cut - 1] == b'\n' || t.is_empty(), "cut at {cut}");
        }
    }
}

#[test]
fn two_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tac");
    std::thread::scope(|s| {
        for w in 0..4 {
            let path = &path;
            s.spawn(move || {
                let mut t = TacticTable::new();
                let c = t.context(&[("isa".into(), "x".into())]);
                for i in 0..5 {
                    t.insert(&c, &format!("p{w}.{i}"), "t", timed(1.0, 1));
                    t.save(path).unwrap();
                }
            });
        }
    });
    assert_eq!(TacticTable::load(&path).unwrap().len(), 20);
    let left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    assert!(left.iter().all(|n| !n.ends_with(".tmp")), "{left:?}");
}

#[test]
fn a_failed_save_leaves_the_old_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tac");
    fs::write(&path, "not a table\n").unwrap();
    assert!(matches!(sample().save(&path), Err(TableError::NotATable { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a table\n");
    let missing = dir.path().join("no/such/t.tac");
    assert!(sample().save(&missing).unwrap_err().to_string().contains("no/such"));
}

#[test]
fn what_it_was_measured_for_comes_back() {
    let purpose = |model: &str| Purpose {
        model: model.into(),
        shapes: BTreeMap::from([("x".into(), vec![1, 3, 8, 8])]),
        values: if model == "a.onnx" {
            BTreeMap::from([("rate".into(), vec![16e3])])
        } else {
            BTreeMap::new()
        },
        precision: DType::F16,
        tf32: false,
        tactics: "own,-conv".into(),
        fusion: "measured".into(),
        on_host: vec!["sin".into()],
        device: tactician_device::CudaInfo::h100().on_paper(),
    };
    let mut table = TacticTable::new();
    for model in ["b.onnx", "a.onnx", "b.onnx"] {
        table.measured_for(purpose(model));
    }
    let text = table.to_text();
    let read = TacticTable::read(text.as_bytes(), Path::new("t")).unwrap();
    assert_eq!((&read, read.to_text()), (&table, text));
    let models: Vec<&str> = read.purposes().map(|p| p.model.as_str()).collect();
    assert_eq!(models, ["a.onnx", "b.onnx"]);
    let mut other = TacticTable::new();
    other.measured_for(purpose("c.onnx"));
    table.merge(other);
    assert_eq!(table.purposes().count(), 3);
}
