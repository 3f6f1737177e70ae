//! Stage 6: streams become findings. Each finding says its verdict and the visibility tier it was made with.

pub mod kind;
pub mod rules;

pub use rules::Rules;

#[cfg(test)]
mod tests;
