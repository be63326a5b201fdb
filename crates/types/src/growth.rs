/// How much larger an algorithm's rounding error may be than that of plain summation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Multiplies the bound.
    pub factor: f64,
    /// Side of the output tiles that are computed together over the last two axes: what one output of a tile reads may
    /// leave its rounding in all of them, as in Winograd's algorithm. 1: outputs are independent.
    pub tile: usize,
    /// Relative error of each product because its factors are rounded first, as TF32 does; 0: they are not.
    pub inputs: f64,
}

impl Growth {
    /// Plain summation, in any order.
    pub const NONE: Growth = Growth { factor: 1.0, tile: 1, inputs: 0.0 };
}
