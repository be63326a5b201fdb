//! Reads operations and their attributes.

use tactician_types::Expr;

use super::attributes::{REDUCTIONS, SCATTERS};
use super::lexer::Token;
use super::parse::Parser;
use super::{TextError, TextErrorKind};
use crate::ops::*;

/// Most entries of a list attribute.
const MAX_LIST: usize = 1024;

pub(super) type Read<T = ()> = Result<T, TextError>;

impl Parser<'_> {
    /// The operation `name`, which stands at `place`; its attributes are ahead. `rank` is that of the first operand,
    /// for defaults.
    pub(super) fn op(&mut self, name: &str, rank: usize, place: usize) -> Read<Op> {
        let spatial = rank.saturating_sub(2);
        Ok(match name {
            "conv" => {
                let mut o = Conv::unit(spatial);
                self.attributes(|p, key| {
                    match key {
                        "strides" => o.strides = p.usizes()?,
                        "pads" => o.pads = p.pairs()?,
                        "dilations" => o.dilations = p.usizes()?,
                        "groups" => o.groups = p.usize()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Op::Conv(o)
            }
            "conv_transpose" => {
                let Conv { strides, pads, dilations, groups } = Conv::unit(spatial);
                let output_padding = vec![0; spatial];
                let mut o = ConvTranspose { strides, pads, dilations, output_padding, groups };
                self.attributes(|p, key| {
                    match key {
                        "strides" => o.strides = p.usizes()?,
                        "pads" => o.pads = p.pairs()?,
                        "dilations" => o.dilations = p.usizes()?,
                        "output_padding" => o.output_padding = p.usizes()?,
                        "groups" => o.groups = p.usize()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Op::ConvTranspose(o)
            }
            "matmul" => {
                let mut o = MatMul::default();
                self.attributes(|_, key| {
                    match key {
                        "trans_a" => o.trans_a = true,
                        "trans_b" => o.trans_b = true,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Op::MatMul(o)
            }
            "pointwise" => {
                self.expect('{')?;
                let e: Expr = self.expr()?;
                self.expect('}')?;
                Op::Pointwise(e)
            }
            "pool" => self.pool(spatial)?,
            "reduce" => {
                let (mut kind, mut axes, mut keep_dims) = (None, None, false);
                self.attributes(|p, key| {
                    match key {
                        "axes" => axes = Some(p.usizes()?),
                        "keep_dims" => keep_dims = true,
                        name => match REDUCTIONS.iter().find(|(n, _)| *n == name) {
                            Some((_, k)) => p.once(&mut kind, *k)?,
                            None => return Ok(false),
                        },
                    }
                    Ok(true)
                })?;
                let kind = self.required(kind, "a kind such as `sum` or `mean`")?;
                Op::Reduce(Reduce { kind, axes: self.required(axes, "attribute `axes`")?, keep_dims })
            }
            "arg_reduce" => {
                let (mut largest, mut axis, mut keep_dims, mut last) = (None, None, false, false);
                self.attributes(|p, key| {
                    match key {
                        "max" | "min" => p.once(&mut largest, key == "max")?,
                        "axis" => axis = Some(p.usize()?),
                        "keep_dims" => keep_dims = true,
                        "last" => last = true,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                let largest = self.required(largest, "`max` or `min`")?;
                Op::ArgReduce(ArgReduce {
                    largest,
                    axis: self.required(axis, "attribute `axis`")?,
                    keep_dims,
                    last,
                })
            }
            "softmax" => {
                let (mut axis, mut log) = (None, false);
                self.attributes(|p, key| {
                    match key {
                        "axis" => axis = Some(p.usize()?),
                        "log" => log = true,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Op::Softmax(Softmax { axis: self.required(axis, "attribute `axis`")?, log })
            }
            "attention" => self.attention()?,
            "batch_norm" | "instance_norm" | "layer_norm" | "rms_norm" | "group_norm" => self.norm(name)?,
            "lrn" => {
                let mut size = None;
                let mut floats = [None; 3];
                self.attributes(|p, key| {
                    match key {
                        "size" => size = Some(p.usize()?),
                        "alpha" => floats[0] = Some(p.float()?),
                        "beta" => floats[1] = Some(p.float()?),
                        "bias" => floats[2] = Some(p.float()?),
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                let size = self.required(size, "attribute `size`")?;
                let [alpha, beta, bias] = floats;
                Op::Lrn(Lrn {
                    size,
                    alpha: self.required(alpha, "attribute `alpha`")?,
                    beta: self.required(beta, "attribute `beta`")?,
                    bias: self.required(bias, "attribute `bias`")?,
                })
            }
            "reshape" | "expand" => {
                let shape = self.only("shape", |p| p.shape())?;
                if name == "reshape" { Op::Reshape(Reshape { shape }) } else { Op::Expand(Expand { shape }) }
            }
            "transpose" => {
                Op::Transpose(Transpose { perm: self.only("perm", |p| p.list_of(Self::bare_usize))? })
            }
            "concat" => Op::Concat(Concat { axis: self.only("axis", Self::bare_usize)? }),
            "gather" => Op::Gather(Gather { axis: self.only("axis", Self::bare_usize)? }),
            "gather_elements" => {
                Op::GatherElements(GatherElements { axis: self.only("axis", Self::bare_usize)? })
            }
            "slice" => Op::Slice(Slice { axes: self.only("axes", |p| p.list_of(Self::slice_axis))? }),
            "pad" => self.pad()?,
            "scatter_elements" => {
                let (mut axis, mut reduction) = (None, None);
                self.attributes(|p, key| {
                    match key {
                        "axis" => axis = Some(p.usize()?),
                        name => match SCATTERS.iter().find(|(n, _)| *n == name) {
                            Some((_, r)) => p.once(&mut reduction, *r)?,
                            None => return Ok(false),
                        },
                    }
                    Ok(true)
                })?;
                let axis = self.required(axis, "attribute `axis`")?;
                let reduction = self.required(reduction, "a kind such as `replace` or `add`")?;
                Op::ScatterElements(ScatterElements { axis, reduction })
            }
            "bit_cast" => {
                let mut to = None;
                self.attributes(|p, key| {
                    match key {
                        "to" => {
                            p.expect('=')?;
                            to = Some(p.dtype()?);
                        }
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Op::BitCast(BitCast { to: self.required(to, "attribute `to`")? })
            }
            "top_k" => {
                let (mut largest, mut axis, mut k) = (None, None, None);
                self.attributes(|p, key| {
                    match key {
                        "max" | "min" => p.once(&mut largest, key == "max")?,
                        "axis" => axis = Some(p.usize()?),
                        "k" => k = Some(p.usize()?),
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                let largest = self.required(largest, "`max` or `min`")?;
                let axis = self.required(axis, "attribute `axis`")?;
                Op::TopK(TopK { axis, k: self.required(k, "attribute `k`")?, largest })
            }
            "resize" => self.resize()?,
            "recurrent" => self.recurrent()?,
            _ => {
                return self.fail_at(
                    place,
                    TextErrorKind::Unknown,
                    format!("`{name}`"),
                    "the name of an operation",
                );
            }
        })
    }

    /// Reads attributes while there are any. `read` takes the value, if the attribute has one; `false` says that
    /// there is no such attribute.
    pub(super) fn attributes(&mut self, mut read: impl FnMut(&mut Self, &str) -> Read<bool>) -> Read {
        let mut seen: Vec<&str> = Vec::new();
        while let Token::Word(key) = *self.peek() {
            if key == "output" {
                return Ok(());
            }
            if seen.contains(&key) {
                return self.fail(TextErrorKind::Duplicate, "each attribute once");
            }
            let place = self.place();
            self.advance()?;
            if !read(self, key)? {
                let expected = "an attribute of this operation, or the next statement";
                return self.fail_at(place, TextErrorKind::Unknown, format!("`{key}`"), expected);
            }
            seen.push(key);
        }
        Ok(())
    }

    /// The value of the only attribute that there is.
    fn only<T>(&mut self, name: &str, mut value: impl FnMut(&mut Self) -> Read<T>) -> Read<T> {
        let mut out = None;
        self.attributes(|p, key| {
            if key == name {
                p.expect('=')?;
                out = Some(value(p)?);
            }
            Ok(key == name)
        })?;
        self.required(out, &format!("attribute `{name}`"))
    }

    pub(super) fn required<T>(&self, value: Option<T>, expected: &str) -> Read<T> {
        match value {
            Some(v) => Ok(v),
            None => self.unexpected(expected),
        }
    }

    /// Sets what may be said only once, in one of several words.
    pub(super) fn once<T>(&self, slot: &mut Option<T>, value: T) -> Read {
        if slot.replace(value).is_some() {
            return self.fail(TextErrorKind::Duplicate, "one kind only, before this");
        }
        Ok(())
    }

    pub(super) fn bare_usize(&mut self) -> Read<usize> {
        self.integer(false)
    }

    pub(super) fn usize(&mut self) -> Read<usize> {
        self.expect('=')?;
        self.bare_usize()
    }

    pub(super) fn float(&mut self) -> Read<f32> {
        self.expect('=')?;
        self.f32()
    }

    pub(super) fn list_of<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut out = Vec::new();
        self.list('[', ']', |p| {
            if out.len() == MAX_LIST {
                return p.fail(TextErrorKind::Limit, &format!("at most {MAX_LIST} entries"));
            }
            out.push(item(p)?);
            Ok(())
        })?;
        Ok(out)
    }

    pub(super) fn usizes(&mut self) -> Read<Vec<usize>> {
        self.expect('=')?;
        self.list_of(Self::bare_usize)
    }

    pub(super) fn pair<T>(&mut self, item: fn(&mut Self) -> Read<T>) -> Read<(T, T)> {
        self.expect('(')?;
        let first = item(self)?;
        self.expect(',')?;
        let second = item(self)?;
        self.expect(')')?;
        Ok((first, second))
    }

    pub(super) fn pairs(&mut self) -> Read<Vec<(usize, usize)>> {
        self.expect('=')?;
        self.list_of(|p| p.pair(Self::bare_usize))
    }

    pub(super) fn named<T: Copy>(&mut self, table: &[(&str, T)]) -> Read<T> {
        self.expect('=')?;
        self.one_of(table)
    }

    /// One of the words of a table.
    pub(super) fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Read<T> {
        let names: Vec<&str> = table.iter().map(|(n, _)| *n).collect();
        let expected = format!("one of {}", names.join(", "));
        let found = match *self.peek() {
            Token::Word(w) => table.iter().find(|(n, _)| *n == w),
            _ => None,
        };
        match found {
            Some((_, v)) => {
                self.advance()?;
                Ok(*v)
            }
            None => self.fail(TextErrorKind::Unknown, &expected),
        }
    }
}
