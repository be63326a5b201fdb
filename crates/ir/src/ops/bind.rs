//! Putting numbers for symbols in attributes.

use crate::dim::Symbols;
use crate::ops::Op;

impl Op {
    /// The same operation with numbers for symbols in its attributes.
    pub fn bind(&self, symbols: &Symbols) -> Op {
        let mut op = self.clone();
        match &mut op {
            Op::Reshape(r) => r.shape = r.shape.bind(symbols),
            Op::Expand(e) => e.shape = e.shape.bind(symbols),
            Op::Slice(s) => {
                for a in &mut s.axes {
                    a.start = a.start.bind(symbols);
                    a.len = a.len.bind(symbols);
                }
            }
            Op::Resize(r) => r.axes.iter_mut().for_each(|a| a.size = a.size.bind(symbols)),
            _ => {}
        }
        op
    }
}
