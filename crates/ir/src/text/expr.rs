//! Pointwise expressions, in the form that their `Display` writes.

use std::collections::BTreeMap;

use smallvec::SmallVec;
use tactician_types::{Binary, DType, Expr, ExprId, ExprNode, MAX_EXPR_NODES, NarrowFloat, Scalar, Unary};

use super::lexer::Token;
use super::parse::Parser;
use super::{TextError, TextErrorKind};

/// Reads an expression such as `let t0 = add($0, $1); mul(t0, sigmoid(t0))`.
///
/// # Errors
/// When the text is not one expression.
pub fn parse_expr(text: &str) -> Result<Expr, TextError> {
    let mut p = Parser::new(text)?;
    let e = p.expr()?;
    p.expect_end()?;
    Ok(e)
}

/// An expression as text: without dead nodes, equal nodes shared, so that reading it back gives the same text.
pub(super) fn expr_text(e: &Expr) -> String {
    if e.check().is_err() {
        return "invalid".into();
    }
    e.finish(e.root()).to_string()
}

#[derive(Clone, Copy)]
enum Function {
    Unary(Unary),
    Binary(Binary),
    Select,
    Cast,
}

impl Function {
    fn of(name: &str) -> Option<Function> {
        match name {
            "select" => Some(Function::Select),
            "cast" => Some(Function::Cast),
            _ => Unary::from_name(name)
                .map(Function::Unary)
                .or_else(|| Binary::from_name(name).map(Function::Binary)),
        }
    }

    fn arity(self) -> usize {
        match self {
            Function::Unary(_) | Function::Cast => 1,
            Function::Binary(_) => 2,
            Function::Select => 3,
        }
    }
}

/// A call whose operands are being read.
struct Call {
    function: Function,
    operands: SmallVec<[ExprId; 3]>,
}

#[derive(Default)]
struct Nodes<'s> {
    list: Vec<ExprNode>,
    leaves: BTreeMap<LeafKey, ExprId>,
    names: BTreeMap<&'s str, ExprId>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum LeafKey {
    Input(u16),
    Const(DType, u64),
}

impl<'s> Parser<'s> {
    /// An expression, without the braces round it.
    pub(super) fn expr(&mut self) -> Result<Expr, TextError> {
        let start = self.place();
        let mut nodes = Nodes::default();
        while self.is_word("let") {
            self.advance()?;
            let place = self.place();
            let name = self.word("a name")?;
            if Function::of(name).is_some() || nodes.names.contains_key(name) {
                let found = format!("`{name}`");
                return self.fail_at(place, TextErrorKind::Duplicate, found, "a name that is not taken");
            }
            self.expect('=')?;
            let id = self.term(&mut nodes)?;
            nodes.names.insert(name, id);
            self.expect(';')?;
        }
        let root = self.term(&mut nodes)?;
        match Expr::from_nodes(nodes.list) {
            Ok(e) => Ok(e.finish(root)),
            Err(problem) => self.fail_at(start, TextErrorKind::Limit, problem, "a smaller expression"),
        }
    }

    /// A term; calls are kept on a stack of our own, so depth costs no machine stack.
    fn term(&mut self, nodes: &mut Nodes<'s>) -> Result<ExprId, TextError> {
        let mut calls: Vec<Call> = Vec::new();
        loop {
            let place = self.place();
            let mut id = match *self.peek() {
                Token::Word(w) if w != "inf" && w != "NaN" && w != "nan" => {
                    self.advance()?;
                    if let Some(&id) = nodes.names.get(w) {
                        id
                    } else if let Some(function) = Function::of(w) {
                        self.expect('(')?;
                        if calls.len() > MAX_EXPR_NODES {
                            return self.fail(TextErrorKind::Limit, "a shallower expression");
                        }
                        calls.push(Call { function, operands: SmallVec::new() });
                        continue;
                    } else {
                        let expected = "a function or a name bound by `let`";
                        return self.fail_at(place, TextErrorKind::Unknown, format!("`{w}`"), expected);
                    }
                }
                Token::Input(digits) => match digits.parse() {
                    Ok(i) => {
                        self.advance()?;
                        self.leaf(nodes, LeafKey::Input(i), ExprNode::Input(i))?
                    }
                    Err(_) => return self.fail(TextErrorKind::Value, "an operand number up to 65535"),
                },
                _ => {
                    let c = self.scalar()?;
                    let bits = if c.dtype.is_float() { c.as_f64().to_bits() } else { c.as_i64() as u64 };
                    self.leaf(nodes, LeafKey::Const(c.dtype, bits), ExprNode::Const(c))?
                }
            };
            // Close every call that this completes.
            loop {
                let Some(mut call) = calls.pop() else { return Ok(id) };
                call.operands.push(id);
                if call.operands.len() < call.function.arity() {
                    self.expect(',')?;
                    calls.push(call);
                    break;
                }
                let node = match (call.function, call.operands.as_slice()) {
                    (Function::Unary(op), &[a]) => ExprNode::Unary(op, a),
                    (Function::Binary(op), &[a, b]) => ExprNode::Binary(op, a, b),
                    (Function::Select, &[c, a, b]) => ExprNode::Select(c, a, b),
                    (_, operands) => {
                        self.expect(',')?;
                        ExprNode::Cast(self.dtype()?, operands[0])
                    }
                };
                self.expect(')')?;
                id = self.add(nodes, node)?;
            }
        }
    }

    fn leaf(&self, nodes: &mut Nodes<'s>, key: LeafKey, node: ExprNode) -> Result<ExprId, TextError> {
        if let Some(&id) = nodes.leaves.get(&key) {
            return Ok(id);
        }
        let id = self.add(nodes, node)?;
        nodes.leaves.insert(key, id);
        Ok(id)
    }

    fn add(&self, nodes: &mut Nodes<'s>, node: ExprNode) -> Result<ExprId, TextError> {
        if nodes.list.len() >= MAX_EXPR_NODES {
            return self.fail(TextErrorKind::Limit, &format!("at most {MAX_EXPR_NODES} expression nodes"));
        }
        nodes.list.push(node);
        Ok((nodes.list.len() - 1) as ExprId)
    }

    /// A typed constant: `0.5:f32`, `-1:i64`.
    pub(super) fn scalar(&mut self) -> Result<Scalar, TextError> {
        let place = self.place();
        let negative = self.eat('-')?;
        let text = match *self.peek() {
            Token::Number(w) | Token::Word(w) => w,
            _ => return self.unexpected("a term: a call, `$0`, or a constant such as `0.5:f32`"),
        };
        self.advance()?;
        self.expect(':')?;
        let dtype = self.dtype()?;
        let scalar = if let Some(t) = NarrowFloat::of(dtype) {
            t.parse(text, negative).map(|code| Scalar::int(dtype, i64::from(code)))
        } else if dtype.is_float() {
            text.parse().ok().map(|v: f64| Scalar::float(dtype, if negative { -v } else { v }))
        } else {
            let value = text.parse().ok().map(|v: u64| if negative { -i128::from(v) } else { i128::from(v) });
            // `u64` constants are held, and written, as the `i64` of the same bits.
            value
                .filter(|&v| v >= i128::from(i64::MIN))
                .filter(|&v| v <= i128::from(if dtype == DType::U64 { u64::MAX } else { i64::MAX as u64 }))
                .map(|v| Scalar::int(dtype, v as i64))
        };
        match scalar {
            Some(s) => Ok(s),
            None => {
                let found = format!("`{}{text}`", if negative { "-" } else { "" });
                self.fail_at(place, TextErrorKind::Value, found, &format!("a constant of type {dtype}"))
            }
        }
    }
}
