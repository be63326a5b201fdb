//! `tract-bench MODEL SECONDS INPUT=1x3x224x224...`: median seconds of a run in tract, on one thread.

use std::time::Instant;

use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().expect("a model");
    let seconds: f64 = args.next().expect("seconds").parse()?;
    let mut model = tract_onnx::onnx().model_for_path(model)?;
    let mut inputs = tvec![];
    for (i, a) in args.enumerate() {
        let (_, shape) = a.split_once('=').expect("INPUT=SHAPE");
        let shape: Vec<usize> = shape.split('x').map(|d| d.parse().expect("a size")).collect();
        model.set_input_fact(i, f32::fact(&shape).into())?;
        inputs.push(Tensor::zero::<f32>(&shape)?.into());
    }
    let plan = model.into_optimized()?.into_runnable()?;
    plan.run(inputs.clone())?;
    let (start, mut times) = (Instant::now(), vec![]);
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let t = Instant::now();
        plan.run(inputs.clone())?;
        times.push(t.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("{}", times[times.len() / 2]);
    Ok(())
}
