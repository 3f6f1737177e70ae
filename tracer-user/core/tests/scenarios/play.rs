//! Plays the lines of a scenario: real bytes, through the whole pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{
    Address, Boundary, Bytes, Direction, End, EndCause, Event, Open, Opened, OtherProtocol,
    ProtocolConfidence, SocketKey, Task, Timestamp, Unrecognised, What,
};
use h2trace_core::limits;
use h2trace_core::pipeline::{NoNames, Output, Pipeline, PipelineSettings, Sink};
use h2trace_core::stream::table::Shown;
use h2trace_core::tls::{Alert, Failure, Opaque, TlsInfo};

use crate::parse::{Names, Node, fill, number};
use crate::short_of_time::Time;
use crate::wire::{self, Run};

const MS: u64 = 1_000_000;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The process that is watched.
const PID: u32 = 10;
/// In a mesh, the proxy at the server's end of the leg.
const SERVER_SIDE: u32 = 20;

/// What the pipeline said since it was last asked.
#[derive(Default)]
pub(crate) struct Outputs(pub(crate) Vec<Output>);

impl Sink for Outputs {
    fn accept(&mut self, output: &Output) {
        self.0.push(output.clone());
    }
}

/// A connection end that is watched.
struct Watched {
    key: SocketKey,
    role: Endpoint,
    offsets: [u64; 2],
    from_start: bool,
    pid: u32,
}

impl Watched {
    fn direction(&self, sender: Endpoint) -> Direction {
        if sender == self.role {
            Direction::Tx
        } else {
            Direction::Rx
        }
    }
}

/// How a scenario is watched: `watched: server, late`.
#[derive(Clone, Copy)]
enum Watch {
    End {
        role: Endpoint,
        late: bool,
        answered: bool,
    },
    /// A proxy: a connection of a client, and one to a server.
    Proxy {
        is_host: bool,
        /// Attached in the middle of the connections: of the client's, of the server's.
        late: [bool; 2],
    },
    /// Two proxies with a leg in TLS between them: a connection of a client to the one, and one of the other to a server.
    Mesh,
}

impl Watch {
    fn of(text: &str) -> Watch {
        let (what, how) = text.split_once(", ").unwrap_or((text, ""));
        assert!(
            [
                "",
                "late",
                "upstream late",
                "before the answer",
                "as a host"
            ]
            .contains(&how),
            "{text}"
        );
        match what {
            "mesh" => Watch::Mesh,
            "proxy" => Watch::Proxy {
                is_host: how == "as a host",
                late: [how == "late", how.ends_with("late")],
            },
            _ => Watch::End {
                role: endpoint(what).unwrap_or_else(|| panic!("nobody is {what:?}")),
                late: how == "late",
                answered: how != "before the answer",
            },
        }
    }
}

fn endpoint(word: &str) -> Option<Endpoint> {
    match word {
        "client" => Some(Endpoint::Client),
        "server" => Some(Endpoint::Server),
        _ => None,
    }
}

/// A scenario while it is played.
pub(crate) struct Player {
    pipeline: Pipeline,
    pub(crate) said: Outputs,
    watch: Watch,
    /// The client's end and what is towards it come first; a proxy has two.
    ends: Vec<Watched>,
    sockets: u64,
    now: u64,
    thread: u32,
    /// Lines whose time has not come.
    later: BTreeMap<(u64, u64), String>,
    n_later: u64,
    /// Runs that go in one call, while it is put together.
    together: Option<Vec<(usize, Endpoint, Run)>>,
    /// Ends of legs in TLS, by the leg's name.
    legs: Vec<(u8, usize)>,
    pub(crate) time: Time,
    /// What was said until each line that asks.
    pub(crate) told: Vec<(usize, Vec<Output>, usize)>,
}

impl Player {
    /// Plays a whole scenario.
    pub(crate) fn play(names: &Names, body: &[Node], end: usize) -> Player {
        Player::play_in(Time::default(), names, body, end)
    }

    /// The same where there is not always time for all of it.
    pub(crate) fn play_in(time: Time, names: &Names, body: &[Node], end: usize) -> Player {
        let watched = names.iter().find(|(name, _)| name == "watched");
        let watch = Watch::of(watched.map_or("client", |(_, value)| value));
        let settings = PipelineSettings {
            shown: Arc::new(Shown::default()),
            names: Box::new(NoNames),
            ..PipelineSettings::default()
        };
        let mut player = Player {
            pipeline: Pipeline::new(settings),
            said: Outputs::default(),
            watch,
            ends: Vec::new(),
            sockets: 0,
            now: 1_000 * MS,
            thread: match watch {
                Watch::Proxy { is_host: true, .. } => 0,
                _ => 11,
            },
            later: BTreeMap::new(),
            n_later: 0,
            together: None,
            legs: Vec::new(),
            time,
            told: Vec::new(),
        };
        player.connect();
        player.nodes(&mut names.clone(), body);
        player.settle(end);
        player
    }

    fn connect(&mut self) {
        match self.watch {
            Watch::Mesh => {
                self.open(Endpoint::Server, true, false);
                self.open_at(SERVER_SIDE, Endpoint::Client, true, false);
                self.greet(0, true);
                self.greet(1, true);
            }
            Watch::Proxy { is_host, late } => {
                let [down_late, up_late] = late;
                self.open(Endpoint::Server, !down_late, is_host);
                self.open(Endpoint::Client, !up_late, is_host);
                for (end, late) in [(0, down_late), (1, up_late)] {
                    if !late {
                        self.greet(end, true);
                    }
                }
            }
            Watch::End {
                role,
                late,
                answered,
            } => {
                self.open(role, !late, false);
                if !late {
                    self.greet(0, answered);
                }
            }
        }
    }

    fn open(&mut self, role: Endpoint, from_start: bool, is_host: bool) {
        self.open_at(PID, role, from_start, is_host);
    }

    fn open_at(&mut self, pid: u32, role: Endpoint, from_start: bool, is_host: bool) {
        self.sockets += 1;
        let key = SocketKey {
            sk: self.sockets,
            born_ns: 1,
        };
        self.ends.push(Watched {
            key,
            role,
            offsets: [0; 2],
            from_start,
            pid,
        });
        let (opened, peer) = match role {
            Endpoint::Client => (Opened::Active, "10.0.0.3:50051"),
            Endpoint::Server => (Opened::Passive, "10.0.0.1:40000"),
        };
        let unix = Address::Unix(String::new());
        let (local, peer) = if is_host {
            (
                Address::Inet("10.0.0.2:8080".parse().unwrap()),
                Address::Inet(peer.parse().unwrap()),
            )
        } else {
            (unix.clone(), unix)
        };
        let open = Open {
            opened,
            from_start,
            local,
            peer,
            netns: 0,
            inode: 0,
            unix_peer_sk: 0,
            comm: "watched".to_owned(),
            peer_process: None,
        };
        self.event(self.ends.len() - 1, What::Open(Box::new(open)));
    }

    /// Preface and SETTINGS of both ends, and their acknowledgements.
    fn greet(&mut self, end: usize, answered: bool) {
        let mut hello = Run::default();
        hello.bytes(PREFACE);
        hello.append(&wire::frames(0, "SETTINGS")[0]);
        self.call(end, Endpoint::Client, &hello);
        if answered {
            for (sender, frame) in [
                (Endpoint::Server, "SETTINGS"),
                (Endpoint::Server, "SETTINGS ACK"),
                (Endpoint::Client, "SETTINGS ACK"),
            ] {
                self.call(end, sender, &wire::frames(0, frame)[0]);
            }
        }
    }

    fn event(&mut self, end: usize, what: What<'_>) {
        let is_host = matches!(self.watch, Watch::Proxy { is_host: true, .. });
        let pid = if is_host { 0 } else { self.ends[end].pid };
        let event = Event {
            at: Timestamp(self.now),
            socket: self.ends[end].key,
            task: Task {
                pid,
                tid: self.thread,
                cgroup: 1,
            },
            what,
        };
        self.pipeline.set_depth(self.time.passes(), event.at);
        self.pipeline.handle(&event, &mut self.said);
        if let Some(socket) = self.time.lets_go() {
            self.pipeline.look_away(socket, event.at, &mut self.said);
        }
    }

    /// One call of `send` or `recv`, with whole frames.
    fn call(&mut self, end: usize, sender: Endpoint, run: &Run) {
        let boundary = Boundary::At {
            after: 0,
            frame_type: 0,
            flags: 0,
            stream_id: 0,
        };
        self.call_at(end, sender, run, boundary);
    }

    fn call_at(&mut self, end: usize, sender: Endpoint, run: &Run, boundary: Boundary) {
        let watched = &mut self.ends[end];
        let direction = watched.direction(sender);
        let offset = watched.offsets[direction.index()];
        watched.offsets[direction.index()] += u64::from(run.total);
        let confidence = if watched.from_start {
            ProtocolConfidence::Preface
        } else {
            ProtocolConfidence::Plausible
        };
        let bytes = Bytes {
            direction,
            offset,
            total: run.total,
            boundary,
            confidence,
            unseen: None,
            encoded: &run.encoded,
        };
        self.event(end, What::Bytes(bytes));
    }

    fn nodes(&mut self, names: &mut Names, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Line { at, text } if text == "settle" => self.settle(*at),
                Node::Line { text, .. } if text == "trace ends" => {
                    self.pipeline.finish(Timestamp(self.now), &mut self.said);
                }
                Node::Line { text, .. } => self.line(&fill(text, names)),
                Node::For { name, values, body } => {
                    for value in values {
                        names.push((name.clone(), value.to_string()));
                        self.nodes(names, body);
                        names.pop();
                    }
                }
                Node::Case { axis, label, body } => {
                    if names
                        .iter()
                        .any(|(name, value)| name == axis && value == label)
                    {
                        self.nodes(names, body);
                    }
                }
                Node::Together { body } => {
                    self.together = Some(Vec::new());
                    self.nodes(names, body);
                    self.now += MS / 10;
                    for (end, sender, run) in self.together.take().unwrap_or_default() {
                        self.call(end, sender, &run);
                    }
                }
            }
        }
    }

    fn line(&mut self, text: &str) {
        if let Some(time) = text.strip_prefix("wait ") {
            return self.wait(self.now + span(time));
        }
        if let Some((time, line)) = text
            .strip_prefix("in ")
            .and_then(|text| text.split_once(": "))
        {
            self.n_later += 1;
            let key = (self.now + span(time), self.n_later);
            self.later.insert(key, line.to_owned());
            return;
        }
        match text.split_once(' ') {
            Some(("thread", number)) => self.thread = number.parse().unwrap(),
            Some(("down", text)) => self.at_end(0, text),
            Some(("up", text)) => self.at_end(1, text),
            Some(("leg", text)) => self.leg(
                text,
                7,
                &[(Endpoint::Client, PID), (Endpoint::Server, SERVER_SIDE)],
            ),
            // Of a client that nobody watches.
            Some(("stranger", text)) => self.leg(text, 8, &[(Endpoint::Server, SERVER_SIDE)]),
            _ if text == "new connection" => {
                self.ends.clear();
                self.connect();
            }
            _ if text == "short of time" => self.time.is_short = true,
            _ if text == "time again" => self.time.is_short = false,
            _ if text.starts_with("tell ") => {}
            _ => {
                assert_eq!(self.ends.len(), 1, "down or up? {text}");
                self.at_end(0, text);
            }
        }
    }

    /// What happens on a leg in TLS, at the ends that are watched.
    fn leg(&mut self, text: &str, name: u8, ends: &[(Endpoint, u32)]) {
        if text == "opens" {
            for (role, pid) in ends {
                self.open_at(*pid, *role, true, false);
                let end = self.ends.len() - 1;
                let tls = TlsInfo {
                    client_random: Some([name; 32]),
                    ..TlsInfo::default()
                };
                self.event(end, What::Tls(Arc::new(tls)));
                self.at_end(end, "client speaks TLS");
                self.legs.push((name, end));
            }
            return;
        }
        self.now += MS / 10;
        let of_leg = |(of, end): &(u8, usize)| (*of == name).then_some(*end);
        let ends: Vec<usize> = self.legs.iter().filter_map(of_leg).collect();
        let (sender, text) = text.split_once(' ').unwrap();
        let sender = endpoint(sender).unwrap_or_else(|| panic!("who is {sender:?}?"));
        let bytes = match text {
            "loses its place" => 0,
            _ => number(text.strip_suffix(" bytes").unwrap()),
        };
        let opaque = Opaque {
            least: bytes,
            most: bytes,
            is_lost: bytes == 0,
        };
        for end in ends {
            let direction = self.ends[end].direction(sender);
            self.event(end, What::Opaque(direction, opaque));
        }
    }

    /// What is in clear of a TLS handshake that failed, on a connection of its own.
    fn tls_failed(&mut self, end: usize, failure: Failure) {
        self.open_at(PID, self.ends[end].role, true, false);
        let end = self.ends.len() - 1;
        let tls = TlsInfo {
            sni: Some("shop.example".to_owned()),
            alpn_offered: vec!["h2".to_owned()],
            failure: Some(failure),
            ..TlsInfo::default()
        };
        self.event(end, What::Tls(Arc::new(tls)));
        let direction = self.ends[end].direction(Endpoint::Client);
        self.event(
            end,
            What::Unrecognised(Unrecognised {
                direction,
                protocol: OtherProtocol::Tls,
                first: &[],
            }),
        );
    }

    /// What happens on a connection.
    fn at_end(&mut self, end: usize, text: &str) {
        if let Some(why) = text.strip_prefix("connection ends: ") {
            return self.end(end, why);
        }
        let (sender, text) = text.split_once(' ').unwrap_or((text, ""));
        let sender = endpoint(sender).unwrap_or_else(|| panic!("who is {sender:?}? {text}"));
        if let Some(how) = text.strip_prefix("fails the TLS handshake: ") {
            let alert = match how {
                "unknown_ca" => 48,
                "no_application_protocol" => 120,
                _ => panic!("what alert is {how}?"),
            };
            let failure = Failure::Alert {
                sender,
                alert: Alert(alert),
            };
            return self.tls_failed(end, failure);
        }
        if text == "answers TLS in clear" {
            return self.tls_failed(end, Failure::Foreign);
        }
        if text == "does not answer TLS" {
            return self.tls_failed(end, Failure::Unanswered);
        }
        if let Some(protocol) = text.strip_prefix("speaks ") {
            let protocol = match protocol {
                "HTTP/1.1" => OtherProtocol::Http1,
                "TLS" => OtherProtocol::Tls,
                "something else" => OtherProtocol::Other,
                _ => panic!("what is {protocol}?"),
            };
            let direction = self.ends[end].direction(sender);
            return self.event(
                end,
                What::Unrecognised(Unrecognised {
                    direction,
                    protocol,
                    first: &[],
                }),
            );
        }
        if let Some(how) = text.strip_prefix("bytes are lost") {
            let direction = self.ends[end].direction(sender);
            self.ends[end].offsets[direction.index()] += 100;
            if how == ", and where frames begin" {
                self.now += MS / 10;
                return self.call_at(end, sender, &wire::only_counted(100), Boundary::Unknown);
            }
            assert!(how.is_empty(), "lost how? {how}");
            // Whatever follows shows that they are missing.
            return self.say(end, sender, &wire::frames(0, "0xbe of 0 bytes")[0]);
        }
        let (id, text) = match text.split_once(' ') {
            Some((id, text)) if id.starts_with(|c: char| c.is_ascii_digit()) => (number(id), text),
            _ => (0, text),
        };
        for run in &wire::frames(u32::try_from(id).unwrap(), text) {
            self.say(end, sender, run);
        }
    }

    /// A frame takes 100 microseconds.
    fn say(&mut self, end: usize, sender: Endpoint, run: &Run) {
        let Some(calls) = &mut self.together else {
            self.now += MS / 10;
            return self.call(end, sender, run);
        };
        match calls.last_mut() {
            Some((to, by, call)) if (*to, *by) == (end, sender) => call.append(run),
            _ => calls.push((end, sender, run.clone())),
        }
    }

    fn end(&mut self, end: usize, why: &str) {
        self.now += MS;
        let cause = match why {
            "local_close" => Some(EndCause::LocalClose),
            "local_reset" => Some(EndCause::LocalReset),
            "peer_fin" => Some(EndCause::PeerFin),
            "peer_reset" => Some(EndCause::PeerReset),
            "unknown" => None,
            _ => panic!("no connection ends by {why}"),
        };
        let [tx, rx] = self.ends[end].offsets;
        for cause in cause.into_iter().chain([EndCause::Closed]) {
            let (tx_offset, rx_offset) = (Some(tx), Some(rx));
            self.event(
                end,
                What::End(End {
                    cause,
                    tx_offset,
                    rx_offset,
                }),
            );
        }
    }

    /// Time passes, and what is to happen until then happens.
    fn wait(&mut self, until: u64) {
        while let Some(((at, _), line)) = self.later.first_key_value() {
            let (at, line) = (*at, line.clone());
            if at > until {
                break;
            }
            self.later.pop_first();
            self.pass(at.max(self.now));
            self.line(&line);
        }
        self.pass(until.max(self.now));
    }

    fn pass(&mut self, until: u64) {
        self.now = until;
        self.pipeline.advance(Timestamp(until), &mut self.said);
    }

    /// Lets everything happen that is to happen, and time pass until all of it is told.
    fn settle(&mut self, at: usize) {
        if let Some(((last, _), _)) = self.later.last_key_value() {
            self.wait(*last);
        }
        self.pass(self.now + limits::STREAM_LINGER_NS);
        self.pass(self.now + limits::CONNECTION_LINGER_NS);
        if self.is_proxy() {
            self.pass(self.now + limits::HOP_COMPANY_NS);
        }
        let said = std::mem::take(&mut self.said.0);
        self.told.push((at, said, self.pipeline.live().streams));
    }

    /// Whether a proxy is watched.
    pub(crate) fn is_proxy(&self) -> bool {
        matches!(self.watch, Watch::Proxy { .. } | Watch::Mesh)
    }
}

/// `8ms`, `20s`, `5min`.
fn span(text: &str) -> u64 {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '_');
    let (count, unit) = text.split_at(unit.unwrap_or_else(|| panic!("of what? {text}")));
    let unit = match unit {
        "us" => MS / 1_000,
        "ms" => MS,
        "s" => 1_000 * MS,
        "min" => 60_000 * MS,
        _ => panic!("no unit of time: {text}"),
    };
    number(count) * unit
}
