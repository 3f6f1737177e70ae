//! Hands connections over to the kernel programs, which go on to open their records by themselves, and takes them back.
//!
//! Keys are handed over as soon as a record was opened here. The kernel programs then try to follow the frames, from a
//! record on that seems to begin with one, and go on telling all bytes. When that record has been opened here, too, it is
//! known whether it does; if so, they tell frames from the next record on. So nothing is told twice, and nothing is
//! missing, however far apart the two are.

use h2trace_core::event::{Boundary, Bytes, Direction, Event, OpenedRecord, SocketKey, TlsRecords};
use h2trace_core::tls::GivenBack;

use super::flow::Run;
use super::sockets::{Downstream, Item, TlsSocket, TlsSockets};
use crate::kernel::{OpenedSlot, OpenedTls};

/// A connection that is handed over.
#[derive(Debug)]
pub(super) struct Handed {
    slot: OpenedSlot,
    ways: ByWay<HandedWay>,
}

/// The same of both directions.
#[derive(Debug, Default)]
pub(super) struct ByWay<T> {
    sent: T,
    received: T,
}

impl<T> ByWay<T> {
    const fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Tx => &self.sent,
            Direction::Rx => &self.received,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Tx => &mut self.sent,
            Direction::Rx => &mut self.received,
        }
    }
}

/// One direction of it.
#[derive(Debug, Default)]
struct HandedWay {
    /// The trial that was judged last.
    judged: Option<u32>,
    /// How many records had gone by when the last one of them was opened here.
    records: u32,
    /// What was added to the record's number, to have it once more.
    numbered: u64,
    /// Where the plain text begins whose offset is 0 there.
    base: u64,
    /// Frames are told.
    is_opened: bool,
    /// What is not known yet to be any.
    unsure: Vec<Unsure>,
}

/// A piece of a record that is not whole.
#[derive(Debug)]
struct Unsure {
    offset: u64,
    total: u32,
    boundary: Boundary,
    encoded: Vec<u8>,
}

impl TlsSocket {
    /// Where bytes stand among those that were told.
    fn place(&self, bytes: &Bytes<'_>) -> Option<u64> {
        let base = self.base.get(bytes.direction.index()).copied().flatten()?;
        bytes.offset.checked_sub(base)
    }

    /// Nothing of it waits, and it speaks HTTP/2.
    const fn may_hand_over(&self) -> bool {
        let is_socket = self.since.is_none() && self.tunnel.is_none();
        is_socket && self.connection.is_followed_in_tls()
    }
}

impl TlsSockets {
    /// Connections are handed over there.
    #[must_use]
    pub fn handing_over_to(mut self, kernel: Option<OpenedTls>) -> TlsSockets {
        self.kernel = kernel;
        self
    }

    /// Bytes of records come, which have not been taken yet.
    pub(super) fn before_records(
        &mut self,
        key: &SocketKey,
        (bytes, records): (&Bytes<'_>, TlsRecords),
        event: &Event<'_>,
        to: &mut dyn Downstream,
    ) {
        if self.kernel.is_none() {
            return;
        }
        let direction = bytes.direction;
        self.take_back(key, (bytes, records), event, to);
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let Some(socket) = self.sockets.peek_mut(key) else {
            return;
        };
        let place = socket.place(bytes);
        let ahead = place
            .and_then(|place| socket.connection.n_taken(direction, place))
            .map(|taken| records.count.wrapping_sub(taken));
        *socket.ahead.of_mut(direction) = ahead;
        let (Some(handed), Some(ahead)) = (&mut socket.handed, ahead) else {
            return;
        };
        let way = handed.ways.of_mut(direction);
        let trial = kernel.trial(&handed.slot, direction);
        let Some(trial) = trial.filter(|trial| way.judged != Some(*trial)) else {
            return;
        };
        if trial.wrapping_sub(records.count) < 1 << 31 {
            let taken = trial.wrapping_sub(ahead);
            socket.connection.watch(direction, taken);
        } else {
            // That record was lost.
            way.judged = Some(trial);
            kernel.judge(&handed.slot, direction, trial, false);
        }
    }

    /// They have been taken.
    pub(super) fn after_records(
        &mut self,
        key: &SocketKey,
        direction: Direction,
        to: &mut dyn Downstream,
    ) {
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let Some(socket) = self.sockets.peek_mut(key) else {
            return;
        };
        if !(socket.may_hand_over() && to.is_without_tunnels(key)) {
            return self.keep(key);
        }
        if let (Some(handed), Some(ahead)) = (&mut socket.handed, *socket.ahead.of(direction))
            && let Some(watched) = socket.connection.watched(direction)
        {
            let way = handed.ways.of_mut(direction);
            let trial = watched.records.wrapping_add(ahead);
            if let Some(base) = watched.begins_frame {
                way.base = base;
            }
            way.judged = Some(trial);
            let is_right = watched.begins_frame.is_some();
            kernel.judge(&handed.slot, direction, trial, is_right);
        }
        hand_over(kernel, key, direction, socket);
    }

    /// A connection is opened here alone.
    pub(super) fn keep(&mut self, key: &SocketKey) {
        if let Some(kernel) = &mut self.kernel
            && let Some(socket) = self.sockets.peek_mut(key)
            && let Some(handed) = &mut socket.handed
        {
            for direction in [Direction::Tx, Direction::Rx] {
                kernel.take_back(&handed.slot, direction);
            }
        }
    }

    /// Frames that the kernel programs have opened.
    pub(super) fn opened(
        &mut self,
        event: &Event<'_>,
        (bytes, record): (&Bytes<'_>, OpenedRecord),
        to: &mut dyn Downstream,
    ) {
        let key = &event.socket;
        let Some(socket) = self.sockets.touch(key, event.at) else {
            return;
        };
        let Some(handed) = &mut socket.handed else {
            return;
        };
        let way = handed.ways.of_mut(bytes.direction);
        way.is_opened = true;
        if record == OpenedRecord::Unsure {
            return way.unsure.push(Unsure {
                offset: bytes.offset,
                total: bytes.total,
                boundary: bytes.boundary,
                encoded: bytes.encoded.to_vec(),
            });
        }
        let base = way.base;
        let unsure = std::mem::take(&mut way.unsure);
        let (direction, how) = (bytes.direction, (event.at, event.task));
        for piece in &unsure {
            let piece = Bytes {
                offset: base.saturating_add(piece.offset),
                total: piece.total,
                boundary: piece.boundary,
                encoded: &piece.encoded,
                ..bytes.clone()
            };
            self.with(key, to, |connection, out| {
                connection.opened(direction, &piece, how, out);
            });
        }
        if bytes.total > 0 {
            let bytes = Bytes {
                offset: base.saturating_add(bytes.offset),
                ..bytes.clone()
            };
            self.with(key, to, |connection, out| {
                connection.opened(direction, &bytes, how, out);
            });
        }
        if !to.is_without_tunnels(key) {
            // What goes by in a tunnel is wanted as a whole.
            self.keep(key);
        }
    }

    /// The kernel programs tell records again.
    fn take_back(
        &mut self,
        key: &SocketKey,
        (bytes, records): (&Bytes<'_>, TlsRecords),
        event: &Event<'_>,
        to: &mut dyn Downstream,
    ) {
        let direction = bytes.direction;
        let Some(socket) = self.sockets.peek_mut(key) else {
            return;
        };
        let Some(offset) = socket.place(bytes) else {
            return;
        };
        let Some(handed) = &mut socket.handed else {
            return;
        };
        let way = handed.ways.of_mut(direction);
        // Of the first record that was to be opened there the header alone may have gone by, and was told in no way.
        let begins = match bytes.boundary {
            Boundary::InHeader { len, .. } => offset.checked_sub(u64::from(len)),
            Boundary::At { .. } | Boundary::Unknown => None,
        };
        let n_taken = begins.and_then(|begins| socket.connection.n_taken(direction, begins));
        if !(std::mem::take(&mut way.is_opened) || n_taken.is_some()) {
            return;
        }
        // A record that is told to be none of frames takes what was told of it with it.
        let is_lost = !std::mem::take(&mut way.unsure).is_empty();
        let (header, left) = match bytes.boundary {
            Boundary::InHeader { len, bytes } => {
                let header = bytes.get(..usize::from(len)).unwrap_or_default();
                (header.to_vec(), 0)
            }
            Boundary::At { after, .. } => (Vec::new(), u64::from(after)),
            Boundary::Unknown => (Vec::new(), 0),
        };
        let n_before = u64::from(records.count).wrapping_add(u64::from(left > 0));
        // Up to here frames were told, or should have been.
        let reached = socket.connection.plain_end(direction);
        let low = u64::from(records.opened);
        let told = reached.saturating_sub(way.base);
        let missing = low.wrapping_sub(told) & u64::from(u32::MAX);
        let is_known = records.opened != 0 && !is_lost && left == 0 && missing < 1 << 31;
        let given = GivenBack {
            offset,
            header: &header,
            left,
            number: way.numbered.wrapping_add(n_before),
            skipped: n_before.saturating_sub(u64::from(way.records)),
            plain: is_known.then(|| reached.saturating_add(missing)),
        };
        socket.connection.take_back(direction, &given);
        if !header.is_empty() {
            let place = (*key, event.task);
            let run = Run {
                at: event.at,
                offset: offset.saturating_sub(header.len() as u64),
                bytes: header,
                cut: 0,
            };
            self.item(place, Item::Bytes(direction, run), to);
        }
    }

    /// A socket is not followed any more.
    pub(super) fn end_handover(&mut self, key: &SocketKey, socket: &mut TlsSocket) {
        if let Some(handed) = socket.handed.take()
            && let Some(kernel) = &mut self.kernel
        {
            kernel.end(key, handed.slot);
        }
    }

    /// It is closed: what the kernel programs told last may be lost.
    pub(super) fn before_end(&mut self, key: &SocketKey) {
        if let Some(kernel) = &self.kernel
            && let Some(socket) = self.sockets.peek_mut(key)
            && let Some(handed) = &socket.handed
        {
            for direction in [Direction::Tx, Direction::Rx] {
                let way = handed.ways.of(direction);
                if way.is_opened && way.unsure.is_empty() {
                    let end = way.base + kernel.reached(&handed.slot, direction);
                    socket.connection.reaches(direction, end);
                }
            }
        }
    }
}

/// Hands over what opens the next records of a direction, unless the kernel programs have that already.
fn hand_over(
    kernel: &mut OpenedTls,
    key: &SocketKey,
    direction: Direction,
    socket: &mut TlsSocket,
) {
    let Some(ahead) = *socket.ahead.of(direction) else {
        return;
    };
    let Some((handover, taken)) = socket.connection.hand_over(direction) else {
        return;
    };
    let records = taken.wrapping_add(ahead);
    if socket.handed.is_none() {
        let Some(slot) = kernel.begin(key) else {
            return;
        };
        socket.handed = Some(Handed {
            slot,
            ways: ByWay::default(),
        });
    }
    if let Some(handed) = &mut socket.handed {
        let way = handed.ways.of_mut(direction);
        way.records = records;
        if !kernel.has(&handed.slot, direction, &handover, records) {
            way.judged = None;
            way.numbered = handover.number.wrapping_sub(u64::from(records));
            kernel.hand_over(&handed.slot, direction, &handover, records);
        }
    }
}
