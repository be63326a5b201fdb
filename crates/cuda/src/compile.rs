//! NVRTC: CUDA C++ to machine code, for any architecture, with or without a GPU.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use tactician_device::{CodeSource, DeviceError};

use crate::probe::{Lib, library};

/// Every NVRTC function that this crate calls; `cudarc` panics when one is missing.
pub(crate) const FUNCTIONS: &[&str] = &[
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcCompileProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetErrorString",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
];

/// Most characters of a compiler's log in an error.
const LOG_LIMIT: usize = 6000;

/// What came out of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The machine code: a CUBIN, an ELF file.
    pub cubin: Vec<u8>,
    /// What the compiler and the assembler said.
    pub log: String,
    /// What each kernel takes, as the assembler says.
    pub entries: Vec<Usage>,
}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The `extern "C"` name.
    pub entry: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes of registers stored to memory for want of room, a thread.
    pub spill_stores: u32,
    /// Bytes loaded back.
    pub spill_loads: u32,
    /// Bytes of static shared memory a block.
    pub shared: u32,
}

/// Compiles for an architecture such as `sm_90a`. Needs NVRTC only, no GPU and no driver.
///
/// # Errors
/// [`DeviceError::Failed`] when NVRTC is missing, or with its log when the source is wrong.
pub fn compile_for(source: &CodeSource, architecture: &str) -> Result<Compiled, DeviceError> {
    let fail = |reason: String| DeviceError::Failed {
        call: format!("compiling {} for {architecture}", source.name),
        reason,
    };
    library(Lib::Nvrtc).map_err(|r| fail(r.to_owned()))?;
    let c_text =
        |t: &str| CString::new(t).map_err(|_| fail("the source or an option holds a zero byte".into()));
    let (text, name) = (c_text(&source.text)?, c_text(&source.name)?);
    let mut options = vec![
        c_text(&format!("--gpu-architecture={architecture}"))?,
        c_text("--std=c++17")?,
        c_text("--ptxas-options=-v")?,
    ];
    for o in &source.options {
        options.push(c_text(o)?);
    }
    let option_pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
    let check = |call: &str, r: nvrtcResult| match r {
        nvrtcResult::NVRTC_SUCCESS => Ok(()),
        r => Err(fail(format!("{call}: {}", words(r)))),
    };
    let mut program = Program(ptr::null_mut());
    // SAFETY: NVRTC and its functions are there. All strings end with a zero and outlive the calls, the list of options
    // is as long as told, and the buffers are as long as NVRTC says.
    unsafe {
        let made = sys::nvrtcCreateProgram(
            &mut program.0,
            text.as_ptr(),
            name.as_ptr(),
            0,
            ptr::null(),
            ptr::null(),
        );
        check("nvrtcCreateProgram", made)?;
        let compiled =
            sys::nvrtcCompileProgram(program.0, option_pointers.len() as c_int, option_pointers.as_ptr());
        let log = program.log();
        if compiled != nvrtcResult::NVRTC_SUCCESS {
            return Err(fail(format!("{}\n{}", words(compiled), shortened(&log))));
        }
        let mut size = 0;
        check("nvrtcGetCUBINSize", sys::nvrtcGetCUBINSize(program.0, &mut size))?;
        let mut cubin = vec![0u8; size];
        check("nvrtcGetCUBIN", sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast()))?;
        if size == 0 {
            return Err(fail("NVRTC made no machine code: name a real architecture, such as sm_90a".into()));
        }
        Ok(Compiled { cubin, entries: usage(&log), log })
    }
}

struct Program(nvrtcProgram);

impl Program {
    /// The log so far; empty where there is none.
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program exists; the pointer is to a live integer.
        let sized = unsafe { sys::nvrtcGetProgramLogSize(self.0, &mut size) };
        let mut bytes = vec![0u8; size];
        if sized != nvrtcResult::NVRTC_SUCCESS || size == 0 {
            return String::new();
        }
        // SAFETY: the buffer is as long as NVRTC says.
        if unsafe { sys::nvrtcGetProgramLog(self.0, bytes.as_mut_ptr().cast()) } != nvrtcResult::NVRTC_SUCCESS
        {
            return String::new();
        }
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: created once, destroyed only here.
            unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
        }
    }
}

fn words(result: nvrtcResult) -> String {
    // SAFETY: NVRTC is there; it returns a static string for every code.
    let text = unsafe { sys::nvrtcGetErrorString(result) };
    if text.is_null() {
        return format!("NVRTC error {}", result as u32);
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn shortened(log: &str) -> String {
    match log.char_indices().nth(LOG_LIMIT) {
        Some((at, _)) => format!("{} …", &log[..at]),
        None => log.to_owned(),
    }
}

/// What the assembler says each kernel takes, in its order.
fn usage(log: &str) -> Vec<Usage> {
    let mut list: Vec<Usage> = Vec::new();
    for line in log.lines() {
        let before = |what: &str| number_before(line, what);
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let entry = rest.split('\'').next().unwrap_or_default().to_owned();
            list.push(Usage { entry, ..Usage::default() });
        } else if let Some(last) = list.last_mut() {
            if let Some(n) = before("bytes spill stores") {
                last.spill_stores = n;
            }
            if let Some(n) = before("bytes spill loads") {
                last.spill_loads = n;
            }
            if let Some(n) = before("registers") {
                last.registers = n;
            }
            if let Some(n) = before("bytes smem") {
                last.shared = n;
            }
        }
    }
    list
}

/// The number that stands before some words.
fn number_before(line: &str, words: &str) -> Option<u32> {
    line[..line.find(words)?].split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_the_log() {
        let log = "ptxas info    : 0 bytes gmem\n\
                   ptxas info    : Compiling entry function 'gemm_mma' for 'sm_90a'\n\
                   ptxas info    : Function properties for gemm_mma\n\
                   \x20   16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n\
                   ptxas info    : Used 254 registers, used 1 barriers, 4096 bytes smem, 400 bytes cmem[0]\n\
                   ptxas info    : Compiling entry function 'add' for 'sm_90a'\n\
                   ptxas info    : Used 10 registers, used 0 barriers\n";
        let list = usage(log);
        let gemm = Usage {
            entry: "gemm_mma".into(),
            registers: 254,
            spill_stores: 8,
            spill_loads: 12,
            shared: 4096,
        };
        assert_eq!(list, [gemm, Usage { entry: "add".into(), registers: 10, ..Usage::default() }]);
    }
}
