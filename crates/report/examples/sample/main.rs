//! Writes a report of made-up data: `sample PAGE.html [TRACE.json [DATA.json]]`.

mod network;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(page) = args.next() else { return ExitCode::FAILURE };
    let data = network::resnet("ResNet-50", [3, 4, 6, 3]);
    let steps = network::timeline(&data);
    let written = std::fs::write(page, tactician_report::render(&data))
        .and_then(|()| match args.next() {
            Some(file) => std::fs::write(file, tactician_report::chrome_trace(&steps)),
            None => Ok(()),
        })
        .and_then(|()| match args.next() {
            Some(file) => std::fs::write(file, serde_json::to_string_pretty(&data).unwrap_or_default()),
            None => Ok(()),
        });
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
