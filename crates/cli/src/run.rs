//! `run`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tactician::runtime::Port;
use tactician::{
    BuildError, DType, DeviceName, DynamicEngine, DynamicError, Engine, InputInfo, Session, Tensor,
};

use crate::args::Run;
use crate::build::network;
use crate::error::CliError;
use crate::output;

/// Loads a plan and prints the differences from the device it was made for.
pub(crate) fn engine(path: &std::path::Path) -> Result<Engine, CliError> {
    let engine = Engine::load(path).map_err(|e| CliError::plan(path, e))?;
    for w in engine.warnings() {
        output::warn(w);
    }
    Ok(engine)
}

/// Loads a plan whose shapes may be open, as [`engine`] does.
pub(crate) fn dynamic(path: &std::path::Path) -> Result<DynamicEngine, CliError> {
    let engine = DynamicEngine::load(path).map_err(|e| match e {
        DynamicError::Engine(e) => CliError::plan(path, e),
        e => e.into(),
    })?;
    for w in engine.warnings() {
        output::warn(w);
    }
    Ok(engine)
}

/// Seeded inputs for every port that `given` lacks.
pub(crate) fn fill(ports: &[Port], given: &mut Vec<(String, Tensor)>, seed: u64) {
    for (i, port) in ports.iter().enumerate() {
        if given.iter().all(|(n, _)| *n != port.name) {
            given.extend(tactician::random_input(port, seed + i as u64).map(|t| (port.name.clone(), t)));
        }
    }
}

#[derive(Serialize)]
struct Written {
    name: String,
    file: Option<String>,
    dtype: String,
    shape: Vec<usize>,
    mean: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

/// The inputs that are given as files; `dtype` tells an input's type.
fn given(a: &Run, dtype: &dyn Fn(&str) -> Option<DType>) -> Result<Vec<(String, Tensor)>, CliError> {
    let read = |(name, file): &(String, PathBuf)| {
        let t = Tensor::read_npy(file)?;
        let wanted = dtype(name).unwrap_or(t.dtype());
        Ok((name.clone(), t.of_npy(wanted)))
    };
    a.inputs.iter().map(read).collect()
}

fn named(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(n, t)| (n.as_str(), t)).collect()
}

/// Whether a file is a plan; anything else is taken for a model.
fn is_plan(path: &Path) -> Result<bool, CliError> {
    let io = |source| CliError::Io { action: "open", path: path.to_owned(), source };
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(io)?;
    file.take(tactician::PLAN_MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
    Ok(start == tactician::PLAN_MAGIC)
}

fn of_plan(a: &Run) -> Result<Vec<(String, Tensor)>, CliError> {
    let engine = dynamic(&a.plan)?;
    let ports = &engine.meta().inputs;
    let dtype = |name: &str| ports.iter().find(|p| p.name == name).map(|p| p.dtype);
    let mut inputs = given(a, &dtype)?;
    let mut ports = engine.meta().inputs.clone();
    for (name, sizes) in &a.shapes {
        match ports.iter_mut().find(|p| p.name == *name) {
            Some(port) => port.shape = sizes.iter().map(|&n| n as u64).collect(),
            // It says which inputs there are.
            None => _ = engine.prepare(&[(name, sizes)])?,
        }
    }
    fill(&ports, &mut inputs, a.seed);
    Ok(engine.new_context()?.run(&named(&inputs))?)
}

fn of_model(a: &Run) -> Result<Vec<(String, Tensor)>, CliError> {
    let network = network(&a.plan.to_string_lossy(), &a.values)?;
    let device = match a.device {
        Some(name) => name.open(a.threads),
        None => DeviceName::best(a.threads),
    };
    let ports = network.inputs();
    let dtype = |name: &str| ports.iter().find(|p| p.name == name).map(|p| p.dtype);
    let mut inputs = given(a, &dtype)?;
    let port = |i: InputInfo| {
        let sizes = a.shapes.iter().find(|(n, _)| *n == i.name).map(|(_, s)| s.clone());
        let shape = sizes.or_else(|| i.shape.sizes())?.iter().map(|&n| n as u64).collect();
        Some(Port { name: i.name, dtype: i.dtype, shape })
    };
    let ports: Vec<Port> = network.inputs().into_iter().filter_map(port).collect();
    fill(&ports, &mut inputs, a.seed);
    Ok(Session::new(&network, device.map_err(BuildError::from)?)?.run(&named(&inputs))?)
}

pub(crate) fn run(a: &Run) -> Result<(), CliError> {
    let outputs = if is_plan(&a.plan)? { of_plan(a)? } else { of_model(a)? };
    if let Some(dir) = &a.output_dir {
        fs::create_dir_all(dir).map_err(|source| CliError::Io {
            action: "create the folder",
            path: dir.clone(),
            source,
        })?;
    }
    let mut report = Vec::new();
    for (name, tensor) in &outputs {
        let file = match &a.output_dir {
            None => None,
            Some(_) if name.is_empty() || name.contains(['\\', '\0']) || name.len() > 200 => {
                return Err(CliError::OutputName { name: name.clone() });
            }
            Some(dir) => {
                // A slash in a name must not lead out of the folder.
                let path = dir.join(format!("{}.npy", name.replace(['/', ':'], "_")));
                tensor.write_npy(&path)?;
                Some(path.display().to_string())
            }
        };
        let floats = tensor.values::<f32>().filter(|v| !v.is_empty());
        report.push(Written {
            name: name.clone(),
            file,
            dtype: tensor.dtype().to_string(),
            shape: tensor.shape().to_vec(),
            mean: floats.map(|v| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64),
            min: floats.map(|v| f64::from(v.iter().copied().fold(f32::INFINITY, f32::min))),
            max: floats.map(|v| f64::from(v.iter().copied().fold(f32::NEG_INFINITY, f32::max))),
        });
    }
    if a.json {
        return output::json(&report);
    }
    for (w, (_, tensor)) in report.iter().zip(&outputs) {
        let figures = match (w.mean, w.min, w.max) {
            (Some(mean), Some(min), Some(max)) => format!("  mean {mean:.6}, from {min:.6} to {max:.6}"),
            _ => String::new(),
        };
        let file = w.file.as_ref().map_or(String::new(), |f| format!("  -> {f}"));
        output::line(format!("{} {}{figures}{file}", w.name, tensor.describe()))?;
    }
    Ok(())
}
