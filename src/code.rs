//! Machine code that plans of a tactic table needed: kept beside the table, so that the next plan is made without compiling.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tactician_device::{CodeSource, Device, DeviceError, DeviceInfo};
use tactician_types::write_file;

/// Largest file that is read.
const MOST: u64 = 64 << 20;

/// A folder of code: a file for each source, architecture and compiler, which holds the code and the hash of it. Whatever is
/// not whole there counts as absent, and may be deleted at any time.
#[derive(Clone, Debug)]
pub(crate) struct CodeFolder {
    path: PathBuf,
    /// Whether new code is added.
    grows: bool,
    /// What code depends on beside its source.
    target: String,
}

impl CodeFolder {
    /// The folder beside a table, `TABLE.code`, for one device.
    pub(crate) fn beside(table: &Path, device: &DeviceInfo, grows: bool) -> CodeFolder {
        let mut path = table.as_os_str().to_owned();
        path.push(".code");
        let compiler = device.cuda().and_then(|c| c.nvrtc);
        CodeFolder { path: path.into(), grows, target: format!("{} {compiler:?}", device.architecture()) }
    }

    /// The code of a source: from the folder, else compiled and kept there. Where it cannot be kept it is compiled again next
    /// time.
    pub(crate) fn compile(&self, device: &dyn Device, source: &CodeSource) -> Result<Arc<[u8]>, DeviceError> {
        let file = self.file(source);
        if let Some(code) = read(&file) {
            return Ok(code.into());
        }
        let code = device.compile(source)?;
        if self.grows && fs::create_dir_all(&self.path).is_ok() {
            let hash = blake3::hash(&code);
            let _ = write_file(&file, |out| {
                out.write_all(&code)?;
                out.write_all(hash.as_bytes())
            });
        }
        Ok(code)
    }

    fn file(&self, source: &CodeSource) -> PathBuf {
        let mut hash = blake3::Hasher::new();
        for part in [&*self.target, &source.text].into_iter().chain(source.options.iter().map(|o| &**o)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        self.path.join(format!("{}.cubin", &hash.finalize().to_hex()[..32]))
    }
}

/// The code in a file, if it is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let (code, hash) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>()?;
    let whole = !code.is_empty() && blake3::hash(code) == blake3::Hash::from_bytes(*hash);
    let len = code.len();
    whole.then(|| {
        bytes.truncate(len);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use tactician_device::replay::ReplayDevice;

    use super::*;

    fn source(text: &str) -> CodeSource {
        CodeSource { name: "some.cu".into(), text: text.into(), options: vec!["-DA=1".into()] }
    }

    #[test]
    fn compiles_what_is_not_there_whole() {
        let place = tempfile::tempdir().unwrap();
        let table = place.path().join("a.tac");
        let (able, unable) = (ReplayDevice::new().compiles(), ReplayDevice::new());
        let folder = |grows| CodeFolder::beside(&table, able.info(), grows);
        let known =
            |s: &CodeSource| folder(false).compile(&unable, s).is_ok_and(|c| *c == *s.text.as_bytes());
        let one = source("one");

        // A folder that does not grow leaves no trace.
        assert_eq!(*folder(false).compile(&able, &one).unwrap(), *b"one");
        assert!(!known(&one) && !place.path().join("a.tac.code").exists());

        folder(true).compile(&able, &one).unwrap();
        assert!(known(&one) && !known(&source("two")));
        let other = CodeSource { options: vec!["-DA=2".into()], ..one.clone() };
        assert!(!known(&other));
        let info = DeviceInfo { name: "another name".into(), ..able.info().clone() };
        assert_eq!(CodeFolder::beside(&table, &info, false).file(&one), folder(true).file(&one));

        // Cut off, changed, empty: compiled again, and mended.
        let file = folder(true).file(&one);
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
        fs::remove_dir_all(place.path().join("a.tac.code")).unwrap();
        fs::write(place.path().join("a.tac.code"), "x").unwrap();
        assert!(folder(true).compile(&able, &one).is_ok() && !known(&one));
    }
}
