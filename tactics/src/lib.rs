//! Tactic families.
