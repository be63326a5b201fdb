//! Lists `src/families/*.rs` so that adding a family is adding a file: writes the module lines and a sorted `ALL`. Hashes the
//! sources of tactics and of the code that they generate, for the facts that measurements depend on.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../build/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rustc-env=TACTICIAN_TACTICS_SOURCES={}", sources::hash(&["src", "../kernels/src"]));
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&root).join("src/families");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("src/families exists")
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter_map(|n| n.strip_suffix(".rs").map(str::to_owned))
        .filter(|n| n != "mod" && !n.ends_with("_tests"))
        .collect();
    names.sort();
    let mut text = String::new();
    for n in &names {
        let path = folder.join(format!("{n}.rs"));
        text += &format!("#[path = {:?}]\nmod {n};\n", path.display().to_string());
    }
    text += "/// Every family, by file name.\npub static ALL: &[&dyn crate::Family] = &[\n";
    for n in &names {
        text += &format!("    &{n}::FAMILY,\n");
    }
    text += "];\n";
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("families.rs");
    fs::write(out, text).expect("the output folder is writable");
}
