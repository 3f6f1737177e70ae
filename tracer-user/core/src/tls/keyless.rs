//! Without cryptography nothing has a key. What handshakes say in clear is told all the same.

use super::hello::Random;
use super::info::{KeySource, Version};
use super::record::HEADER;
use super::session::Epoch;
use super::suite::{Cipher, Hash, Suite};
use crate::endpoint::Endpoint;

/// There are none.
pub(super) enum Secrets {}

impl Secrets {
    pub(super) const fn source(&self) -> KeySource {
        match *self {}
    }
}

/// The secrets of key logs: none is kept.
#[derive(Default)]
pub struct KeyLog {
    _nothing: (),
}

impl KeyLog {
    /// Connections of which no secret was kept for want of room.
    #[must_use]
    pub const fn n_beyond(&self) -> u64 {
        0
    }

    /// It has none.
    pub fn drop_unused(&mut self, _now: u64, _is_used: impl FnMut(&Random) -> bool) {}

    /// There is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        true
    }

    /// It has none.
    #[must_use]
    pub const fn opens(&self, _random: &Random) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the other one has secrets")]
    pub(super) const fn secrets(&self, _random: &Random) -> Option<&Secrets> {
        None
    }
}

/// Reads no key log.
#[derive(Default)]
pub struct KeyLogReader {
    _nothing: (),
}

impl KeyLogReader {
    /// Takes the next bytes.
    pub const fn push(&mut self, _bytes: &[u8], _log: &mut KeyLog) {}

    /// Nothing follows.
    pub const fn finish(&mut self, _log: &mut KeyLog) {}

    /// Lines that are none of a key log: none is read.
    #[must_use]
    pub const fn bad(&self) -> (&[u64], u64) {
        (&[], 0)
    }
}

/// There are none.
pub enum FoundKey {}

impl FoundKey {
    pub(super) const fn version(&self) -> Version {
        match *self {}
    }

    pub(super) const fn suite(&self) -> Option<Suite> {
        match *self {}
    }

    pub(super) const fn overhead(&self) -> usize {
        match *self {}
    }

    pub(super) const fn open(
        &self,
        _header: [u8; HEADER],
        _fragment: &[u8],
        _plain: &mut Vec<u8>,
    ) -> Option<()> {
        match *self {}
    }
}

/// What TLS 1.2 derives its keys from, beside the secret.
#[derive(Clone, Copy)]
pub(super) struct Randoms {
    #[expect(dead_code, reason = "there are no keys")]
    pub(super) client: Random,
    #[expect(dead_code, reason = "there are no keys")]
    pub(super) server: Random,
}

/// There are none.
pub(super) enum Keys {}

impl Keys {
    pub(super) fn tls13(
        _suite: (Cipher, Hash),
        secrets: &Secrets,
        _sender: Endpoint,
        _epoch: Epoch,
    ) -> Option<Keys> {
        match *secrets {}
    }

    pub(super) fn tls12(
        _suite: (Cipher, Hash),
        secrets: &Secrets,
        _sender: Endpoint,
        _randoms: &Randoms,
    ) -> Option<Keys> {
        match *secrets {}
    }

    pub(super) fn next(&self) -> Option<Keys> {
        match *self {}
    }

    pub(super) fn overhead(&self) -> usize {
        match *self {}
    }

    pub(super) fn open(
        &self,
        _numbers: impl Iterator<Item = u64>,
        _header: [u8; HEADER],
        _fragment: &[u8],
        _plain: &mut Vec<u8>,
    ) -> Option<u64> {
        match *self {}
    }
}
