//! Kernels that compute on tensors: pointwise, pools, reductions, softmax, norms.
