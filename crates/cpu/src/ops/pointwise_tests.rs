use super::*;
use crate::ops::grid::Grid;
use crate::ops::testing::{Rng, assert_close, hostile, pools, run};
use tactician_types::{Binary, Expr, ExprNode, Unary};

/// `relu($0 · $1 + …) - $last`, of `n` operands.
fn chain(n: usize) -> Expr {
    let mut e = Expr::empty();
    let mut at = e.push(ExprNode::Input(0));
    for i in 1..n {
        let x = e.push(ExprNode::Input(i as u16));
        let op = [Binary::Mul, Binary::Add, Binary::Sub][i % 3];
        at = e.push(ExprNode::Binary(op, at, x));
        if i == 2 {
            at = e.push(ExprNode::Unary(Unary::Relu, at));
        }
    }
    e.finish(at)
}

fn naive(n: usize, x: impl Fn(usize) -> f64) -> f64 {
    let mut at = x(0);
    for i in 1..n {
        at = match i % 3 {
            0 => at * x(i),
            1 => at + x(i),
            _ => at - x(i),
        };
        if i == 2 {
            at = at.max(0.0);
        }
    }
    at
}

/// Where element `at` of the grid is in operand `i`, by definition.
pub(crate) fn source(grid: &Grid, i: usize, mut at: usize) -> usize {
    let (mut index, mut step) = (0, 1);
    for (axis, &size) in grid.sizes.iter().enumerate().rev() {
        if grid.operands[i] >> axis & 1 == 1 {
            index += at % size * step;
            step *= size;
        }
        at /= size;
    }
    index
}

#[test]
fn every_kind_of_broadcast() {
    let mut rng = Rng::new(7);
    let pools = pools();
    for round in 0..250 {
        let rank = rng.below(6);
        let sizes: Vec<usize> = (0..rank)
            .map(|_| rng.pick(&[1, 2, 3, 5, 8, 16, 17, if round % 7 == 0 { 700 } else { 4 }]))
            .collect();
        if sizes.iter().product::<usize>() > 200_000 {
            continue;
        }
        let n = 1 + rng.below(5);
        let all = (1u16 << rank) - 1;
        let operands = (0..n).map(|i| if i == 0 { all } else { rng.next() as u16 & all }).collect();
        let grid = Grid { sizes, operands };
        let inputs: Vec<Vec<f32>> =
            grid.operand_lens().unwrap().into_iter().map(|len| rng.floats(len)).collect();
        let want: Vec<f64> = (0..grid.elements().unwrap())
            .map(|at| naive(n, |i| f64::from(inputs[i][source(&grid, i, at)])))
            .collect();
        let what = format!("{grid:?}");
        let expr = GridExpr { expr: chain(n), grid };
        for pool in &pools {
            assert_close(&run(Pointwise::new(expr.clone()), &inputs, pool), &want, 1e-6, &what);
        }
    }
}

#[test]
fn an_epilogue_continues_anywhere() {
    let mut rng = Rng::new(3);
    let grid = Grid { sizes: vec![3, 5, 4, 8], operands: vec![0b1001, 0b0111, 0b1000, 0b1111, 0b0010] };
    let n = grid.elements().unwrap();
    let inputs: Vec<Vec<f32>> = grid.operand_lens().unwrap().into_iter().map(|len| rng.floats(len)).collect();
    let x = rng.floats(n);
    let e = GridExpr { expr: chain(6), grid: grid.clone() };
    let ready = e.epilogue(Isa::Portable).unwrap().unwrap();
    for _ in 0..50 {
        let start = rng.below(n);
        let end = start + rng.below(n - start + 1);
        let mut out = x[start..end].to_vec();
        ready.finish(start, &mut out, &|i| &inputs[i]);
        let want: Vec<f64> = (start..end)
            .map(|at| {
                naive(6, |i| match i {
                    0 => f64::from(x[at]),
                    i => f64::from(inputs[i - 1][source(&grid, i - 1, at)]),
                })
            })
            .collect();
        assert_close(&out, &want, 1e-6, &format!("{start}..{end}"));
    }
}

#[test]
fn empty_grids_and_bad_ones() {
    let grid = Grid { sizes: vec![3, 0, 4], operands: vec![0b111, 0b100] };
    let expr = GridExpr { expr: chain(2), grid };
    for pool in pools() {
        assert!(run(Pointwise::new(expr.clone()), &[vec![], vec![1.0; 4]], &pool).is_empty());
    }
    let refused = |sizes: &[usize], operands: &[u16]| {
        let grid = Grid { sizes: sizes.to_vec(), operands: operands.to_vec() };
        Pointwise::new(GridExpr { expr: chain(2), grid }).sizes(1).unwrap_err()
    };
    assert!(refused(&[usize::MAX, 2, 0], &[3, 1]).contains("too large"));
    assert!(refused(&[2], &[3, 1]).contains("beyond"));
    assert!(refused(&[2], &[1]).contains("does not have"));
    assert!(refused(&[1; 10], &[1, 1]).contains("at most"));
}

#[test]
fn hostile_parameters() {
    let grid = Grid { sizes: vec![3, 5, 4], operands: vec![0b111, 0b010, 0b110] };
    hostile(&Pointwise::new(GridExpr { expr: chain(3), grid }));
}
