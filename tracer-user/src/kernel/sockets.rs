//! Lets sockets go for a while, by what stands in the kernel programs' table of them.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use h2trace_core::event::SocketKey;
use tracer_ebpf::walk::state::{Socket, verdict};

use super::load::{StartError, take};

/// `BPF_EXIST` of `linux/bpf.h`: only in place of what is there.
const EXIST: u64 = 2;

/// What stands in the table of a socket.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Stored(Socket);

// SAFETY: numbers and arrays of them, any bytes of which are a value, and the programs share this layout.
unsafe impl aya::Pod for Stored {}

/// The kernel programs' table of sockets.
pub(super) struct Sockets {
    table: HashMap<MapData, u64, Stored>,
}

impl Sockets {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Sockets, StartError> {
        Ok(Sockets {
            table: take(ebpf, "SOCKETS")?,
        })
    }

    /// From its next call on, nobody looks at a socket. False: it is not there, or the kernel does not let its table be
    /// written.
    pub(super) fn let_go(&mut self, socket: &SocketKey) -> bool {
        let Some(Stored(mut state)) = self.entry(socket) else {
            return false;
        };
        if state.verdict == verdict::OTHER {
            return false;
        }
        // Whatever else has changed since it was read does not matter: of such a socket nothing else is looked at.
        state.verdict = verdict::OTHER;
        self.table.insert(socket.sk, Stored(state), EXIST).is_ok()
    }

    /// Its next call is looked at again: as one of a socket that was never seen.
    pub(super) fn take_up(&mut self, socket: &SocketKey) {
        if self.is_let_go(socket) {
            // It may have been closed just now.
            let _gone = self.table.remove(&socket.sk);
        }
    }

    /// Nobody looks at this socket, and it is still there.
    pub(super) fn is_let_go(&self, socket: &SocketKey) -> bool {
        let is_let_go = |Stored(state): Stored| state.verdict == verdict::OTHER;
        self.entry(socket).is_some_and(is_let_go)
    }

    fn entry(&self, socket: &SocketKey) -> Option<Stored> {
        let entry = self.table.get(&socket.sk, 0).ok()?;
        (entry.0.born_ns == socket.born_ns).then_some(entry)
    }
}
