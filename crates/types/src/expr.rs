use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DType, NarrowFloat, narrow_integer};

/// A pointwise computation: a small directed acyclic graph over the elements at one position of its inputs.
///
/// Node `i` may use only nodes before it; the last node is the result. The graph holds one as an operation, a
/// fused region holds one as its epilogue, kernels compile it. Building goes through the methods, which share equal
/// nodes, so equal computations written in one order compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expr {
    nodes: Vec<ExprNode>,
}

/// Index of a node in its [`Expr`].
pub type ExprId = u16;

/// One node of an [`Expr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExprNode {
    /// The element of input `i`, broadcast to the result's shape.
    Input(u16),
    /// A constant.
    Const(Scalar),
    /// A function of one operand.
    Unary(Unary, ExprId),
    /// A function of two operands of one type.
    Binary(Binary, ExprId, ExprId),
    /// The second operand where the first (`bool`) is true, else the third.
    Select(ExprId, ExprId, ExprId),
    /// Conversion, as ONNX `Cast` defines it: floats truncate toward zero to integers, non-zero is true. Numbers beyond a
    /// narrow integer wrap; those beyond a narrow float become its largest value (see [`NarrowFloat::code`]).
    Cast(DType, ExprId),
}

/// A typed constant, compared by bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scalar {
    /// Its type.
    pub dtype: DType,
    /// For floats the bits of the value as `f64` (every float type converts exactly); for narrow floats their code; for
    /// the rest the value as `i64` (`u64` wraps).
    bits: u64,
}

impl Scalar {
    /// A constant of a float type, rounded to it by whoever evaluates.
    pub fn float(dtype: DType, value: f64) -> Scalar {
        debug_assert!(dtype.is_float());
        Scalar { dtype, bits: value.to_bits() }
    }

    /// A constant of an integer type or `bool`; of a narrow float by its code.
    pub fn int(dtype: DType, value: i64) -> Scalar {
        debug_assert!(!dtype.is_float());
        Scalar { dtype, bits: value as u64 }
    }

    /// An `f32` constant.
    pub fn f32(value: f32) -> Scalar {
        Scalar::float(DType::F32, f64::from(value))
    }

    /// A constant of any type from a number: integers truncate, narrow ones wrap, narrow floats round, `bool` is
    /// `value != 0`.
    pub fn of(dtype: DType, value: f64) -> Scalar {
        if let Some(t) = NarrowFloat::of(dtype) {
            return Scalar::int(dtype, i64::from(t.code(value)));
        }
        if let Some(v) = narrow_integer(dtype, value) {
            return Scalar::int(dtype, v);
        }
        match dtype {
            t if t.is_float() => Scalar::float(t, value),
            DType::Bool => Scalar::int(DType::Bool, i64::from(value != 0.0)),
            t => Scalar::int(t, value as i64),
        }
    }

    /// The value as `f64` (inexact for large 64-bit integers).
    pub fn as_f64(self) -> f64 {
        if self.dtype.is_float() {
            f64::from_bits(self.bits)
        } else if let Some(t) = NarrowFloat::of(self.dtype) {
            t.value(self.bits as u8)
        } else if self.dtype == DType::U64 {
            self.bits as f64
        } else {
            self.bits as i64 as f64
        }
    }

    /// The value as `i64`; floats truncate, narrow floats give their code.
    pub fn as_i64(self) -> i64 {
        if self.dtype.is_float() { f64::from_bits(self.bits) as i64 } else { self.bits as i64 }
    }
}

macro_rules! named_ops {
    ($(#[$meta:meta])* $kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $kind { $($(#[$doc])* $variant,)* }

        impl $kind {
            /// All of them, in declaration order.
            pub const ALL: &[$kind] = &[$($kind::$variant),*];

            /// The name in text forms.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }

            /// The operation of that name.
            pub fn from_name(name: &str) -> Option<$kind> {
                match name { $($name => Some($kind::$variant),)* _ => None }
            }
        }
    };
}

named_ops! {
    /// Functions of one operand. Unless said otherwise the result has the operand's type.
    Unary {
        /// `-x`.
        Neg = "neg",
        /// Absolute value.
        Abs = "abs",
        /// -1, 0 or 1.
        Sign = "sign",
        /// `1 / x`.
        Reciprocal = "recip",
        /// Square root.
        Sqrt = "sqrt",
        /// e to the x.
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// `max(x, 0)`; NaN stays NaN.
        Relu = "relu",
        /// `1 / (1 + exp(-x))`.
        Sigmoid = "sigmoid",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Error function.
        Erf = "erf",
        /// `ln(1 + exp(x))`, without overflow.
        Softplus = "softplus",
        /// Largest integer not above.
        Floor = "floor",
        /// Smallest integer not below.
        Ceil = "ceil",
        /// Nearest integer, halves to even.
        Round = "round",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// Logical negation of a `bool`.
        Not = "not",
        /// Bitwise negation of an integer.
        BitNot = "bitnot",
        /// Whether a float is NaN; gives `bool`.
        IsNan = "isnan",
        /// Whether a float is infinite; gives `bool`.
        IsInf = "isinf",
    }
}

named_ops! {
    /// Functions of two operands of one type. Unless said otherwise the result has that type.
    Binary {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product.
        Mul = "mul",
        /// Quotient; integers truncate toward zero, and by zero give zero.
        Div = "div",
        /// Remainder with the sign of the divisor.
        Mod = "mod",
        /// Remainder with the sign of the dividend.
        Fmod = "fmod",
        /// Power.
        Pow = "pow",
        /// Larger; NaN if either is NaN.
        Max = "max",
        /// Smaller; NaN if either is NaN.
        Min = "min",
        /// Equality; gives `bool`.
        Eq = "eq",
        /// Less; gives `bool`.
        Lt = "lt",
        /// Less or equal; gives `bool`.
        Le = "le",
        /// Greater; gives `bool`.
        Gt = "gt",
        /// Greater or equal; gives `bool`.
        Ge = "ge",
        /// Logical and of `bool`s.
        And = "and",
        /// Logical or of `bool`s.
        Or = "or",
        /// Logical exclusive or of `bool`s.
        Xor = "xor",
        /// Bitwise and of integers.
        BitAnd = "bitand",
        /// Bitwise or of integers.
        BitOr = "bitor",
        /// Bitwise exclusive or of integers.
        BitXor = "bitxor",
        /// Left shift of integers; by the width or more gives zero.
        Shl = "shl",
        /// Right shift of integers, arithmetic for signed ones; by the width or more gives zero or -1.
        Shr = "shr",
    }
}

impl Binary {
    /// Whether the operands may change places.
    pub const fn commutes(self) -> bool {
        use Binary::*;
        matches!(self, Add | Mul | Max | Min | Eq | And | Or | Xor | BitAnd | BitOr | BitXor)
    }

    /// Whether the result is `bool` whatever the operands.
    pub const fn compares(self) -> bool {
        use Binary::*;
        matches!(self, Eq | Lt | Le | Gt | Ge)
    }
}

/// Most nodes an [`Expr`] may have.
pub const MAX_EXPR_NODES: usize = 4096;

impl Default for Expr {
    fn default() -> Self {
        Expr::identity()
    }
}

impl Expr {
    /// The expression that returns its only input.
    pub fn identity() -> Expr {
        Expr { nodes: vec![ExprNode::Input(0)] }
    }

    /// An expression without nodes, to be built by the methods below; the last node pushed is the result.
    pub fn empty() -> Expr {
        Expr { nodes: Vec::new() }
    }

    /// An expression from its nodes.
    ///
    /// # Errors
    /// When there is none, are too many, or a node uses a later one.
    pub fn from_nodes(nodes: Vec<ExprNode>) -> Result<Expr, String> {
        let e = Expr { nodes };
        e.check()?;
        Ok(e)
    }

    /// Whether the structure is sound; for expressions that come from a file.
    ///
    /// # Errors
    /// When there is no node, are too many, or a node uses a later one.
    pub fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() || self.nodes.len() > MAX_EXPR_NODES {
            return Err(format!(
                "an expression needs 1 to {MAX_EXPR_NODES} nodes, found {}",
                self.nodes.len()
            ));
        }
        for (i, n) in self.nodes.iter().enumerate() {
            if n.operands().any(|o| o as usize >= i) {
                return Err(format!("expression node {i} uses a node that does not come before it"));
            }
        }
        Ok(())
    }

    /// `f(input 0)`.
    pub fn unary(op: Unary) -> Expr {
        Expr { nodes: vec![ExprNode::Input(0), ExprNode::Unary(op, 0)] }
    }

    /// `f(input 0, input 1)`.
    pub fn binary(op: Binary) -> Expr {
        Expr { nodes: vec![ExprNode::Input(0), ExprNode::Input(1), ExprNode::Binary(op, 0, 1)] }
    }

    /// Adds a node, or finds its equal.
    pub fn push(&mut self, node: ExprNode) -> ExprId {
        if let Some(i) = self.nodes.iter().position(|n| *n == node) {
            return i as ExprId;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as ExprId
    }

    /// Makes node `id` the result: drops whatever it does not use and renumbers, in first-use order.
    pub fn finish(&self, id: ExprId) -> Expr {
        let mut out = Expr::empty();
        let mut map = vec![None; self.nodes.len()];
        let id = self.copy_into(&mut out, id, &mut map, &mut |out, i| out.push(ExprNode::Input(i)));
        out.end_with(id);
        out
    }

    /// Replaces every input `i` by the result of `with[i]` (inputs of the replacements keep their own numbers).
    pub fn substitute(&self, with: &[Expr]) -> Expr {
        let mut out = Expr::empty();
        let mut map = vec![None; self.nodes.len()];
        let root = self.root();
        let id = self.copy_into(&mut out, root, &mut map, &mut |out, i| {
            let e = &with[i as usize];
            let mut inner = vec![None; e.nodes.len()];
            e.copy_into(out, e.root(), &mut inner, &mut |out, j| out.push(ExprNode::Input(j)))
        });
        out.end_with(id);
        out
    }

    /// The same expression with input `i` renamed to `map(i)`.
    pub fn rename_inputs(&self, map: impl Fn(u16) -> u16) -> Expr {
        let mut out = Expr::empty();
        let mut done = vec![None; self.nodes.len()];
        let id =
            self.copy_into(&mut out, self.root(), &mut done, &mut |out, i| out.push(ExprNode::Input(map(i))));
        out.end_with(id);
        out
    }

    /// The same computation with the operands of what commutes in one order, whichever way round it was written, and nodes
    /// numbered in the order of their use: those that read the lowest inputs come first, constants last.
    pub fn in_order(&self) -> Expr {
        let mut keys: Vec<(u16, u64)> = Vec::with_capacity(self.nodes.len());
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            if let ExprNode::Binary(op, a, b) = node
                && op.commutes()
                && keys[*b as usize] < keys[*a as usize]
            {
                std::mem::swap(a, b);
            }
            let (mut least, mut hash) = match *node {
                ExprNode::Input(i) => (i, mixed(1, u64::from(i))),
                ExprNode::Const(c) => (u16::MAX, mixed(mixed(2, c.dtype as u64), c.bits)),
                ExprNode::Unary(op, _) => (u16::MAX, mixed(3, op as u64)),
                ExprNode::Binary(op, ..) => (u16::MAX, mixed(4, op as u64)),
                ExprNode::Select(..) => (u16::MAX, 5),
                ExprNode::Cast(t, _) => (u16::MAX, mixed(6, t as u64)),
            };
            for o in node.operands() {
                let (below, of) = keys[o as usize];
                (least, hash) = (least.min(below), mixed(hash, of));
            }
            keys.push((least, hash));
        }
        // What is behind a node on the stack waits until its operands were copied.
        let mut out = Expr::empty();
        let mut copied: Vec<Option<ExprId>> = vec![None; nodes.len()];
        let mut stack = vec![self.root()];
        while let Some(&top) = stack.last() {
            let node = nodes[top as usize];
            let missing = node.operands().find(|&o| copied[o as usize].is_none());
            match missing {
                _ if copied[top as usize].is_some() => drop(stack.pop()),
                Some(o) => stack.push(o),
                None => {
                    let at = |o: ExprId| copied[o as usize].expect("operands come first");
                    let new = match node {
                        ExprNode::Input(_) | ExprNode::Const(_) => node,
                        ExprNode::Unary(op, a) => ExprNode::Unary(op, at(a)),
                        ExprNode::Binary(op, a, b) => ExprNode::Binary(op, at(a), at(b)),
                        ExprNode::Select(c, a, b) => ExprNode::Select(at(c), at(a), at(b)),
                        ExprNode::Cast(t, a) => ExprNode::Cast(t, at(a)),
                    };
                    copied[top as usize] = Some(out.push(new));
                    stack.pop();
                }
            }
        }
        out
    }

    fn copy_into(
        &self,
        out: &mut Expr,
        root: ExprId,
        map: &mut [Option<ExprId>],
        input: &mut dyn FnMut(&mut Expr, u16) -> ExprId,
    ) -> ExprId {
        // Node order is topological, so one sweep over what the root reaches does it without recursion.
        let mut used = vec![false; self.nodes.len()];
        used[root as usize] = true;
        for i in (0..=root as usize).rev() {
            if used[i] {
                self.nodes[i].operands().for_each(|o| used[o as usize] = true);
            }
        }
        for i in 0..=root as usize {
            if !used[i] || map[i].is_some() {
                continue;
            }
            let at = |o: ExprId| map[o as usize].expect("operands come first");
            let new = match self.nodes[i] {
                ExprNode::Input(n) => input(out, n),
                ExprNode::Const(c) => out.push(ExprNode::Const(c)),
                ExprNode::Unary(op, a) => out.push(ExprNode::Unary(op, at(a))),
                ExprNode::Binary(op, a, b) => out.push(ExprNode::Binary(op, at(a), at(b))),
                ExprNode::Select(c, a, b) => out.push(ExprNode::Select(at(c), at(a), at(b))),
                ExprNode::Cast(t, a) => out.push(ExprNode::Cast(t, at(a))),
            };
            map[i] = Some(new);
        }
        map[root as usize].expect("the root was copied")
    }

    /// Sharing can leave the result somewhere before the end; the last node must be the result.
    fn end_with(&mut self, id: ExprId) {
        if id as usize != self.nodes.len() - 1 {
            self.nodes.truncate(id as usize + 1);
        }
    }

    /// The nodes, operands before users.
    pub fn nodes(&self) -> &[ExprNode] {
        &self.nodes
    }

    /// The result.
    pub fn root(&self) -> ExprId {
        (self.nodes.len() - 1) as ExprId
    }

    /// One more than the largest input number used.
    pub fn arity(&self) -> usize {
        self.nodes
            .iter()
            .map(|n| if let ExprNode::Input(i) = n { *i as usize + 1 } else { 0 })
            .max()
            .unwrap_or(0)
    }

    /// Whether input `i` is used.
    pub fn uses_input(&self, i: u16) -> bool {
        self.nodes.contains(&ExprNode::Input(i))
    }

    /// The type that input 0 is converted to, when nothing else is done.
    pub fn as_cast(&self) -> Option<DType> {
        match self.nodes[..] {
            [ExprNode::Input(0), ExprNode::Cast(to, 0)] => Some(to),
            _ => None,
        }
    }

    /// Whether this is the identity of input 0.
    pub fn is_identity(&self) -> bool {
        self.nodes == [ExprNode::Input(0)]
    }

    /// The type of every node, given the inputs' types.
    ///
    /// # Errors
    /// A clause that says which node mixes types or applies to a type it cannot.
    pub fn dtypes(&self, inputs: &[DType]) -> Result<Vec<DType>, String> {
        let mut types: Vec<DType> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = |id: ExprId| types[id as usize];
            let t = match *node {
                ExprNode::Input(i) => {
                    *inputs.get(i as usize).ok_or_else(|| format!("uses input {i} of {}", inputs.len()))?
                }
                ExprNode::Const(c) => c.dtype,
                ExprNode::Cast(t, _) => t,
                ExprNode::Unary(op, a) => unary_type(op, of(a))?,
                ExprNode::Binary(op, a, b) => binary_type(op, of(a), of(b))?,
                ExprNode::Select(c, a, b) => {
                    if of(c) != DType::Bool {
                        return Err(format!("select needs a bool condition, found {}", of(c)));
                    }
                    if of(a) != of(b) {
                        return Err(format!("select mixes {} and {}", of(a), of(b)));
                    }
                    of(a)
                }
            };
            types.push(t);
        }
        Ok(types)
    }
}

/// A number that tells two pairs of numbers apart: the finaliser of SplitMix64 (Steele et al., 2014).
fn mixed(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_add(0x2545_f491_4f6c_dd1d);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn unary_type(op: Unary, t: DType) -> Result<DType, String> {
    use Unary::*;
    let ok = match op {
        Neg | Abs | Sign | Relu => t.is_float() || t.is_int(),
        Not => t == DType::Bool,
        BitNot => t.is_int(),
        _ => t.is_float(),
    };
    if !ok {
        return Err(not_applicable(op.name(), t));
    }
    Ok(if matches!(op, IsNan | IsInf) { DType::Bool } else { t })
}

fn binary_type(op: Binary, a: DType, b: DType) -> Result<DType, String> {
    use Binary::*;
    if a != b {
        return Err(format!("{} mixes {a} and {b}", op.name()));
    }
    let ok = match op {
        Eq => !a.is_narrow(),
        And | Or | Xor => a == DType::Bool,
        BitAnd | BitOr | BitXor | Shl | Shr => a.is_int(),
        _ => a.is_float() || a.is_int(),
    };
    if !ok {
        return Err(not_applicable(op.name(), a));
    }
    Ok(if op.compares() { DType::Bool } else { a })
}

fn not_applicable(op: &str, t: DType) -> String {
    let advice = if t.is_narrow() { ", a type that only stores numbers: convert it first" } else { "" };
    format!("{op} does not apply to {t}{advice}")
}

impl ExprNode {
    /// The nodes it uses, in order.
    pub fn operands(&self) -> impl Iterator<Item = ExprId> + use<> {
        let (list, n) = match *self {
            ExprNode::Input(_) | ExprNode::Const(_) => ([0; 3], 0),
            ExprNode::Unary(_, a) | ExprNode::Cast(_, a) => ([a, 0, 0], 1),
            ExprNode::Binary(_, a, b) => ([a, b, 0], 2),
            ExprNode::Select(c, a, b) => ([c, a, b], 3),
        };
        list.into_iter().take(n)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(t) = NarrowFloat::of(self.dtype) {
            write!(f, "{}:{}", t.text(self.bits as u8), self.dtype)
        } else if self.dtype.is_float() {
            write!(f, "{:?}:{}", self.as_f64(), self.dtype)
        } else {
            write!(f, "{}:{}", self.as_i64(), self.dtype)
        }
    }
}

/// One line, nodes used more than once bound by name: `let a = add($0, $1); mul(a, sigmoid(a))`.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uses = vec![0usize; self.nodes.len()];
        for n in &self.nodes {
            n.operands().for_each(|o| uses[o as usize] += 1);
        }
        let mut text: Vec<String> = Vec::with_capacity(self.nodes.len());
        let mut bound = 0usize;
        for (i, n) in self.nodes.iter().enumerate() {
            let at = |o: ExprId| text[o as usize].as_str();
            let t = match *n {
                ExprNode::Input(k) => format!("${k}"),
                ExprNode::Const(c) => c.to_string(),
                ExprNode::Unary(op, a) => format!("{}({})", op.name(), at(a)),
                ExprNode::Binary(op, a, b) => format!("{}({}, {})", op.name(), at(a), at(b)),
                ExprNode::Select(c, a, b) => format!("select({}, {}, {})", at(c), at(a), at(b)),
                ExprNode::Cast(ty, a) => format!("cast({}, {ty})", at(a)),
            };
            let leaf = matches!(n, ExprNode::Input(_) | ExprNode::Const(_));
            if uses[i] > 1 && !leaf {
                write!(f, "let t{bound} = {t}; ")?;
                text.push(format!("t{bound}"));
                bound += 1;
            } else {
                text.push(t);
            }
        }
        f.write_str(text.last().map_or("", |t| t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silu() -> Expr {
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(0));
        let s = e.push(ExprNode::Unary(Unary::Sigmoid, x));
        e.push(ExprNode::Binary(Binary::Mul, x, s));
        e
    }

    #[test]
    fn substitution_shares_nodes() {
        let sum = Expr::binary(Binary::Add);
        let e = silu().substitute(&[sum]);
        assert_eq!(e.to_string(), "let t0 = add($0, $1); mul(t0, sigmoid(t0))");
        assert_eq!(e.nodes().len(), 5);
        assert_eq!(e.arity(), 2);
    }

    #[test]
    fn identity_substitution_is_identity() {
        assert!(Expr::identity().substitute(&[Expr::identity()]).is_identity());
        assert_eq!(silu().substitute(&[Expr::identity()]), silu());
    }

    #[test]
    fn the_order_of_sums_and_products_is_one() {
        let text = |f: &dyn Fn(&mut Expr, [ExprId; 3], ExprId) -> ExprId| {
            let mut e = Expr::empty();
            let inputs = [2, 0, 1].map(|i| e.push(ExprNode::Input(i)));
            let six = e.push(ExprNode::Const(Scalar::f32(6.0)));
            let root = f(&mut e, inputs, six);
            e.finish(root).in_order().to_string()
        };
        use Binary::*;
        let two = |e: &mut Expr, op, a, b| e.push(ExprNode::Binary(op, a, b));
        let want = "min(max(add(add($0, $1), $2), 0.0:f32), 6.0:f32)";
        for swaps in 0..16u32 {
            let found = text(&|e, [z, x, y], six| {
                let mut two = |op, a, b, bit: u32| match swaps >> bit & 1 {
                    0 => two(e, op, a, b),
                    _ => two(e, op, b, a),
                };
                let sum = two(Add, x, y, 0);
                let sum = two(Add, z, sum, 1);
                let zero = e.push(ExprNode::Const(Scalar::f32(0.0)));
                let mut two = |op, a, b, bit: u32| match swaps >> bit & 1 {
                    0 => e.push(ExprNode::Binary(op, a, b)),
                    _ => e.push(ExprNode::Binary(op, b, a)),
                };
                let low = two(Max, sum, zero, 2);
                two(Min, low, six, 3)
            });
            assert_eq!(found, want);
        }
        // What does not commute stays, and so does which sum comes first.
        let other = text(&|e, [z, x, y], _| {
            let sum = two(e, Add, z, y);
            let sum = two(e, Add, sum, x);
            two(e, Sub, z, sum)
        });
        assert_eq!(other, "sub($2, add($0, add($1, $2)))");
    }

    #[test]
    fn another_order_computes_the_same() {
        let mut seed = 7u64;
        let mut next = |n: usize| {
            seed = mixed(seed, 1);
            (seed % n as u64) as usize
        };
        let value = |e: &Expr, x: &[f64]| {
            let mut v: Vec<f64> = Vec::new();
            for n in e.nodes() {
                let at = |i: ExprId| v[i as usize];
                let y = match *n {
                    ExprNode::Input(i) => x[i as usize],
                    ExprNode::Const(c) => c.as_f64(),
                    ExprNode::Unary(_, a) => -at(a),
                    ExprNode::Binary(Binary::Add, a, b) => at(a) + at(b),
                    ExprNode::Binary(Binary::Mul, a, b) => at(a) * at(b),
                    ExprNode::Binary(_, a, b) => at(a) - at(b),
                    ExprNode::Select(c, a, b) => {
                        if at(c) > 0.0 {
                            at(a)
                        } else {
                            at(b)
                        }
                    }
                    ExprNode::Cast(_, a) => at(a),
                };
                v.push(y);
            }
            v[v.len() - 1]
        };
        for _ in 0..500 {
            let mut e = Expr::empty();
            for i in 0..3 {
                e.push(ExprNode::Input(i));
            }
            e.push(ExprNode::Const(Scalar::f32(1.5)));
            for _ in 0..1 + next(12) {
                let mut any = || next(e.nodes().len()) as ExprId;
                let (a, b, c) = (any(), any(), any());
                let node = match next(6) {
                    0 => ExprNode::Unary(Unary::Neg, a),
                    1 => ExprNode::Select(c, a, b),
                    2 => ExprNode::Binary(Binary::Sub, a, b),
                    3 => ExprNode::Binary(Binary::Mul, a, b),
                    _ => ExprNode::Binary(Binary::Add, a, b),
                };
                e.push(node);
            }
            let ordered = e.in_order();
            assert!(ordered.check().is_ok() && ordered.in_order() == ordered, "{e}: {ordered}");
            for x in [[1.0, 2.0, 3.0], [-0.3, 7.7, 1e9], [1e-20, -5.0, 0.1]] {
                assert_eq!(value(&e, &x).to_bits(), value(&ordered, &x).to_bits(), "{e}: {ordered}");
            }
        }
    }

    #[test]
    fn types_are_checked() {
        assert_eq!(silu().dtypes(&[DType::F32]).unwrap().last(), Some(&DType::F32));
        assert!(silu().dtypes(&[DType::I32]).unwrap_err().contains("sigmoid"));
        assert!(Expr::binary(Binary::Add).dtypes(&[DType::F32, DType::F16]).unwrap_err().contains("mixes"));
        assert_eq!(Expr::binary(Binary::Lt).dtypes(&[DType::I8, DType::I8]).unwrap()[2], DType::Bool);
    }

    #[test]
    fn narrow_types_are_converted_and_chosen_only() {
        for t in DType::ALL.into_iter().filter(|t| t.is_narrow()) {
            let widened = Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Cast(DType::F32, 0)]).unwrap();
            assert_eq!(widened.dtypes(&[t]).unwrap()[1], DType::F32);
            let mut choice = Expr::empty();
            let [c, a, b] = [0, 1, 2].map(|i| choice.push(ExprNode::Input(i)));
            choice.push(ExprNode::Select(c, a, b));
            assert_eq!(choice.dtypes(&[DType::Bool, t, t]).unwrap()[3], t);
            for &op in Unary::ALL {
                let e = Expr::unary(op).dtypes(&[t]).unwrap_err();
                assert!(e.contains(t.name()) && e.contains("convert"), "{e}");
            }
            for &op in Binary::ALL {
                assert!(Expr::binary(op).dtypes(&[t, t]).is_err(), "{} of {t}", op.name());
            }
        }
    }

    #[test]
    fn narrow_constants_hold_codes() {
        let c = Scalar::of(DType::F8E4M3FN, 1e6);
        assert_eq!((c.as_i64(), c.as_f64(), c.to_string()), (0x7e, 448.0, "448.0:f8e4m3fn".into()));
        let nan = Scalar::int(DType::F8E4M3FN, 0xff);
        assert!(nan.as_f64().is_nan());
        assert_eq!(nan.to_string(), "0xff:f8e4m3fn");
        assert_eq!(Scalar::of(DType::I4, -9.7).to_string(), "7:i4");
    }

    #[test]
    fn hostile_structure_is_refused() {
        assert!(Expr::from_nodes(vec![]).is_err());
        assert!(Expr::from_nodes(vec![ExprNode::Unary(Unary::Neg, 0)]).is_err());
        assert!(Expr::from_nodes(vec![ExprNode::Input(0), ExprNode::Unary(Unary::Neg, 7)]).is_err());
    }
}
