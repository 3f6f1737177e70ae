//! What user space hands to the kernel programs of a connection that it has opened, and how far they are with it.
//!
//! Keys stand in a map of their own, which user space maps: they are in no record, and are overwritten when the
//! connection is over, by user space or by the program that sees its socket go.

use crate::{aes::ROUND_KEYS, walk::state::Walk};

/// Places in the map. The first one is nobody's.
pub const SLOTS: u32 = 1_024;

/// A key of `OPENED_TLS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Owner {
    /// The socket.
    pub sk: u64,
    /// When it was first seen: addresses are reused.
    pub born_ns: u64,
}

/// What opens the records of one direction. Written by user space alone. It has no `Debug`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Keys {
    /// 0: there are none. Others have another number.
    pub generation: u32,
    /// Rounds of AES: 10 or 14.
    pub rounds: u32,
    /// What is added to the number of records that went by, to have the sequence number of the next one.
    pub ahead: u64,
    /// From so many records on the sequence number is not known.
    pub until: u32,
    /// 1: TLS 1.2, whose records bring a part of their nonce.
    pub is_tls12: u32,
    /// 1 more than the trial that is right: what [`Cursor::trial`] says. 0: none.
    pub confirmed: u32,
    /// 1 more than the trial that is wrong.
    pub rejected: u32,
    /// The nonce of the record that has the number 0; of TLS 1.2 its first word alone.
    pub iv: [u32; 3],
    /// Padding.
    pub _pad: u32,
    /// See [`aes`](crate::aes).
    pub round_keys: [u32; ROUND_KEYS],
}
const _: () = assert!(size_of::<Keys>() == 288);

/// Values of [`Cursor::phase`].
pub mod phase {
    /// It is not known where frames begin.
    pub const IDLE: u32 = 0;
    /// A record began like a frame: frames are followed from there, and nothing is told of them. User space, which has
    /// opened that record too, says whether it is so.
    pub const TRIAL: u32 = 1;
    /// It is so: frames are told, and not records.
    pub const OPENED: u32 = 2;
}

/// Values of [`Cursor::stage`].
pub mod stage {
    /// At the header of a record, or within one.
    pub const HEADER: u8 = 0;
    /// Before the content: in the part of the nonce that a record of TLS 1.2 brings.
    pub const NONCE: u8 = 1;
    /// Before the content's first byte.
    pub const BEGIN: u8 = 2;
    /// In its content.
    pub const CONTENT: u8 = 3;
    /// Behind it: the inner type of TLS 1.3, and the tag.
    pub const TRAILER: u8 = 4;
    /// In a record that is not looked at.
    pub const PASSED: u8 = 5;
}

/// Where the kernel programs stand in one direction. Written by them alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Cursor {
    /// Of which keys it is.
    pub generation: u32,
    /// One of [`phase`].
    pub phase: u32,
    /// How many records had gone by when the trial began.
    pub trial: u32,
    /// How many have gone by.
    pub records: u32,
    /// Offset of the next byte as it was sent.
    pub offset: u64,
    /// Bytes of the record at hand behind its header.
    pub len: u32,
    /// Those of them that are still to come.
    pub left: u32,
    /// One of [`stage`].
    pub stage: u8,
    /// Bytes of `head` or `nonce` in use.
    pub gathered: u8,
    /// 1: it is not known yet that the record carries application data and no padding.
    pub unsure: u8,
    /// Padding.
    pub _pad: [u8; 5],
    /// The record's header, and room for what the verifier believes possible.
    pub head: [u8; 16],
    /// The record's part of its nonce, and room likewise.
    pub nonce: [u8; 16],
    /// Where the frames stand.
    pub frames: Walk,
}
const _: () = assert!(size_of::<Cursor>() == 144);

/// One direction.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Way {
    /// What opens it.
    pub keys: Keys,
    /// How far it is.
    pub place: Cursor,
}

/// A connection's place in the map, by `event::direction`. It has no `Debug`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slot {
    /// Both directions.
    pub ways: [Way; 2],
}
const _: () = assert!(size_of::<Slot>() == 864);
