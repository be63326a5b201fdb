//! The smallest program that runs a plan: `run_plan [--times] PLAN [NAME=FILE.npy]...`. Inputs not given are zeros. Links
//! nothing of the builder.
//!
//! With `--times` it prints, as one JSON object in milliseconds, what passed from its first line to the first output in the
//! host's memory, and the parts: `check` runs beside `driver` and `device`, all else one after the other.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tactician_runtime::{Context, Engine, Tensor};

fn main() -> ExitCode {
    let start = Instant::now();
    match run(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // With nowhere to say it, the code says it.
            let _ = writeln!(std::io::stderr(), "run_plan: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(start: Instant) -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).peekable();
    let times = args.next_if(|a| a == "--times").is_some();
    let plan = args.next().ok_or("usage: run_plan [--times] PLAN [NAME=FILE.npy]...")?;
    let mut inputs: Vec<(String, Tensor)> = Vec::new();
    for a in args {
        let (name, file) = a.split_once('=').ok_or("inputs are written NAME=FILE.npy")?;
        inputs.push((name.to_owned(), Tensor::read_npy(Path::new(file))?));
    }
    let read = start.elapsed();
    let engine = Engine::load(&plan)?;
    let loaded = start.elapsed();
    let typed = |(name, t): (String, Tensor)| {
        let port = engine.inputs().iter().find(|p| p.name == name);
        let dtype = port.map_or(t.dtype(), |p| p.dtype);
        (name, t.of_npy(dtype))
    };
    let mut inputs: Vec<(String, Tensor)> = inputs.into_iter().map(typed).collect();
    for p in engine.inputs() {
        if inputs.iter().all(|(n, _)| *n != p.name) {
            let shape: Vec<usize> = p.shape.iter().map(|&d| d as usize).collect();
            inputs.push((p.name.clone(), Tensor::zeros(p.dtype, &shape).ok_or("an input is too large")?));
        }
    }
    let list: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut context = engine.new_context()?;
    let ready = start.elapsed();
    let outputs = context.run(&list)?;
    let done = start.elapsed();
    let mut out = std::io::stdout().lock();
    if times {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let t = engine.load_times();
        let parts = [
            ("inputs", read),
            ("open", t.open),
            ("check", t.check),
            ("driver", t.driver),
            ("device", t.device),
            ("constants", t.constants),
            ("steps", t.steps),
            ("load", loaded - read),
            ("context", ready - loaded),
            ("first_run", done - ready),
            ("second_run", again(&mut context, &list)?),
            ("third_run", again(&mut context, &list)?),
            ("fourth_run", again(&mut context, &list)?),
        ];
        write!(out, "{{\"to_first_output\":{:.3}", ms(done))?;
        for (name, time) in parts {
            write!(out, ",\"{name}\":{:.3}", ms(time))?;
        }
        writeln!(
            out,
            ",\"weight_bytes\":{},\"steps_count\":{}}}",
            engine.memory().weights,
            engine.meta().steps.len()
        )?;
        return Ok(());
    }
    for (name, t) in outputs {
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

/// The time of another run, from inputs on the host to outputs there.
fn again(context: &mut Context, inputs: &[(&str, &Tensor)]) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    context.run(inputs)?;
    Ok(start.elapsed())
}
