use super::*;
use crate::conv::testing::*;
use tactician_types::{Binary, Expr, ExprNode, Unary};

fn conv(geometry: ConvGeometry, block: u8, plain_input: bool, tile_blocks: u8) -> DirectConv {
    DirectConv {
        geometry,
        block,
        plain_input,
        tile_blocks,
        filters_inner: tile_blocks == 2,
        epilogue: Epilogue::default(),
        ready: None,
    }
}

fn blocks(threads: &Threads) -> &'static [u8] {
    if threads.level().isa() == Isa::Avx512 { &[8, 16] } else { &[8] }
}

#[test]
fn agrees_with_the_definition() {
    let mut ran = 0;
    for g in geometries() {
        let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
        let want = plain(&g, &x, &w);
        for threads in pools() {
            for &block in blocks(&threads) {
                for plain_input in [false, true] {
                    for tile_blocks in [1, 2, 4] {
                        let k = conv(g.clone(), block, plain_input, tile_blocks);
                        if k.sizes(1).is_err() {
                            continue;
                        }
                        ran += 1;
                        let packed = k.pack(&w).unwrap();
                        let b = block as usize;
                        let input = if plain_input { x.clone() } else { to_blocked(&x, g.n, g.c, b) };
                        let got = run(k, &[&input, &packed], &threads);
                        assert!(got.iter().all(|v| !v.is_nan()), "{g:?}: not all was written");
                        let got = from_blocked(&got, g.n, g.k, b);
                        assert_close(
                            &got,
                            &want,
                            1e-5,
                            &format!("{g:?} c{block} {tile_blocks} {plain_input}"),
                        );
                    }
                }
            }
        }
    }
    assert!(ran > 100, "{ran}");
}

#[test]
fn applies_bias_residual_and_any_function() {
    let g = ConvGeometry::image(1, 8, [9, 9], 24, [3, 3], 1, 1);
    let (x, w) = (values(g.input_len(), 1), values(g.weight_len(), 2));
    let (bias, residual) = (values(24, 3), values(g.output_len(), 4));
    let mut e = Expr::empty();
    let (a, b, r) = (e.push(ExprNode::Input(0)), e.push(ExprNode::Input(1)), e.push(ExprNode::Input(2)));
    let t = e.push(ExprNode::Binary(Binary::Add, a, b));
    let t = e.push(ExprNode::Binary(Binary::Add, t, r));
    let relu = e.push(ExprNode::Unary(Unary::Relu, t));
    let odd = e.push(ExprNode::Unary(Unary::Sigmoid, t));
    let silu = e.push(ExprNode::Binary(Binary::Mul, t, odd));
    let sums = plain(&g, &x, &w);
    for (root, f) in [(relu, (|v: f64| v.max(0.0)) as fn(f64) -> f64), (silu, |v| v / (1.0 + (-v).exp()))] {
        let want: Vec<f64> = sums
            .iter()
            .enumerate()
            .map(|(i, s)| f(s + f64::from(bias[i / 81]) + f64::from(residual[i])))
            .collect();
        for threads in pools() {
            for &block in blocks(&threads) {
                let mut k = conv(g.clone(), block, false, 2);
                k.epilogue = Epilogue {
                    expr: e.finish(root),
                    operands: vec![EpilogueOperand::PerChannel, EpilogueOperand::Full],
                };
                let b = block as usize;
                let mut padded = bias.clone();
                padded.resize(24usize.div_ceil(b) * b, 0.0);
                let (xb, rb) = (to_blocked(&x, 1, 8, b), to_blocked(&residual, 1, 24, b));
                let packed = k.pack(&w).unwrap();
                let got = run(k, &[&xb, &packed, &padded, &rb], &threads);
                assert_close(&from_blocked(&got, 1, 24, b), &want, 1e-5, "epilogue");
            }
        }
    }
}

#[test]
fn refuses_what_it_cannot_do() {
    let g = ConvGeometry::image(1, 8, [400, 400], 16, [3, 3], 1, 1);
    let wide = ConvGeometry { dilations: [1, 100, 100], ..g.clone() };
    assert!(conv(wide, 8, false, 1).sizes(1).unwrap_err().contains("spans"));
    assert!(conv(g.clone(), 5, false, 1).sizes(1).is_err());
    let odd = ConvGeometry { groups: 4, ..g.clone() };
    assert!(conv(odd, 8, false, 1).sizes(1).unwrap_err().contains("groups"));
    assert!(conv(g, 8, false, 1).pack(&[0.0; 3]).is_err());
}
