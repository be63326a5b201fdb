//! What building found out beside measurements: kept next to the table, so that the next build need not ask and compile again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tactician_cuda::{cublaslt, cudnn};
use tactician_device::{CodeSource, Device, DeviceError, DeviceInfo};
use tactician_types::write_file;

/// Largest file that is read.
const MOST: u64 = 64 << 20;

/// A folder of what can be had again, with more time: code, a file for each source, architecture and compiler, and what the
/// libraries answered. Every file ends with the hash of the rest; whatever is not whole counts as absent, and all of it may be
/// deleted at any time.
#[derive(Clone, Debug)]
pub(crate) struct CacheFolder {
    path: PathBuf,
    /// Whether anything is added.
    grows: bool,
    /// What code depends on beside its source.
    target: String,
}

impl CacheFolder {
    /// The folder next to a table, `TABLE.cache`, for one device.
    pub(crate) fn beside(table: &Path, device: &DeviceInfo, grows: bool) -> CacheFolder {
        let mut path = table.as_os_str().to_owned();
        path.push(".cache");
        let compiler = device.cuda().and_then(|c| c.nvrtc);
        CacheFolder { path: path.into(), grows, target: format!("{} {compiler:?}", device.architecture()) }
    }

    /// The code of a source: from the folder, else compiled and kept there.
    pub(crate) fn compile(&self, device: &dyn Device, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        let file = self.code_file(source);
        if let Some(code) = read(&file) {
            return Ok(code.into());
        }
        let code = device.compile(source)?;
        self.keep(&file, &code);
        Ok(code)
    }

    /// Tells the backends what their libraries answered before.
    pub(crate) fn recall_answers(&self) {
        for l in LIBRARIES {
            if let Some(answers) = read(&self.path.join(l.file)) {
                (l.recall)(&answers);
            }
        }
    }

    /// Keeps what the libraries have answered by now.
    pub(crate) fn keep_answers(&self) {
        for l in LIBRARIES {
            let file = self.path.join(l.file);
            let kept = read(&file);
            // Others may have added to it meanwhile.
            kept.iter().for_each(|k| (l.recall)(k));
            let answers = (l.answers)();
            // One byte is an empty list.
            if answers.len() > 1 && kept.as_ref() != Some(&answers) {
                self.keep(&file, &answers);
            }
        }
    }

    /// Where it cannot be kept it is found out again next time.
    fn keep(&self, file: &Path, bytes: &[u8]) {
        if !self.grows || fs::create_dir_all(&self.path).is_err() {
            return;
        }
        let hash = blake3::hash(bytes);
        let _ = write_file(file, |out| {
            out.write_all(bytes)?;
            out.write_all(hash.as_bytes())
        });
    }

    fn code_file(&self, source: &CodeSource) -> PathBuf {
        let mut hash = blake3::Hasher::new();
        for part in [&*self.target, &source.text].into_iter().chain(source.options.iter().map(|o| &**o)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        self.path.join(format!("{}.cubin", &hash.finalize().to_hex()[..32]))
    }
}

/// A library whose answers are kept.
struct Library {
    /// Its number changes with what is asked and with how answers are encoded.
    file: &'static str,
    answers: fn() -> Vec<u8>,
    recall: fn(&[u8]),
}

const LIBRARIES: [Library; 2] = [
    Library { file: "cudnn-1.answers", answers: cudnn::answers, recall: cudnn::recall },
    Library { file: "cublaslt-1.answers", answers: cublaslt::answers, recall: cublaslt::recall },
];

/// What a file holds, if it is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let (kept, hash) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    let whole = !kept.is_empty() && blake3::hash(kept) == blake3::Hash::from_bytes(*hash);
    let len = kept.len();
    whole.then(|| {
        bytes.truncate(len);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use tactician_device::CudaInfo;
    use tactician_device::replay::ReplayDevice;
    use tactician_tune::TuneOptions;
    use tactician_types::DType;

    use super::*;
    use crate::{Builder, Greedy, zoo};

    fn source(text: &str) -> CodeSource {
        CodeSource { name: "some.cu".into(), text: text.into(), options: vec!["-DA=1".into()] }
    }

    #[test]
    fn compiles_what_is_not_there_whole() {
        let place = tempfile::tempdir().unwrap();
        let table = place.path().join("a.tac");
        let (able, unable) = (ReplayDevice::new().compiles(), ReplayDevice::new());
        let folder = |grows| CacheFolder::beside(&table, able.info(), grows);
        let known =
            |s: &CodeSource| folder(false).compile(&unable, s).is_ok_and(|c| *c == *s.text.as_bytes());
        let one = source("one");

        // A folder that does not grow leaves no trace.
        assert_eq!(*folder(false).compile(&able, &one).unwrap(), *b"one");
        assert!(!known(&one) && !place.path().join("a.tac.cache").exists());

        folder(true).compile(&able, &one).unwrap();
        assert!(known(&one) && !known(&source("two")));
        let other = CodeSource { options: vec!["-DA=2".into()], ..one.clone() };
        assert!(!known(&other));
        let info = DeviceInfo { name: "another name".into(), ..able.info().clone() };
        assert_eq!(CacheFolder::beside(&table, &info, false).code_file(&one), folder(true).code_file(&one));

        // Cut off, changed, empty: compiled again, and mended.
        let file = folder(true).code_file(&one);
        let whole = fs::read(&file).unwrap();
        let mut changed = whole.clone();
        changed[1] ^= 1;
        for broken in [&whole[..whole.len() - 1], &changed, b"", &[0; 40]] {
            fs::write(&file, broken).unwrap();
            assert!(!known(&one));
            folder(true).compile(&able, &one).unwrap();
            assert!(known(&one) && fs::read(&file).unwrap() == whole);
        }
        // A file in the folder's place keeps nothing and breaks nothing.
        fs::remove_dir_all(place.path().join("a.tac.cache")).unwrap();
        fs::write(place.path().join("a.tac.cache"), "x").unwrap();
        assert!(folder(true).compile(&able, &one).is_ok() && !known(&one));
    }

    /// A GPU's plan from a table and its folder: nothing is compiled, and without the folder it would have to be.
    #[test]
    fn plans_come_without_a_compiler() {
        let place = tempfile::tempdir().unwrap();
        let table = place.path().join("a.tac");
        let info = CudaInfo::h100().on_paper();
        let build = |able: bool, frozen: bool| {
            let device = ReplayDevice::new().with_info(info.clone());
            let device = if able { device.compiles() } else { device };
            let options = TuneOptions { gate: false, frozen, ..TuneOptions::default() };
            // Few, so that it is quick.
            let few = "own,-conv.cuda.mma,-conv.cuda.tma,-matmul.cuda.mma,-matmul.cuda.tma".parse().unwrap();
            let builder =
                Builder::new().device(Arc::new(device)).precision(DType::F16).tactics(few).tuning(options);
            builder.policy(Greedy).table(&table).build(&zoo::tiny(1))
        };
        let first = build(true, false).unwrap();
        assert!(first.meta.steps.iter().any(|s| s.code.is_some()));
        let before = fs::read(&table).unwrap();
        for frozen in [false, true] {
            let again = build(false, frozen).unwrap();
            assert_eq!(again.meta.steps, first.meta.steps);
        }
        assert_eq!(fs::read(&table).unwrap(), before);
        fs::remove_dir_all(place.path().join("a.tac.cache")).unwrap();
        let e = build(false, true).unwrap_err();
        assert!(e.to_string().contains("compil"), "{e}");
    }
}
