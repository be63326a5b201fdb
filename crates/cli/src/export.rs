//! `export`.

use std::fs;
use std::io::{BufWriter, stdout};
use std::path::Path;

use tactician::export::{ExportError, ExportFormat, ExportOptions, ExportSummary, export, save};
use tactician::tuning::TacticTable;

use crate::args::Export;
use crate::error::CliError;
use crate::output;

pub(crate) fn run(a: &Export) -> Result<(), CliError> {
    let table = TacticTable::load(&a.table)?;
    let format = match (a.csv, a.parquet) {
        (true, _) => ExportFormat::Csv,
        (_, true) => ExportFormat::Parquet,
        _ => ExportFormat::Json,
    };
    let options = ExportOptions { problem: a.problem.clone(), tactic: a.tactic.clone() };
    let summary = match &a.output {
        Some(path) if same_file(path, &a.table) => {
            return Err(CliError::OverTable { path: path.clone() });
        }
        Some(path) => {
            let summary = save(&table, &options, format, path)?;
            let s = |n: usize| if n == 1 { "" } else { "s" };
            let ExportSummary { rows, problems, contexts, .. } = summary;
            output::line(format!(
                "{}: {rows} row{} of {problems} problem{} in {contexts} context{}",
                path.display(),
                s(rows),
                s(problems),
                s(contexts)
            ))?;
            summary
        }
        None => match export(&table, &options, format, &mut BufWriter::new(stdout().lock())) {
            Err(ExportError::Write(e)) => return Err(CliError::Print(e)),
            other => other?,
        },
    };
    if summary.rows == 0 && !table.is_empty() {
        output::warn(format!(
            "none of the {} rows of {} is chosen by --problem and --tactic; `tactician inspect` lists them",
            table.len(),
            a.table.display()
        ));
    }
    if summary.without_features > 0 {
        output::warn(format!(
            "{} rows have no features, as the table comes from an older program; build the network once more with \
             --table {} to add them, which measures nothing again",
            summary.without_features,
            a.table.display()
        ));
    }
    Ok(())
}

/// Whether both paths lead to one file that exists.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}
