//! The streams of a process that may be a proxy, until they are told of.

use super::{Confidence, HopStream, Join};
use crate::kernel::event::Timestamp;
use crate::stream::digest::{FieldsDigest, Opening};

/// A stream that the process serves.
#[derive(Debug)]
pub(super) struct Down<T> {
    pub(super) at: Timestamp,
    pub(super) tid: u32,
    pub(super) period: u64,
    pub(super) digest: FieldsDigest,
    pub(super) ended: Option<HopStream<T>>,
    /// The streams that were opened for it.
    pub(super) attempts: Vec<(u64, Join)>,
    /// How many of them have not ended.
    pub(super) n_open: u32,
    /// The order of its period was found to be broken.
    pub(super) doubted: bool,
    /// Order decided which upstream stream is its own, and there were others.
    pub(super) in_company: bool,
}

/// A request that was taken out, with the upstream streams of it.
pub(super) type Taken<T> = (Down<T>, Vec<(u64, Join, Option<Up<T>>)>);

impl<T> Down<T> {
    /// It is not certain which of several upstream streams is its own.
    pub(super) fn is_ambiguous(&self) -> bool {
        let unsure = |(_, join): &(u64, Join)| match self.doubted {
            true => join.confidence >= Confidence::ThreadOrder,
            false => join.confidence == Confidence::Ambiguous,
        };
        self.attempts.iter().any(unsure)
    }
}

/// A stream that the process opened.
#[derive(Debug)]
pub(super) struct Up<T> {
    pub(super) opening: Box<Opening>,
    /// What it was opened for.
    pub(super) of: Option<u64>,
    pub(super) ended: Option<HopStream<T>>,
}
