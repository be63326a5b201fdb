//! What build scripts share: the hash of sources, so that a measurement made with others is never taken for one made with
//! these.

use std::path::{Path, PathBuf};

/// The hash of all sources in some folders (Rust without tests, CUDA), as text. The script runs again when one changes.
pub(crate) fn hash(folders: &[&str]) -> String {
    let mut files = Vec::new();
    for folder in folders {
        println!("cargo::rerun-if-changed={folder}");
        collect(Path::new(folder), &mut files);
    }
    files.sort();
    // FNV-1a, 64 bits: names and contents, each closed by a byte that neither holds.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in &files {
        let name = file.to_string_lossy().replace('\\', "/");
        let text = std::fs::read(file).unwrap_or_default();
        for &byte in name.as_bytes().iter().chain(&[0xff]).chain(&text).chain(&[0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is = |end: &str| path.to_string_lossy().ends_with(end);
        if path.is_dir() {
            collect(&path, files);
        } else if (is(".rs") && !is("_tests.rs")) || is(".cu") || is(".cuh") {
            files.push(path);
        }
    }
}
