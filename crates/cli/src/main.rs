//! The program `tactician`.

mod args;
mod bench;
mod build;
mod demo;
mod devices;
mod error;
mod inspect;
mod output;
mod photo;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Build(a) => build::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Inspect(a) => inspect::run(&a),
        Command::Devices(a) => devices::run(&a),
        Command::Demo(a) => demo::run(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            output::complain(&e);
            ExitCode::FAILURE
        }
    }
}
