//! Timing by interleaved rounds with elimination.
//!
//! Every round times each candidate still in the race once, so that drift (clocks, other load) hits all alike. A
//! sample is several runs back to back, long enough for the clock. A candidate leaves the race when another of the
//! same layouts, with no more scratch, is clearly faster: the margin shrinks round by round. Its samples are kept.
//!
//! What is far slower than the best in its warm-up does not race: its warm-up is its only sample. What was very far slower
//! in the gate is not warmed up: its run there is.
//!
//! Where the device records work, as plans are run there, a sample is the launch of one recording of all its runs. It
//! follows work that empties the cache, or an untimed launch of the same, so that the time to start it is hidden.

use std::time::Duration;

use tactician_device::{DeviceError, Graph, Stream};
use tactician_types::Layout;

use crate::cold::Flush;

/// How long and how often to time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimingOptions {
    /// Least length of one sample.
    pub sample: Duration,
    /// Most runs in one sample.
    pub max_runs: u32,
    /// Rounds for candidates that stay in the race.
    pub rounds: u32,
    /// After so long no further round begins, once there were [`TimingOptions::least_rounds`].
    pub limit: Duration,
    /// Rounds that take place however long they take.
    pub least_rounds: u32,
    /// A candidate leaves after round `i` when slower than the best by this factor; the last entry stays valid.
    pub margins: Vec<f64>,
}

impl Default for TimingOptions {
    fn default() -> Self {
        TimingOptions {
            sample: Duration::from_micros(1500),
            max_runs: 64,
            rounds: 9,
            limit: Duration::from_millis(1500),
            least_rounds: 3,
            margins: vec![2.0, 1.5, 1.3, 1.2, 1.15],
        }
    }
}

/// Something to time.
pub(crate) struct Entry<'a> {
    /// Runs it once. What it enqueues stays safe to run again for as long as the entry lives.
    pub(crate) run: Box<dyn FnMut(&mut dyn Stream) -> Result<(), DeviceError> + Send + 'a>,
    /// Layouts of operands and output.
    pub(crate) layouts: (Vec<Layout>, Layout),
    /// Scratch in bytes.
    pub(crate) workspace: u64,
    /// Microseconds of a single run before, if there was one; else infinite.
    pub(crate) before_us: f64,
}

/// How much slower than the best in the warm-up loses at once. Generous: a warm-up is the better of two single runs,
/// enqueued step by step.
const HOPELESS: f64 = 4.0;

/// How much slower than the best in the gate is not even warmed up: the gate's run is its only sample. More generous, as
/// whatever ran there first loaded code too.
const FORLORN: f64 = 10.0;

/// A sample longer than this needs no untimed launch before it.
const SHORT_US: f64 = 1000.0;

/// Samples of each entry in microseconds a run, or why it failed. Stops at once when the device fails as a whole.
pub(crate) fn race(
    stream: &mut dyn Stream,
    entries: &mut [Entry<'_>],
    flush: Option<&Flush>,
    options: &TimingOptions,
) -> Vec<Result<Vec<f64>, String>> {
    let mut samples: Vec<Result<Vec<f64>, String>> = entries.iter().map(|_| Ok(Vec::new())).collect();
    let mut runs = vec![1u32; entries.len()];
    let mut racing = vec![true; entries.len()];
    let mut recordings: Vec<Option<Box<dyn Graph>>> = entries.iter().map(|_| None).collect();
    let before: Vec<f64> = entries.iter().map(|e| e.before_us).collect();
    drop_beaten(entries, &before, FORLORN, &mut racing);
    // Of what did not run nothing is known.
    racing.iter_mut().zip(&before).for_each(|(r, b)| *r |= b.is_infinite());
    // A warm-up, which also says how many runs make a sample.
    let mut warm = before;
    for (i, e) in entries.iter_mut().enumerate() {
        if !racing[i] {
            continue;
        }
        warm[i] = f64::INFINITY;
        let mut once = || sample(stream, e, 1, flush, &mut None);
        match once().and_then(|first| Ok(once()?.min(first))) {
            Ok(us) => warm[i] = us,
            Err(reason) => {
                samples[i] = Err(reason);
                racing[i] = false;
                if stream.synchronize().is_err() {
                    return samples;
                }
            }
        }
    }
    drop_beaten(entries, &warm, HOPELESS, &mut racing);
    for i in 0..entries.len() {
        let Ok(list) = &mut samples[i] else { continue };
        if !racing[i] {
            list.push(warm[i]);
            continue;
        }
        let wanted = options.sample.as_secs_f64() * 1e6 / warm[i].max(0.01);
        runs[i] = (wanted.ceil() as u32).clamp(1, options.max_runs);
        // What cannot be recorded is timed step by step, and says then what is wrong with it.
        let run = &mut entries[i].run;
        let all = &mut |s: &mut dyn Stream| (0..runs[i]).try_for_each(|_| run(s));
        recordings[i] = stream.record(all).ok().flatten();
    }
    let mut spent = Duration::ZERO;
    for round in 0..options.rounds {
        if round >= options.least_rounds && spent > options.limit {
            break;
        }
        for i in 0..entries.len() {
            if !racing[i] {
                continue;
            }
            match sample(stream, &mut entries[i], runs[i], flush, &mut recordings[i]) {
                Ok(us) => {
                    spent += Duration::from_secs_f64(us * f64::from(runs[i]) / 1e6);
                    if let Ok(list) = &mut samples[i] {
                        list.push(us);
                    }
                }
                Err(reason) => {
                    samples[i] = Err(reason);
                    racing[i] = false;
                    if stream.synchronize().is_err() {
                        return samples;
                    }
                }
            }
        }
        let margin =
            options.margins.get(round as usize).or(options.margins.last()).copied().unwrap_or(f64::INFINITY);
        let best: Vec<f64> =
            samples.iter().map(|s| s.as_ref().map_or(f64::INFINITY, |l| minimum(l))).collect();
        drop_beaten(entries, &best, margin, &mut racing);
        if round >= 4 && racing.iter().filter(|r| **r).count() <= 1 && round + 1 >= options.rounds / 2 {
            break;
        }
    }
    samples
}

/// Ends the race for those that another one of the same layouts, with no more scratch, beats by a factor.
fn drop_beaten(entries: &[Entry<'_>], best: &[f64], factor: f64, racing: &mut [bool]) {
    for i in 0..entries.len() {
        racing[i] &= !(0..entries.len()).any(|j| {
            entries[j].layouts == entries[i].layouts
                && entries[j].workspace <= entries[i].workspace
                && best[i] > best[j] * factor
        });
    }
}

fn sample(
    stream: &mut dyn Stream,
    entry: &mut Entry<'_>,
    runs: u32,
    flush: Option<&Flush>,
    recording: &mut Option<Box<dyn Graph>>,
) -> Result<f64, String> {
    if let Some(flush) = flush {
        flush.enqueue(stream).map_err(|e| e.to_string())?;
    }
    let time = match recording {
        None => {
            let run = &mut entry.run;
            stream.time(&mut |s| (0..runs).try_for_each(|_| run(s)))
        }
        Some(graph) => {
            // SAFETY: recorded from the entry, which keeps it safe to run.
            let launch = &mut |s: &mut dyn Stream| unsafe { graph.launch(s) };
            match stream.time(launch) {
                Ok(t) if flush.is_none() && t.as_secs_f64() * 1e6 < SHORT_US => {
                    stream.run(launch).and_then(|()| stream.time(launch))
                }
                other => other,
            }
        }
    };
    Ok(time.map_err(|e| e.to_string())?.as_secs_f64() * 1e6 / f64::from(runs))
}

fn minimum(list: &[f64]) -> f64 {
    list.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Median, minimum and median absolute deviation.
pub(crate) fn statistics(samples: &[f64]) -> (f64, f64, f64) {
    let median = middle(samples.to_vec());
    let mad = middle(samples.iter().map(|s| (s - median).abs()).collect());
    (median, minimum(samples), mad)
}

fn middle(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    match list.len() {
        0 => 0.0,
        n if n % 2 == 1 => list[n / 2],
        n => (list[n / 2 - 1] + list[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is hopeless runs twice and keeps its warm-up as its sample; what is near the best is timed in full, also with
    /// more scratch or in another layout.
    #[test]
    fn the_hopeless_do_not_race() {
        use std::sync::atomic::{AtomicU64, Ordering};
        use tactician_device::replay::ReplayDevice;
        use tactician_device::{Device, Span, StepDesc};

        let device = ReplayDevice::new().timer(|c| Duration::from_micros(c.params[0].into()));
        let desc =
            |params| StepDesc { kernel: "k", params, inputs: &[], outputs: &[], scratch: 0, code: None };
        let none = f64::INFINITY;
        let list = [
            (&[10u8][..], Layout::Plain, 8, 300.0),
            (&[12], Layout::Plain, 8, none),
            (&[90], Layout::Plain, 8, 2900.0),
            (&[90], Layout::ChannelsLast, 8, 4000.0),
            (&[90], Layout::Plain, 0, 4000.0),
            (&[90], Layout::Plain, 8, 3100.0),
        ];
        let counts: Vec<AtomicU64> = list.iter().map(|_| AtomicU64::new(0)).collect();
        let mut entries: Vec<Entry<'_>> = list
            .iter()
            .zip(&counts)
            .map(|(&(params, layout, workspace, before_us), count)| {
                let step = device.prepare(&desc(params)).unwrap();
                Entry {
                    run: Box::new(move |s| {
                        count.fetch_add(1, Ordering::Relaxed);
                        // SAFETY: the step has no arguments.
                        unsafe { step.enqueue(&[Span::EMPTY], s) }
                    }),
                    layouts: (vec![layout], layout),
                    workspace,
                    before_us,
                }
            })
            .collect();
        let options = TimingOptions { rounds: 6, ..TimingOptions::default() };
        let samples = race(&mut *device.stream().unwrap(), &mut entries, None, &options);
        drop(entries);
        let samples: Vec<Vec<f64>> = samples.into_iter().map(Result::unwrap).collect();
        assert_eq!(samples[2], [90.0]);
        assert_eq!(counts[2].load(Ordering::Relaxed), 2);
        // In the gate it was even slower.
        assert_eq!((&samples[5][..], counts[5].load(Ordering::Relaxed)), (&[3100.0][..], 0));
        for i in [0, 1, 3, 4] {
            assert!(samples[i].len() >= 3, "{i}: {samples:?}");
        }
    }

    #[test]
    fn statistics_are_robust() {
        assert_eq!(statistics(&[3.0, 1.0, 100.0]), (3.0, 1.0, 2.0));
        assert_eq!(statistics(&[1.0, 3.0]), (2.0, 1.0, 1.0));
    }
}
