//! Going on after a tactic broke the GPU. The driver refuses the process everything from then on, so another one takes its
//! place: the table says what failed, and that is not tried again.

use std::ffi::OsStr;
use std::process::Command;

use tactician::BuildError;
use tactician::tuning::TuneError;

use crate::error::CliError;
use crate::output;

/// Counts how often the program has taken its own place.
const COUNT: &str = "TACTICIAN_RESTARTS";

/// Most restarts; every one leaves out one tactic more, so more would mean that something else is wrong.
const MOST: u32 = 32;

/// Whether a table was named, where the next process finds what this one has measured.
fn keeps_a_table<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> bool {
    args.into_iter().any(|a| {
        let a = a.as_ref().to_string_lossy();
        a == "--table" || a.starts_with("--table=")
    })
}

/// Whether the program may start again, after so many times.
fn may_restart(e: &CliError, keeps_a_table: bool, count: u32) -> bool {
    let fault = matches!(e, CliError::Build(BuildError::Tune(TuneError::Fault { .. })));
    fault && keeps_a_table && count < MOST
}

/// Starts the program again in place of this one where that lets the work go on; returns where it does not.
pub(crate) fn after(e: &CliError) {
    let count = std::env::var(COUNT).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if !may_restart(e, keeps_a_table(std::env::args_os()), count) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    output::warn(format!("{e}\n  starting again by itself, with what the table has"));
    let mut next = Command::new(program);
    next.args(std::env::args_os().skip(1)).env(COUNT, (count + 1).to_string());
    #[cfg(unix)]
    {
        // Only a failure comes back.
        let failure = std::os::unix::process::CommandExt::exec(&mut next);
        output::warn(format!("could not start again: {failure}"));
    }
    #[cfg(not(unix))]
    match next.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(failure) => output::warn(format!("could not start again: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use tactician::DeviceError;

    use super::*;

    #[test]
    fn only_faults_with_a_table_start_again_and_not_for_ever() {
        let source = DeviceError::Failed { call: "cuCtxSynchronize".into(), reason: "a fault".into() };
        let fault = TuneError::Fault { problem: "p".into(), tactic: "t".into(), source };
        let fault = CliError::Build(BuildError::Tune(fault));
        assert!(may_restart(&fault, true, 0));
        assert!(!may_restart(&fault, false, 0));
        assert!(!may_restart(&fault, true, MOST));
        let other = CliError::Build(BuildError::Tune(TuneError::NoTactic { problem: "p".into() }));
        assert!(!may_restart(&other, true, 0));
    }

    #[test]
    fn a_table_is_found_in_both_forms() {
        assert!(keeps_a_table(["build", "m.onnx", "--table", "t.tac"]));
        assert!(keeps_a_table(["build", "--table=t.tac"]));
        assert!(!keeps_a_table(["build", "m.onnx", "-o", "--tables"]));
    }
}
