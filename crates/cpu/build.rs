//! Hashes the kernels' sources, for the facts that measurements depend on.

#[path = "../../build/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rustc-env=TACTICIAN_CPU_SOURCES={}", sources::hash(&["src"]));
}
