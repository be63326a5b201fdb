//! The rewrites, one file each.
//!
//! They keep the network's results up to rounding: sums may be taken in another order, weights are scaled in
//! `f64` and rounded once, and `x + 0` becomes `x` though it would turn a negative zero positive.

mod affine;
mod attention;
mod batch_norm_to_affine;
mod bias_into_conv;
mod common_subexpressions;
mod constant_fold;
mod conversion_past_reshape;
mod dead_code;
mod empty;
mod fold_affine_into_conv;
mod global_pool_to_reduce;
mod heads_into_attention;
mod heads_within;
mod identity;
mod merge_clamps;
mod merge_reshapes;
mod merge_transposes;
mod norm_from_steps;
mod one_hot_product;
mod pad_into_conv;
mod residual_order;
mod simplify_pointwise;
mod transpose_between_reshapes;
mod transpose_into_matmul;
mod transpose_to_reshape;

pub use attention::Attention;
pub use batch_norm_to_affine::BatchNormToAffine;
pub use bias_into_conv::BiasIntoConv;
pub use common_subexpressions::CommonSubexpressions;
pub use constant_fold::ConstantFold;
pub use conversion_past_reshape::ConversionPastReshape;
pub use dead_code::DeadCode;
pub use empty::Empty;
pub use fold_affine_into_conv::FoldAffineIntoConv;
pub use global_pool_to_reduce::GlobalPoolToReduce;
pub use heads_into_attention::HeadsIntoAttention;
pub use heads_within::{HeadsWithin, ProductsOfHeads};
pub use identity::Identity;
pub use merge_clamps::MergeClamps;
pub use merge_reshapes::MergeReshapes;
pub use merge_transposes::MergeTransposes;
pub use norm_from_steps::{NormFromSteps, ScaleIntoNorm};
pub use one_hot_product::OneHotProduct;
pub use pad_into_conv::PadIntoConv;
pub use residual_order::ResidualOrder;
pub use simplify_pointwise::SimplifyPointwise;
pub use transpose_between_reshapes::TransposeBetweenReshapes;
pub use transpose_into_matmul::TransposeIntoMatMul;
pub use transpose_to_reshape::TransposeToReshape;
