//! Every limit, by its name. What is said of a limit here, its bound and its counter are a row of the page of limits
//! (`cargo xtask docs`).

#[macro_use]
mod declare;
mod hits;
mod table;
#[cfg(test)]
mod tests;
mod unit;

pub use hits::LimitHits;
pub use table::*;
pub use unit::Unit;
