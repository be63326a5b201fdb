//! Operators made of several operations of the graph.

use tactician_ir::{
    Binary, Concat, DType, Dim, Expand, Expr, ExprNode, Gather, GatherElements, MatMul, Op, Reduce,
    ReduceKind, Reshape, Scalar, Shape, Slice, SliceAxis, Tensor, TensorType, Transpose, Unary, ValueId,
};

use crate::import::Import;

/// Most places that are numbered in a constant: 64 Mi.
const MOST_COUNTED: usize = 1 << 26;

/// Adds operations for one node, all under its name.
pub(super) struct Compose<'a, 'm> {
    pub(super) import: &'a mut Import<'m>,
    pub(super) name: &'a str,
}

/// A value, or why it cannot be made.
pub(super) type Made = Result<ValueId, String>;

impl Compose<'_, '_> {
    pub(super) fn ty(&self, v: ValueId) -> TensorType {
        self.import.ty(v)
    }

    pub(super) fn dtype(&self, v: ValueId) -> DType {
        self.import.ty(v).dtype
    }

    /// The sizes, which must be known.
    pub(super) fn sizes(&self, v: ValueId) -> Result<Vec<usize>, String> {
        let ty = self.import.ty(v);
        ty.sizes().ok_or_else(|| {
            format!("its operand is {ty}, whose sizes must be known; give the input shapes (--shape)")
        })
    }

    pub(super) fn op(&mut self, op: Op, inputs: &[ValueId]) -> Made {
        self.import.add(op, inputs, self.name)
    }

    pub(super) fn unary(&mut self, op: Unary, v: ValueId) -> Made {
        self.op(Op::Pointwise(Expr::unary(op)), &[v])
    }

    pub(super) fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> Made {
        self.op(Op::Pointwise(Expr::binary(op)), &[a, b])
    }

    /// `op(v, number)`, the number in the type of `v`.
    pub(super) fn with(&mut self, op: Binary, v: ValueId, number: f64) -> Made {
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(0));
        let c = e.push(ExprNode::Const(Scalar::of(self.dtype(v), number)));
        e.push(ExprNode::Binary(op, x, c));
        self.op(Op::Pointwise(e), &[v])
    }

    /// `yes` where `c`, else `no`.
    pub(super) fn select(&mut self, c: ValueId, yes: ValueId, no: ValueId) -> Made {
        let mut e = Expr::empty();
        let [c_, a, b] = [0, 1, 2].map(|k| e.push(ExprNode::Input(k)));
        e.push(ExprNode::Select(c_, a, b));
        self.op(Op::Pointwise(e), &[c, yes, no])
    }

    pub(super) fn cast(&mut self, v: ValueId, to: DType) -> Made {
        if self.dtype(v) == to {
            return Ok(v);
        }
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(0));
        e.push(ExprNode::Cast(to, x));
        self.op(Op::Pointwise(e), &[v])
    }

    pub(super) fn reshape(&mut self, v: ValueId, sizes: &[usize]) -> Made {
        self.op(Op::Reshape(Reshape { shape: Shape::known(sizes) }), &[v])
    }

    pub(super) fn transpose(&mut self, v: ValueId, perm: Vec<usize>) -> Made {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(v);
        }
        self.op(Op::Transpose(Transpose { perm }), &[v])
    }

    pub(super) fn expand(&mut self, v: ValueId, sizes: &[usize]) -> Made {
        self.op(Op::Expand(Expand { shape: Shape::known(sizes) }), &[v])
    }

    pub(super) fn concat(&mut self, axis: usize, parts: &[ValueId]) -> Made {
        self.op(Op::Concat(Concat { axis }), parts)
    }

    pub(super) fn slice(&mut self, v: ValueId, axis: usize, start: usize, len: usize) -> Made {
        let part = SliceAxis { axis, start: Dim::from(start), len: Dim::from(len), step: 1 };
        self.op(Op::Slice(Slice { axes: vec![part] }), &[v])
    }

    pub(super) fn gather(&mut self, v: ValueId, indices: ValueId, axis: usize) -> Made {
        self.op(Op::Gather(Gather { axis }), &[v, indices])
    }

    pub(super) fn gather_elements(&mut self, v: ValueId, indices: ValueId, axis: usize) -> Made {
        self.op(Op::GatherElements(GatherElements { axis }), &[v, indices])
    }

    pub(super) fn reduce(&mut self, kind: ReduceKind, v: ValueId, axes: &[usize], keep_dims: bool) -> Made {
        self.op(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims }), &[v])
    }

    pub(super) fn matmul(&mut self, a: ValueId, b: ValueId) -> Made {
        self.op(Op::MatMul(MatMul::default()), &[a, b])
    }

    pub(super) fn ints(&mut self, sizes: &[usize], values: &[i64]) -> Made {
        let t = Tensor::new(sizes, values).map_err(|e| e.to_string())?;
        Ok(self.import.constant(self.name, t))
    }

    /// 0, 1, 2 and so on in row-major order, as `i64`.
    pub(super) fn counted(&mut self, sizes: &[usize]) -> Made {
        let n = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).filter(|&n| n <= MOST_COUNTED);
        let n = n.ok_or_else(|| format!("{sizes:?} places are too many to number"))?;
        self.ints(sizes, &(0..n as i64).collect::<Vec<_>>())
    }

    /// A constant of a type from numbers, rounded to it.
    pub(super) fn numbers(&mut self, dtype: DType, sizes: &[usize], values: &[f64]) -> Made {
        let t = Tensor::new(sizes, values).map_err(|e| e.to_string())?;
        let v = self.import.constant(self.name, t);
        self.cast(v, dtype)
    }

    /// Negative integers of `v` count from the end of an axis of `size`. As `i64`, in which every place can be numbered.
    pub(super) fn counted_from_end(&mut self, v: ValueId, size: usize) -> Made {
        let ty = self.ty(v);
        if !ty.dtype.is_int() {
            return Err(format!("its indices are {ty}, expected integers (i32 or i64)"));
        }
        let v = self.cast(v, DType::I64)?;
        let mut e = Expr::empty();
        let x = e.push(ExprNode::Input(0));
        let zero = e.push(ExprNode::Const(Scalar::int(DType::I64, 0)));
        let n = e.push(ExprNode::Const(Scalar::int(DType::I64, size as i64)));
        let negative = e.push(ExprNode::Binary(Binary::Lt, x, zero));
        let moved = e.push(ExprNode::Binary(Binary::Add, x, n));
        e.push(ExprNode::Select(negative, moved, x));
        self.op(Op::Pointwise(e), &[v])
    }
}
