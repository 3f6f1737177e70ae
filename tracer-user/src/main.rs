//! The `h2trace` binary.
fn main() {}
