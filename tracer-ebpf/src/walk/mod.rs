//! What is done with the bytes of one socket call: recognise HTTP/2, follow its frames, copy what user space needs.
//!
//! ```text
//! call  one call's bytes       recognise, search  is this HTTP/2, and where
//! frames  follow its frames    tls  follow its records, if it is TLS
//! record  what is copied       state  what is remembered
//! opened  follow the frames in its records, if its keys are known    stream  the key stream
//! ```
//!
//! Everything that only the kernel has stands behind [`Machine`], so that tests run the same code over ordinary memory.

use crate::{
    counter::Counter,
    opened::{Cursor, Keys},
    walk::state::{AHEAD, Message, MessageKey, Scratch, Socket},
};

pub mod call;
pub mod frames;
pub mod opened;
pub mod recognise;
pub mod record;
pub mod search;
pub mod state;
pub mod stream;
pub mod tls;

#[cfg(test)]
mod tests;

/// Turns that one [`Machine::repeat`] may ask for at most.
pub const TURNS_MAX: u32 = 65_536;

/// Where the walker runs. Taken by value: the kernel's has no size, and costs no register.
pub trait Machine: Copy {
    /// What it reads is sealed: [`Machine::unseal`] opens it.
    const OPENS: bool = false;

    /// Reads `len` bytes at `address` of the user's memory; false when they cannot be read.
    ///
    /// # Safety
    /// `target` can be written for `len` bytes.
    unsafe fn read_user(self, target: *mut u8, len: u32, address: u64) -> bool;

    /// Copies within the scratch space.
    ///
    /// # Safety
    /// `source` can be read and `target` written for `len` bytes; they do not overlap.
    unsafe fn copy(self, target: *mut u8, len: u32, source: *const u8) -> bool;

    /// Whether DATA is copied too.
    fn full_payload(self) -> bool;

    /// How TLS is followed: one of `config::tls`.
    fn tls(self) -> u32;

    /// The stream's place within its message, if it is in one.
    fn message(self, key: &MessageKey) -> Option<Message>;

    /// Keeps it; false when there is no room.
    fn keep_message(self, key: &MessageKey, message: &Message) -> bool;

    /// Forgets it; false when there was none.
    fn forget_message(self, key: &MessageKey) -> bool;

    /// Adds to a counter.
    fn count(self, counter: Counter, n: u64);

    /// Writes a record of the scratch space to the ring.
    fn write(self, record: *const u8, len: u64);

    /// Tells of the socket before anything else is told of it.
    fn announce(self, s: &mut Scratch, socket: &mut Socket);

    /// Tells that the call's bytes are of another protocol, one of `event::class`; with their beginning if `copied`.
    fn unrecognised(self, s: &mut Scratch, class: u8, copied: bool);

    /// The place of the socket's connection among those that are opened; 0: it has none.
    fn slot(self, s: &Scratch) -> u32;

    /// What opens the direction at hand, by [`Scratch::slot`].
    fn keys(self, s: &Scratch) -> Option<*const Keys>;

    /// How far that direction is.
    fn place(self, s: &Scratch) -> Option<*mut Cursor>;

    /// Bytes that are read at once at least, if they are there.
    #[inline(always)]
    fn ahead(self) -> u32 {
        AHEAD
    }

    /// Opens `n` bytes that were read to the place `at` of the record.
    #[inline(always)]
    fn unseal(self, _: &mut Scratch, _at: u64, _n: u32) {}

    /// After the walk of a message of sendmmsg: see whether the call goes on.
    fn cut_short(self, s: &mut Scratch);

    /// Runs a part of the work, in the kernel as a function of its own: the verifier proves such a function once, and
    /// not anew for each way that leads to it.
    fn run(self, s: &mut Scratch, part: Part) -> u64 {
        run(self, s, part)
    }

    /// Takes up to `times` steps, of which there are at most [`TURNS_MAX`]; in the kernel by a helper, so that one step is all that the verifier must prove.
    fn repeat(self, s: &mut Scratch, times: u32, step: Step) {
        for index in 0..times {
            if !take_step(self, s, step, u64::from(index)) {
                break;
            }
        }
    }

    /// Reads a `T` of the user's memory.
    #[inline(always)]
    fn read<T: Copy>(self, address: u64) -> Option<T> {
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        // SAFETY: `size_of::<T>()` bytes are written, or none is used; `T` is plain data.
        unsafe {
            if self.read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address) {
                Some(value.assume_init())
            } else {
                None
            }
        }
    }
}

/// A part of the work that [`Machine::run`] runs, with its result.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// [`frames::walk`].
    Walk,
    /// [`recognise::is_preface`].
    Preface {
        /// Bytes that were read.
        n: u32,
        /// Bytes of the preface that came before.
        matched: u32,
    },
    /// [`search::read_opening`].
    Opening,
    /// [`search::read_proxy_header`].
    ProxyHeader,
    /// [`search::upgrade_head`].
    Head,
    /// [`search::next_frame`].
    Frame,
    /// [`call::records`].
    Records,
    /// [`opened::walk`].
    Opened,
    /// [`stream::unseal_all`].
    Unseal,
}

/// Runs a part here.
#[inline(always)]
pub fn run<M: Machine>(m: M, s: &mut Scratch, part: Part) -> u64 {
    match part {
        Part::Walk => frames::walk(m, s),
        Part::Preface { n, matched } => recognise::is_preface(s, n, matched),
        Part::Opening => search::read_opening(m, s),
        Part::ProxyHeader => search::read_proxy_header(m, s),
        Part::Head => search::upgrade_head(m, s),
        Part::Frame => search::next_frame(m, s),
        Part::Records => call::records(m, s),
        Part::Opened => opened::walk(m, s),
        Part::Unseal => stream::unseal_all(m, s),
    }
}

/// What [`Machine::repeat`] repeats.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// [`frames::step`].
    Walk,
    /// [`search::opening_step`].
    Opening,
    /// [`search::proxy_header_step`].
    ProxyHeader,
    /// [`search::head_step`].
    Head,
    /// [`search::frame_step`].
    Frame,
    /// [`opened::step`].
    Opened,
    /// [`stream::block_step`].
    Block,
}

/// One step; false when it was the last one.
#[inline(always)]
pub fn take_step<M: Machine>(m: M, s: &mut Scratch, step: Step, index: u64) -> bool {
    match step {
        Step::Walk => frames::step(m, s),
        Step::Opening => search::opening_step(m, s),
        Step::ProxyHeader => search::proxy_header_step(m, s),
        Step::Head => search::head_step(s, index),
        Step::Frame => search::frame_step(m, s, index),
        Step::Opened => opened::step(m, s),
        Step::Block => stream::block_step(m, s),
    }
}
