//! The shipped model through the public router, and training on the real rows where they are available.

mod directions;
mod real_rows;
mod shipped;
