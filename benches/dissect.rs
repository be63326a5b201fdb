//! Where the time of a plan goes beyond the sum of its steps' own times: `dissect PLAN [SECONDS]`.
//!
//! A step is measured by running it again and again; in a plan it runs once, between others. This program times variants
//! of a plan, whose outputs mean nothing:
//!
//! - every step twice: what is added is what steps take right after themselves, code and weights at hand;
//! - all large weights at one place: what is saved is what weights cost that come from far;
//! - no launch before the one before it has ended: what is added is what early starts save;
//! - two steps in turns: what they take more than each repeated by itself is what their change costs, by kinds of steps:
//!   our kernels, which may start early and let others do so, and those of libraries; our kernels also in turns with
//!   themselves from another module, which shows what fetching code costs, and all of it once more without early starts;
//! - neighbours in turns, and each twice before the other;
//! - one step left out, for each step: what is saved is what it takes where it stands.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tactician::cuda::{Launch, Launches};
use tactician::runtime::device_for;
use tactician::{Device, Engine, Place, Plan, PlanMeta};

/// Constants below this may be positions that kernels look up, so they stay as they are.
const LARGE: u64 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: dissect PLAN [SECONDS]")?;
    let seconds: f64 = args.next().map_or(Ok(0.2), |s| s.parse())?;
    let plan = Plan::open(path.as_ref())?.with_record(vec![]);
    let device = device_for(&plan.meta)?;
    let mut timer = Timer { device, constants: plan.constants().bytes().to_vec(), seconds };
    let meta = &plan.meta;
    let mut out = std::io::stdout().lock();

    let sum: f64 = meta.steps.iter().map(|s| s.predicted_us).sum();
    let whole = timer.time(meta.clone())?;
    writeln!(out, "{} steps: {whole:.1} us; alone they take {sum:.1} us together", meta.steps.len())?;
    let mut twice = meta.clone();
    twice.steps = meta.steps.iter().flat_map(|s| [s.clone(), s.clone()]).collect();
    writeln!(out, "every step once more, right after itself: {:.1} us", timer.time(twice)? - whole)?;
    writeln!(out, "all large weights at one place: {:+.1} us", timer.time(near(meta))? - whole)?;
    if let Some(waiting) = waiting(meta) {
        writeln!(out, "no early starts: {:+.1} us", timer.time(waiting)? - whole)?;
    }

    writeln!(
        out,
        "\ntwo steps in turns, what a change from one to the other costs, mean and largest of some pairs:"
    )?;
    for (how, meta) in [("", Some(meta.clone())), (", no early starts", waiting(meta))] {
        let Some(meta) = meta else { continue };
        for (name, costs) in changes(&mut timer, &meta)? {
            if !costs.is_empty() {
                let mean = costs.iter().sum::<f64>() / costs.len() as f64;
                let largest = costs.iter().copied().fold(f64::MIN, f64::max);
                writeln!(out, "{mean:+8.2} {largest:+8.2}  {name}{how} ({} pairs)", costs.len())?;
            }
        }
    }

    writeln!(
        out,
        "\nneighbours, beyond what both take repeated: in turns, and each twice before the other:"
    )?;
    let mut alone = Vec::new();
    for i in 0..meta.steps.len() {
        alone.push(timer.time(turns(meta, &[i]))?);
    }
    let none = timer.time(turns(meta, &[]))?;
    for i in 1..meta.steps.len() {
        let both = alone[i - 1] + alone[i] - 2.0 * none;
        let once = timer.time(turns(meta, &[i - 1, i]))? - none - both;
        let twice = timer.time(turns(meta, &[i - 1, i - 1, i, i]))? - none - 2.0 * both;
        let (a, b) = (&meta.steps[i - 1], &meta.steps[i]);
        let per = TURNS as f64;
        writeln!(
            out,
            "{:+8.2} {:+8.2}  {} {} -> {} {}",
            once / per,
            twice / per,
            a.name,
            a.tactic,
            b.name,
            b.tactic
        )?;
    }

    writeln!(out, "\nwhat a step takes where it stands, alone, and the difference, in us:")?;
    let mut rows = Vec::new();
    for i in 0..meta.steps.len() {
        let mut without = meta.clone();
        let step = without.steps.remove(i);
        // A plan must write its outputs.
        if step.outputs.iter().any(|p| matches!(p, Place::Output { .. })) {
            continue;
        }
        // The plan may change its speed as time goes on: neighbours in time are compared.
        let here = (timer.time(meta.clone())? - timer.time(without)?).max(0.0);
        rows.push((here - step.predicted_us, here, step));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (more, here, step) in &rows {
        let name = format!("{} ({})", step.name, step.op);
        writeln!(out, "{here:8.2} {:8.2} {more:+8.2}  {name}  {}", step.predicted_us, step.tactic)?;
    }
    writeln!(out, "\nby family: steps, where they stand, alone")?;
    let mut families: Vec<&str> = rows.iter().map(|r| family(&r.2.tactic)).collect();
    families.sort_unstable();
    families.dedup();
    for f in families {
        let of = rows.iter().filter(|r| family(&r.2.tactic) == f);
        let (n, here, alone) = of.fold((0, 0.0, 0.0), |(n, h, a), r| (n + 1, h + r.1, a + r.2.predicted_us));
        writeln!(out, "{n:4} {here:8.1} {alone:8.1}  {f}")?;
    }
    Ok(())
}

fn family(tactic: &str) -> &str {
    tactic.split('/').next().unwrap_or(tactic)
}

/// What changes from one step to another cost, by kinds of steps: microseconds a change, a value a pair.
fn changes(timer: &mut Timer, meta: &PlanMeta) -> Result<Vec<(&'static str, Vec<f64>)>, Box<dyn Error>> {
    let kinds = [true, false].map(|own| spread(meta, own));
    let none = timer.time(turns(meta, &[]))?;
    let mut alone = BTreeMap::new();
    for &i in kinds.iter().flatten() {
        alone.insert(i, timer.time(turns(meta, &[i]))? - none);
    }
    let each = |cost: f64| cost / (2 * TURNS) as f64;
    let mut found = Vec::new();
    for (name, first, second) in [("our, our", 0, 0), ("library, library", 1, 1), ("our, library", 0, 1)] {
        let mut costs = Vec::new();
        for (n, &x) in kinds[first].iter().enumerate() {
            let others = kinds[second].iter().enumerate().filter(|&(m, _)| first != second || m > n);
            for (_, &y) in others {
                let both = timer.time(turns(meta, &[x, y]))? - none;
                costs.push(each(both - alone[&x] - alone[&y]));
            }
        }
        found.push((name, costs));
    }
    let mut costs = Vec::new();
    for &i in &kinds[0] {
        let whole = timer.constants.len();
        let twin = twin(meta, i, &mut timer.constants);
        let both = timer.time(twin)? - none;
        timer.constants.truncate(whole);
        costs.push(each(both - 2.0 * alone[&i]));
    }
    found.push(("our, the same from another module", costs));
    Ok(found)
}

/// A step in turns with itself, whose code is another module: a few bytes longer, which nothing reads.
fn twin(meta: &PlanMeta, step: usize, constants: &mut Vec<u8>) -> PlanMeta {
    let mut turned = turns(meta, &[step, step]);
    let Some(code) = meta.steps[step].code.and_then(|c| meta.constants.get(c as usize)) else {
        return turned;
    };
    let mut bytes = constants[code.offset as usize..][..code.len as usize].to_vec();
    bytes.extend([0; 16]);
    constants.resize(constants.len().next_multiple_of(256), 0);
    let mut other = code.clone();
    (other.offset, other.len) = (constants.len() as u64, bytes.len() as u64);
    constants.extend(bytes);
    turned.constants.push(other);
    let number = turned.constants.len() as u32 - 1;
    turned.steps[..2 * TURNS].iter_mut().skip(1).step_by(2).for_each(|s| s.code = Some(number));
    turned
}

struct Timer {
    device: Arc<dyn Device>,
    constants: Vec<u8>,
    seconds: f64,
}

impl Timer {
    /// The median time of a run in microseconds.
    fn time(&mut self, meta: PlanMeta) -> Result<f64, Box<dyn Error>> {
        let engine = Engine::new(Plan::new(meta, self.constants.clone())?, self.device.clone())?;
        let mut context = engine.new_context()?;
        let length = Duration::from_secs_f64(self.seconds);
        let mut times = context.measure(length / 4, length)?;
        times.sort_unstable();
        Ok(times.get(times.len() / 2).map_or(0.0, |t| t.as_secs_f64() * 1e6))
    }
}

/// How often steps take turns.
const TURNS: usize = 16;

/// Steps of each kind whose changes are timed.
const PICKED: usize = 4;

/// Some steps that launch our kernels, or others, spread over the plan, each of another tactic.
fn spread(meta: &PlanMeta, own: bool) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for (i, s) in meta.steps.iter().enumerate() {
        let known = found.iter().any(|&k: &usize| meta.steps[k].tactic == s.tactic);
        if !known && (s.kernel == Launches::NAME) == own {
            found.push(i);
        }
    }
    let every = found.len().div_ceil(PICKED).max(1);
    found.into_iter().step_by(every).collect()
}

/// These steps in turns, and then what the plan needs to be one: the steps that write its outputs.
fn turns(meta: &PlanMeta, steps: &[usize]) -> PlanMeta {
    let mut turns = meta.clone();
    let last = |s: &&tactician::Step| s.outputs.iter().any(|p| matches!(p, Place::Output { .. }));
    let cycle = (0..TURNS).flat_map(|_| steps.iter().map(|&i| meta.steps[i].clone()));
    turns.steps = cycle.chain(meta.steps.iter().filter(last).cloned()).collect();
    turns
}

/// The plan with all its large constants but machine code at the start of the section.
fn near(meta: &PlanMeta) -> PlanMeta {
    let mut near = meta.clone();
    let code: Vec<u32> = meta.steps.iter().filter_map(|s| s.code).collect();
    for (i, c) in near.constants.iter_mut().enumerate() {
        if c.len >= LARGE && !code.contains(&(i as u32)) {
            c.offset = 0;
        }
    }
    near
}

/// The plan without early starts; `None` when it has none.
fn waiting(meta: &PlanMeta) -> Option<PlanMeta> {
    let mut waiting = meta.clone();
    let mut any = false;
    for step in waiting.steps.iter_mut().filter(|s| s.kernel == Launches::NAME) {
        let Launches(list) = postcard::from_bytes(&step.params).ok()?;
        any |= list.iter().any(|l| l.overlaps);
        let list = list.into_iter().map(|l| Launch { overlaps: false, ..l }).collect();
        step.params = postcard::to_stdvec(&Launches(list)).ok()?;
    }
    any.then_some(waiting)
}
