//! Stage 6: streams become findings. Each finding says its verdict and the visibility tier it was made with.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod kind;
pub mod rules;

pub use rules::Rules;

#[cfg(test)]
mod scenarios;
