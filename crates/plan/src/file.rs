//! Reading and writing the file. `docs/plan-format.md` is the definition.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use tactician_types::{replaceable, write_file};
use thiserror::Error;

use crate::ALIGNMENT;
use crate::meta::{NetworkForm, PlanMeta, Profile};
use crate::validate::validate;

/// First bytes of a plan file.
pub const MAGIC: [u8; 8] = *b"TACTPLAN";

/// Version of the file format.
pub const FORMAT_VERSION: u32 = 3;

/// Length of the header.
pub const HEADER_LEN: usize = 64;

/// Longest metadata accepted.
const MAX_META: u64 = 1 << 30;

/// A plan: metadata, and constants in memory or in a mapped file.
#[derive(Clone)]
pub struct Plan {
    /// What it says.
    pub meta: PlanMeta,
    constants: Arc<Section>,
    network: Arc<Section>,
    record: Arc<[u8]>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Bytes of a plan, in memory or in a mapped file that stays mapped as long as they are in use.
pub struct Section {
    source: Arc<Source>,
    range: Range<usize>,
}

enum Source {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Section {
    fn owned(bytes: Vec<u8>) -> Arc<Section> {
        let range = 0..bytes.len();
        Arc::new(Section { source: Arc::new(Source::Owned(bytes)), range })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }
}

impl AsRef<[u8]> for Section {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Source::Owned(v) => v,
            Source::Mapped(m) => m,
        }
    }
}

/// A plan file whose metadata is read and sound, and whose checksum is still to be verified, which takes as long as reading
/// all of it: meanwhile another thread can start the device.
pub struct Draft {
    meta: PlanMeta,
    source: Source,
    /// Where the constants start.
    start: usize,
    /// Where the record starts.
    record: usize,
    /// Whether the checksum matches, once that is known.
    matches: OnceLock<bool>,
}

impl Draft {
    /// Opens a plan file as [`Plan::open`] does, but for the checksum.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn open(path: &Path) -> Result<Draft, LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < HEADER_LEN as u64 {
            return Draft::of(Source::Owned(fs::read(path).map_err(io)?));
        }
        // SAFETY: the mapping is private and read-only. A process that truncates the file meanwhile would make reads
        // fail with SIGBUS; the documentation of `Plan::open` forbids that, as every user of mapped files must.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        // All of it is read soon; a system that does not take the hint reads it when it must.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::WillNeed);
        Draft::of(Source::Mapped(map))
    }

    fn of(source: Source) -> Result<Draft, LoadError> {
        let bytes = source.bytes();
        let (meta, record, start) = outline(bytes).map_err(|e| match e {
            // Damage is the likelier cause.
            LoadError::Invalid { .. } if !checksum_matches(bytes) => LoadError::Checksum,
            e => e,
        })?;
        Ok(Draft { meta, source, start, record, matches: OnceLock::new() })
    }

    /// What the plan says, unless it is damaged.
    pub fn meta(&self) -> &PlanMeta {
        &self.meta
    }

    /// Verifies the checksum.
    ///
    /// # Errors
    /// When it does not match.
    pub fn verify(&self) -> Result<(), LoadError> {
        let matches = self.matches.get_or_init(|| checksum_matches(self.source.bytes()));
        if *matches { Ok(()) } else { Err(LoadError::Checksum) }
    }

    /// The plan; verifies the checksum unless that is done.
    ///
    /// # Errors
    /// When the checksum does not match.
    pub fn finish(self) -> Result<Plan, LoadError> {
        self.verify()?;
        // A few kilobytes; `outline` checked that they are there.
        let record = &self.source.bytes()[..self.start][self.record..];
        let record = record.get(..self.meta.record_bytes as usize).unwrap_or_default().into();
        let (source, start) = (Arc::new(self.source), self.start);
        // `outline` checked that the network lies behind the start.
        let end = source.bytes().len() - self.meta.network_bytes as usize;
        let network = Arc::new(Section { source: source.clone(), range: end..source.bytes().len() });
        let constants = Arc::new(Section { source, range: start..end });
        Ok(Plan { meta: self.meta, constants, network, record })
    }
}

/// A plan cannot be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("could not read the plan {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a plan at all.
    #[error("this is not a plan: it does not start with {:?}; plans are made by `tactician build`", String::from_utf8_lossy(&MAGIC))]
    NotAPlan,
    /// A plan of another format version.
    #[error("the plan has format version {found}, this program reads {FORMAT_VERSION}; build it again")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Shorter or longer than it says.
    #[error(
        "the plan should be {expected} bytes long but is {found}: it was cut off or something was appended; copy or build it again"
    )]
    Length {
        /// What the header says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Contents do not match the checksum.
    #[error("the plan is damaged: its checksum does not match; copy or build it again")]
    Checksum,
    /// The contents contradict themselves.
    #[error("the plan is invalid: {place}: {what}; build it again")]
    Invalid {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
}

/// A plan cannot be written.
#[derive(Debug, Error)]
#[error("could not write the plan {path}: {source}")]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// The header's fields.
struct Header {
    meta_len: u64,
    constants_start: u64,
    file_len: u64,
    hash: [u8; 32],
}

impl Header {
    fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut h = [0; HEADER_LEN];
        h[..8].copy_from_slice(&MAGIC);
        h[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        h[12..16].copy_from_slice(&(self.constants_start as u32).to_le_bytes());
        h[16..24].copy_from_slice(&self.meta_len.to_le_bytes());
        h[24..32].copy_from_slice(&self.file_len.to_le_bytes());
        h[32..].copy_from_slice(&self.hash);
        h
    }
}

/// The hash covers the header before it and everything after.
fn hash_of(header: &[u8], rest: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&header[..32]).update(rest).finalize().as_bytes()
}

impl Plan {
    /// A plan in memory. `constants` is the constant section, laid out as `meta.constants` says.
    ///
    /// # Errors
    /// When the metadata contradicts itself or the constants.
    pub fn new(meta: PlanMeta, constants: Vec<u8>) -> Result<Plan, LoadError> {
        validate(&meta, constants.len() as u64)
            .map_err(|(what, place)| LoadError::Invalid { place, what })?;
        if meta.record_bytes != 0 || meta.network_bytes != 0 {
            let what = "it has a record or a network before it was given one".to_owned();
            return Err(LoadError::Invalid { place: "plan".into(), what });
        }
        let (constants, network) = (Section::owned(constants), Section::owned(Vec::new()));
        Ok(Plan { meta, constants, network, record: Arc::default() })
    }

    /// The same plan with a record of how it came about.
    #[must_use]
    pub fn with_record(mut self, record: Vec<u8>) -> Plan {
        self.meta.record_bytes = record.len() as u64;
        self.record = record.into();
        self
    }

    /// The record of how it came about, for people: bytes that nothing here looks into. Empty where there is none.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// The same plan for all shapes of some profiles. `network` is what steps for other shapes are made from.
    ///
    /// # Errors
    /// When the profiles contradict the plan.
    pub fn with_profiles(
        mut self,
        profiles: Vec<Profile>,
        form: NetworkForm,
        network: Vec<u8>,
    ) -> Result<Plan, LoadError> {
        self.meta.profiles = profiles;
        self.meta.network_form = form;
        self.meta.network_bytes = network.len() as u64;
        self.network = Section::owned(network);
        validate(&self.meta, self.constants.bytes().len() as u64)
            .map_err(|(what, place)| LoadError::Invalid { place, what })?;
        Ok(self)
    }

    /// The network of a plan whose shapes are open, in the form that [`PlanMeta::network_form`] says; empty for others.
    pub fn network(&self) -> &Arc<Section> {
        &self.network
    }

    /// The constant section.
    pub fn constants(&self) -> &Arc<Section> {
        &self.constants
    }

    /// Opens a plan file and checks all of it.
    ///
    /// The file is mapped, so weights are read from it in place; do not change or truncate it while it is loaded
    /// (replace it by renaming, as [`Plan::save`] does).
    ///
    /// # Errors
    /// When the file cannot be read, is no plan, is of another version, damaged or invalid.
    pub fn open(path: &Path) -> Result<Plan, LoadError> {
        Draft::open(path)?.finish()
    }

    /// Reads a plan from bytes and checks all of it.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Plan, LoadError> {
        Draft::of(Source::Owned(bytes))?.finish()
    }

    fn head(&self) -> Result<(Header, Vec<u8>), String> {
        let mut meta = postcard::to_stdvec(&self.meta).map_err(|e| e.to_string())?;
        let meta_len = meta.len() as u64;
        meta.extend_from_slice(&self.record);
        let start = (HEADER_LEN as u64 + meta.len() as u64).next_multiple_of(ALIGNMENT);
        if start > u64::from(u32::MAX) || meta_len > MAX_META {
            return Err(format!("{} bytes of metadata are too many", meta.len()));
        }
        meta.resize(start as usize - HEADER_LEN, 0);
        let file_len = start + (self.constants.bytes().len() + self.network.bytes().len()) as u64;
        let mut header = Header { meta_len, constants_start: start, file_len, hash: [0; 32] };
        header.hash = *blake3::Hasher::new()
            .update(&header.bytes()[..32])
            .update(&meta)
            .update(self.constants.bytes())
            .update(self.network.bytes())
            .finalize()
            .as_bytes();
        Ok((header, meta))
    }

    /// The file's bytes. Equal plans give equal bytes.
    ///
    /// # Errors
    /// When the metadata is too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let (header, meta) = self.head()?;
        Ok([&header.bytes()[..], &meta, self.constants.bytes(), self.network.bytes()].concat())
    }

    /// Whether [`Plan::save`] could write there: to be asked before the work that makes the plan.
    ///
    /// # Errors
    /// When `path` is there and no regular file.
    pub fn check_path(path: impl AsRef<Path>) -> Result<(), SaveError> {
        let path = path.as_ref();
        let found = replaceable(path).map(|_| ());
        found.map_err(|source| SaveError { path: path.to_owned(), source })
    }

    /// Writes the file aside, then renames it: the old file stays until the new one is whole. A symbolic link stays, and what
    /// it leads to is replaced.
    ///
    /// # Errors
    /// When `path` is there and no regular file, the folder cannot be written or the disk is full; nothing is left behind
    /// then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        let path = path.as_ref();
        let fail = |source| SaveError { path: path.to_owned(), source };
        let (header, meta) = self.head().map_err(|e| fail(std::io::Error::other(e)))?;
        write_file(path, |out| {
            out.write_all(&header.bytes())?;
            out.write_all(&meta)?;
            out.write_all(self.constants.bytes())?;
            out.write_all(self.network.bytes())
        })
        .map_err(fail)
    }
}

/// Whether a file of at least a header matches its checksum.
fn checksum_matches(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_LEN && hash_of(bytes, &bytes[HEADER_LEN..]) == bytes[32..HEADER_LEN]
}

/// Checks a whole file, but for its checksum; returns its metadata, where the record and where the constants start.
fn outline(bytes: &[u8]) -> Result<(PlanMeta, usize, usize), LoadError> {
    let invalid = |place: &str, what: &str| LoadError::Invalid { place: place.into(), what: what.into() };
    if bytes.len() < 12 || bytes[..8] != MAGIC {
        return Err(LoadError::NotAPlan);
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let found = word(8);
    if found != FORMAT_VERSION {
        return Err(LoadError::Version { found });
    }
    if bytes.len() < HEADER_LEN {
        return Err(LoadError::Length { expected: HEADER_LEN as u64, found: bytes.len() as u64 });
    }
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let (start, meta_len, file_len) = (u64::from(word(12)), long(16), long(24));
    if file_len != bytes.len() as u64 {
        return Err(LoadError::Length { expected: file_len, found: bytes.len() as u64 });
    }
    let fits = meta_len <= MAX_META
        && start <= file_len
        && HEADER_LEN as u64 + meta_len <= start
        && start.is_multiple_of(ALIGNMENT);
    if !fits {
        return Err(invalid("header", "its offsets do not fit together"));
    }
    let text = &bytes[HEADER_LEN..HEADER_LEN + meta_len as usize];
    let (meta, left): (PlanMeta, &[u8]) = postcard::take_from_bytes(text)
        .map_err(|e| invalid("metadata", &format!("it does not decode ({e})")))?;
    if !left.is_empty() {
        return Err(invalid("metadata", "something follows it"));
    }
    let record = HEADER_LEN as u64 + meta_len;
    if record.checked_add(meta.record_bytes).is_none_or(|end| end > start) {
        return Err(invalid("record", "it reaches into the constants"));
    }
    let Some(constants) = (file_len - start).checked_sub(meta.network_bytes) else {
        return Err(invalid("network", "it is longer than what follows the metadata"));
    };
    validate(&meta, constants).map_err(|(what, place)| LoadError::Invalid { place, what })?;
    Ok((meta, record as usize, start as usize))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
