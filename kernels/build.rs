//! Embeds `cuda/**/*.cu` and `*.cuh`, so that adding a kernel is adding a file.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn list(folder: &Path, out: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is readable").filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            list(&path, out);
        } else if path.extension().is_some_and(|e| e == "cu" || e == "cuh") {
            out.push(path);
        }
    }
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("cuda");
    let mut files = Vec::new();
    list(&root, &mut files);
    let mut text = String::from("/// Every source file, by its path below `kernels/cuda`, sorted.\n");
    text += "pub(crate) static FILES: &[(&str, &str)] = &[\n";
    for path in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.strip_prefix(&root).expect("it lies below").display().to_string();
        text += &format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string());
    }
    text += "];\n";
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("files.rs");
    fs::write(out, text).expect("the output folder is writable");
}
