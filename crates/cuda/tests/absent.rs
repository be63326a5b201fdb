//! Looking for NVIDIA's libraries where some are missing, are something else, or are broken: every answer is a sentence,
//! never a panic, and never an abort of the process. Each case is a process of its own with a folder of links in front of
//! the loader's path. The libraries themselves come from the folders in `TACTICIAN_CUDA_LIBS` (as `cargo xtask cudnn` sets
//! it); without them only the cases that need none are tried.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at the first surprise and say what they skip"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tactician_cuda::cudnn::{GraphSpec, NodeSpec, Role, TensorSpec, candidates};
use tactician_cuda::{CudaDevice, Lib, compile_for, cudnn, library, obstacle, probe};
use tactician_device::{CodeSource, CudaInfo};
use tactician_types::DType;

/// Set in the processes that look.
const CHILD: &str = "TACTICIAN_ABSENT_CHILD";

/// File names of each library, with what comes with it.
const FILES: [(Lib, &[&str]); 4] = [
    (Lib::Driver, &["libcuda.so"]),
    (Lib::Nvrtc, &["libnvrtc.so", "libnvrtc-builtins.so"]),
    (Lib::Cudnn, &["libcudnn"]),
    (Lib::CublasLt, &["libcublasLt.so"]),
];

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("tactician-absent-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a process says that looks with this folder in front of the loader's path.
fn look(folder: &Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child_looks", "--nocapture", "--test-threads=1"]);
    let out = command.env(CHILD, "1").env("LD_LIBRARY_PATH", folder).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("looked"), "{}:\n{text}\n{errors}", out.status);
    text
}

#[test]
fn the_child_looks() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    // The line that the test's name is on ends here.
    println!();
    for l in probe().libraries {
        println!("{l}");
    }
    println!("obstacle: {:?}", obstacle());
    println!("devices: {}", CudaDevice::count());
    if let Err(e) = CudaDevice::new(0) {
        println!("device: {e}");
    }
    let source = CodeSource {
        name: "test/empty.cu".into(),
        text: "extern \"C\" __global__ void empty() {}".into(),
        options: vec![],
    };
    match compile_for(&source, "sm_90a") {
        Ok(_) => println!("code: compiled"),
        Err(e) => println!("code: {e}"),
    }
    println!("cublaslt: {:?}", library(Lib::CublasLt).map(|l| l.version));
    println!("cudnn: {:?}", cudnn::version());
    match candidates(&convolution(), &h100()) {
        Ok(list) => println!("engines: {}", list.iter().filter(|c| !c.compiles()).count()),
        Err(e) => println!("engines: {e}"),
    }
    for lib in Lib::ALL {
        assert_eq!(library(lib).is_ok(), library(lib).is_ok());
    }
    println!("looked");
}

fn convolution() -> GraphSpec {
    let tensor = |sizes: &[u64], role| TensorSpec::channels_last(DType::F16, sizes, role);
    let tensors = vec![
        tensor(&[1, 64, 14, 14], Role::Input(0)),
        tensor(&[64, 64, 3, 3], Role::Input(1)),
        tensor(&[1, 64, 14, 14], Role::Output(0)),
    ];
    let (pads, strides, dilations) = (vec![(1, 1); 2], vec![1; 2], vec![1; 2]);
    GraphSpec { tensors, nodes: vec![NodeSpec::Convolution { x: 0, w: 1, y: 2, pads, strides, dilations }] }
}

fn h100() -> CudaInfo {
    CudaInfo { nvrtc: None, cudnn: cudnn::version(), ..CudaInfo::h100() }
}

/// The usual file names, and the unversioned ones that are tried first.
const NAMES: [&str; 8] = [
    "libcuda.so",
    "libcuda.so.1",
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libcudnn.so",
    "libcudnn.so.9",
    "libcublasLt.so",
    "libcublasLt.so.13",
];

#[test]
fn another_library_of_that_name_is_refused() {
    // A library that every process has, whatever it is.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let own =
        maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("/libc.so")).unwrap();
    let folder = Folder::new();
    for name in NAMES {
        symlink(own, folder.0.join(name)).unwrap();
    }
    let text = look(&folder.0);
    for lib in Lib::ALL {
        let line = text.lines().find(|l| l.starts_with(lib.name())).unwrap();
        assert!(line.contains("lacks"), "{line}");
    }
    assert!(text.contains("devices: 0") && text.contains("cudnn: None"), "{text}");
}

#[test]
fn a_broken_file_is_not_taken_for_a_missing_one() {
    let folder = Folder::new();
    for name in NAMES {
        fs::write(folder.0.join(name), "").unwrap();
    }
    let (nothing, text) = (look(&Folder::new().0), look(&folder.0));
    // The loader goes on to other names, which may be there.
    for lib in Lib::ALL.into_iter().filter(|&l| !always_there(l, &nothing)) {
        let line = text.lines().find(|l| l.starts_with(lib.name())).unwrap();
        assert!(line.contains("does not load"), "{line}");
    }
}

/// Links to a library's files from the folders in `TACTICIAN_CUDA_LIBS`; whether there were some.
fn link(lib: Lib, folder: &Path) -> bool {
    let Some(list) = std::env::var_os("TACTICIAN_CUDA_LIBS") else { return false };
    let wanted = FILES.iter().find(|(l, _)| *l == lib).unwrap().1;
    let mut found = false;
    for file in std::env::split_paths(&list).filter_map(|f| fs::read_dir(f).ok()).flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if wanted.iter().any(|w| name.starts_with(w)) {
            symlink(fs::canonicalize(file.path()).unwrap(), folder.join(&name)).unwrap();
            found = true;
        }
    }
    found
}

/// Whether the loader finds it without our folder, so that it cannot be made to be missing.
fn always_there(lib: Lib, nothing: &str) -> bool {
    !nothing.lines().any(|l| l.starts_with(lib.name()) && l.contains("is not on the loader path"))
}

#[test]
fn any_of_them_may_be_missing() {
    let libs = [Lib::Nvrtc, Lib::Cudnn, Lib::CublasLt];
    let nothing = look(&Folder::new().0);
    if let Some(lib) = Lib::ALL.into_iter().find(|&l| always_there(l, &nothing)) {
        return println!("skipped: {} is where the loader always finds it", lib.name());
    }
    assert!(nothing.contains("obstacle: Some") && nothing.contains("libcuda.so.1"), "{nothing}");
    assert!(nothing.contains("libcudnn.so.9") && nothing.contains("libcublasLt.so.13"), "{nothing}");
    if !libs.iter().all(|&l| link(l, &Folder::new().0)) {
        return println!("skipped: TACTICIAN_CUDA_LIBS does not name folders with all libraries");
    }
    for present in 1..1u32 << libs.len() {
        let folder = Folder::new();
        let is = |i: usize| present & 1 << i != 0;
        for (i, &lib) in libs.iter().enumerate() {
            assert!(!is(i) || link(lib, &folder.0));
        }
        let text = look(&folder.0);
        println!("{present:03b}: {}", text.lines().filter(|l| l.starts_with("engines")).collect::<String>());
        for (i, &lib) in libs.iter().enumerate() {
            let line = text.lines().find(|l| l.starts_with(lib.name())).unwrap();
            assert_eq!(line.contains("is not on the loader path"), !is(i), "{line}");
        }
        assert_eq!(text.contains("code: compiled"), is(0), "{text}");
        // Without cuBLASLt cuDNN would end the process at the first question.
        let engines = text.lines().find(|l| l.starts_with("engines: ")).unwrap();
        match (is(1), is(2)) {
            (true, true) => assert_ne!(engines, "engines: 0"),
            (true, false) => assert!(engines.contains("libcublasLt.so"), "{engines}"),
            (false, _) => assert!(engines.contains("libcudnn.so.9"), "{engines}"),
        }
        assert!(text.contains("devices: 0"), "{text}");
    }
}
