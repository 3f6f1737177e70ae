//! Stage 4: frames become streams; each is followed to its end in both directions.

pub mod record;
