//! Writes pages of made-up data into a folder: `sample FOLDER`. `report.html` (with its data as `report.json` and a
//! trace as `trace.json`) is a ResNet-50; `large.html` a ResNet-152; `hostile.html` has names that try to get out of
//! the page, and figures that make no sense; `empty.html` has nothing.

mod hostile;
mod network;

use std::path::Path;
use std::process::ExitCode;

use tactician_report::{ReportData, chrome_trace, render};

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else { return ExitCode::FAILURE };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let data = network::resnet("ResNet-50", [3, 4, 6, 3]);
    std::fs::write(folder.join("report.html"), render(&data))?;
    std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&data)?)?;
    std::fs::write(folder.join("trace.json"), chrome_trace(&network::timeline(&data)))?;
    std::fs::write(folder.join("large.html"), render(&network::resnet("ResNet-152", [3, 8, 36, 3])))?;
    std::fs::write(folder.join("hostile.html"), render(&hostile::report()))?;
    std::fs::write(folder.join("empty.html"), render(&ReportData::default()))
}
