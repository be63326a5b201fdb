use super::*;
use crate::fusion::{FusionPolicy, Greedy, NoFusion, POLICIES, proposals};
use crate::testing::*;
use tactician_ir::{Binary, Unary};

fn graph() -> Graph {
    let mut g = Graph::new("t");
    let x = input(&mut g, "x", &[1, 2, 4, 4]);
    let c = conv(&mut g, x, 2, 3, false);
    let r = unary(&mut g, Unary::Relu, c);
    let y = binary(&mut g, Binary::Add, r, x);
    g.mark_output("y", y);
    g
}

#[test]
fn policies_partition() {
    let g = graph();
    for policy in POLICIES {
        policy.choose(&g, &proposals(&g)).check(&g).unwrap();
    }
}

#[test]
fn regions_come_in_execution_order_however_given() {
    let g = graph();
    let mut regions = NoFusion.choose(&g, &proposals(&g)).into_regions();
    regions.reverse();
    Partition::new(&g, regions).check(&g).unwrap();
}

#[test]
fn reports_what_is_wrong() {
    let g = graph();
    let all = NoFusion.choose(&g, &proposals(&g)).into_regions();

    let missing = Partition::new(&g, all[1..].to_vec());
    assert!(matches!(missing.check(&g), Err(PartitionError::Order { .. })));
    let missing = Partition::new(&g, all[..2].to_vec());
    assert!(matches!(missing.check(&g), Err(PartitionError::Missing { name, .. }) if name == "add"));

    let mut twice = all.clone();
    twice.push(all[0].clone());
    assert!(matches!(Partition::new(&g, twice).check(&g), Err(PartitionError::Twice { .. })));

    let reversed = Partition { regions: all.iter().rev().cloned().collect() };
    assert!(matches!(reversed.check(&g), Err(PartitionError::Order { .. })));

    // A region whose inner value has since become an output, and one of constants.
    let fused = Greedy.choose(&g, &proposals(&g));
    let mut changed = g.clone();
    let y = changed.outputs()[0].1;
    let r = changed.producer(y).inputs()[0];
    changed.mark_output("r", r);
    assert!(matches!(fused.check(&changed), Err(PartitionError::NoRegion { .. })));
    let constant = g.node_ids().find(|&n| g.node(n).as_constant().is_some()).unwrap();
    let region = Region::new("bad", &g, &[constant]).unwrap();
    let bad = Partition { regions: vec![region] };
    assert!(matches!(bad.check(&g), Err(PartitionError::NoRegion { .. })));
}
