//! Hashes the sources of this backend and of its kernels, for the facts that measurements depend on.

#[path = "../../build/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rustc-env=TACTICIAN_CUDA_SOURCES={}", sources::hash(&["src", "../../kernels/cuda"]));
}
