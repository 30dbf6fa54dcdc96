//! What the shipped model does, through the public router; and, where the real rows are at hand, what training makes
//! of them.

mod directions;
mod real_rows;
mod shipped;
