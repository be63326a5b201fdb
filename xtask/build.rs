//! Passes the target triple on.

fn main() {
    println!("cargo::rustc-env=HOST={}", std::env::var("TARGET").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
}
