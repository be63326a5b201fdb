//! `devices`.

use serde::Serialize;
use tactician::{CpuDevice, Device};

use crate::args::Devices;
use crate::error::CliError;
use crate::output;

#[derive(Serialize)]
struct Entry {
    kind: String,
    name: String,
    facts: std::collections::BTreeMap<String, String>,
}

pub(crate) fn run(a: &Devices) -> Result<(), CliError> {
    let device = CpuDevice::new(None).map_err(tactician::BuildError::from)?;
    let info = device.info();
    let list = [Entry {
        kind: info.kind_name().to_owned(),
        name: info.name.clone(),
        facts: info.fingerprint().into_iter().collect(),
    }];
    if a.json {
        return output::json(&list);
    }
    for d in &list {
        output::line(format!("{}: {}", d.kind, d.name))?;
        for (k, v) in &d.facts {
            output::line(format!("  {k}: {v}"))?;
        }
    }
    Ok(())
}
