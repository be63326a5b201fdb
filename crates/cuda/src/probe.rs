//! Which NVIDIA libraries are there: looked for at run time, each once a process, never a panic.
//!
//! `cudarc` panics when a library or a function of it is missing, so nothing of it is called before this module has
//! found the library and every function that the backend uses.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::sync::OnceLock;

use cudarc::driver::sys;
use libloading::Library;

use crate::driver;

/// The libraries that the backend can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lib {
    /// The driver, `libcuda`: nothing runs without it.
    Driver,
    /// The run-time compiler, `libnvrtc`: needed to build plans, not to run them.
    Nvrtc,
    /// cuDNN.
    Cudnn,
    /// cuBLASLt.
    CublasLt,
}

impl Lib {
    /// All of them.
    pub const ALL: [Lib; 4] = [Lib::Driver, Lib::Nvrtc, Lib::Cudnn, Lib::CublasLt];

    /// The name used in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Lib::Driver => "CUDA driver",
            Lib::Nvrtc => "NVRTC",
            Lib::Cudnn => "cuDNN",
            Lib::CublasLt => "cuBLASLt",
        }
    }

    /// File names to try, in order. For the driver and NVRTC they are those of `cudarc`, which loads its own copy.
    fn candidates(self) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        match self {
            Lib::Driver => {
                ["cuda", "nvcuda"].iter().flat_map(|n| cudarc::get_lib_name_candidates(n)).collect()
            }
            Lib::Nvrtc => cudarc::get_lib_name_candidates("nvrtc"),
            Lib::Cudnn => list(&["libcudnn.so.9", "libcudnn.so"]),
            Lib::CublasLt => list(&["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"]),
        }
    }

    /// The name to expect, for messages.
    const fn usual(self) -> &'static str {
        match self {
            Lib::Driver => "libcuda.so.1",
            Lib::Nvrtc => "libnvrtc.so.13",
            Lib::Cudnn => "libcudnn.so.9",
            Lib::CublasLt => "libcublasLt.so.13",
        }
    }

    /// Where it comes from, for messages.
    const fn source(self) -> &'static str {
        match self {
            Lib::Driver => "NVIDIA's driver",
            Lib::Nvrtc => "the CUDA toolkit, and alone as the Python package nvidia-cuda-nvrtc",
            Lib::Cudnn => "cuDNN 9, which is also the Python package nvidia-cudnn-cu13",
            Lib::CublasLt => "the CUDA toolkit, and alone as the Python package nvidia-cublas",
        }
    }

    /// Functions that must be there; the first one tells where the library lies.
    const fn functions(self) -> &'static [&'static str] {
        match self {
            Lib::Driver => driver::FUNCTIONS,
            #[cfg(feature = "nvrtc")]
            Lib::Nvrtc => crate::compile::FUNCTIONS,
            #[cfg(not(feature = "nvrtc"))]
            Lib::Nvrtc => &["nvrtcVersion"],
            Lib::Cudnn => &["cudnnGetVersion", "cudnnBackendCreateDescriptor"],
            Lib::CublasLt => &["cublasLtGetVersion", "cublasLtMatmulAlgoGetHeuristic"],
        }
    }
}

/// A library that is loaded, for the rest of the process.
#[derive(Debug)]
pub struct Loaded {
    library: Library,
    /// The name under which it was found.
    pub soname: String,
    /// Its file, where the system tells.
    pub path: Option<String>,
    /// Its version, in the library's own numbering: 13000 for a driver of CUDA 13.0 and for NVRTC 13.0, 91400 for
    /// cuDNN 9.14.0, 130002 for cuBLASLt 13.0.2.
    pub version: u32,
}

impl Loaded {
    /// The library, to take functions from.
    pub fn library(&self) -> &Library {
        &self.library
    }
}

/// The library, loaded when first asked for; else why it cannot be used.
///
/// # Errors
/// A sentence for people: it is not there, or too old.
pub fn library(lib: Lib) -> Result<&'static Loaded, &'static str> {
    static STATES: [OnceLock<Result<Loaded, String>>; 4] = [const { OnceLock::new() }; 4];
    let state = STATES[lib as usize].get_or_init(|| load(lib));
    state.as_ref().map_err(String::as_str)
}

fn load(lib: Lib) -> Result<Loaded, String> {
    let (mut missing, mut broken) = (0, None);
    for soname in lib.candidates() {
        // SAFETY: a system library's initialisers run; NVIDIA's have no requirements.
        match unsafe { Library::new(&soname) } {
            Ok(library) => return examine(lib, library, soname),
            Err(e) => {
                let text = cause(&e);
                missing += 1;
                // A library that is there but does not load, such as for want of another, is worth more words than one
                // that is not.
                if !text.starts_with(&soname) || !text.contains("No such file") {
                    broken = Some(text);
                }
            }
        }
    }
    Err(match broken {
        Some(text) => format!("{} does not load: {text}", lib.usual()),
        None => format!(
            "{} is not on the loader path (of {missing} names tried); it comes with {}",
            lib.usual(),
            lib.source()
        ),
    })
}

/// The text of a loader error, its cause included.
fn cause(e: &libloading::Error) -> String {
    match std::error::Error::source(e) {
        Some(s) => s.to_string(),
        None => e.to_string(),
    }
}

fn examine(lib: Lib, library: Library, soname: String) -> Result<Loaded, String> {
    let mut address = 0;
    for (i, name) in lib.functions().iter().enumerate() {
        // SAFETY: only the address is used here.
        match unsafe { library.get::<*const c_void>(name.as_bytes()) } {
            Ok(f) if i == 0 => address = f.addr(),
            Ok(_) => {}
            Err(_) => return Err(format!("{soname} lacks `{name}`: it is too old or too new")),
        }
    }
    let version = version(lib, &library).map_err(|e| format!("{soname}: {e}"))?;
    Ok(Loaded { path: file_at(address), library, soname, version })
}

fn version(lib: Lib, library: &Library) -> Result<u32, String> {
    let number = |v: usize| u32::try_from(v).map_err(|_| "its version is no version".to_owned());
    // SAFETY: each signature is the one that the library's header declares, and no call has requirements.
    unsafe {
        let symbol = |e: libloading::Error| cause(&e);
        match lib {
            Lib::Driver => {
                let f = library
                    .get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDriverGetVersion")
                    .map_err(symbol)?;
                let mut v = 0;
                match f(&mut v) {
                    0 => number(v as usize),
                    code => Err(format!("cuDriverGetVersion returned {code}")),
                }
            }
            Lib::Nvrtc => {
                let f = library
                    .get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(b"nvrtcVersion")
                    .map_err(symbol)?;
                let (mut major, mut minor) = (0, 0);
                match f(&mut major, &mut minor) {
                    0 => number((major * 1000 + minor * 10) as usize),
                    code => Err(format!("nvrtcVersion returned {code}")),
                }
            }
            Lib::Cudnn | Lib::CublasLt => {
                let name: &[u8] = if lib == Lib::Cudnn { b"cudnnGetVersion" } else { b"cublasLtGetVersion" };
                number(library.get::<unsafe extern "C" fn() -> usize>(name).map_err(symbol)?())
            }
        }
    }
}

/// The file mapped at an address of this process.
fn file_at(address: usize) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let hex = |t: &str| usize::from_str_radix(t, 16).ok();
        let inside = (hex(from)?..hex(to)?).contains(&address);
        let file = rest.find('/').map(|at| rest[at..].to_owned());
        inside.then_some(file).flatten()
    })
}

/// One library as [`probe`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryProbe {
    /// Its name.
    pub name: &'static str,
    /// The file name under which it was found, or the usual one.
    pub soname: String,
    /// Its file, where the system tells.
    pub path: Option<String>,
    /// Its version, such as `9.14.0`; else why it cannot be used.
    pub version: Result<String, String>,
}

impl fmt::Display for LibraryProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Ok(v) => write!(f, "{} {v} ({})", self.name, self.path.as_ref().unwrap_or(&self.soname)),
            Err(reason) => write!(f, "{}: {reason}", self.name),
        }
    }
}

/// What of CUDA this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The libraries, in the order of [`Lib::ALL`].
    pub libraries: Vec<LibraryProbe>,
    /// How many GPUs the driver offers; else why none.
    pub devices: Result<usize, String>,
}

/// Looks for everything. Loading cuDNN and cuBLASLt for the first time takes about a second.
///
/// ```
/// let found = tactician_cuda::probe();
/// assert_eq!(found.libraries.len(), 4);
/// assert!(found.devices.is_ok() || tactician_cuda::obstacle().is_some());
/// ```
pub fn probe() -> Probe {
    let look = |lib: Lib| match library(lib) {
        Ok(l) => LibraryProbe {
            name: lib.name(),
            soname: l.soname.clone(),
            path: l.path.clone(),
            version: Ok(version_text(lib, l.version)),
        },
        Err(reason) => LibraryProbe {
            name: lib.name(),
            soname: lib.usual().into(),
            path: None,
            version: Err(reason.into()),
        },
    };
    Probe { libraries: Lib::ALL.into_iter().map(look).collect(), devices: device_count() }
}

/// Why there is no GPU to use; nothing when there is one. Looks for the driver only.
pub fn obstacle() -> Option<String> {
    match device_count() {
        Ok(0) => Some("the driver offers no GPU".into()),
        Ok(_) => None,
        Err(reason) => Some(reason),
    }
}

/// A library's number as people write it.
pub(crate) fn version_text(lib: Lib, v: u32) -> String {
    match lib {
        Lib::Driver | Lib::Nvrtc => format!("{}.{}", v / 1000, v % 1000 / 10),
        Lib::Cudnn | Lib::CublasLt => format!("{}.{}.{}", v / 10000, v / 100 % 100, v % 100),
    }
}

/// Starts the driver, once a process.
pub(crate) fn start_driver() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            library(Lib::Driver)?;
            // SAFETY: the library and the function are there; flags must be 0.
            let result = unsafe { sys::cuInit(0) };
            driver::check("cuInit", result).map_err(|e| e.to_string())
        })
        .clone()
}

/// How many GPUs there are.
pub(crate) fn device_count() -> Result<usize, String> {
    start_driver()?;
    let mut count = 0;
    // SAFETY: the driver has been started; the pointer is to a live integer.
    let result = unsafe { sys::cuDeviceGetCount(&mut count) };
    driver::check("cuDeviceGetCount", result).map_err(|e| e.to_string())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_never_panics_and_repeats() {
        let found = probe();
        assert_eq!(found, probe());
        for l in &found.libraries {
            let text = l.to_string();
            assert!(text.starts_with(l.name), "{text}");
            match &l.version {
                Ok(v) => assert!(v.contains('.'), "{text}"),
                Err(reason) => assert!(reason.contains("lib"), "{text}"),
            }
        }
        if found.libraries[0].version.is_err() {
            assert_eq!(found.devices, Err(found.libraries[0].version.clone().unwrap_err()));
            assert!(obstacle().is_some_and(|o| o.contains("libcuda.so.1")));
        }
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(version_text(Lib::Driver, 13000), "13.0");
        assert_eq!(version_text(Lib::Nvrtc, 12080), "12.8");
        assert_eq!(version_text(Lib::Cudnn, 91400), "9.14.0");
        assert_eq!(version_text(Lib::CublasLt, 130002), "13.0.2");
    }

    #[test]
    fn files_are_found_by_address() {
        let own = file_at(files_are_found_by_address as fn() as usize);
        assert!(own.is_none_or(|f| f.starts_with('/')));
        assert_eq!(file_at(1), None);
    }
}
