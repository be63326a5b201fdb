use std::sync::Arc;

use tactician_device::DeviceInfo;
use tactician_ir::Problem;
use tactician_tactics::{Tactic, tactics_where};
use tactician_types::Memo;

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

/// What [`offered`] says of each problem, found out once: on a GPU the libraries are asked, which takes a while. For one
/// device and one set of options; but which problems may cross to the host may change meanwhile.
#[derive(Debug, Default)]
pub struct Catalogue(Memo<(String, bool), Arc<[Tactic]>>);

impl Catalogue {
    /// An empty one.
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// As [`offered`].
    pub fn offered(&self, problem: &Problem, device: &DeviceInfo, options: &TuneOptions) -> Arc<[Tactic]> {
        let text = problem.to_string();
        let on_host = options.on_host.contains(&text);
        self.0.get((text, on_host), || offered(problem, device, options).into())
    }

    /// As [`allowed`].
    pub fn allowed(&self, problem: &Problem, device: &DeviceInfo, options: &TuneOptions) -> Vec<Tactic> {
        let list = self.offered(problem, device, options);
        list.iter().filter(|t| filtered(t, options).is_none()).cloned().collect()
    }
}
