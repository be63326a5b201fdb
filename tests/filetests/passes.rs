//! The tests that run passes.

use libtest_mimic::Failed;
use tactician_ir::{Graph, text, verify};
use tactician_passes::{FusionPolicy, Greedy, canonicalize, lower, proposals, run_named};

/// What `test`, one of `pass NAME`, `canonicalize`, `precision TYPE` and `regions`, makes of a graph.
pub(crate) fn run(test: &str, graph: Graph) -> Result<String, Failed> {
    match test {
        "canonicalize" => Ok(text::print(&canonicalize(graph)?.0)),
        "regions" => regions(graph),
        _ if test.starts_with("precision ") => match lower(&graph, test["precision ".len()..].parse()?) {
            Ok(low) => {
                let low = verify(low)?;
                Ok(text::print(&low))
            }
            Err(e) => Ok(format!("{e}\n")),
        },
        _ => {
            let name = test.strip_prefix("pass ").ok_or_else(|| format!("there is no test `{test}`"))?;
            let passed = run_named(name, graph).ok_or_else(|| format!("there is no pass `{name}`"))?;
            Ok(text::print(&passed?))
        }
    }
}

/// The regions that cover the graph, a line each: rule, nodes by name, problem.
fn regions(graph: Graph) -> Result<String, Failed> {
    let (graph, _) = canonicalize(graph)?;
    let mut out = String::new();
    for region in Greedy.choose(&graph, &proposals(&graph)).into_regions() {
        let names: Vec<&str> = region.nodes.iter().map(|&n| graph.node(n).name.as_str()).collect();
        out.push_str(&format!("{} [{}]: {}\n", region.rule, names.join(" "), region.problem(&graph)));
    }
    Ok(out)
}
