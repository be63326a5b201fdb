//! Expressions over a grid of stored elements, as CUDA functions with their parameters.

use std::fmt::Write;

use tactician_types::{DType, Expr};

use crate::{Arguments, Divisor, expr_function, storage_type};

/// Most operands that an expression over a grid may read.
pub const MAX_OPERANDS: usize = 24;

/// A grid of stored elements and the axes that each operand spans, neighbouring axes that every operand has or lacks
/// together made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    sizes: Vec<u32>,
    masks: Vec<u16>,
}

impl Grid {
    /// A grid of stored axes, outermost first; operand `i` is dense over the axes whose bits `operands[i]` has.
    /// `None` when there are too many elements, operands or axes for kernels, or nothing to compute.
    pub fn new(sizes: &[usize], operands: &[u16]) -> Option<Grid> {
        let elements = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        if elements == 0 || elements >= 1 << 31 || operands.len() > MAX_OPERANDS || sizes.len() > 16 {
            return None;
        }
        let mut out = Grid { sizes: Vec::new(), masks: vec![0; operands.len()] };
        for (axis, &size) in sizes.iter().enumerate().filter(|(_, s)| **s != 1) {
            let has = |m: &u16| m >> axis & 1 == 1;
            let last = out.sizes.len().wrapping_sub(1);
            let joins = !out.sizes.is_empty()
                && out.masks.iter().zip(operands).all(|(own, m)| (own >> last & 1 == 1) == has(m));
            if joins {
                out.sizes[last] *= size as u32;
                continue;
            }
            for (own, m) in out.masks.iter_mut().zip(operands) {
                *own |= u16::from(has(m)) << out.sizes.len();
            }
            out.sizes.push(size as u32);
        }
        if out.sizes.is_empty() {
            out.sizes.push(1);
        }
        Some(out)
    }

    /// Elements.
    pub fn elements(&self) -> u32 {
        self.sizes.iter().product()
    }

    /// The most neighbouring elements, up to `most`, that a thread may take at once. With one axis a rest may remain.
    pub fn vector(&self, most: u32) -> u32 {
        let last = self.sizes[self.sizes.len() - 1];
        let mut v = most;
        while v > 1 && (if self.sizes.len() == 1 { last < v } else { !last.is_multiple_of(v) }) {
            v /= 2;
        }
        v
    }

    fn has(&self, operand: usize, axis: usize) -> bool {
        self.masks[operand] >> axis & 1 == 1
    }

    fn all_axes(&self) -> u16 {
        ((1u32 << self.sizes.len()) - 1) as u16
    }

    /// Steps of operand `i` along each axis, 0 where it has none.
    fn steps(&self, operand: usize) -> Vec<u32> {
        let mut step = 1;
        let mut out = vec![0; self.sizes.len()];
        for axis in (0..self.sizes.len()).rev().filter(|&a| self.has(operand, a)) {
            out[axis] = step;
            step *= self.sizes[axis];
        }
        out
    }

    /// The struct `Grid` of the generated text.
    pub fn arguments(&self) -> Arguments {
        let sizes = self.sizes.iter().fold(Arguments::new(), |a, &s| a.divisor(Divisor::new(s)));
        let steps = (0..self.masks.len()).flat_map(|i| self.steps(i));
        let steps = steps.fold(sizes, Arguments::u32);
        if self.masks.is_empty() { steps.u32(0) } else { steps }
    }
}

/// What is generated for an expression over a grid.
///
/// - `Out`: the storage type of the result;
/// - `OPERAND_PARAMETERS` and `OPERANDS`: the kernel's parameters for the operands, each followed by a comma, and the
///   struct `Operands` made of them;
/// - `Grid`: the struct of sizes and steps ([`Grid::arguments`]);
/// - as an operation `evaluate<N>(y, at, operands, grid)`, as an epilogue `finish<N>(x, y, at, operands, grid)`, which
///   compute `N` elements from element `at` on.
///
/// # Errors
/// When the expression does not fit its inputs, or one has a type without counterpart in CUDA. As an epilogue,
/// `inputs[0]` is the type of the value that it follows and `inputs[i + 1]` that of operand `i`.
pub fn grid_text(expr: &Expr, inputs: &[DType], epilogue: bool, grid: &Grid) -> Result<String, String> {
    let own = usize::from(epilogue);
    let operands = inputs.get(own..).unwrap_or_default();
    if operands.len() != grid.masks.len() {
        return Err(format!("{} operands for a grid of {}", operands.len(), grid.masks.len()));
    }
    let mut text = expr_function("expression", expr, inputs)?;
    let result = expr.dtypes(inputs)?[expr.root() as usize];
    let storage = |t: DType| storage_type(t).ok_or_else(|| format!("{t} has no type in CUDA"));
    let names = operands.iter().map(|&t| storage(t)).collect::<Result<Vec<_>, _>>()?;
    let axes = grid.sizes.len();
    let list = |f: &dyn Fn(usize, &str) -> String| -> String {
        names.iter().enumerate().map(|(i, n)| f(i, n)).collect()
    };
    let _ = writeln!(text, "typedef {} Out;", storage(result)?);
    let fields = list(&|i, n| format!(" const {n}* p{i};"));
    let _ = writeln!(text, "struct Operands {{{fields} }};");
    let parameters = list(&|i, n| format!("const {n}* __restrict__ p{i}, "));
    let _ = writeln!(text, "#define OPERAND_PARAMETERS {parameters}");
    let values = list(&|i, _| format!("p{i}, "));
    let _ = writeln!(text, "#define OPERANDS {{{values}}}");
    let rows = operands.len().max(1);
    let steps =
        if operands.is_empty() { "u32 steps[1]".into() } else { format!("u32 steps[{rows}][{axes}]") };
    let _ = writeln!(text, "struct Grid {{ Divisor sizes[{axes}]; {steps}; }};");

    let (name, before) = if epilogue {
        ("finish", format!("const {}* x, ", crate::compute_type(inputs[0]).unwrap_or("float")))
    } else {
        ("evaluate", String::new())
    };
    let _ = writeln!(
        text,
        "template <int N> INLINE void {name}({before}Compute<Out>* y, u32 at, const Operands& operands, \
         const Grid& grid) {{"
    );
    let general = |i: usize| grid.masks[i] != 0 && grid.masks[i] != grid.all_axes();
    if (0..operands.len()).any(general) {
        let _ = writeln!(text, "    u32 rest = at;");
        for axis in (1..axes).rev() {
            let _ = writeln!(
                text,
                "    const u32 q{axis} = rest / grid.sizes[{axis}], i{axis} = rest - q{axis} * grid.sizes[{axis}].value;\n    \
                 rest = q{axis};"
            );
        }
        let _ = writeln!(text, "    const u32 i0 = rest;");
    }
    let mut arguments: Vec<String> = if epilogue { vec!["x[k]".into()] } else { vec![] };
    for i in 0..operands.len() {
        if !expr.uses_input((i + own) as u16) {
            arguments.push(format!("{}()", crate::compute_type(operands[i]).unwrap_or("float")));
            continue;
        }
        let place = if general(i) {
            let terms = (0..axes).filter(|&a| grid.has(i, a));
            terms.map(|a| format!("i{a} * grid.steps[{i}][{a}]")).collect::<Vec<_>>().join(" + ")
        } else if grid.masks[i] == 0 {
            "0".into()
        } else {
            "at".into()
        };
        if grid.has(i, axes - 1) {
            let _ = writeln!(text, "    const auto v{i} = load_pack<N>(operands.p{i} + ({place}));");
            arguments.push(format!("widen(v{i}.at[k])"));
        } else {
            let _ = writeln!(text, "    const auto v{i} = widen(operands.p{i}[{place}]);");
            arguments.push(format!("v{i}"));
        }
    }
    let _ = writeln!(
        text,
        "#pragma unroll\n    for (int k = 0; k < N; k++) y[k] = expression({});\n}}",
        arguments.join(", ")
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_axes() {
        let g = Grid::new(&[2, 1, 3, 4, 5], &[0b11111, 0b10000, 0]).unwrap();
        assert_eq!(g, Grid { sizes: vec![24, 5], masks: vec![0b11, 0b10, 0] });
        assert_eq!((g.steps(0), g.steps(1), g.steps(2)), (vec![5, 1], vec![0, 1], vec![0, 0]));
        assert_eq!((g.vector(8), g.elements()), (1, 120));
        let flat = Grid::new(&[7, 3], &[0b11, 0]).unwrap();
        assert_eq!((flat.sizes.clone(), flat.vector(8)), (vec![21], 8));
        assert_eq!(Grid::new(&[1, 1], &[3]).unwrap().elements(), 1);
        assert!(Grid::new(&[0, 4], &[]).is_none() && Grid::new(&[1 << 20, 1 << 12], &[]).is_none());
    }

    /// The place of each element of an operand, computed as the generated text does.
    #[test]
    fn places_are_those_of_a_broadcast() {
        let (sizes, masks) = ([3usize, 4, 2, 5], [0b1111u16, 0b0010, 0b1010, 0b0101, 0b1000]);
        let g = Grid::new(&sizes, &masks).unwrap();
        for (i, &mask) in masks.iter().enumerate() {
            let steps = g.steps(i);
            for at in 0..g.elements() {
                let (mut rest, mut place) = (at, 0);
                for axis in (0..g.sizes.len()).rev() {
                    let q = if axis == 0 { 0 } else { Divisor::new(g.sizes[axis]).divide(rest) };
                    place += (rest - q * g.sizes[axis]) * steps[axis];
                    rest = q;
                }
                let (mut rest, mut want, mut step) = (at as usize, 0, 1);
                for axis in (0..4).rev() {
                    if mask >> axis & 1 == 1 {
                        want += rest % sizes[axis] * step;
                        step *= sizes[axis];
                    }
                    rest /= sizes[axis];
                }
                assert_eq!(place as usize, want, "operand {i} at {at}");
            }
        }
    }

    #[test]
    fn prints_loads_by_what_an_operand_spans() {
        use tactician_types::Binary;
        let g = Grid::new(&[6, 8], &[0b10]).unwrap();
        let text = grid_text(&Expr::binary(Binary::Add), &[DType::F16; 2], true, &g).unwrap();
        assert!(text.contains("finish(const float* x, Compute<Out>* y"), "{text}");
        assert!(text.contains("load_pack<N>(operands.p0 + (i1 * grid.steps[0][1]))"), "{text}");
        assert_eq!(g.arguments().bytes().len(), 2 * 12 + 2 * 4);
    }
}
