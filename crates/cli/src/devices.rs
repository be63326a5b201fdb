//! `devices`.

use std::collections::BTreeMap;

use serde::Serialize;
use tactician::{BuildError, CpuDevice, Device, DeviceInfo, DeviceName, cuda};

use crate::args::Devices;
use crate::error::CliError;
use crate::output;

/// A device or, of kind `library`, a library that devices use.
#[derive(Serialize)]
struct Entry {
    kind: String,
    name: String,
    facts: BTreeMap<String, String>,
}

impl Entry {
    fn device(info: &DeviceInfo) -> Entry {
        Entry {
            kind: info.kind_name().to_owned(),
            name: info.name.clone(),
            facts: info.fingerprint().into_iter().collect(),
        }
    }

    fn library(l: &cuda::LibraryProbe) -> Entry {
        let mut facts = BTreeMap::from([("soname".to_owned(), l.soname.clone())]);
        facts.extend(l.path.clone().map(|p| ("path".to_owned(), p)));
        let (key, value) = match &l.version {
            Ok(v) => ("version", v),
            Err(reason) => ("missing", reason),
        };
        facts.insert(key.to_owned(), value.clone());
        Entry { kind: "library".to_owned(), name: l.name.to_owned(), facts }
    }
}

pub(crate) fn run(a: &Devices) -> Result<(), CliError> {
    let cpu = CpuDevice::new(None).map_err(BuildError::from)?;
    let mut list = vec![Entry::device(cpu.info())];
    let found = cuda::probe();
    let mut obstacles: Vec<String> = cuda::obstacle().into_iter().collect();
    for n in 0..cuda::CudaDevice::count() {
        match DeviceName::Cuda(n).open(None) {
            Ok(gpu) => list.push(Entry::device(gpu.info())),
            Err(e) => obstacles.push(e.to_string()),
        }
    }
    if a.json {
        list.extend(found.libraries.iter().map(Entry::library));
        return output::json(&list);
    }
    for d in &list {
        output::line(format!("{}: {}", d.kind, d.name))?;
        for (k, v) in &d.facts {
            output::line(format!("  {k}: {v}"))?;
        }
    }
    for o in obstacles {
        output::line(format!("cuda: no GPU to use: {o}"))?;
    }
    output::line("libraries:")?;
    for l in &found.libraries {
        output::line(format!("  {l}"))?;
    }
    Ok(())
}
