//! Secrets of TLS handshakes, from the kernel program that reads them to user space, which overwrites them.
//!
//! They have a map of their own, which user space maps: they are in no record, and each place is overwritten as soon as
//! it was read.

/// Places in the map. The first one has no secret: its state counts how many were written. A power of two.
pub const SLOTS: u32 = 1_024;

/// Bytes of a label, the NUL behind it among them. The longest that is wanted is CLIENT_HANDSHAKE_TRAFFIC_SECRET.
pub const LABEL: usize = 32;

/// The longest secret: one of a suite with SHA-384, or a master secret.
pub const SECRET: usize = 48;

/// Bytes of a client's random.
pub const RANDOM: usize = 32;

/// Values of [`Secret::state`].
pub mod state {
    /// Nothing is there.
    pub const FREE: u64 = 0;
    /// One side has it.
    pub const TAKEN: u64 = 1;
    /// A secret is there.
    pub const FULL: u64 = 2;
}

/// One secret. It has no `Debug`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Secret {
    /// One of [`state`].
    pub state: u64,
    /// `bpf_ktime_get_ns()` when it was read.
    pub at_ns: u64,
    /// What the function calls its connection: the address of an `SSL`, the same for all secrets of a handshake.
    pub owner: u64,
    /// Process id (tgid) of the task, in the initial pid namespace.
    pub tgid: u32,
    /// Bytes of `secret`.
    pub secret_len: u32,
    /// 1: `random` is known.
    pub has_random: u64,
    /// As in a key log, with zeros behind it.
    pub label: [u8; LABEL],
    /// The client's random.
    pub random: [u8; RANDOM],
    /// The secret.
    pub secret: [u8; SECRET],
}
const _: () = assert!(size_of::<Secret>() == 152);

impl Secret {
    /// Nothing.
    pub const NONE: Secret = Secret {
        state: state::FREE,
        at_ns: 0,
        owner: 0,
        tgid: 0,
        secret_len: 0,
        has_random: 0,
        label: [0; LABEL],
        random: [0; RANDOM],
        secret: [0; SECRET],
    };
}

/// A register that an argument does not have.
pub const NO_REGISTER: u8 = 31;

/// In which registers the arguments are: their places in `struct pt_regs`, in words of 64 bits; or [`NO_REGISTER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The connection.
    pub owner: u8,
    /// Where the label is.
    pub label: u8,
    /// Its length; without one it ends with a NUL.
    pub label_len: u8,
    /// Where the secret is.
    pub secret: u8,
    /// Its length.
    pub secret_len: u8,
    /// Where the client's random is.
    pub random: u8,
}

impl Layout {
    /// As the cookie with which the program is attached: five bits each.
    #[must_use]
    pub const fn cookie(self) -> u64 {
        let places = [
            self.owner,
            self.label,
            self.label_len,
            self.secret,
            self.secret_len,
            self.random,
        ];
        let mut cookie = 0;
        let mut nth = 0;
        while nth < places.len() {
            cookie |= ((places[nth] & NO_REGISTER) as u64) << (5 * nth);
            nth += 1;
        }
        cookie
    }
}

/// The places of a cookie, by the order of the fields of [`Layout`].
pub mod place {
    /// [`super::Layout::owner`].
    pub const OWNER: u32 = 0;
    /// [`super::Layout::label`].
    pub const LABEL: u32 = 1;
    /// [`super::Layout::label_len`].
    pub const LABEL_LEN: u32 = 2;
    /// [`super::Layout::secret`].
    pub const SECRET: u32 = 3;
    /// [`super::Layout::secret_len`].
    pub const SECRET_LEN: u32 = 4;
    /// [`super::Layout::random`].
    pub const RANDOM: u32 = 5;
}

/// The register in a place of a cookie.
#[inline(always)]
#[must_use]
pub const fn register(cookie: u64, place: u32) -> u64 {
    (cookie >> (5 * place)) & NO_REGISTER as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_says_where_each_argument_is() {
        let layout = Layout {
            owner: 14,
            label: 13,
            label_len: NO_REGISTER,
            secret: 12,
            secret_len: 11,
            random: 9,
        };
        let registers = [0, 1, 2, 3, 4, 5].map(|place| register(layout.cookie(), place));
        assert_eq!(registers, [14, 13, 31, 12, 11, 9]);
    }
}
