//! Removes what no output needs.

use tactician_ir::Graph;

use crate::pipeline::GraphPass;

/// Removes nodes that no network output needs. Network inputs stay, read or not.
#[derive(Debug)]
pub struct DeadCode;

impl GraphPass for DeadCode {
    fn name(&self) -> &'static str {
        "dead_code"
    }

    fn run(&self, graph: &mut Graph) -> usize {
        graph.remove_dead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tactician_ir::Unary;

    #[test]
    fn removes_chains_but_no_inputs() {
        let mut g = Graph::new("t");
        let x = input(&mut g, "x", &[3]);
        input(&mut g, "unused", &[3]);
        let y = unary(&mut g, Unary::Relu, x);
        let d = unary(&mut g, Unary::Exp, x);
        unary(&mut g, Unary::Neg, d);
        g.mark_output("y", y);
        let after = check("dead_code", &g);
        assert_eq!(ops(&after), ["pointwise"]);
        assert_eq!(after.inputs().len(), 2);
    }
}
