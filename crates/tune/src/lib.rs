//! Private part of `tactician`.
