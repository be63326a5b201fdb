//! The program `tactician`.

mod args;
mod bench;
mod build;
mod demo;
mod devices;
mod error;
mod explain;
mod export;
mod inspect;
mod output;
mod photo;
mod policies;
mod restart;
mod run;
mod sweep;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Build(a) => build::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Inspect(a) => inspect::run(&a),
        Command::Explain(a) => explain::run(&a),
        Command::Report(a) => explain::report(&a),
        Command::Sweep(a) => sweep::run(&a),
        Command::Replan(a) => sweep::replan(&a),
        Command::Policies(a) => policies::run(&a),
        Command::Churn(a) => policies::churn(&a),
        Command::Export(a) => export::run(&a),
        Command::Devices(a) => devices::run(&a),
        Command::Demo(a) => demo::run(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            restart::after(&e);
            output::complain(&e);
            ExitCode::FAILURE
        }
    }
}
