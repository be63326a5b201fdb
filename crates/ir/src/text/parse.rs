//! Reads graphs.

use std::collections::{BTreeMap, BTreeSet};

use super::dims::type_text;
use super::lexer::{Lexer, Token};
use super::print::anonymous;
use super::{MAX_NODES, MAX_OPERANDS, TextError, TextErrorKind};
use crate::graph::{Graph, GraphError, ValueId};
use crate::ops::Op;
use crate::tensor::{Tensor, TensorType};

/// Reads a graph from its text form.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse(text: &str) -> Result<Graph, TextError> {
    let mut p = Parser::new(text)?;
    let graph = p.graph()?;
    p.expect_end()?;
    Ok(graph)
}

/// Reads a graph from the text of [`super::print_aside`]. `values` gives the constants, of the types asked for and in their
/// order; `None` is a mistake at that place.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse_aside<'s>(
    text: &'s str,
    values: impl FnMut(&TensorType) -> Option<Tensor> + 's,
) -> Result<Graph, TextError> {
    let mut p = Parser::new(text)?;
    p.aside = Some(Box::new(values));
    let graph = p.graph()?;
    p.expect_end()?;
    Ok(graph)
}

/// What gives the values that stand beside a text.
type Aside<'s> = Box<dyn FnMut(&TensorType) -> Option<Tensor> + 's>;

/// One token of look-ahead over the lexer, and the primitives that the grammar is written with.
pub(super) struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token<'s>,
    start: usize,
    /// Bytes of constants made without being spelled out.
    pub(super) filled: usize,
    pub(super) aside: Option<Aside<'s>>,
}

impl<'s> Parser<'s> {
    pub(super) fn new(text: &'s str) -> Result<Parser<'s>, TextError> {
        let mut lexer = Lexer::new(text);
        let (token, start) = lexer.next()?;
        Ok(Parser { lexer, token, start, filled: 0, aside: None })
    }

    pub(super) fn peek(&self) -> &Token<'s> {
        &self.token
    }

    /// The offset of the token ahead.
    pub(super) fn place(&self) -> usize {
        self.start
    }

    pub(super) fn advance(&mut self) -> Result<Token<'s>, TextError> {
        let (token, start) = self.lexer.next()?;
        self.start = start;
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// An error at the token ahead.
    pub(super) fn fail<T>(&self, kind: TextErrorKind, expected: &str) -> Result<T, TextError> {
        Err(self.lexer.error(self.start, kind, self.token.describe(), expected))
    }

    /// A syntax error at the token ahead.
    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T, TextError> {
        self.fail(TextErrorKind::Syntax, expected)
    }

    /// An error at an offset.
    pub(super) fn fail_at<T>(
        &self,
        at: usize,
        kind: TextErrorKind,
        found: String,
        expected: &str,
    ) -> Result<T, TextError> {
        Err(self.lexer.error(at, kind, found, expected))
    }

    /// Takes the mark if it is ahead.
    pub(super) fn eat(&mut self, mark: char) -> Result<bool, TextError> {
        let ahead = self.token == Token::Mark(mark);
        if ahead {
            self.advance()?;
        }
        Ok(ahead)
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<(), TextError> {
        if self.eat(mark)? { Ok(()) } else { self.unexpected(&format!("`{mark}`")) }
    }

    pub(super) fn expect_end(&self) -> Result<(), TextError> {
        if self.token == Token::End { Ok(()) } else { self.unexpected("the end of the text") }
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.token == Token::Word(word)
    }

    pub(super) fn word(&mut self, expected: &str) -> Result<&'s str, TextError> {
        let Token::Word(w) = self.token else { return self.unexpected(expected) };
        self.advance()?;
        Ok(w)
    }

    /// `open item, item, … close`.
    pub(super) fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        self.expect(open)?;
        if self.eat(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.eat(close)? {
                return Ok(());
            }
            if !self.eat(',')? {
                return self.unexpected(&format!("`,` or `{close}`"));
            }
        }
    }

    /// An unsigned integer literal, negated with `negative`.
    pub(super) fn integer<T: TryFrom<i128>>(&mut self, negative: bool) -> Result<T, TextError> {
        let Token::Number(text) = self.token else { return self.unexpected("an integer") };
        let value = text.parse::<u64>().ok().map(i128::from).map(|n| if negative { -n } else { n });
        match value.and_then(|n| T::try_from(n).ok()) {
            Some(n) => {
                self.advance()?;
                Ok(n)
            }
            None => self.fail(TextErrorKind::Value, "an integer in range"),
        }
    }

    /// A string, if one is ahead.
    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, TextError> {
        if !matches!(self.token, Token::Text(_)) {
            return Ok(None);
        }
        match self.advance()? {
            Token::Text(t) => Ok(Some(t.into_owned())),
            _ => Ok(None),
        }
    }

    fn graph(&mut self) -> Result<Graph, TextError> {
        if !self.is_word("graph") {
            return self.unexpected("`graph`");
        }
        self.advance()?;
        let name = match self.maybe_text()? {
            Some(name) => name,
            None => self.word("the graph's name")?.to_owned(),
        };
        let mut body = Body {
            graph: Graph::new(&name),
            values: BTreeMap::new(),
            inputs: BTreeSet::new(),
            outputs: BTreeSet::new(),
        };
        self.expect('{')?;
        while !self.eat('}')? {
            match self.token {
                Token::Value(_) => self.node(&mut body)?,
                Token::Word("output") => self.output(&mut body)?,
                _ => return self.unexpected("`%value`, `output` or `}`"),
            }
        }
        Ok(body.graph)
    }

    fn output(&mut self, body: &mut Body<'s>) -> Result<(), TextError> {
        self.advance()?;
        let place = self.place();
        let Some(name) = self.maybe_text()? else { return self.unexpected("the output's name in quotes") };
        if !body.outputs.insert(name.clone()) {
            let found = format!("a second output {name:?}");
            return self.fail_at(place, TextErrorKind::Duplicate, found, "a name of its own");
        }
        let value = self.operand(body)?;
        body.graph.mark_output(&name, value);
        Ok(())
    }

    fn operand(&mut self, body: &Body<'s>) -> Result<ValueId, TextError> {
        let Token::Value(name) = self.token else { return self.unexpected("a value such as `%x`") };
        match body.values.get(name) {
            Some(&v) => {
                self.advance()?;
                Ok(v)
            }
            None => self.fail(TextErrorKind::Unknown, "a value defined above"),
        }
    }

    fn node(&mut self, body: &mut Body<'s>) -> Result<(), TextError> {
        let place = self.place();
        let Token::Value(ident) = self.token else { return self.unexpected("`%value`") };
        if body.values.contains_key(ident) {
            return self.fail(TextErrorKind::Duplicate, "a value that is not defined above");
        }
        if body.graph.len() >= MAX_NODES {
            return self.fail(TextErrorKind::Limit, &format!("at most {MAX_NODES} nodes"));
        }
        self.advance()?;
        self.expect(':')?;
        let ty_place = self.place();
        let ty = self.ty()?;
        self.expect('=')?;
        let op_place = self.place();
        let name = self.word("an operation")?;
        let default = if anonymous(ident) { "" } else { ident };
        let value = match name {
            "input" => {
                let place = self.place();
                let name = self.maybe_text()?.unwrap_or(default.to_owned());
                if !body.inputs.insert(name.clone()) {
                    let found = format!("a second input {name:?}");
                    return self.fail_at(place, TextErrorKind::Duplicate, found, "a name of its own");
                }
                body.graph.add_input(&name, ty)
            }
            "const" => {
                let tensor = self.constant(&ty, ty_place)?;
                let name = self.maybe_text()?.unwrap_or(default.to_owned());
                Ok(body.graph.add_constant(&name, tensor))
            }
            name => {
                let mut operands = Vec::new();
                self.list('(', ')', |p| {
                    if operands.len() == MAX_OPERANDS {
                        return p.fail(TextErrorKind::Limit, &format!("at most {MAX_OPERANDS} operands"));
                    }
                    operands.push(p.operand(body)?);
                    Ok(())
                })?;
                let rank = operands.first().map_or(0, |&v| body.graph.ty(v).rank());
                let op = self.op(name, rank, op_place)?;
                self.check_type(body, &op, &operands, &ty, (ty_place, op_place))?;
                let name = self.maybe_text()?.unwrap_or(default.to_owned());
                body.graph.add(op, &operands, &name)
            }
        };
        match value {
            Ok(v) => {
                body.values.insert(ident, v);
                Ok(())
            }
            Err(e @ GraphError::TooLarge { .. }) => {
                self.fail_at(ty_place, TextErrorKind::Limit, e.to_string(), "a smaller tensor")
            }
            Err(e) => self.fail_at(place, TextErrorKind::Type, e.to_string(), "a node that fits"),
        }
    }

    fn check_type(
        &self,
        body: &Body<'s>,
        op: &Op,
        operands: &[ValueId],
        ty: &TensorType,
        (ty_place, op_place): (usize, usize),
    ) -> Result<(), TextError> {
        let types: Vec<&TensorType> = operands.iter().map(|&v| body.graph.ty(v)).collect();
        match op.infer(&types).as_deref() {
            Ok([inferred]) if inferred == ty => Ok(()),
            Ok([inferred, ..]) => {
                let expected = format!("the inferred type {}", type_text(inferred));
                self.fail_at(ty_place, TextErrorKind::Type, format!("type {}", type_text(ty)), &expected)
            }
            Ok([]) => {
                self.fail_at(op_place, TextErrorKind::Type, op.name().into(), "an operation with a result")
            }
            Err(problem) => {
                let list: Vec<String> = types.iter().take(8).map(|t| type_text(t)).collect();
                let found = format!("{}({})", op.name(), list.join(", "));
                let expected = format!("operands and attributes that fit: {problem}");
                self.fail_at(op_place, TextErrorKind::Type, found, &expected)
            }
        }
    }
}

struct Body<'s> {
    graph: Graph,
    values: BTreeMap<&'s str, ValueId>,
    inputs: BTreeSet<String>,
    outputs: BTreeSet<String>,
}
