//! The table as a whole.

use crate::event::Timestamp;
use crate::stream::table::Context;

mod any;
mod life;
mod loss;

fn context(at: u64) -> Context {
    Context {
        at: Timestamp(at),
        tid: 1,
        pid: 2,
    }
}
