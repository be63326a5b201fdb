//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tactician::passes::{FusionPolicy, POLICIES, policy_named};
use tactician::{Budget, Bytes, DType, DeviceName, Profile, TacticFilter};

/// Builds the fastest inference plan that fits a memory budget, and says why.
#[derive(Debug, Parser)]
#[command(name = "tactician", version, about, long_about = LONG, after_help = EXIT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const LONG: &str = "\
Builds the fastest inference plan that fits a memory budget, and says why.

A build fuses the network into regions, measures every tactic that could run each of them on this machine, checks \
every tactic against a reference interpreter, and chooses tactics and memory layouts together, within the workspace \
that you allow. All measurements are kept in a table (--table), so that another budget needs no new measuring.";

const EXIT: &str = "\
Exit codes: 0 success; 1 the work failed (the message says what, where and what to do); 2 wrong arguments.
Sizes take B, KiB, MiB and GiB, such as 64MiB.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a plan from an ONNX model (or a network of the zoo): measure, choose, save
    Build(Build),
    /// Run a plan on .npy files (or seeded random inputs) and write its outputs as .npy files
    Run(Run),
    /// Time a plan: throughput, latency percentiles, and every step by itself
    Bench(Bench),
    /// Show what is in a plan, an ONNX model or a tactic table
    Inspect(Inspect),
    /// Say how a plan came about: every candidate of a step and why it lost, and what more workspace would buy
    Explain(Explain),
    /// Write a plan's report: one HTML file with the curve, the fused graph, steps, candidates and memory
    Report(Report),
    /// Show what memory buys: every budget at which another plan is the fastest, from one measuring pass
    Sweep(Sweep),
    /// Make a plan for another budget from a tactic table alone: nothing is measured, no device is needed
    Replan(Replan),
    /// Compare fusion policies on the same measurements
    Policies(Policies),
    /// Build several times from nothing and tell what changed, and what that cost
    Churn(Churn),
    /// Write a tactic table as a data set: CSV, Parquet or JSON, one row a measurement
    ///
    /// A row is one tactic measured (or refused) on one problem in one context, which is a device with its libraries, kernel
    /// sources and timing protocol. Columns say what the context is, what the problem is in numbers (sizes, operations, bytes,
    /// arithmetic intensity), what the tactic is (family, layouts, scratch), and what came out (verdict, reason, times, noise,
    /// errors). docs/research.md explains every column. What does not apply or is not known is empty in CSV and null in JSON
    /// and Parquet.
    ///
    /// Tables keep what was measured, not what was chosen: every tactic that lost is here too.
    Export(Export),
    /// List the devices that plans can be built for on this machine
    Devices(Devices),
    /// Build ResNet-50 (or a model of yours) for three budgets from one measuring pass, and run it on a photo
    Demo(Demo),
}

/// What network, and for which shapes.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The ONNX model, or `zoo:NAME` or `zoo:NAME@BATCH` for a built-in network with random weights (resnet18,
    /// resnet50, mobilenet_v2, vgg16, tiny); `zoo:NAME@N` leaves the batch open
    pub(crate) model: String,
    /// The shape of an input whose sizes are open, such as `x=1x3x224x224`; once for each such input
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// The value of an input that decides what the graph is (a sampling rate, axes, a shape), such as `sr=16000` or
    /// `axes=0,2`; the plan has no such input then
    #[arg(long = "value", value_name = "NAME=NUMBERS", value_parser = value)]
    pub(crate) values: Vec<(String, Vec<f64>)>,
}

/// How numbers inside the network are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// The network's own types
    #[default]
    F32,
    /// As f32; products may round their factors to 10 bits of mantissa
    Tf32,
    /// 16 bits: 10 of mantissa, up to 65504; sums in f32
    F16,
    /// 16 bits: 7 of mantissa, the range of f32; sums in f32
    Bf16,
}

impl Precision {
    /// The type that values are stored in.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
        }
    }

    /// Largest relative L2 error that a network's outputs may show against the reference in f32.
    pub(crate) fn allowed_error(self) -> f64 {
        match self {
            Precision::F32 => 1e-4,
            Precision::Tf32 => 5e-3,
            Precision::F16 => 1e-2,
            Precision::Bf16 => 5e-2,
        }
    }
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// Device to build for and measure on: `cpu`, `cuda` or `cuda:N` [default: the first GPU that can be used, else the
    /// CPU]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceName>,
    /// CPU threads to build for; without --device, this chooses the CPU [default: one a processor]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// File of measurements to use and to add to; for a GPU, FILE.cache next to it keeps code and answers of libraries
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
    /// Refuse to measure: everything must be in the table
    #[arg(long, requires = "table")]
    pub(crate) frozen: bool,
    /// How numbers inside the network are kept; inputs and outputs stay as they are
    #[arg(long, value_enum, default_value_t)]
    pub(crate) precision: Precision,
    /// Which tactics may be used: `all`, `own`, or families, such as `conv.cuda,pool` or `-cudnn` [see --help]
    ///
    /// A list with commas. `all` is the default. `own` means kernels of this project alone, no cuDNN and no cuBLASLt: on
    /// a GPU such a plan needs nothing but the driver. A family's name means this family and the others that are listed;
    /// a name behind a minus means all but this one. A name stands for every family that has its words: `conv.cudnn` for
    /// itself, `cudnn` for what calls cuDNN, `conv` for all convolutions, `host` for CPU steps in a plan for a GPU. With
    /// a slash it is the beginning of a tactic's name, as `inspect` and warnings show them: `conv.cuda.mma/128x`.
    ///
    /// Changes of layout (`reformat`) belong to every list. Where a list leaves no kernel of the GPU for an operation,
    /// the CPU computes it, if the list allows `host.cpu`; a warning says so.
    #[arg(long, value_name = "LIST", default_value = "all", allow_hyphen_values = true)]
    pub(crate) tactics: TacticFilter,
    /// Who decides what is fused: `measured`, or a policy that knows no times: see --help
    ///
    /// `measured` measures the regions that fusion proposes and chooses the division into regions together with tactics
    /// and layouts, to an optimum. It leaves out tactics on a region where a larger one offers the same with more in its
    /// epilogue and nothing else would take that; `exhaustive` leaves out nothing, and takes about twice as long. A policy chooses the division first, so that there is less to measure: `greedy` fuses
    /// as much as possible, `none` nothing; `tactician policies MODEL` compares them.
    #[arg(long, value_name = "POLICY", default_value = "measured", value_parser = fusion)]
    pub(crate) fusion: Fusion,
}

/// Who decides what is fused: a policy, or the measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fusion {
    policy: Option<&'static str>,
    pub(crate) exhaustive: bool,
}

impl Fusion {
    /// The policy; `None` for the measurements.
    pub(crate) fn policy(self) -> Option<&'static dyn FusionPolicy> {
        self.policy.and_then(policy_named)
    }
}

fn fusion(text: &str) -> Result<Fusion, String> {
    if let "measured" | "exhaustive" = text {
        return Ok(Fusion { policy: None, exhaustive: text == "exhaustive" });
    }
    let names: Vec<&str> = POLICIES.iter().map(|p| p.name()).collect();
    match names.iter().find(|n| **n == text) {
        Some(name) => Ok(Fusion { policy: Some(name), exhaustive: false }),
        None => Err(format!("give `measured`, `exhaustive`, {}", names.join(", "))),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Scratch memory that any one step may use; 0 works
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) workspace: Bytes,
    /// Memory that one context may take in all: weights as packed, code, inputs and outputs, activations, scratch
    /// [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Serve a range of shapes: the least, the usual (which is tuned) and the largest of an input, such as
    /// `x=1x3x224x224:8x3x224x224:32x3x224x224`; commas between inputs; once for each range
    #[arg(long = "profile", value_name = "NAME=MIN:OPT:MAX", value_parser = clap::value_parser!(Profile))]
    pub(crate) profiles: Vec<Profile>,
    /// Swap tactics inside the whole plan afterwards, and keep what makes the whole faster; takes some seconds more
    #[arg(long, conflicts_with = "frozen")]
    pub(crate) refine: bool,
    /// Do not run the plan beside the one that heuristics alone would give (which stays when it is faster)
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Also write a report of the build, as one HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where the plan goes
    #[arg(short, long, value_name = "PLAN")]
    pub(crate) output: PathBuf,
    /// Print figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Build {
    pub(crate) fn budget(&self) -> Budget {
        Budget { workspace: self.workspace.0, memory: self.memory.map(|b| b.0) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The plan, or an ONNX model, which is built first, without measuring; one whose sizes depend on data stage by stage
    pub(crate) plan: PathBuf,
    /// For a model, the device: `cpu`, `cuda` or `cuda:N` [default: the first GPU that can be used, else the CPU]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceName>,
    /// For a model, the value of an input that decides what the graph is, such as `sr=16000`
    #[arg(long = "value", value_name = "NAME=NUMBERS", value_parser = value)]
    pub(crate) values: Vec<(String, Vec<f64>)>,
    /// For a model, CPU threads [default: one a processor]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// An input, such as `x=photo.npy`; inputs not given are seeded random values
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = input)]
    pub(crate) inputs: Vec<(String, PathBuf)>,
    /// The shape of a random input, such as `x=4x3x224x224`, for models and plans built with profiles [default: what was
    /// tuned or declared]
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// Folder for the outputs, one NAME.npy each
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The plan; several plans take turns, so that other load and changes of clock hit all alike
    #[arg(required = true, value_name = "PLAN")]
    pub(crate) plans: Vec<PathBuf>,
    /// The shape of an input, such as `x=4x3x224x224`, for plans built with profiles [default: what was tuned]
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// An input, such as `x=photo.npy`, of every plan; inputs not given are seeded random values
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = input)]
    pub(crate) inputs: Vec<(String, PathBuf)>,
    /// Seconds to measure for, each plan
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Steps to show, slowest first; 0 times no steps
    #[arg(long, default_value_t = 15)]
    pub(crate) steps: usize,
    /// Write the timeline of a run of the (first) plan, for <https://ui.perfetto.dev> or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print figures as JSON: an object, or a list of them for several plans
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A plan, an ONNX model, `zoo:NAME`, or a tactic table
    pub(crate) file: String,
    /// The shape of an open input, for models
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// The value of an input that decides what the graph is (a sampling rate, axes, a shape), such as `sr=16000` or
    /// `axes=0,2`; the plan has no such input then
    #[arg(long = "value", value_name = "NAME=NUMBERS", value_parser = value)]
    pub(crate) values: Vec<(String, Vec<f64>)>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = EXPORT_EXAMPLES, group = clap::ArgGroup::new("format").required(true))]
pub(crate) struct Export {
    /// The table, as `build --table` writes it
    pub(crate) table: PathBuf,
    /// Comma-separated values with a header
    #[arg(long, group = "format")]
    pub(crate) csv: bool,
    /// Apache Parquet; needs --output
    #[arg(long, group = "format", requires = "output")]
    pub(crate) parquet: bool,
    /// A JSON array of objects, one a line
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// Only problems whose text contains this, such as `conv` or `f16[`
    #[arg(long, value_name = "SUBSTRING")]
    pub(crate) problem: Option<String>,
    /// Only tactics whose name begins with this, such as `conv.cpu.winograd`
    #[arg(long, value_name = "PREFIX")]
    pub(crate) tactic: Option<String>,
    /// Where the data set goes; a file there is replaced when the new one is whole [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  tactician build zoo:resnet18 --threads 1 --table t.tac -o r.plan
  tactician export t.tac --csv -o t.csv
  tactician export t.tac --parquet --problem 'conv ' -o convolutions.parquet
  tactician export t.tac --json --tactic conv.cpu.winograd | head";

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The plan
    pub(crate) plan: PathBuf,
    /// A step: its number, its name or a part of it, or the name of a node that is fused into it
    pub(crate) step: Option<String>,
    /// Every step
    #[arg(long, conflicts_with = "step")]
    pub(crate) all: bool,
    /// Candidates to show of each step; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The plan
    pub(crate) plan: PathBuf,
    /// Where the page goes
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub(crate) output: PathBuf,
    /// Run the plan here, and show what it and its steps take
    #[arg(long)]
    pub(crate) measure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// A model as for `build`, or a tactic table
    #[command(flatten)]
    pub(crate) source: Source,
    /// Run plans along the curve too, at most 12 of them, in turns
    #[arg(long)]
    pub(crate) measure: bool,
    /// Also the curve of latency against all memory of a context
    #[arg(long)]
    pub(crate) memory: bool,
    /// Scratch that any one step may use, for the curve of memory and the report's plan
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) workspace: Bytes,
    /// Write the curve of workspace as a picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write a report with the curves, as one HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Changes to list at each point
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replan {
    /// The tactic table of an earlier build (`--table`)
    pub(crate) table: PathBuf,
    /// The model, where the table was measured for several
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Scratch memory that any one step may use; 0 works
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) workspace: Bytes,
    /// Memory that one context may take in all [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    /// Where the plan goes
    #[arg(short, long, value_name = "PLAN")]
    pub(crate) output: PathBuf,
    /// Print figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Policies {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Scratch memory that any one step may use
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) workspace: Bytes,
    /// Run every policy's plan too, in turns
    #[arg(long)]
    pub(crate) measure: bool,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Builds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100))]
    pub(crate) times: u16,
    /// Scratch memory that any one step may use
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) workspace: Bytes,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// An ONNX model, or `zoo:NAME`
    #[arg(default_value = "zoo:resnet50")]
    pub(crate) model: String,
    /// The shape of an open input
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<usize>)>,
    /// The value of an input that decides what the graph is (a sampling rate, axes, a shape), such as `sr=16000` or
    /// `axes=0,2`; the plan has no such input then
    #[arg(long = "value", value_name = "NAME=NUMBERS", value_parser = value)]
    pub(crate) values: Vec<(String, Vec<f64>)>,
    /// Budgets to build for
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_values = ["0", "4MiB", "512MiB"])]
    pub(crate) workspace: Vec<Bytes>,
    /// A photo for networks that take one image (JPEG or PNG) [default: a cat]
    #[arg(long)]
    pub(crate) photo: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    /// Where the last plan goes
    #[arg(short, long, value_name = "PLAN", default_value = "demo.plan")]
    pub(crate) output: PathBuf,
    /// Print figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, sizes) = text.rsplit_once('=').ok_or("write NAME=SIZES, such as x=1x3x224x224".to_owned())?;
    let sizes = sizes
        .split(['x', ','])
        .map(|s| s.parse().map_err(|_| format!("`{s}` is no size; write NAME=SIZES, such as x=1x3x224x224")))
        .collect::<Result<_, _>>()?;
    Ok((name.to_owned(), sizes))
}

fn value(text: &str) -> Result<(String, Vec<f64>), String> {
    let (name, numbers) =
        text.rsplit_once('=').ok_or("write NAME=NUMBERS, such as sr=16000 or axes=0,2".to_owned())?;
    let number = |s: &str| match s {
        "true" => Ok(1.0),
        "false" => Ok(0.0),
        _ => s
            .parse()
            .map_err(|_| format!("`{s}` is no number; write NAME=NUMBERS, such as sr=16000 or axes=0,2")),
    };
    Ok((name.to_owned(), numbers.split(',').map(number).collect::<Result<_, _>>()?))
}

fn input(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("write NAME=FILE, such as x=photo.npy".to_owned())?;
    Ok((name.to_owned(), file.into()))
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1024).contains(&n) => Ok(n),
        _ => Err("give a number between 1 and 1024".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(s) if (0.0..=3600.0).contains(&s) => Ok(s),
        _ => Err("give a number between 0 and 3600".into()),
    }
}
