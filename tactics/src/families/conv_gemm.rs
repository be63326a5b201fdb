//! `conv.cpu.gemm`: convolution as a matrix product, over plain tensors.
//!
//! `in-place` multiplies with the input itself (1x1 windows). Otherwise the columns of input values are made whole in
//! scratch (`im2col`), some pixels at a time (`tile64`), or a panel at a time on the stack (`panel`).

use tactician_cpu::gemm::{ColumnsForm, Im2colConv, im2col_tiles};
use tactician_device::DeviceInfo;
use tactician_ir::{Problem, Tensor};
use tactician_types::Layout;

use crate::conv::geometry;
use crate::cpu::{Use, bytes, floats, kernel_tactic, lanes, plain_finish};
use crate::{Family, Tactic};

pub(crate) static FAMILY: Gemm = Gemm;

pub(crate) struct Gemm;

/// With fewer filters a group the tiles of the product would be almost empty.
const FEW_FILTERS: usize = 4;

impl Family for Gemm {
    fn id(&self) -> &'static str {
        "conv.cpu.gemm"
    }

    fn tactics(&self, problem: &Problem, device: &DeviceInfo) -> Vec<Tactic> {
        let (Some(cpu), Some(geometry)) = (device.cpu(), geometry(problem)) else { return vec![] };
        if geometry.k / geometry.groups < FEW_FILTERS {
            return vec![];
        }
        let lanes = lanes(cpu);
        let pixels: usize = geometry.output().iter().product();
        let in_place =
            geometry.kernel == [1; 3] && geometry.strides == [1; 3] && geometry.pads == [(0, 0); 3];
        let forms = if in_place {
            vec![("in-place".to_owned(), ColumnsForm::InPlace)]
        } else {
            let tiles = im2col_tiles(lanes as usize).into_iter().filter(|&t| (t as usize) < pixels);
            let mut forms: Vec<_> = tiles.map(|t| (format!("tile{t}"), ColumnsForm::Tile(t))).collect();
            forms.push(("im2col".to_owned(), ColumnsForm::Whole));
            forms.push(("panel".to_owned(), ColumnsForm::Panel));
            forms
        };
        let packed = problem.operands[1].constant;
        let tactic = |(name, form): (String, ColumnsForm)| {
            let (finish, more) = plain_finish(problem)?;
            let weights = match packed {
                true => Use::Packed("packed in tiles of rows", pack as _),
                false => Use::As(Layout::Plain),
            };
            let mut uses = vec![Use::As(Layout::Plain), weights];
            uses.extend(more);
            let kernel = Im2colConv::new(geometry.clone(), lanes, form, packed, finish);
            kernel_tactic(format!("conv.cpu.gemm/{name}"), problem, cpu, kernel, uses, Layout::Plain)
        };
        forms.into_iter().filter_map(tactic).collect()
    }
}

fn pack(kernel: &Im2colConv, weights: &Tensor) -> Result<Vec<u8>, String> {
    kernel.pack(&floats(weights)?).map(bytes)
}
