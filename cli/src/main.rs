//! The `epione` binary.
fn main() {}
