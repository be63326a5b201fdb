//! The smallest program that runs a plan: `run_plan PLAN [NAME=FILE.npy]...`. Inputs not given are zeros. Links
//! nothing of the builder.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use tactician_runtime::{Engine, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let plan = args.next().ok_or("usage: run_plan PLAN [NAME=FILE.npy]...")?;
    let engine = Engine::load(&plan)?;
    let mut inputs: Vec<(String, Tensor)> = Vec::new();
    for a in args {
        let (name, file) = a.split_once('=').ok_or("inputs are written NAME=FILE.npy")?;
        inputs.push((name.to_owned(), Tensor::read_npy(Path::new(file))?));
    }
    for p in engine.inputs() {
        if inputs.iter().all(|(n, _)| *n != p.name) {
            let shape: Vec<usize> = p.shape.iter().map(|&d| d as usize).collect();
            inputs.push((p.name.clone(), Tensor::zeros(p.dtype, &shape).ok_or("an input is too large")?));
        }
    }
    let list: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut out = std::io::stdout().lock();
    for (name, t) in engine.new_context()?.run(&list)? {
        write!(out, "{name} {}", t.describe())?;
        if let Some(v) = t.values::<f32>() {
            let top = v.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            if let Some((i, v)) = top {
                write!(out, ": largest is {v} at {i}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
