//! Measurements as a data set: one row for every tactic measured on a problem in a context, with the problem's features.
//!
//! ```
//! use tactician::export::{ExportFormat, ExportOptions, export};
//! use tactician::{Builder, zoo};
//!
//! let tuned = Builder::new().threads(1).tune(&zoo::tiny(1))?;
//! let mut csv = Vec::new();
//! let options = ExportOptions { tactic: Some("conv.".into()), ..ExportOptions::default() };
//! let summary = export(tuned.table(), &options, ExportFormat::Csv, &mut csv)?;
//! assert_eq!(String::from_utf8_lossy(&csv).lines().count(), 1 + summary.rows);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod parquet;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use tactician_ir::Features;
use tactician_tune::{Row, TacticTable};
use tactician_types::write_file;
use thiserror::Error;

pub use columns::{COLUMNS, Column, ColumnKind, Value};

/// How a data set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// Comma-separated, as RFC 4180 says, with a header; what is absent is empty.
    Csv,
    /// A JSON array of objects, one a line, every column a key; what is absent is `null`.
    Json,
    /// Apache Parquet, without compression beyond dictionaries; what is absent is null.
    Parquet,
}

/// Which rows of a table go into the data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Only problems whose text contains this.
    pub problem: Option<String>,
    /// Only tactics whose name begins with this.
    pub tactic: Option<String>,
}

/// What a data set came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Rows.
    pub rows: usize,
    /// Different problems.
    pub problems: usize,
    /// Different contexts.
    pub contexts: usize,
    /// Rows whose problem has no features, as tables of older programs have none.
    pub without_features: usize,
}

/// One row: everything known of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Id of the context.
    pub context: &'a str,
    /// The context's facts. Absent when the table lacks them.
    pub facts: Option<&'a BTreeMap<String, String>>,
    /// The problem's text.
    pub problem: &'a str,
    /// The problem's features.
    pub features: Option<&'a Features>,
    /// The tactic's name.
    pub tactic: &'a str,
    /// What was measured.
    pub row: &'a Row,
}

/// A data set cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The destination does not take it.
    #[error("could not write the data set: {0}")]
    Write(#[from] std::io::Error),
    /// The file cannot be written.
    #[error("could not write the data set {path}: {source}; check that the folder exists and has space")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Parquet writer failed.
    #[error("could not write the data set as Parquet: {0}; write CSV or JSON instead")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// The rows of a table that the options let through, in its order: by context, problem, tactic.
pub fn records<'a>(table: &'a TacticTable, options: &ExportOptions) -> Vec<Record<'a>> {
    let contexts: BTreeMap<&str, &BTreeMap<String, String>> = table.contexts().collect();
    let wanted = |problem: &str, tactic: &str| {
        options.problem.as_ref().is_none_or(|p| problem.contains(p.as_str()))
            && options.tactic.as_ref().is_none_or(|t| tactic.starts_with(t.as_str()))
    };
    table
        .iter()
        .filter(|(_, problem, tactic, _)| wanted(problem, tactic))
        .map(|(context, problem, tactic, row)| Record {
            context,
            facts: contexts.get(context).copied(),
            problem,
            features: table.features(problem),
            tactic,
            row,
        })
        .collect()
}

/// Writes a table as a data set of the columns [`COLUMNS`]. Equal tables give equal bytes.
///
/// # Errors
/// When `out` fails.
pub fn export(
    table: &TacticTable,
    options: &ExportOptions,
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<ExportSummary, ExportError> {
    let list = records(table, options);
    match format {
        ExportFormat::Csv => text::csv(&list, out)?,
        ExportFormat::Json => text::json(&list, out)?,
        ExportFormat::Parquet => out.write_all(&parquet::bytes(&list)?)?,
    }
    out.flush()?;
    Ok(ExportSummary {
        rows: list.len(),
        problems: list.iter().map(|r| r.problem).collect::<BTreeSet<_>>().len(),
        contexts: list.iter().map(|r| r.context).collect::<BTreeSet<_>>().len(),
        without_features: list.iter().filter(|r| r.features.is_none()).count(),
    })
}

/// Writes a data set into a file: aside, then renamed, so that a file there stays until the new one is whole.
///
/// # Errors
/// When the folder cannot be written or the disk is full; nothing is left behind then.
pub fn save(
    table: &TacticTable,
    options: &ExportOptions,
    format: ExportFormat,
    path: &Path,
) -> Result<ExportSummary, ExportError> {
    let mut summary = ExportSummary::default();
    write_file(path, |out| {
        summary = export(table, options, format, out).map_err(|e| match e {
            ExportError::Write(e) => e,
            e => std::io::Error::other(e),
        })?;
        Ok(())
    })
    .map_err(|source| ExportError::File { path: path.to_owned(), source })?;
    Ok(summary)
}

#[cfg(test)]
mod tests;
