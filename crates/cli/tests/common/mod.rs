//! What the tests of the program share: running it, and writing ONNX models byte by byte.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part and stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, ready for arguments.
pub(crate) fn tactician() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tactician"))
}

/// Runs the program.
pub(crate) fn run(args: &[&str]) -> Output {
    tactician().args(args).output().unwrap()
}

/// Runs the program, which must succeed; returns what it prints.
#[track_caller]
pub(crate) fn good(args: &[&str]) -> String {
    let out = run(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs the program, which must fail with code 1 and a message that says all of `parts`.
#[track_caller]
pub(crate) fn bad(args: &[&str], parts: &[&str]) -> String {
    let out = run(args);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{args:?}: {text}");
    assert!(text.starts_with("error: ") && !text.contains("panicked"), "{text}");
    for p in parts {
        assert!(text.contains(p), "`{p}` is not in: {text}");
    }
    text
}

/// A file in a folder of its own for this test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Names of the files in it.
    pub(crate) fn list(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The folder of the tests' own files.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A protocol-buffer message under construction.
#[derive(Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub(crate) fn int(mut self, field: u64, v: i64) -> Message {
        self.varint(field << 3);
        self.varint(v as u64);
        self
    }

    pub(crate) fn bytes(mut self, field: u64, v: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend_from_slice(v);
        self
    }

    pub(crate) fn text(self, field: u64, v: &str) -> Message {
        self.bytes(field, v.as_bytes())
    }

    pub(crate) fn message(self, field: u64, v: &Message) -> Message {
        self.bytes(field, &v.0)
    }
}

/// A declared value of floats: sizes as numbers or names.
pub(crate) fn value(name: &str, sizes: &[&str]) -> Message {
    value_of(name, 1, sizes)
}

/// A declared value of one of ONNX's types by its number.
pub(crate) fn value_of(name: &str, dtype: i64, sizes: &[&str]) -> Message {
    let mut shape = Message::default();
    for s in sizes {
        let dim = match s.parse() {
            Ok(n) => Message::default().int(1, n),
            Err(_) => Message::default().text(2, s),
        };
        shape = shape.message(1, &dim);
    }
    let tensor = Message::default().int(1, dtype).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// An initializer of floats.
pub(crate) fn floats(name: &str, sizes: &[i64], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let m = sizes.iter().fold(Message::default(), |m, &s| m.int(1, s));
    m.int(2, 1).text(8, name).bytes(9, &bytes)
}

/// An initializer whose data are in another file.
pub(crate) fn external(name: &str, sizes: &[i64], location: &str) -> Message {
    let entry = |k: &str, v: &str| Message::default().text(1, k).text(2, v);
    let m = sizes.iter().fold(Message::default(), |m, &s| m.int(1, s));
    m.int(2, 1).text(8, name).message(13, &entry("location", location)).int(14, 1)
}

/// A node with attributes that are lists of integers.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], ints: &[(&str, &[i64])]) -> Message {
    let m = inputs.iter().fold(Message::default(), |m, i| m.text(1, i));
    let m = outputs.iter().fold(m, |m, o| m.text(2, o));
    ints.iter().fold(m.text(4, op), |m, (name, list)| {
        let a = list.iter().fold(Message::default().text(1, name), |a, &v| a.int(8, v));
        m.message(5, &a.int(20, 7))
    })
}

/// A model of operator set 17.
pub(crate) fn model(
    nodes: &[Message],
    weights: &[Message],
    inputs: &[Message],
    outputs: &[Message],
) -> Vec<u8> {
    let g = nodes.iter().fold(Message::default(), |g, n| g.message(1, n));
    let g = weights.iter().fold(g.text(2, "graph"), |g, w| g.message(5, w));
    let g = inputs.iter().fold(g, |g, i| g.message(11, i));
    let g = outputs.iter().fold(g, |g, o| g.message(12, o));
    let opset = Message::default().int(2, 17);
    Message::default().int(1, 8).message(7, &g).message(8, &opset).0
}

/// `y`, the sums of `x [N, 3]` along `axes`, an input.
pub(crate) fn sums_model() -> Vec<u8> {
    let inputs = [value("x", &["N", "3"]), value_of("axes", 7, &["A"])];
    model(&[node("ReduceSum", &["x", "axes"], &["y"], &[])], &[], &inputs, &[value("y", &["S", "T"])])
}

/// `y = relu(conv(x, w))` over `[N, 2, H, H]`: the window passes the middle on and negates channel 1.
pub(crate) fn small_model() -> Vec<u8> {
    let mut w = vec![0.0; 2 * 2 * 9];
    w[4] = 1.0;
    w[3 * 9 + 4] = -1.0;
    model(
        &[node("Conv", &["x", "w"], &["c"], &[("pads", &[1; 4])]), node("Relu", &["c"], &["y"], &[])],
        &[floats("w", &[2, 2, 3, 3], &w)],
        &[value("x", &["N", "2", "H", "H"])],
        &[value("y", &["N", "2", "H", "H"])],
    )
}
