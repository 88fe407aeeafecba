//! load tester
fn main() {}
