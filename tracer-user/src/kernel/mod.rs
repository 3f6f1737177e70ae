//! Stage 1: load and attach the kernel programs, read their records.

pub mod event;
