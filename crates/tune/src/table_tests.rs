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
