//! Where frames begin in the plain text of a direction, for who goes on with it elsewhere. It need not be known at once,
//! so nothing is searched: it is known from the first byte on, or where many frames in a row began with a record.

use tracer_ebpf::http2::{DEFAULT_MAX_FRAME_SIZE, Head, PREFACE};

/// Headers in a row that make it certain that frames begin there, of a connection whose beginning was not seen.
const BELIEVED: u8 = 24;

/// Follows frames by their headers.
#[derive(Default)]
pub(super) struct Frames {
    /// Offset of the next byte.
    next: u64,
    /// So many bytes of a frame, or of the preface, are still to come. None: the place is not known.
    left: Option<u64>,
    head: [u8; Head::LEN],
    n_head: usize,
    /// Headers that may be some, one behind the other.
    n_plausible: u8,
}

impl Frames {
    /// Where it stands nobody knows.
    fn lose(&mut self) {
        self.left = None;
        self.n_head = 0;
        self.n_plausible = 0;
    }

    /// A frame begins here, and that is certain.
    pub(super) const fn are_at_boundary(&self, offset: u64) -> bool {
        let is_here = offset == self.next && self.n_head == 0;
        is_here && matches!(self.left, Some(0)) && self.n_plausible == BELIEVED
    }

    /// What a record carries stands at `offset`.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8]) {
        if offset == 0 && self.next == 0 && self.left.is_none() {
            // Its first bytes.
            let is_client = bytes.starts_with(PREFACE);
            let is_server = bytes.first_chunk().is_some_and(|head| {
                let head = Head::parse(*head);
                head.begins_connection()
            });
            if is_client || is_server {
                self.n_plausible = BELIEVED;
                self.left = Some(if is_client { PREFACE.len() as u64 } else { 0 });
            }
        }
        self.jump(offset);
        self.next = offset.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        if self.left.is_none() {
            // Records often begin with a frame.
            self.left = Some(0);
        }
        while let (Some(left), false) = (self.left, rest.is_empty()) {
            if left > 0 {
                let n = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                self.left = Some(left - n as u64);
                rest = rest.get(n..).unwrap_or_default();
                continue;
            }
            let more = (Head::LEN - self.n_head).min(rest.len());
            let (part, behind) = rest.split_at(more);
            for (to, from) in self.head.iter_mut().skip(self.n_head).zip(part) {
                *to = *from;
            }
            self.n_head += more;
            rest = behind;
            if self.n_head == Head::LEN {
                self.n_head = 0;
                let head = Head::parse(self.head);
                if self.n_plausible < BELIEVED && !head.is_plausible(DEFAULT_MAX_FRAME_SIZE) {
                    return self.lose();
                }
                self.n_plausible = self.n_plausible.saturating_add(1).min(BELIEVED);
                self.left = Some(u64::from(head.len));
            }
        }
    }

    /// `n` bytes at `offset` went by that were only counted.
    pub(super) fn pass(&mut self, offset: u64, n: u64) {
        self.jump(offset);
        self.next = offset.saturating_add(n);
        self.left = match self.left {
            Some(left) if left >= n => Some(left - n),
            _ => None,
        };
        if self.left.is_none() {
            self.lose();
        }
    }

    fn jump(&mut self, offset: u64) {
        if offset != self.next {
            self.lose();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_ebpf::http2::frame_type;

    fn frame(len: u32) -> Vec<u8> {
        let head = Head::new(len, frame_type::DATA, 0, 1);
        [&head.to_bytes()[..], &vec![b'x'; len as usize]].concat()
    }

    #[test]
    fn the_place_is_known_from_the_first_byte_on() {
        let settings = Head::new(0, frame_type::SETTINGS, 0, 0).to_bytes();
        let client = [&PREFACE[..], &settings, &frame(100), &frame(3)].concat();
        let server = [&settings[..], &frame(30_000), &frame(3)].concat();
        for (bytes, begin) in [(client, 24), (server, 0)] {
            for len in [24, 25, 60, 1_000] {
                let (mut frames, mut at) = (Frames::default(), 0);
                for part in bytes.chunks(len) {
                    frames.push(at, part);
                    at += part.len() as u64;
                    let boundary =
                        [begin + 9, bytes.len() - 12, bytes.len()].contains(&(at as usize));
                    let boundary = boundary || at as usize == begin;
                    assert_eq!(frames.are_at_boundary(at), boundary, "{at} by {len}");
                }
            }
        }
    }

    #[test]
    fn of_an_old_connection_many_frames_tell() {
        let mut frames = Frames::default();
        let mut at = 700;
        frames.push(at, b"whatever it is, it is no frame");
        at += 30;
        for nth in 1..=30 {
            let one = frame(50);
            frames.push(at, &one);
            at += one.len() as u64;
            assert_eq!(
                frames.are_at_boundary(at),
                nth >= u32::from(BELIEVED),
                "{nth}"
            );
        }
        // Bytes that are only counted, and some that are lost.
        frames.push(at, &frame(50)[..20]);
        frames.pass(at + 20, 39);
        at += 59;
        assert!(frames.are_at_boundary(at));
        frames.push(at + 5, &frame(50));
        assert!(!frames.are_at_boundary(at + 64));
    }
}
