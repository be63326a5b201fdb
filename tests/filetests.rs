//! Runs every file under `tests/filetests`: a test is a graph in its text form and the text expected of it.
//!
//! ```text
//! ; test: parse | error | pass NAME | canonicalize | precision TYPE | regions
//! ; bind: N=4 H=8                 (optional: numbers for symbols, before the pass)
//! graph … { … }
//! ; expect:
//! …
//! ```
//!
//! `parse` prints the graph, `error` the mistake that refuses it, `pass NAME` and `canonicalize` the graph that the
//! pass makes, `precision TYPE` the graph with its `f32` values in that type, or why there is none, `regions` the regions that greedy fusion covers it with. `BLESS=1` writes what came out into the files;
//! read it before you commit it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use similar::{ChangeTag, TextDiff};
use tactician_ir::{Graph, Symbols, text, verify};

#[path = "filetests/passes.rs"]
mod passes;

const EXPECT: &str = "; expect:\n";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let trials = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap_or(&file).with_extension("");
            Trial::test(name.display().to_string(), move || run(&file))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn find(dir: &Path, out: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|e| e.path()) {
        if path.is_dir() {
            find(&path, out);
        } else if path.extension().is_some_and(|e| e == "tac") {
            out.push(path);
        }
    }
}

fn run(file: &Path) -> Result<(), Failed> {
    let source = fs::read_to_string(file)?;
    let (input, expected) = source.split_once(EXPECT).unwrap_or((&source, ""));
    let found = outcome(input)?;
    if found == expected {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        let end = if input.ends_with('\n') { "" } else { "\n" };
        fs::write(file, format!("{input}{end}{EXPECT}{found}"))?;
        return Ok(());
    }
    let mut message = String::from("the outcome differs (-expected, +found):\n");
    for change in TextDiff::from_lines(expected, &found).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        message.push_str(&format!("{sign}{change}"));
    }
    Err(message.into())
}

/// What comes out of a test's input.
fn outcome(input: &str) -> Result<String, Failed> {
    let directive = |key: &str| {
        let mut lines = input.lines().take_while(|l| l.starts_with(';'));
        lines.find_map(|l| l.strip_prefix("; ")?.strip_prefix(key)?.strip_prefix(": "))
    };
    let test = directive("test").ok_or("the file has no line `; test: …`")?;
    // Comment lines become empty ones, so that errors name the file's lines.
    let text: String =
        input.lines().map(|l| if l.starts_with(';') { "\n".into() } else { format!("{l}\n") }).collect();
    let parsed = text::parse(&text);
    if test == "error" {
        return match parsed {
            Err(e) => Ok(format!("{e}\n")),
            Ok(_) => Err("the graph is accepted".into()),
        };
    }
    let mut graph = checked(parsed?)?;
    if let Some(list) = directive("bind") {
        graph = graph.bind(&symbols(list)?)?;
    }
    if test == "parse" {
        let printed = text::print(&graph);
        if text::print(&text::parse(&printed)?) != printed {
            return Err(format!("the text does not read back:\n{printed}").into());
        }
        return Ok(printed);
    }
    passes::run(test, graph)
}

fn symbols(list: &str) -> Result<Symbols, Box<dyn Error>> {
    list.split_whitespace()
        .map(|item| {
            let (name, value) = item.split_once('=').ok_or("`; bind:` takes NAME=NUMBER")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

fn checked(graph: Graph) -> Result<Graph, Box<dyn Error>> {
    Ok(verify(graph)?.into_inner())
}
