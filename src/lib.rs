//! Tactician.
