//! The tactic table: every measurement, with what it was measured on. Also the timing cache.
//!
//! A text file, one JSON object a line, sorted, so that tables diff and merge: a header, the contexts (what devices,
//! drivers, sources and timing protocol the rows come from), the features of problems, what was measured for (so that
//! `replan` needs no more than the table), then one row a line.
//!
//! Features and purposes came with version 2 of the format. Tables of version 1 are read as they are; a table with neither
//! is still written as version 1. Programs that know version 1 alone would stumble over the first such line, so a table
//! that has some says version 2, which they refuse with a message that fits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tactician_device::DeviceInfo;
use tactician_ir::{DType, Features};
use tactician_tactics::Tactic;
use tactician_types::{Layout, replaceable, write_file};
use thiserror::Error;

/// Newest version of the file format. Version 1 has rows and contexts alone, and is read too.
pub const TABLE_VERSION: u32 = 2;

/// The version of tables with rows and contexts alone.
const PLAIN_VERSION: u32 = 1;

const FORMAT: &str = "tactician-table";

/// Longest line accepted: a row is a few hundred bytes.
const MAX_LINE: u64 = 1 << 20;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Layout of each operand.
    pub inputs: Vec<Layout>,
    /// Layout of the output.
    pub output: Layout,
    /// Scratch in bytes.
    pub workspace: u64,
    /// Bytes of packed weights and code that a plan holds for it, each rounded up to the plan's alignment; 0 where it never
    /// ran, and in tables made before this was recorded.
    #[serde(default)]
    pub constants: u64,
    /// How it went.
    pub verdict: Verdict,
}

impl Row {
    /// A row of a tactic whose packed weights and code take `constants` bytes.
    pub(crate) fn new(tactic: &Tactic, constants: u64, verdict: Verdict) -> Row {
        Row {
            inputs: tactic.inputs.clone(),
            output: tactic.output,
            workspace: tactic.workspace,
            constants,
            verdict,
        }
    }
}

/// How measuring a tactic went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Right, and timed.
    Timed(Timing),
    /// Its output was outside the error bound, or it wrote outside its buffers.
    Wrong {
        /// What was wrong.
        reason: String,
    },
    /// It could not run.
    Failed {
        /// What went wrong.
        reason: String,
    },
}

/// Times of one tactic on one problem.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median of the samples, in microseconds a run.
    pub median_us: f64,
    /// Fastest sample.
    pub min_us: f64,
    /// Median absolute deviation of the samples.
    pub mad_us: f64,
    /// Number of samples; few for a candidate that was soon out of the race.
    pub samples: u32,
    /// Largest error over its bound on the gate's inputs: at most 1.
    pub error_ratio: f64,
    /// Relative L2 error on the gate's random inputs.
    pub relative_l2: f64,
}

impl Timing {
    /// Uncertainty of the median in microseconds: for normal noise 1.4826·MAD estimates the deviation and the
    /// median of n samples has a standard error of 1.2533/√n of it.
    pub fn noise_us(&self) -> f64 {
        1.2533 * 1.4826 * self.mad_us / f64::from(self.samples.max(1)).sqrt()
    }
}

/// What a table was measured for: a network and options, and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purpose {
    /// The model: a path, or `zoo:NAME@BATCH`.
    pub model: String,
    /// Shapes given to open inputs.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Values given to inputs once and for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Vec<f64>>,
    /// The type that `f32` values are stored in.
    pub precision: DType,
    /// Whether factors may be rounded to TF32.
    pub tf32: bool,
    /// Which tactics were allowed, as the filter is written.
    pub tactics: String,
    /// Who decided what is fused: `measured`, or a policy.
    pub fusion: String,
    /// Problems that CPU steps were offered for, because every kernel of the GPU was wrong.
    pub on_host: Vec<String>,
    /// The device.
    pub device: DeviceInfo,
}

/// Measurements by context, problem and tactic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TacticTable {
    contexts: BTreeMap<String, BTreeMap<String, String>>,
    features: BTreeMap<String, Features>,
    /// By their text, so that equal ones are one.
    purposes: BTreeMap<String, Purpose>,
    rows: BTreeMap<(String, String), BTreeMap<String, Row>>,
}

/// A table cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be opened, read or written.
    #[error("{action} the tactic table {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a table.
    #[error("{path} is not a tactic table (its first line is no header); give another file or remove it")]
    NotATable {
        /// The file.
        path: PathBuf,
    },
    /// It is a table of another version.
    #[error(
        "{path} is a tactic table of version {found}, this program reads versions up to {TABLE_VERSION}; use a newer program, or tune again into a new file"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A line does not read.
    #[error("{path}, line {line}: {problem}; remove the line or restore the file")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Row {
        context: String,
        problem: String,
        tactic: String,
        #[serde(flatten)]
        row: Row,
    },
    Context {
        context: String,
        facts: BTreeMap<String, String>,
    },
    Problem {
        problem: String,
        features: Features,
    },
    Purpose {
        measured_for: Box<Purpose>,
    },
}

impl TacticTable {
    /// An empty table.
    pub fn new() -> TacticTable {
        TacticTable::default()
    }

    /// Makes a context known; returns its id, a hash of its facts.
    pub fn context(&mut self, facts: &[(String, String)]) -> String {
        let facts: BTreeMap<String, String> = facts.iter().cloned().collect();
        let id = context_id(&facts);
        self.contexts.insert(id.clone(), facts);
        id
    }

    /// The contexts: id and facts.
    pub fn contexts(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.contexts.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Keeps the features of a problem, in the place of older ones.
    pub fn describe(&mut self, problem: &str, features: Features) {
        self.features.insert(problem.to_owned(), features);
    }

    /// The features of a problem, by its text; absent in tables of older programs.
    pub fn features(&self, problem: &str) -> Option<&Features> {
        self.features.get(problem)
    }

    /// Remembers what it was measured for.
    pub fn measured_for(&mut self, purpose: Purpose) {
        self.purposes.insert(json(&purpose), purpose);
    }

    /// What it was measured for, sorted; nothing in tables of older programs.
    pub fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        self.purposes.values()
    }

    /// The rows of a problem in a context, by tactic name.
    pub fn rows(&self, context: &str, problem: &str) -> Option<&BTreeMap<String, Row>> {
        self.rows.get(&(context.to_owned(), problem.to_owned()))
    }

    /// Every row: context, problem, tactic, row; sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &str, &Row)> {
        self.rows
            .iter()
            .flat_map(|((c, p), rows)| rows.iter().map(move |(t, r)| (c.as_str(), p.as_str(), t.as_str(), r)))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds or replaces a row.
    pub fn insert(&mut self, context: &str, problem: &str, tactic: &str, row: Row) {
        self.rows.entry((context.to_owned(), problem.to_owned())).or_default().insert(tactic.to_owned(), row);
    }

    /// Takes over the rows of another table; where both have one, the one with more samples stays, then this one's.
    /// Features that this table has stay.
    pub fn merge(&mut self, other: TacticTable) {
        self.contexts.extend(other.contexts);
        self.purposes.extend(other.purposes);
        for (problem, features) in other.features {
            self.features.entry(problem).or_insert(features);
        }
        for (key, rows) in other.rows {
            let own = self.rows.entry(key).or_default();
            for (tactic, row) in rows {
                let samples = |r: &Row| if let Verdict::Timed(t) = &r.verdict { t.samples } else { 0 };
                if own.get(&tactic).is_none_or(|o| samples(&row) > samples(o)) {
                    own.insert(tactic, row);
                }
            }
        }
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When the file cannot be read, is no table, is of another version, or a line is broken.
    pub fn load(path: &Path) -> Result<TacticTable, TableError> {
        let file = File::open(path).map_err(|source| io("could not open", path, source))?;
        TacticTable::read(file, path)
    }

    /// Reads a table from any source; `path` is for messages.
    ///
    /// # Errors
    /// As [`TacticTable::load`].
    pub fn read(source: impl Read, path: &Path) -> Result<TacticTable, TableError> {
        let mut table = TacticTable::new();
        let mut reader = BufReader::new(source);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let n = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(|source| io("could not read", path, source))?;
            let bad = |problem: String| TableError::Line { path: path.to_owned(), line: number, problem };
            if number == 1 {
                let header: Header = serde_json::from_slice(&text)
                    .ok()
                    .filter(|h: &Header| h.format == FORMAT)
                    .ok_or_else(|| TableError::NotATable { path: path.to_owned() })?;
                if !(PLAIN_VERSION..=TABLE_VERSION).contains(&header.version) {
                    return Err(TableError::Version { path: path.to_owned(), found: header.version });
                }
                continue;
            }
            if n == 0 {
                break;
            }
            if n as u64 == MAX_LINE {
                return Err(bad(format!("the line is longer than {MAX_LINE} bytes")));
            }
            if text.last() != Some(&b'\n') {
                return Err(bad("the file ends inside this line".into()));
            }
            match serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))? {
                Line::Row { context, problem, tactic, row } => {
                    if let Verdict::Timed(t) = &row.verdict
                        && !(t.median_us.is_finite()
                            && t.median_us >= 0.0
                            && t.mad_us.is_finite()
                            && t.mad_us >= 0.0)
                    {
                        return Err(bad(format!("`{tactic}` has no sensible time")));
                    }
                    table.insert(&context, &problem, &tactic, row);
                }
                Line::Context { context, facts } => {
                    if context_id(&facts) != context {
                        return Err(bad(format!("context {context} does not match its facts")));
                    }
                    table.contexts.insert(context, facts);
                }
                Line::Problem { problem, features } => table.describe(&problem, features),
                Line::Purpose { measured_for } => table.measured_for(*measured_for),
            }
        }
        Ok(table)
    }

    /// The table as text.
    pub fn to_text(&self) -> String {
        let plain = self.features.is_empty() && self.purposes.is_empty();
        let version = if plain { PLAIN_VERSION } else { TABLE_VERSION };
        let mut lines = vec![json(&Header { format: FORMAT.into(), version })];
        for (context, facts) in &self.contexts {
            lines.push(json(&Line::Context { context: context.clone(), facts: facts.clone() }));
        }
        for (problem, features) in &self.features {
            lines.push(json(&Line::Problem { problem: problem.clone(), features: features.clone() }));
        }
        for purpose in self.purposes.values() {
            lines.push(json(&Line::Purpose { measured_for: Box::new(purpose.clone()) }));
        }
        for (context, problem, tactic, row) in self.iter() {
            lines.push(json(&Line::Row {
                context: context.into(),
                problem: problem.into(),
                tactic: tactic.into(),
                row: row.clone(),
            }));
        }
        lines.join("\n") + "\n"
    }

    /// Whether [`TacticTable::save`] could write there: to be asked before measuring.
    ///
    /// # Errors
    /// When `path` is there and no regular file.
    pub fn check_path(path: &Path) -> Result<(), TableError> {
        replaceable(path).map(|_| ()).map_err(|e| io("could not write", path, e))
    }

    /// Writes the table into `path`, merged with what is there by now. Safe against other processes doing the same
    /// (a lock file beside it) and against a full disk (written aside, then renamed).
    ///
    /// # Errors
    /// When `path` is there and no regular file, the folder is not writable, the disk is full, or the file is no table.
    pub fn save(&mut self, path: &Path) -> Result<(), TableError> {
        // One lock for a file, whatever links lead to it.
        let path = &replaceable(path).map_err(|e| io("could not write", path, e))?;
        let lock_path = with_suffix(path, ".lock");
        let lock = File::create(&lock_path).map_err(|e| io("could not lock", &lock_path, e))?;
        lock.lock().map_err(|e| io("could not lock", &lock_path, e))?;
        if fs::metadata(path).is_ok_and(|m| m.len() > 0) {
            self.merge(TacticTable::load(path)?);
        }
        write_file(path, |out| out.write_all(self.to_text().as_bytes()))
            .map_err(|e| io("could not write", path, e))
    }
}

fn context_id(facts: &BTreeMap<String, String>) -> String {
    let text: String = facts.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> TableError {
    TableError::Io { action, path: path.to_owned(), source }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("these types have string keys and no failing serialisers")
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
