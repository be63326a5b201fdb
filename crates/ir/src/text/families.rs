//! Reads the attributes of operations that come in kinds: pools, normalisations, slices, borders, resampling.

use tactician_types::Scalar;

use super::TextErrorKind;
use super::attributes::{CELLS, COORDINATES, DIRECTIONS, GATE_FUNCTIONS, HEADS_IN, ROUNDINGS};
use super::ops::Read;
use super::parse::Parser;
use crate::ops::*;

impl Parser<'_> {
    pub(super) fn pool(&mut self, spatial: usize) -> Read<Op> {
        let Conv { mut strides, mut pads, mut dilations, .. } = Conv::unit(spatial);
        let (mut kind, mut window, mut ceil, mut count) = (None, None, false, false);
        self.attributes(|p, key| {
            match key {
                "max" => p.once(&mut kind, PoolKind::Max)?,
                "average" => p.once(&mut kind, PoolKind::Average { count_pad: false })?,
                "count_pad" => count = true,
                "lp" => {
                    p.expect('=')?;
                    let exponent = p.integer(false)?;
                    p.once(&mut kind, PoolKind::Lp { p: exponent })?;
                }
                "window" => window = Some(p.usizes()?),
                "strides" => strides = p.usizes()?,
                "pads" => pads = p.pairs()?,
                "dilations" => dilations = p.usizes()?,
                "ceil" => ceil = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let mut kind = self.required(kind, "`max`, `average` or `lp`")?;
        match &mut kind {
            PoolKind::Average { count_pad } => *count_pad = count,
            _ if count => return self.unexpected("`count_pad` with `average` only, before this"),
            _ => {}
        }
        let window = self.required(window, "attribute `window`")?;
        Ok(Op::Pool(Pool { kind, window, strides, pads, dilations, ceil }))
    }

    pub(super) fn attention(&mut self) -> Read<Op> {
        let (mut scale, mut causal, mut softcap, mut inside) = (None, None, 0.0, vec![]);
        let mut within = [None; 3];
        self.attributes(|p, key| {
            match key {
                "scale" => scale = Some(p.float()?),
                "causal" => {
                    p.expect('=')?;
                    let negative = p.eat('-')?;
                    causal = Some(p.integer(negative)?);
                }
                "softcap" => softcap = p.float()?,
                "heads_inside" => {
                    inside = p.usizes()?;
                    if inside.iter().any(|&i| i > 3) {
                        return p
                            .fail(TextErrorKind::Value, "numbers from 0 to 3, of q, k, v and the result");
                    }
                }
                _ => {
                    let Some(which) = HEADS_IN.iter().position(|k| *k == key) else { return Ok(false) };
                    let [offset, a, b, c, d, x, y, z] = p.usizes()?[..] else {
                        return p.fail(TextErrorKind::Value, "an offset, four sizes and three strides");
                    };
                    within[which] = Some(HeadsIn { offset, sizes: [a, b, c, d], strides: [x, y, z] });
                }
            }
            Ok(true)
        })?;
        let scale = self.required(scale, "attribute `scale`")?;
        let heads_inside = std::array::from_fn(|i| inside.contains(&i));
        Ok(Op::Attention(Attention { scale, causal, softcap, heads_inside, within }))
    }

    pub(super) fn norm(&mut self, name: &str) -> Read<Op> {
        let (mut epsilon, mut axis, mut groups) = (None, None, None);
        let has_axis = matches!(name, "layer_norm" | "rms_norm");
        self.attributes(|p, key| {
            match key {
                "epsilon" => epsilon = Some(p.float()?),
                "axis" if has_axis => axis = Some(p.usize()?),
                "groups" if name == "group_norm" => groups = Some(p.usize()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let epsilon = self.required(epsilon, "attribute `epsilon`")?;
        let axis = if has_axis { self.required(axis, "attribute `axis`")? } else { 0 };
        Ok(match name {
            "batch_norm" => Op::BatchNorm(BatchNorm { epsilon }),
            "instance_norm" => Op::InstanceNorm(InstanceNorm { epsilon }),
            "layer_norm" => Op::LayerNorm(LayerNorm { axis, epsilon }),
            "rms_norm" => Op::RmsNorm(RmsNorm { axis, epsilon }),
            _ => Op::GroupNorm(GroupNorm { groups: self.required(groups, "attribute `groups`")?, epsilon }),
        })
    }

    fn gate_function(&mut self) -> Read<GateActivation> {
        self.expect('(')?;
        let function = self.one_of(&GATE_FUNCTIONS)?;
        self.expect(',')?;
        let alpha = self.f32()?;
        self.expect(',')?;
        let beta = self.f32()?;
        self.expect(')')?;
        Ok(GateActivation { function, alpha, beta })
    }

    pub(super) fn recurrent(&mut self) -> Read<Op> {
        let (mut kind, mut direction, mut functions) = (None, RecurrentDirection::Forward, None);
        let mut o = Recurrent::new(RecurrentKind::Rnn, direction);
        self.attributes(|p, key| {
            match key {
                "direction" => direction = p.named(&DIRECTIONS)?,
                "functions" => {
                    p.expect('=')?;
                    functions = Some(p.list_of(Self::gate_function)?);
                }
                "clip" => o.clip = Some(p.float()?),
                "linear_before_reset" => o.linear_before_reset = true,
                "input_forget" => o.input_forget = true,
                "bias" => o.bias = true,
                "lengths" => o.lengths = true,
                "initial_h" => o.initial_h = true,
                "initial_c" => o.initial_c = true,
                "peepholes" => o.peepholes = true,
                name => match CELLS.iter().find(|(n, _)| *n == name) {
                    Some((_, k)) => p.once(&mut kind, *k)?,
                    None => return Ok(false),
                },
            }
            Ok(true)
        })?;
        let kind = self.required(kind, "`lstm`, `gru` or `rnn`")?;
        let functions = functions.unwrap_or_else(|| Recurrent::new(kind, direction).functions);
        Ok(Op::Recurrent(Recurrent { kind, direction, functions, ..o }))
    }

    pub(super) fn slice_axis(&mut self) -> Read<SliceAxis> {
        self.expect('(')?;
        let axis = self.bare_usize()?;
        self.expect(',')?;
        let start = self.dim()?;
        self.expect(',')?;
        let len = self.dim()?;
        let mut step = 1;
        if self.eat(',')? {
            let negative = self.eat('-')?;
            step = self.integer(negative)?;
        }
        self.expect(')')?;
        Ok(SliceAxis { axis, start, len, step })
    }

    pub(super) fn pad(&mut self) -> Read<Op> {
        let (mut pads, mut mode) = (None, None);
        self.attributes(|p, key| {
            match key {
                "pads" => pads = Some(p.pairs()?),
                "constant" => {
                    p.expect('=')?;
                    let value: Scalar = p.scalar()?;
                    p.once(&mut mode, PadMode::Constant(value))?;
                }
                "reflect" => p.once(&mut mode, PadMode::Reflect)?,
                "edge" => p.once(&mut mode, PadMode::Edge)?,
                "wrap" => p.once(&mut mode, PadMode::Wrap)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let pads = self.required(pads, "attribute `pads`")?;
        Ok(Op::Pad(Pad { pads, mode: self.required(mode, "`constant=`, `reflect`, `edge` or `wrap`")? }))
    }

    fn resize_axis(&mut self) -> Read<ResizeAxis> {
        self.expect('(')?;
        let axis = self.bare_usize()?;
        self.expect(',')?;
        let size = self.dim()?;
        self.expect(',')?;
        let scale = self.f32()?;
        let roi = if self.eat(',')? { self.pair(Self::f32)? } else { (0.0, 1.0) };
        self.expect(')')?;
        Ok(ResizeAxis { axis, size, scale, roi })
    }

    pub(super) fn resize(&mut self) -> Read<Op> {
        let (mut axes, mut mode, mut wide, mut exclude) = (None, None, false, false);
        let mut coordinates = CoordinateMode::HalfPixel;
        let mut extrapolation = 0.0;
        self.attributes(|p, key| {
            match key {
                "axes" => {
                    p.expect('=')?;
                    axes = Some(p.list_of(Self::resize_axis)?);
                }
                "nearest" => {
                    let rounding = p.named(&ROUNDINGS)?;
                    p.once(&mut mode, ResizeMode::Nearest(rounding))?;
                }
                "linear" => p.once(&mut mode, ResizeMode::Linear { antialias: false })?,
                "cubic" => {
                    let (coefficient, exclude_outside, antialias) = (p.float()?, false, false);
                    p.once(&mut mode, ResizeMode::Cubic { coefficient, exclude_outside, antialias })?;
                }
                "antialias" => wide = true,
                "exclude_outside" => exclude = true,
                "coordinates" => coordinates = p.named(&COORDINATES)?,
                "extrapolation" => extrapolation = p.float()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let axes = self.required(axes, "attribute `axes`")?;
        let mut mode = self.required(mode, "`nearest=`, `linear` or `cubic=`")?;
        let fits = match &mut mode {
            ResizeMode::Nearest(_) => !wide && !exclude,
            ResizeMode::Linear { antialias } => {
                *antialias = wide;
                !exclude
            }
            ResizeMode::Cubic { exclude_outside, antialias, .. } => {
                (*exclude_outside, *antialias) = (exclude, wide);
                true
            }
        };
        if !fits {
            return self.unexpected("no `antialias` or `exclude_outside` before this, with this mode");
        }
        Ok(Op::Resize(Resize { axes, mode, coordinates, extrapolation }))
    }
}
