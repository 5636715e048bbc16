//! Genera.
fn main() {}
