//! Kernels that move elements: layouts, transposes, joins, parts, borders, gathers, resampling.
