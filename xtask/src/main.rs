//! h2trace's own tasks.
fn main() {}
