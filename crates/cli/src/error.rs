//! What the program can fail with.

use std::path::{Path, PathBuf};

use tactician::runtime::NpyError;
use tactician::tuning::TableError;
use tactician::{
    BuildError, DynamicError, EngineError, ImportError, LoadError, RecordError, RunError, SaveError,
    SessionError,
};
use thiserror::Error;

/// The program's work failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error("{model}: {source}")]
    Import { model: String, source: ImportError },
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model cannot be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A plan cannot be run for some shapes.
    #[error(transparent)]
    Dynamic(#[from] DynamicError),
    #[error("{}: {source}", path.display())]
    Plan { path: PathBuf, source: Box<EngineError> },
    #[error("{}: {source}", path.display())]
    Record { path: PathBuf, source: RecordError },
    #[error(
        "no step is called `{name}`; there are {steps}, numbered from 0: `explain` without a step lists them"
    )]
    NoStep { name: String, steps: usize },
    #[error(
        "{} does not say what it was measured for; build with it once by this version of the program (`build MODEL --table`), or          name a model that it has with --model",
        table.display()
    )]
    NoPurpose { table: PathBuf },
    #[error("{} was measured for several networks or options; choose with --model, or keep tables apart:{list}", table.display())]
    Purposes { table: PathBuf, list: String },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Export(#[from] tactician::export::ExportError),
    #[error("{path} is the table itself, which the data set would replace; give another file to --output")]
    OverTable { path: PathBuf },
    #[error("could not {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("could not print: {0}")]
    Print(#[from] std::io::Error),
    #[error("there is no network `{name}` in the zoo; write zoo:NAME or zoo:NAME@BATCH with one of {known}")]
    NoNetwork { name: String, known: String },
    #[error("{path} is no photo that can be read: {source}; give a JPEG or PNG file")]
    Photo { path: String, source: image::ImageError },
    #[error("the reference interpreter failed: {0}")]
    Reference(#[from] tactician::reference::ReferenceError),
    #[error(
        "the outputs differ from the reference: relative error {found:.3e}, allowed {allowed:.0e}; please report this"
    )]
    Wrong { found: f64, allowed: f64 },
    #[error("output `{name}` cannot name a file; rename it in the model")]
    OutputName { name: String },
}

impl CliError {
    /// A plan that cannot be used; the message names the file once.
    pub(crate) fn plan(path: &Path, source: impl Into<EngineError>) -> CliError {
        match source.into() {
            e @ EngineError::Load(LoadError::Io { .. }) => CliError::Engine(e),
            source => CliError::Plan { path: path.to_owned(), source: Box::new(source) },
        }
    }
}
