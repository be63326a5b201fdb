//! Selection on problems as large as real networks.

mod networks;

use std::time::Instant;

use tactician_select::{Budget, Certificate, memory_front, select, workspace_front};

#[test]
fn times() {
    for (name, make) in networks::NETWORKS {
        let i = make();
        let start = Instant::now();
        let s = select(&i, Budget::workspace(u64::MAX)).unwrap();
        println!(
            "{name}: {} nodes {} regions, select {:?} {:?}",
            i.nodes,
            i.regions.len(),
            start.elapsed(),
            s.certificate
        );
        let start = Instant::now();
        let f = workspace_front(&i).unwrap();
        println!("  workspace front {} points {:?}", f.len(), start.elapsed());
        println!(
            "  placed above the peak: {}",
            f.iter().filter(|p| p.selection.memory.arena > p.selection.memory.peak).count()
        );
        let most = s.memory.total();
        println!("  {} const {} arena {} peak {}", most, s.memory.constants, s.memory.arena, s.memory.peak);
        let start = Instant::now();
        let least = match select(&i, Budget { workspace: u64::MAX, memory: Some(0) }) {
            Err(tactician_select::SelectError::OverMemory { least, .. }) => least.0,
            other => panic!("{other:?}"),
        };
        println!("  least {least} {:?}", start.elapsed());
        for k in [1, 4] {
            let memory = least + (most - least) * k / 8;
            let start = Instant::now();
            let s = select(&i, Budget { workspace: u64::MAX, memory: Some(memory) }).unwrap();
            println!(
                "  memory {k}/8 {:.1} us {:?} {:?} arena {} peak {}",
                s.predicted_us,
                s.certificate,
                start.elapsed(),
                s.memory.arena,
                s.memory.peak
            );
        }
        if i.nodes > 0 {
            continue;
        }
        let start = Instant::now();
        let f = memory_front(&i, u64::MAX).unwrap();
        let sure = f.iter().filter(|p| p.selection.certificate == Certificate::Optimal).count();
        println!("  memory front {} points, {sure} optimal {:?}", f.len(), start.elapsed());
    }
}
