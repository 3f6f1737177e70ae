//! Stage 4: frames become streams; each is followed to its end in both directions.

pub mod condition;
pub mod depth;
pub mod go_away;
pub mod record;
pub mod table;

pub mod control;
pub mod rate;
pub mod settings;
pub mod state;
pub mod violation;

mod concurrency;
mod content;
mod end;
mod fields;
mod flow;
mod grpc;
mod header_list;
mod ids;
mod live;
mod pair;
mod phase;
mod story;
mod watch;

pub(crate) use ids::initiator;

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
