//! Sizes and types.

use std::collections::BTreeSet;

use tactician_types::DType;

use super::lexer::{Token, is_word, quote};
use super::parse::Parser;
use super::{TextError, TextErrorKind};
use crate::dim::Dim;
use crate::tensor::{MAX_RANK, Shape, TensorType};

/// Most terms of a size, and of the product of a shape's sizes.
const MAX_TERMS: usize = 1024;

/// Most `floor`s inside each other.
const MAX_DEPTH: usize = 64;

/// Reads a size such as `4*N + 1`.
///
/// # Errors
/// When the text is not one size.
pub fn parse_dim(text: &str) -> Result<Dim, TextError> {
    let mut p = Parser::new(text)?;
    let dim = p.dim()?;
    p.expect_end()?;
    Ok(dim)
}

/// A size as text. Symbols that are no words are quoted.
pub(super) fn dim_text(dim: &Dim) -> String {
    let text = dim.to_string();
    let mut symbols = BTreeSet::new();
    dim.symbols(&mut symbols);
    if symbols.iter().all(|s| is_word(s)) {
        return text;
    }
    // Numbers, `floor(` and separators are copied; where a factor starts, the longest symbol is taken.
    let mut out = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let symbol =
            symbols.iter().filter(|s| !s.is_empty() && rest.starts_with(s.as_str())).max_by_key(|s| s.len());
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let len = if let Some(s) = symbol {
            out.push_str(&if is_word(s) { s.clone() } else { quote(s, '\'') });
            s.len()
        } else {
            let len = match rest {
                r if r.starts_with("floor(") => 6,
                r if digits > 0 => digits + usize::from(r[digits..].starts_with('*')),
                r if r.starts_with(" + ") || r.starts_with(" - ") => 3,
                r if r.starts_with(", ") => 2,
                r => r.chars().next().map_or(1, char::len_utf8),
            };
            out.push_str(&rest[..len]);
            len
        };
        rest = &rest[len..];
    }
    out
}

/// A shape as text.
pub(super) fn shape_text(shape: &Shape) -> String {
    let dims: Vec<String> = shape.dims().iter().map(dim_text).collect();
    format!("[{}]", dims.join(","))
}

/// A type as text.
pub(super) fn type_text(ty: &TensorType) -> String {
    format!("{}{}", ty.dtype, shape_text(&ty.shape))
}

impl Parser<'_> {
    /// `f32`.
    pub(super) fn dtype(&mut self) -> Result<DType, TextError> {
        const EXPECTED: &str = "an element type such as `f32`";
        let Token::Word(w) = *self.peek() else { return self.unexpected(EXPECTED) };
        match w.parse() {
            Ok(t) => {
                self.advance()?;
                Ok(t)
            }
            Err(_) => self.fail(TextErrorKind::Unknown, EXPECTED),
        }
    }

    /// `f32[1,N]`.
    pub(super) fn ty(&mut self) -> Result<TensorType, TextError> {
        Ok(TensorType { dtype: self.dtype()?, shape: self.shape()? })
    }

    /// `[1,N]`.
    pub(super) fn shape(&mut self) -> Result<Shape, TextError> {
        let mut shape = Shape::default();
        let mut terms = 1usize;
        self.list('[', ']', |p| {
            if shape.rank() == MAX_RANK {
                return p.fail(TextErrorKind::Limit, &format!("at most {MAX_RANK} axes"));
            }
            let (dim, n) = p.dim_terms(0)?;
            terms = p.within_terms(terms.saturating_mul(n))?;
            shape.0.push(dim);
            Ok(())
        })?;
        Ok(shape)
    }

    /// `4*N + 1`.
    pub(super) fn dim(&mut self) -> Result<Dim, TextError> {
        Ok(self.dim_terms(0)?.0)
    }

    fn within_terms(&self, n: usize) -> Result<usize, TextError> {
        if n > MAX_TERMS {
            return self.fail(TextErrorKind::Limit, &format!("sizes of at most {MAX_TERMS} terms"));
        }
        Ok(n)
    }

    /// A size, and a bound on how many terms its normal form has.
    fn dim_terms(&mut self, depth: usize) -> Result<(Dim, usize), TextError> {
        if depth > MAX_DEPTH {
            return self.fail(TextErrorKind::Limit, &format!("at most {MAX_DEPTH} nested floors"));
        }
        let mut negative = self.eat('-')?;
        let mut sum = Dim::known(0);
        let mut count = 0;
        loop {
            let mut product = Dim::known(1);
            let mut terms = 1usize;
            let mut sign = negative;
            for factors in 1.. {
                if factors > 64 {
                    return self.fail(TextErrorKind::Limit, "at most 64 factors");
                }
                let (factor, n) = self.factor(depth, std::mem::take(&mut sign))?;
                terms = self.within_terms(terms.saturating_mul(n))?;
                product = product * factor;
                if !self.eat('*')? {
                    break;
                }
            }
            if std::mem::take(&mut sign) {
                product = product * Dim::known(-1);
            }
            count = self.within_terms(count + terms)?;
            sum = sum + product;
            negative = match self.peek() {
                Token::Mark('+') => false,
                Token::Mark('-') => true,
                _ => return Ok((sum, count)),
            };
            self.advance()?;
        }
    }

    /// A number, symbol or `floor(a, b)`; negated with `negative`.
    fn factor(&mut self, depth: usize, negative: bool) -> Result<(Dim, usize), TextError> {
        let (dim, terms) = match self.peek().clone() {
            Token::Number(_) => return Ok((Dim::known(self.integer(negative)?), 1)),
            Token::Word(w) => {
                self.advance()?;
                if w == "floor" && self.eat('(')? {
                    let (a, n) = self.dim_terms(depth + 1)?;
                    self.expect(',')?;
                    let (b, m) = self.dim_terms(depth + 1)?;
                    if b.is(0) || b.is(-1) {
                        return self.fail(TextErrorKind::Value, "a divisor other than 0 and -1 before this");
                    }
                    self.expect(')')?;
                    (a.div_floor(&b), n.max(m))
                } else {
                    (Dim::symbol(w), 1)
                }
            }
            Token::Quoted(s) => {
                self.advance()?;
                (Dim::symbol(&s), 1)
            }
            _ => return self.unexpected("a size: a number, a symbol or `floor(a, b)`"),
        };
        Ok((if negative { dim * Dim::known(-1) } else { dim }, terms))
    }
}
