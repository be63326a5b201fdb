use tactician_device::DeviceInfo;
use tactician_ir::Problem;
use tactician_tactics::{Tactic, tactics_where};

use crate::tuner::{TuneOptions, filtered};

/// All tactics for a problem on a device, by name, those that the options exclude too; on a GPU, where they exclude all
/// others or ask for it, also CPU steps.
pub fn offered(problem: &Problem, device: &DeviceInfo, options: &TuneOptions) -> Vec<Tactic> {
    let on_host = !options.on_host.is_empty() && options.on_host.contains(&problem.to_string());
    tactics_where(problem, device, |t| !on_host && filtered(t, options).is_none())
}

/// The tactics for a problem on a device that the options allow.
pub fn allowed(problem: &Problem, device: &DeviceInfo, options: &TuneOptions) -> Vec<Tactic> {
    let mut list = offered(problem, device, options);
    list.retain(|t| filtered(t, options).is_none());
    list
}
