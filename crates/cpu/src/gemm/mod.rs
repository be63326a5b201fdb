//! Matrix products, and convolutions made of them.
