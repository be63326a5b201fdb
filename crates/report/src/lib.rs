//! Private part of tactician: what a build decided and why, as one HTML page, and a run as a trace.
//!
//! ```text
//! ReportData ──render──▶ one HTML file       [TraceStep] ──chrome_trace──▶ JSON for Perfetto
//! ```
//!
//! [`render`] is a pure function of [`ReportData`]: it knows no device and no graph. The page is one file that asks
//! for nothing from anywhere. Pictures and tables are drawn here and stand without a script; the script adds sorting,
//! filtering, zooming and each step's candidates, which it takes from the data embedded in the page.
//!
//! Names come from models and are hostile: everything goes through `text::esc`.

mod chart;
mod curve;
mod data;
mod graph;
mod layout;
mod memory;
mod page;
mod plot;
mod spread;
mod steps;
mod tables;
mod text;
mod trace;

pub use chart::curve_svg;
pub use data::{
    Breakpoint, Buffer, BufferKind, Candidate, Change, Churn, ChurnBuild, ChurnStep, Curve, DeviceFacts,
    Graph, MemoryPlan, Node, Outcome, Policy, ReportData, Step, Timing, Totals,
};
pub use page::render;
pub use trace::{TraceRow, TraceStep, chrome_trace};
