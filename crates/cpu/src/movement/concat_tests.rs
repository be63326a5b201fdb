use super::*;
use crate::movement::testing::{Random, check, hostile};

#[test]
fn joins_rows() {
    let mut random = Random::new(1);
    for round in 0..120 {
        let rows = random.size(1, 20);
        let count = random.size(1, 5);
        let longest = if round % 10 == 0 { 30_000 } else { 70 };
        let parts: Vec<usize> = (0..count).map(|_| random.size(0, longest)).collect();
        let inputs: Vec<Vec<u8>> = parts.iter().map(|p| random.bytes(rows * p)).collect();
        let mut want = Vec::new();
        for r in 0..rows {
            for (x, p) in inputs.iter().zip(&parts) {
                want.extend_from_slice(&x[r * p..(r + 1) * p]);
            }
        }
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let kernel = Concat { rows, parts };
        check(&kernel, &inputs, &want, &format!("{kernel:?}"));
    }
}

#[test]
fn refuses_overflow() {
    assert!(Concat { rows: 2, parts: vec![usize::MAX, 1] }.sizes(1).is_err());
    assert!(Concat { rows: usize::MAX, parts: vec![16] }.sizes(1).is_err());
    assert!(Concat { rows: usize::MAX, parts: vec![0] }.sizes(1).is_err());
}

#[test]
fn survives_hostile_parameters() {
    hostile(&Concat { rows: 5, parts: vec![4, 8, 3, 64] });
}
