//! Printing: the only place that writes to the terminal.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tactician::RefineProgress;
use tactician::tuning::Progress;

use crate::error::CliError;

/// Prints a line. A closed pipe is an error like any other.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), CliError> {
    Ok(writeln!(stdout().lock(), "{text}")?)
}

/// Prints figures for machines.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut out = stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Prints an error, with its causes.
pub(crate) fn complain(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(s) = source {
        let s_text = s.to_string();
        if !text.contains(&s_text) {
            text += &format!("\n  because: {s_text}");
        }
        source = s.source();
    }
    // Nothing is left to do when this fails too.
    let _ = writeln!(stderr().lock(), "{text}");
}

/// Writes a file as a whole or not at all; only a file is replaced.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    tactician::write_file(path, |f| f.write_all(bytes)).map_err(|source| CliError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// Something worth knowing that stops nothing.
pub(crate) fn warn(text: impl std::fmt::Display) {
    let _ = writeln!(stderr().lock(), "warning: {text}");
}

/// A table; columns from the second on are figures unless `text` names them.
pub(crate) fn table(header: &[&str], text: &[usize]) -> Table {
    let mut t = Table::new();
    t.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for (i, column) in t.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if i > 0 && !text.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    t
}

/// Microseconds in the unit that suits them.
pub(crate) fn micros(us: f64) -> String {
    if us < 1000.0 { format!("{us:.1} us") } else { format!("{:.3} ms", us / 1000.0) }
}

/// A bar for measuring, on terminals only.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Bar {
        let bar = ProgressBar::new(0);
        if !stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style =
            ProgressStyle::with_template("measuring {bar:30} {pos}/{len} {elapsed_precise} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    pub(crate) fn update(&self, p: Progress<'_>) {
        self.0.set_length(p.total as u64);
        self.0.set_position(p.done as u64);
        self.0.set_message(format!("{} tactics: {}", p.tactics, p.problem));
    }

    pub(crate) fn refining(&self, p: RefineProgress) {
        self.0.set_length(p.total as u64);
        self.0.set_position(p.done as u64);
        self.0.set_message(format!("swapping tactics in the plan: {}", micros(p.latency_us)));
    }

    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}
