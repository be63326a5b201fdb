//! Any text as a graph: what is accepted prints to text that means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tactician::ir;

fuzz_target!(|text: &str| {
    let Ok(graph) = ir::text::parse(text) else { return };
    let printed = ir::text::print(&graph);
    let again = ir::text::parse(&printed).expect("what was printed is accepted");
    assert_eq!(ir::text::print(&again), printed);
});
