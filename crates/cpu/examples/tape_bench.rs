use std::time::Instant;
use tactician_cpu::*;
use tactician_types::*;
fn main() {
    let n = 1 << 14;
    let x = vec![0.3f32; n];
    let z = vec![0.7f32; n];
    let mut y = vec![0f32; n];
    for &isa in available_isas() {
        let mut run = |name: &str, e: &Expr| {
            let t = Tape::compile(e, isa).unwrap();
            let mut best = 1e9f64;
            for _ in 0..300 {
                let s = Instant::now();
                t.run(&[TapeInput::Stream(&x), TapeInput::Stream(&z)], &mut y);
                best = best.min(s.elapsed().as_secs_f64());
            }
            println!("{isa} {name}: {:.3} ns/elem", best * 1e9 / n as f64);
        };
        for op in [
            Unary::Relu,
            Unary::Exp,
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::Erf,
            Unary::Log,
            Unary::Softplus,
            Unary::Floor,
            Unary::Round,
            Unary::Sqrt,
        ] {
            run(op.name(), &Expr::unary(op));
        }
        for op in [Binary::Add, Binary::Max, Binary::Pow, Binary::Div] {
            run(op.name(), &Expr::binary(op));
        }
        let mut e = Expr::empty();
        let a = e.push(ExprNode::Input(0));
        let s = e.push(ExprNode::Unary(Unary::Sigmoid, a));
        e.push(ExprNode::Binary(Binary::Mul, a, s));
        run("silu", &e);
    }
}
