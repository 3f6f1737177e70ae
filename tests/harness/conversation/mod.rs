//! gRPC conversations over HTTP/2 as their bytes: what two well-behaved ends say, many streams at once, from
//! a seed. Fuzzing, property tests and benches start from these.
//!
//! Flow control is kept, header blocks are encoded by an independent encoder, and no rule of RFC 9113 is
//! broken: whoever finds something worse than *expected* in one with [`Plan::broken`] unset is wrong.

mod call;
mod frames;
pub mod pcap;
pub mod records;

use std::collections::BTreeMap;
use std::ops::Range;

use call::{Action, CallKind, ScriptedCall};
use frames::Encoder;
use tracer_ebpf::http2::{DEFAULT_MAX_FRAME_SIZE, PREFACE, flag, frame_type};

/// Initial flow-control window (RFC 9113 section 6.9.2), and what is given back at once.
const WINDOW: usize = 65_535;
const GIVE_BACK: usize = 32_768;

/// Longest DATA payload: the default SETTINGS_MAX_FRAME_SIZE.
const DATA_MAX: usize = DEFAULT_MAX_FRAME_SIZE as usize;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// 0 for the client, 1 for the server.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// Small numbers from a seed (SplitMix64), the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % (n.max(1) as u64)).unwrap_or(0)
    }

    /// A number of a range; its start when the range is empty.
    pub fn within(&mut self, range: &Range<usize>) -> usize {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a conversation is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything random comes from here.
    pub seed: u64,
    /// Streams.
    pub calls: u32,
    /// Streams open at once.
    pub at_once: usize,
    /// Bytes of a request message.
    pub request: Range<usize>,
    /// Bytes of a response message.
    pub response: Range<usize>,
    /// Only unary calls that succeed: no padding, pings, priorities and other spice.
    pub plain: bool,
    /// Some calls break, each in one of the ways that must be found.
    pub broken: bool,
    /// The connection is shut down in order at the end. Otherwise nothing is said of its end.
    pub shut_down: bool,
}

impl Plan {
    /// Some small calls of all kinds, healthy.
    #[must_use]
    pub fn small(seed: u64) -> Plan {
        Plan {
            seed,
            calls: 6,
            at_once: 3,
            request: 0..200,
            response: 0..700,
            plain: false,
            broken: false,
            shut_down: true,
        }
    }

    /// Unary calls of one size, as a bench wants them.
    #[must_use]
    pub fn unary(calls: u32, message: usize) -> Plan {
        Plan {
            seed: 1,
            calls,
            at_once: 50,
            request: message..message + 1,
            response: message..message + 1,
            plain: true,
            broken: false,
            shut_down: true,
        }
    }
}

/// Bytes that one side gives to its socket at once: whole frames.
#[derive(Clone, Debug)]
pub struct Write {
    pub by: Side,
    /// When, in nanoseconds since the conversation began.
    pub at_ns: u64,
    pub bytes: Vec<u8>,
}

/// A conversation from its first byte.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What was said, in order.
    pub writes: Vec<Write>,
    /// The client closes the connection at the end.
    pub closes: bool,
}

impl Conversation {
    /// What the plan asks for.
    #[must_use]
    pub fn of(plan: &Plan) -> Conversation {
        let mut talk = Talk::new(plan);
        talk.hello();
        talk.calls();
        if plan.shut_down {
            talk.goodbye();
        }
        Conversation {
            writes: talk.writes,
            closes: plan.shut_down,
        }
    }

    /// All bytes of one side.
    #[must_use]
    pub fn bytes(&self, by: Side) -> Vec<u8> {
        let own = self.writes.iter().filter(|write| write.by == by);
        own.flat_map(|write| write.bytes.iter().copied()).collect()
    }

    /// Bytes of both sides.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.iter().map(|write| write.bytes.len()).sum()
    }

    /// True when nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The same bytes, each side's cut anew into writes of `size(n)` bytes; the order is kept.
    #[must_use]
    pub fn cut(&self, mut size: impl FnMut() -> usize) -> Conversation {
        let mut writes = Vec::new();
        for write in &self.writes {
            let mut rest = &write.bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(size().clamp(1, rest.len()));
                writes.push(Write {
                    bytes: now.to_vec(),
                    ..*write
                });
                rest = later;
            }
        }
        Conversation {
            writes,
            closes: self.closes,
        }
    }
}

/// What one side may still send.
struct Windows {
    connection: usize,
    streams: BTreeMap<u32, usize>,
    /// Received and not given back yet: of the connection, of streams.
    owed: usize,
    owed_streams: BTreeMap<u32, usize>,
}

/// A conversation that is being written.
struct Talk<'p> {
    plan: &'p Plan,
    random: Random,
    writes: Vec<Write>,
    now: u64,
    encoders: [Encoder; 2],
    /// By sender of DATA.
    windows: [Windows; 2],
    last_id: u32,
}

impl Talk<'_> {
    fn new(plan: &Plan) -> Talk<'_> {
        let windows = || Windows {
            connection: WINDOW,
            streams: BTreeMap::new(),
            owed: 0,
            owed_streams: BTreeMap::new(),
        };
        Talk {
            plan,
            random: Random(plan.seed),
            writes: Vec::new(),
            now: 0,
            encoders: [Encoder::new(), Encoder::new()],
            windows: [windows(), windows()],
            last_id: 0,
        }
    }

    fn say(&mut self, by: Side, bytes: Vec<u8>) {
        self.now += 5_000 + self.random.bits() % 40_000;
        // Several frames in one call, as real ends do it.
        if let Some(last) = self.writes.last_mut()
            && last.by == by
            && last.bytes.len() < 4_096
            && self.random.once_in(2)
        {
            last.bytes.extend(bytes);
            return;
        }
        let at_ns = self.now;
        self.writes.push(Write { by, at_ns, bytes });
    }

    fn hello(&mut self) {
        let settings: &[(u16, u32)] = &[(3, 100), (6, 65_536)];
        let mut first = PREFACE.to_vec();
        first.extend(frames::settings(&[(2, 0)]));
        self.say(Side::Client, first);
        self.say(Side::Server, frames::settings(settings));
        self.say(Side::Client, frames::settings_ack());
        self.say(Side::Server, frames::settings_ack());
    }

    fn calls(&mut self) {
        let mut open: Vec<ScriptedCall> = Vec::new();
        let mut left = self.plan.calls;
        while left > 0 || !open.is_empty() {
            let begin = left > 0 && open.len() < self.plan.at_once && self.random.once_in(2);
            if begin || open.is_empty() {
                left -= 1;
                let id = self.last_id + if self.last_id == 0 { 1 } else { 2 };
                self.last_id = id;
                for windows in &mut self.windows {
                    windows.streams.insert(id, WINDOW);
                }
                let kind = CallKind::choose(self.plan, &mut self.random);
                let mut call = ScriptedCall::new(id, kind, self.plan, &mut self.random);
                // At once: ids of new streams rise (RFC 9113 section 5.1.1).
                if let Some(first) = call.next() {
                    self.act(id, &first);
                }
                open.push(call);
            }
            let at = self.random.below(open.len());
            match open[at].next() {
                Some(action) => {
                    let id = open[at].id;
                    self.act(id, &action);
                    if matches!(action, Action::Reset { .. }) {
                        // What crosses a reset comes before its receiver shows that it has processed it.
                        while let Some(action) = open[at].next() {
                            self.act(id, &action);
                        }
                    }
                }
                None => {
                    let over = open.swap_remove(at);
                    for windows in &mut self.windows {
                        windows.streams.remove(&over.id);
                        windows.owed_streams.remove(&over.id);
                    }
                }
            }
            if !self.plan.plain && self.random.once_in(12) {
                self.spice();
            }
        }
    }

    fn act(&mut self, id: u32, action: &Action) {
        match action {
            Action::Fields {
                by,
                fields,
                end_stream,
            } => {
                let block = self.encoders[by.index()].encode(fields);
                let spice = (!self.plan.plain).then_some(&mut self.random);
                let bytes = frames::headers(id, &block, *end_stream, spice);
                self.say(*by, bytes);
            }
            Action::Data {
                by,
                bytes,
                end_stream,
            } => self.data(*by, id, bytes, *end_stream),
            Action::Reset { by, code } => {
                for windows in &mut self.windows {
                    windows.streams.remove(&id);
                }
                self.say(
                    *by,
                    frames::frame(frame_type::RST_STREAM, 0, id, &code.to_be_bytes()),
                );
            }
        }
    }

    fn data(&mut self, by: Side, id: u32, bytes: &[u8], end_stream: bool) {
        let mut rest = bytes;
        loop {
            let windows = &self.windows[by.index()];
            let stream = windows.streams.get(&id).copied().unwrap_or(WINDOW);
            let may = windows.connection.min(stream).min(DATA_MAX);
            if may < 512 && may < rest.len() {
                self.give_back(by, id);
                continue;
            }
            let pad = (!self.plan.plain && self.random.once_in(8) && may > 300)
                .then(|| self.random.below(200));
            let room = pad.map_or(may, |pad| may - pad - 1);
            let (now, later) = rest.split_at(rest.len().min(room));
            rest = later;
            let frame = frames::data(id, now, pad, end_stream && rest.is_empty());
            let len = frame.len() - 9;
            self.say(by, frame);
            let windows = &mut self.windows[by.index()];
            windows.connection -= len;
            windows.owed += len;
            if let Some(window) = windows.streams.get_mut(&id) {
                *window -= len;
            }
            *windows.owed_streams.entry(id).or_default() += len;
            if windows.owed >= GIVE_BACK {
                self.give_back(by, id);
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    /// The receiver of `by`'s DATA lets it send on.
    fn give_back(&mut self, by: Side, id: u32) {
        let windows = &mut self.windows[by.index()];
        let connection = std::mem::take(&mut windows.owed);
        windows.connection += connection;
        let mut stream = windows.owed_streams.remove(&id).unwrap_or(0);
        match windows.streams.get_mut(&id) {
            Some(window) => *window += stream,
            // It was reset: nothing is sent on it any more.
            None => stream = 0,
        }
        let mut bytes = Vec::new();
        for (id, increment) in [(0, connection), (id, stream)] {
            if increment > 0 {
                let increment = u32::try_from(increment).unwrap_or(1);
                bytes.extend(frames::frame(
                    frame_type::WINDOW_UPDATE,
                    0,
                    id,
                    &increment.to_be_bytes(),
                ));
            }
        }
        if !bytes.is_empty() {
            self.say(by.other(), bytes);
        }
    }

    /// Something legal that belongs to no call.
    fn spice(&mut self) {
        let by = if self.random.once_in(2) {
            Side::Client
        } else {
            Side::Server
        };
        match self.random.below(3) {
            0 => {
                let data = self.random.bits().to_be_bytes();
                self.say(by, frames::frame(frame_type::PING, 0, 0, &data));
                self.say(
                    by.other(),
                    frames::frame(frame_type::PING, flag::ACK, 0, &data),
                );
            }
            1 => {
                let payload = [&self.last_id.to_be_bytes()[..], b"u=3"].concat();
                self.say(
                    Side::Client,
                    frames::frame(frame_type::PRIORITY_UPDATE, 0, 0, &payload),
                );
            }
            _ => self.say(by, frames::frame(0x42, 0, 0, b"an extension")),
        }
    }

    fn goodbye(&mut self) {
        let go_away = |last: u32| [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        self.say(
            Side::Server,
            frames::frame(frame_type::GOAWAY, 0, 0, &go_away(0x7fff_ffff)),
        );
        self.say(
            Side::Server,
            frames::frame(frame_type::GOAWAY, 0, 0, &go_away(self.last_id)),
        );
    }
}
