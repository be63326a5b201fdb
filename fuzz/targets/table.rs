//! Any bytes as a tactic table: what is accepted is written so that it reads the same.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tactician::tuning::TacticTable;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    let Ok(table) = TacticTable::read(bytes, path) else { return };
    let text = table.to_text();
    let again = TacticTable::read(text.as_bytes(), path).expect("what was written is accepted");
    assert_eq!(again.to_text(), text);
});
