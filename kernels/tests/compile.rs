//! Compiles every kernel with every kind of options for every architecture, where NVRTC can be loaded; no GPU is needed.
//!
//! NVRTC is looked for in the folder that the environment variable `TACTICIAN_NVRTC_DIR` names, else where the loader
//! finds it. `TACTICIAN_NVRTC_ONLY` keeps only sources whose name contains it. The test prints registers and spills, and
//! fails on spills that are not listed in [`SPILLS`].

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::Library;
use tactician_device::CodeSource;

const ARCHITECTURES: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"];

/// Sources, as beginnings of names and options, that may spill.
const SPILLS: &[(&str, &str)] = &[];

type Program = *mut c_void;

/// The functions of NVRTC that compiling takes.
struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    _libraries: Vec<Library>,
}

impl Nvrtc {
    fn load() -> Result<Nvrtc, String> {
        let folder = std::env::var_os("TACTICIAN_NVRTC_DIR").map(PathBuf::from);
        let mut libraries = Vec::new();
        if let Some(folder) = &folder {
            // NVRTC looks for it by name only, which finds it once it is loaded.
            let builtins = find(folder, "libnvrtc-builtins.so")?;
            // SAFETY: NVIDIA's library has no initialisers that expect anything of us.
            libraries.push(unsafe { Library::new(&builtins) }.map_err(|e| e.to_string())?);
        }
        let names = match &folder {
            Some(folder) => vec![find(folder, "libnvrtc.so")?],
            None => ["libnvrtc.so.13", "libnvrtc.so", "nvrtc64_130_0.dll"].map(PathBuf::from).to_vec(),
        };
        // SAFETY: as above.
        let loaded = names.iter().find_map(|n| unsafe { Library::new(n) }.ok());
        let library = loaded.ok_or_else(|| format!("none of {names:?} can be loaded"))?;
        // SAFETY: the types are those that nvrtc.h declares, and the library outlives the pointers.
        let nvrtc = unsafe {
            Nvrtc {
                create: *library.get(b"nvrtcCreateProgram\0").map_err(|e| e.to_string())?,
                compile: *library.get(b"nvrtcCompileProgram\0").map_err(|e| e.to_string())?,
                log_size: *library.get(b"nvrtcGetProgramLogSize\0").map_err(|e| e.to_string())?,
                log: *library.get(b"nvrtcGetProgramLog\0").map_err(|e| e.to_string())?,
                destroy: *library.get(b"nvrtcDestroyProgram\0").map_err(|e| e.to_string())?,
                _libraries: Vec::new(),
            }
        };
        libraries.push(library);
        Ok(Nvrtc { _libraries: libraries, ..nvrtc })
    }

    /// The log of compiling, and whether it succeeded.
    fn compile(&self, source: &CodeSource, architecture: &str) -> (bool, String) {
        let text = CString::new(source.text.as_bytes()).expect("sources have no zero bytes");
        let name = CString::new(source.name.as_bytes()).expect("names have no zero bytes");
        let mut options = vec![format!("-arch={architecture}"), "--ptxas-options=-v".into()];
        options.extend(source.options.iter().cloned());
        let options: Vec<CString> =
            options.into_iter().map(|o| CString::new(o).expect("options have no zero bytes")).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program = ptr::null_mut();
        // SAFETY: all strings end in zero and outlive the calls; the log's buffer has the length NVRTC asks for.
        unsafe {
            let made = (self.create)(&mut program, text.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null());
            if made != 0 {
                return (false, format!("nvrtcCreateProgram: error {made}"));
            }
            let result = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let mut size = 0usize;
            (self.log_size)(program, &mut size);
            let mut log = vec![0u8; size.max(1)];
            (self.log)(program, log.as_mut_ptr().cast());
            (self.destroy)(&mut program);
            (result == 0, String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned())
        }
    }
}

fn find(folder: &Path, begin: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(begin)))
        .collect();
    names.sort();
    names.into_iter().next().ok_or_else(|| format!("{} holds no {begin}", folder.display()))
}

/// What the assembler says of one kernel.
#[derive(Clone, Copy, Default)]
struct Resources {
    registers: u32,
    spilled: u32,
}

/// Numbers before words in the assembler's report: the most registers, all spills.
fn resources(log: &str) -> Resources {
    let before = |line: &str, words: &str| -> Option<u32> {
        let end = line.find(words)?;
        line[..end].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut out = Resources::default();
    for line in log.lines() {
        out.registers = out.registers.max(before(line, "registers").unwrap_or(0));
        out.spilled += before(line, "bytes spill stores").unwrap_or(0);
    }
    out
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    let nvrtc = match Nvrtc::load() {
        Ok(n) => n,
        Err(reason) => {
            println!("skipped: NVRTC cannot be loaded ({reason}); set TACTICIAN_NVRTC_DIR to its folder");
            return;
        }
    };
    let only = std::env::var("TACTICIAN_NVRTC_ONLY").unwrap_or_default();
    let sources: Vec<CodeSource> =
        tactician_kernels::all().into_iter().filter(|s| s.name.contains(&only)).collect();
    let jobs: Vec<(usize, usize)> =
        (0..sources.len()).flat_map(|s| (0..ARCHITECTURES.len()).map(move |a| (s, a))).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = nvrtc.compile(&sources[job.0], ARCHITECTURES[job.1]);
                    results.lock().expect("no thread panics").insert(job, done);
                }
            });
        }
    });
    let results = results.into_inner().expect("no thread panics");

    let mut table = String::from("registers on ");
    let _ = writeln!(table, "{}", ARCHITECTURES.join(", "));
    let mut failures = String::new();
    for (s, source) in sources.iter().enumerate() {
        let mut registers = Vec::new();
        let options = source.options.join(" ");
        for (a, architecture) in ARCHITECTURES.iter().enumerate() {
            let (good, log) = &results[&(s, a)];
            let found = resources(log);
            registers.push(match found.spilled {
                0 => found.registers.to_string(),
                n => format!("{} ({n} B spilled)", found.registers),
            });
            let allowed = SPILLS.iter().any(|(n, o)| source.name.starts_with(n) && options.starts_with(o));
            if !good {
                let _ = writeln!(failures, "{} {options} for {architecture}: {log}", source.name);
            } else if log.contains("serialized") {
                // Products of warp groups whose registers the compiler must touch in between.
                let _ = writeln!(failures, "{} {options} for {architecture}: {log}", source.name);
            } else if found.spilled > 0 && !allowed {
                let _ = writeln!(
                    failures,
                    "{} {options} for {architecture} spills {} B",
                    source.name, found.spilled
                );
            }
        }
        let _ = writeln!(table, "{} {options}: {}", source.name, registers.join(", "));
    }
    println!("{table}");
    assert!(failures.is_empty(), "{failures}");
}
