//! Compiling without a GPU. Without NVRTC on the loader path, every test says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say why they skip"
)]

use tactician_cuda::{Lib, compile_for, library};
use tactician_device::CodeSource;

fn source(text: &str, options: &[&str]) -> CodeSource {
    let options = options.iter().map(|o| (*o).to_owned()).collect();
    CodeSource { name: "test/add.cu".into(), text: text.into(), options }
}

fn compiler() -> bool {
    match library(Lib::Nvrtc) {
        Ok(_) => true,
        Err(_) => {
            println!("skipped: libnvrtc not found");
            false
        }
    }
}

const TWO: &str = r#"
extern "C" __global__ void add(float* y, const float* x) { y[threadIdx.x] += N * x[threadIdx.x]; }
extern "C" __global__ void sum(float* y) {
    __shared__ float part[N * 32];
    part[threadIdx.x] = y[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = part[31 - threadIdx.x];
}
"#;

#[test]
fn code_is_made_for_every_architecture() {
    if !compiler() {
        return;
    }
    for architecture in ["sm_80", "sm_89", "sm_90a", "sm_100a"] {
        let made = compile_for(&source(TWO, &["-DN=4"]), architecture).unwrap();
        assert_eq!(&made.cubin[..4], b"\x7fELF");
        assert!(made.cubin == compile_for(&source(TWO, &["-DN=4"]), architecture).unwrap().cubin);
        let names: Vec<&str> = made.entries.iter().map(|e| e.entry.as_str()).collect();
        assert!(names.contains(&"add") && names.contains(&"sum"), "{}", made.log);
        assert!(made.entries.iter().all(|e| e.registers > 0 && e.spill_stores == 0), "{}", made.log);
        assert!(made.entries.iter().any(|e| e.entry == "sum" && e.shared >= 512), "{}", made.log);
    }
}

#[test]
fn mistakes_come_with_the_log() {
    if !compiler() {
        return;
    }
    let e =
        compile_for(&source("extern \"C\" __global__ void f() { nonsense; }", &[]), "sm_90a").unwrap_err();
    let text = e.to_string();
    assert!(text.contains("compiling test/add.cu for sm_90a failed") && text.contains("nonsense"), "{text}");
    let wgmma = "extern \"C\" __global__ void f() { asm volatile(\"wgmma.fence.sync.aligned;\"); }";
    assert!(compile_for(&source(wgmma, &[]), "sm_90a").is_ok());
    let text = compile_for(&source(wgmma, &[]), "sm_80").unwrap_err().to_string();
    assert!(text.contains("wgmma"), "{text}");
    assert!(compile_for(&source("", &["--no-such-option"]), "sm_90a").is_err());
    assert!(compile_for(&source("", &[]), "sm_1").is_err());
    assert!(compile_for(&source("\0", &[]), "sm_90a").is_err());
}

#[test]
fn threads_compile_at_once() {
    if !compiler() {
        return;
    }
    std::thread::scope(|s| {
        for n in 1..5 {
            s.spawn(move || compile_for(&source(TWO, &[&format!("-DN={n}")]), "sm_90a").unwrap());
        }
    });
}
