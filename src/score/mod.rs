//! A result against a reference.
