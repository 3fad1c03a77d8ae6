//! The slow, obvious version of every kernel: the oracle of the tests, used nowhere else.

pub mod attention;
pub mod conv;
pub mod linear;
pub mod norm;
