//! Whether an operation graph is sound.

use std::collections::BTreeSet;

use tactician_types::DType;

use super::spec::{ArgBytes, Function, GraphSpec, NodeSpec, NormKind, Role, TENSOR_ALIGNMENT, TensorSpec};

/// Most tensors, and most nodes, of a graph.
const MOST: usize = 64;

/// Sizes, strides and window parameters stay below this, products below its square: nothing overflows `i64`.
const LIMIT: u64 = 1 << 31;

impl TensorSpec {
    /// Bytes to behind its last element, those before its first included; `None` when the sizes are out of bounds.
    pub fn bytes(&self) -> Option<u64> {
        if self.offset >= LIMIT * LIMIT / 4 {
            return None;
        }
        let mut last = self.offset;
        let mut count = 1u64;
        for (&n, &s) in self.sizes.iter().zip(&self.strides) {
            if n == 0 || n >= LIMIT || s >= LIMIT * LIMIT / 4 {
                return None;
            }
            count = count.checked_mul(n)?;
            last = last.checked_add((n - 1).checked_mul(s)?)?;
        }
        let bytes = (last + 1).checked_mul(self.dtype.size() as u64)?;
        (count < 1 << 48 && bytes < 1 << 50).then_some(bytes)
    }
}

impl GraphSpec {
    /// Checks a graph that may come from a hostile file: sizes in bounds and fitting together, every tensor written
    /// before it is read and at most once. Returns the bytes that the step's arguments must hold.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn check(&self) -> Result<ArgBytes, String> {
        if self.tensors.is_empty()
            || self.nodes.is_empty()
            || self.tensors.len() > MOST
            || self.nodes.len() > MOST
        {
            return Err(format!(
                "a graph has 1 to {MOST} tensors and nodes, found {} and {}",
                self.tensors.len(),
                self.nodes.len()
            ));
        }
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (i, t) in self.tensors.iter().enumerate() {
            let inner = match t.role {
                Role::Virtual => matches!(t.dtype, DType::I32 | DType::Bool),
                Role::Value(_) => t.dtype == DType::I32,
                _ => false,
            };
            if !inner && !matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16) {
                return Err(format!("tensor {i} is {}, expected f32, f16 or bf16", t.dtype));
            }
            if !(3..=5).contains(&t.sizes.len()) || t.strides.len() != t.sizes.len() {
                return Err(format!("tensor {i} needs 3 to 5 sizes and as many strides"));
            }
            let crooked = !t.offset.wrapping_mul(t.dtype.size() as u64).is_multiple_of(TENSOR_ALIGNMENT);
            if t.offset != 0 && (!matches!(t.role, Role::Input(_)) || crooked) {
                return Err(format!("tensor {i} begins at element {} of what it is in", t.offset));
            }
            let bytes = t.bytes().ok_or_else(|| format!("the sizes of tensor {i} are out of bounds"))?;
            match t.role {
                Role::Input(n) => inputs.push((n, bytes)),
                Role::Output(n) => outputs.push((n, bytes)),
                Role::Virtual | Role::Discarded => {}
                Role::Value(_) if t.dtype.size() == 4 && t.sizes.iter().all(|&n| n == 1) => {}
                Role::Value(_) => {
                    return Err(format!("tensor {i} is passed by value, but is more than one f32 or i32"));
                }
            }
        }
        let args = ArgBytes { inputs: in_order(inputs, "input")?, outputs: in_order(outputs, "output")? };
        let given = |i: &usize| matches!(self.tensors[*i].role, Role::Input(_) | Role::Value(_));
        let mut ready: BTreeSet<usize> = (0..self.tensors.len()).filter(given).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            let fail = |problem: String| format!("node {at}: {problem}");
            let (reads, y) = node.tensors();
            for r in reads {
                if !ready.contains(&r) {
                    return Err(fail(format!("reads tensor {r}, which nothing has written")));
                }
            }
            if y >= self.tensors.len() || !ready.insert(y) {
                return Err(fail(format!("writes tensor {y}, which it must not")));
            }
            self.check_node(node).map_err(fail)?;
        }
        match (0..self.tensors.len()).find(|i| !ready.contains(i)) {
            Some(i) => Err(format!("nothing writes tensor {i}")),
            None => Ok(args),
        }
    }

    /// The node's tensors exist.
    fn check_node(&self, node: &NodeSpec) -> Result<(), String> {
        let tensor = |i: u16| &self.tensors[i as usize];
        let sizes = |i: u16| &tensor(i).sizes[..];
        match node {
            NodeSpec::Convolution { x, w, y, pads, strides, dilations } => {
                check_convolution(sizes(*x), sizes(*w), sizes(*y), (pads, strides, dilations))?;
                if tensor(*x).dtype != tensor(*w).dtype {
                    return Err("the weights are of another type than the input".into());
                }
                Ok(())
            }
            NodeSpec::Pointwise { function, x, b, y } => {
                check_pointwise(*function, sizes(*x), b.map(sizes), sizes(*y))?;
                let given = tensor(*y).dtype;
                match function {
                    Function::Index { .. } if given != DType::I32 => Err("a position is an i32".into()),
                    Function::AtLeast if given != DType::Bool => Err("a comparison gives bools".into()),
                    _ => Ok(()),
                }
            }
            NodeSpec::Reduce { x, y, .. } => {
                if sizes(*x).len() != sizes(*y).len()
                    || sizes(*x).iter().zip(sizes(*y)).any(|(x, y)| y != x && *y != 1)
                {
                    return Err("the result of a reduction has other sizes than its operand".into());
                }
                Ok(())
            }
            NodeSpec::Select { x, b, condition, y } => {
                if tensor(*condition).dtype != DType::Bool || sizes(*condition) != sizes(*y) {
                    return Err("what is selected by is no bool for each element".into());
                }
                check_pointwise(Function::Max, sizes(*x), Some(sizes(*b)), sizes(*y))
            }
            NodeSpec::Pool { x, y, window, pads, strides, .. } => {
                check_pool(sizes(*x), sizes(*y), window, pads, strides)
            }
            NodeSpec::MatMul { a, b, y } => {
                let (
                    [a_batch, a_heads @ .., m, k],
                    [b_batch, b_heads @ .., l, n],
                    [batch, heads @ .., rows, columns],
                ) = (sizes(*a), sizes(*b), sizes(*y))
                else {
                    return Err("a matrix product has three or four axes".into());
                };
                let batched = [a_batch, b_batch].iter().all(|n| **n == *batch || **n == 1);
                let headed = match (a_heads, b_heads, heads) {
                    ([], [], []) => true,
                    ([a], [b], [h]) => a == h && h.is_multiple_of(*b),
                    _ => false,
                };
                if !batched || !headed || k != l || m != rows || n != columns {
                    return Err("the factors and the result of a matrix product disagree".into());
                }
                if tensor(*a).dtype != tensor(*b).dtype {
                    return Err("the factors of a matrix product are of two types".into());
                }
                Ok(())
            }
            NodeSpec::Normalize { kind, x, scale, bias, epsilon, y } => {
                if !matches!(tensor(*epsilon).role, Role::Value(_)) {
                    return Err("epsilon is not passed by value".into());
                }
                let channels: Vec<u64> =
                    sizes(*x).iter().enumerate().map(|(i, &n)| if i == 1 { n } else { 1 }).collect();
                if sizes(*y) != sizes(*x)
                    || [Some(*scale), *bias].into_iter().flatten().any(|p| sizes(p) != channels)
                {
                    return Err("a normalisation's operands and result disagree".into());
                }
                if *kind != NormKind::Instance && sizes(*x)[2..].iter().any(|&n| n != 1) {
                    return Err("only instances are normalised over spatial axes".into());
                }
                Ok(())
            }
        }
    }
}

/// The lengths by number, which must run from 0 without gaps.
fn in_order(mut list: Vec<(u16, u64)>, what: &str) -> Result<Vec<u64>, String> {
    list.sort_unstable();
    match list.iter().enumerate().find(|(i, (n, _))| *i != usize::from(*n)) {
        Some((i, _)) => Err(format!("{what} {i} must appear exactly once")),
        None => Ok(list.into_iter().map(|(_, bytes)| bytes).collect()),
    }
}

/// All sizes are between 1 and [`LIMIT`].
fn check_convolution(
    x: &[u64],
    w: &[u64],
    y: &[u64],
    (pads, strides, dilations): (&[(u32, u32)], &[u32], &[u32]),
) -> Result<(), String> {
    let axes = x.len() - 2;
    if w.len() != x.len()
        || y.len() != x.len()
        || [pads.len(), strides.len(), dilations.len()].iter().any(|&n| n != axes)
    {
        return Err(format!("a convolution over {axes} axes has tensors or attributes of another rank"));
    }
    if !x[1].is_multiple_of(w[1]) || !w[0].is_multiple_of(x[1] / w[1]) {
        return Err(format!("{} channels and weights {w:?} do not divide into groups", x[1]));
    }
    if y[0] != x[0] || y[1] != w[0] {
        return Err("the result has another batch or other channels".into());
    }
    for i in 0..axes {
        let (stride, dilation) = (u64::from(strides[i]), u64::from(dilations[i]));
        let (before, after) = (u64::from(pads[i].0), u64::from(pads[i].1));
        if [stride, dilation, before + 1, after + 1].iter().any(|&v| v == 0 || v >= LIMIT) {
            return Err(format!("strides, dilations or pads of axis {i} are out of bounds"));
        }
        let span = (w[2 + i] - 1) * dilation + 1;
        let padded = x[2 + i] + before + after;
        if padded < span || y[2 + i] != (padded - span) / stride + 1 {
            return Err(format!("the window, the strides and the result disagree along axis {i}"));
        }
    }
    Ok(())
}

/// All sizes are between 1 and [`LIMIT`].
fn check_pool(
    x: &[u64],
    y: &[u64],
    window: &[u32],
    pads: &[(u32, u32)],
    strides: &[u32],
) -> Result<(), String> {
    let axes = x.len() - 2;
    if y.len() != x.len() || [window.len(), pads.len(), strides.len()].iter().any(|&n| n != axes) {
        return Err(format!("a pool over {axes} axes has a result or attributes of another rank"));
    }
    if y[..2] != x[..2] {
        return Err("the result has another batch or other channels".into());
    }
    for i in 0..axes {
        let (window, stride) = (u64::from(window[i]), u64::from(strides[i]));
        let (before, after) = (u64::from(pads[i].0), u64::from(pads[i].1));
        if [window, stride, before + 1, after + 1].iter().any(|&v| v == 0 || v >= LIMIT) {
            return Err(format!("window, stride or pads of axis {i} are out of bounds"));
        }
        // A window that lies within the padding has nothing to take a mean of.
        let padded = x[2 + i] + before + after;
        if before >= window
            || after >= window
            || padded < window
            || y[2 + i] != (padded - window) / stride + 1
        {
            return Err(format!("the window, the strides and the result disagree along axis {i}"));
        }
    }
    Ok(())
}

fn check_pointwise(function: Function, x: &[u64], b: Option<&[u64]>, y: &[u64]) -> Result<(), String> {
    if b.is_some() != function.is_binary() {
        return Err(format!("{function:?} has the wrong number of operands"));
    }
    if x != y {
        return Err("the first operand has other sizes than the result".into());
    }
    if let Function::Index { axis } = function
        && axis as usize >= y.len()
    {
        return Err(format!("there is no axis {axis}"));
    }
    if let Function::Relu { upper: Some(u) } = function
        && !(u.is_finite() && u > 0.0)
    {
        return Err(format!("an upper bound of {u}"));
    }
    let Some(b) = b else { return Ok(()) };
    if b.len() != y.len() || b.iter().zip(y).any(|(b, r)| b != r && *b != 1) {
        return Err("the second operand does not spread over the result".into());
    }
    Ok(())
}
