//! Secrets of live handshakes, from probes, and the connections that they are of.
//!
//! Some say the client's random, which names their connection. Others only say what their program calls it: those of one
//! handshake belong together, and the record that was sealed first tells which connection they open.

use std::collections::{BTreeMap, HashMap};

use h2trace_core::event::{SocketKey, Timestamp};
use h2trace_core::limits;
use h2trace_core::tls::{ClientRandom, HandshakeSecrets, KeyLog, Label};
use tracer_ebpf::secret::Secret;

use super::connection::Expects;
use super::sockets::{Downstream, TlsSockets};
use crate::key_probe::KeyProbe;

/// How often it is looked what waits, when no secrets come.
const EVERY_NS: u64 = 10_000_000;

/// Pairs of a handshake and a connection that are tried at once. The others are tried a moment later.
const PAIRS: usize = 2_048;

/// Time for which a connection waits for secrets, from the first record that they would open. Then its keys are looked
/// for in memory.
const WAIT_NS: u64 = 1_000_000_000;

/// A connection that may get secrets.
struct Awaiting {
    socket: SocketKey,
    is_seen: bool,
    /// When it was ready for them.
    since: Option<Timestamp>,
    /// The handshakes before this one are not its own.
    tried: u64,
}

/// What a process calls by one name.
struct Named {
    at: Timestamp,
    /// Those that it had, by the number of the label.
    labels: u32,
    of: Of,
}

#[derive(Clone, Copy)]
enum Of {
    /// The connection is known.
    Connection(ClientRandom),
    /// It is not.
    Handshake(u64),
}

/// Secrets of a connection that is not known.
struct Handshake {
    at: Timestamp,
    pid: u32,
    owner: u64,
    secrets: HandshakeSecrets,
}

/// Secrets whose connections are not known, and what processes call the others.
#[derive(Default)]
struct Handshakes {
    named: HashMap<(u32, u64), Named>,
    /// In their order.
    unknown: BTreeMap<u64, Handshake>,
    n: u64,
}

/// What came of probes, and who waits for it.
pub(super) struct Probed {
    probe: KeyProbe,
    waiting: Vec<Awaiting>,
    handshakes: Handshakes,
    looked_at: Timestamp,
}

impl Probed {
    pub(super) fn new(probe: KeyProbe) -> Probed {
        Probed {
            probe,
            waiting: Vec::new(),
            handshakes: Handshakes::default(),
            looked_at: Timestamp(0),
        }
    }

    /// The secrets of a connection may come. False: there are too many that wait.
    pub(super) fn await_secrets(&mut self, socket: SocketKey) -> bool {
        let is_room = self.waiting.len() < limits::TLS_SEARCHED;
        if is_room {
            self.waiting.push(Awaiting {
                socket,
                is_seen: false,
                since: None,
                tried: 0,
            });
        }
        is_room
    }

    /// The process's handshakes are probed.
    pub(super) fn covers(&self, pid: u32) -> bool {
        self.probe.covers(pid)
    }

    pub(super) fn n_processes(&self) -> u64 {
        self.probe.n_processes()
    }

    pub(super) fn waits(&self, socket: &SocketKey) -> bool {
        self.waiting.iter().any(|waiting| waiting.socket == *socket)
    }

    /// Takes the secrets that have come; says whether some have.
    fn read(&mut self, keys: &mut KeyLog) -> bool {
        let Probed {
            probe, handshakes, ..
        } = self;
        let mut has_come = false;
        probe.read(&mut |secret| {
            has_come = true;
            handshakes.take(secret, keys);
        });
        has_come
    }
}

impl Handshakes {
    /// Takes one secret.
    fn take(&mut self, secret: &Secret, keys: &mut KeyLog) {
        let Some((label, bytes)) = read(secret) else {
            return;
        };
        if secret.has_random != 0 {
            return keys.take_probed(secret.random, label, bytes);
        }
        let (name, at) = ((secret.tgid, secret.owner), Timestamp(secret.at_ns));
        let bit = 1 << label as u32;
        let known = self.named.get_mut(&name);
        // A name is used anew when its connection is over.
        if let Some(known) = known.filter(|known| !begins_anew(label, known.labels)) {
            known.labels |= bit;
            known.at = at;
            match known.of {
                Of::Connection(random) => return keys.take_probed(random, label, bytes),
                Of::Handshake(id) => {
                    if let Some(handshake) = self.unknown.get_mut(&id)
                        && handshake.secrets.take(label, bytes)
                    {
                        return;
                    }
                }
            }
        }
        let mut secrets = keys.handshake();
        if !secrets.take(label, bytes) {
            return;
        }
        if self.unknown.len() >= limits::TLS_SEARCHED {
            self.unknown.pop_first();
        }
        self.n += 1;
        let of = Of::Handshake(self.n);
        let labels = bit;
        self.named.insert(name, Named { at, labels, of });
        let (pid, owner) = name;
        let handshake = Handshake {
            at,
            pid,
            owner,
            secrets,
        };
        self.unknown.insert(self.n, handshake);
    }

    /// What nobody came for goes.
    fn drop_old(&mut self, now: Timestamp) {
        let is_old = |at: Timestamp| now.since(at) > limits::TLS_SECRETS_UNUSED_NS;
        self.unknown.retain(|_, handshake| !is_old(handshake.at));
        let unknown = &self.unknown;
        self.named.retain(|_, named| match named.of {
            Of::Connection(_) => !is_old(named.at),
            Of::Handshake(id) => unknown.contains_key(&id),
        });
    }

    /// Looks whether one of the handshakes of a process is the connection's that `is_of` knows. It is given to it then.
    fn link(
        &mut self,
        (pid, random): (u32, ClientRandom),
        tried: &mut u64,
        left: &mut usize,
        mut is_of: impl FnMut(&HandshakeSecrets) -> bool,
    ) -> Option<HandshakeSecrets> {
        let of_process = self
            .unknown
            .range(*tried..)
            .filter(|(_, handshake)| handshake.pid == pid);
        let (mut found, mut is_held) = (None, false);
        for (id, handshake) in of_process {
            if !handshake.secrets.is_enough() {
                // The rest of it is on its way.
                is_held = true;
                continue;
            }
            if *left == 0 {
                return None;
            }
            *left -= 1;
            if !is_held {
                *tried = id + 1;
            }
            if is_of(&handshake.secrets) {
                found = Some(*id);
                break;
            }
        }
        let id = found?;
        let handshake = self.unknown.remove(&id)?;
        let named = self.named.get_mut(&(pid, handshake.owner));
        // What follows is of that connection, unless the name is another's by now.
        let named = named.filter(|named| matches!(named.of, Of::Handshake(of) if of == id));
        if let Some(named) = named {
            named.of = Of::Connection(random);
        }
        Some(handshake.secrets)
    }
}

/// Whether a secret is of another handshake than those that came before it under the same name.
const fn begins_anew(label: Label, before: u32) -> bool {
    // TLS 1.2 has one secret; that of early data is the first of TLS 1.3.
    let is_first = matches!(label, Label::Master | Label::ClientEarly);
    let has_one = before & (1 << Label::Master as u32) != 0;
    is_first || has_one || before & (1 << label as u32) != 0
}

/// What a place of the map has. None: it is none of the secrets that are wanted.
fn read(secret: &Secret) -> Option<(Label, &[u8])> {
    let label = secret.label.split(|byte| *byte == 0).next()?;
    let label = Label::named(std::str::from_utf8(label).ok()?)?;
    let len = usize::try_from(secret.secret_len).ok()?;
    Some((label, secret.secret.get(..len)?))
}

impl TlsSockets {
    /// Secrets that have come are given to their connections; `is_urgent`: one of these is about to end.
    pub(super) fn probe(&mut self, now: Timestamp, is_urgent: bool, to: &mut dyn Downstream) {
        let (Some(mut probed), Some(keys)) = (self.probed.take(), &mut self.keys) else {
            return;
        };
        let has_come = probed.read(keys);
        if has_come || is_urgent || now.since(probed.looked_at) >= EVERY_NS {
            probed.looked_at = now;
            self.give_secrets(&mut probed, now, to);
            probed.handshakes.drop_old(now);
        }
        self.probed = Some(probed);
    }

    fn give_secrets(&mut self, probed: &mut Probed, now: Timestamp, to: &mut dyn Downstream) {
        let mut left = PAIRS;
        let mut plain = Vec::new();
        let waiting = std::mem::take(&mut probed.waiting);
        for mut one in waiting {
            let key = one.socket;
            let (Some(socket), Some(keys)) = (self.sockets.peek_mut(&key), &mut self.keys) else {
                continue;
            };
            let pid = socket.pid;
            if pid != 0 && !std::mem::replace(&mut one.is_seen, true) {
                probed.probe.see(pid);
            }
            let random = match socket.connection.expects_secrets() {
                Expects::Nothing => {
                    socket.awaits_secrets = false;
                    continue;
                }
                Expects::NotYet => {
                    probed.waiting.push(one);
                    continue;
                }
                Expects::Now(random) => random,
            };
            if !keys.opens(&random) {
                let (place, tried) = ((pid, random), &mut one.tried);
                let own = probed.handshakes.link(place, tried, &mut left, |secrets| {
                    socket.connection.is_of(secrets, &mut plain)
                });
                if let Some(own) = own {
                    keys.adopt(random, own);
                }
            }
            if keys.opens(&random) {
                socket.awaits_secrets = false;
                self.with(&key, to, |connection, out| connection.told(now, out));
                continue;
            }
            let since = *one.since.get_or_insert(now);
            if now.since(since) >= WAIT_NS {
                socket.awaits_secrets = false;
                self.with(&key, to, |connection, out| {
                    connection.expect_no_secrets(now, out);
                });
                continue;
            }
            probed.waiting.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_is_used_anew_is_another_handshake() {
        let of = |labels: &[Label]| labels.iter().fold(0, |of, label| of | 1 << *label as u32);
        let handshake = [Label::ClientHandshake, Label::ServerHandshake];
        assert!(!begins_anew(Label::ServerHandshake, of(&handshake[..1])));
        assert!(!begins_anew(Label::Client, of(&handshake)));
        assert!(!begins_anew(
            Label::ClientHandshake,
            of(&[Label::ClientEarly])
        ));
        for (label, before) in [
            (Label::ClientHandshake, &handshake[..]),
            (Label::Master, &handshake[..]),
            (Label::Master, &[Label::Master]),
            (Label::ClientHandshake, &[Label::Master]),
            (Label::ClientEarly, &handshake[..]),
        ] {
            assert!(begins_anew(label, of(before)), "{label:?} {before:?}");
        }
    }

    fn secret(owner: u64, label: &str, at_ns: u64) -> Secret {
        let mut secret = Secret {
            at_ns,
            owner,
            tgid: 7,
            secret_len: 48,
            ..Secret::NONE
        };
        secret.label[..label.len()].copy_from_slice(label.as_bytes());
        secret
    }

    #[test]
    fn secrets_that_wait_are_bounded_and_go() {
        let (mut handshakes, mut keys) = (Handshakes::default(), KeyLog::default());
        for owner in 0..3 * limits::TLS_SEARCHED as u64 {
            handshakes.take(&secret(owner, "CLIENT_RANDOM", owner), &mut keys);
        }
        for label in ["EXPORTER_SECRET", "\u{ff}", ""] {
            handshakes.take(&secret(1, label, 1), &mut keys);
        }
        handshakes.drop_old(Timestamp(1));
        assert_eq!(handshakes.unknown.len(), limits::TLS_SEARCHED);
        assert_eq!(handshakes.named.len(), limits::TLS_SEARCHED);
        handshakes.drop_old(Timestamp(2 * limits::TLS_SECRETS_UNUSED_NS));
        assert!(handshakes.unknown.is_empty() && handshakes.named.is_empty());
        assert!(keys.is_empty());
    }

    #[test]
    fn handshake_whose_rest_is_on_its_way_is_tried_again() {
        let (mut handshakes, mut keys) = (Handshakes::default(), KeyLog::default());
        handshakes.take(&secret(1, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", 1), &mut keys);
        handshakes.take(&secret(2, "CLIENT_RANDOM", 1), &mut keys);
        let (place, mut tried, mut left) = ((7, [3; 32]), 0, 9);
        let mut link = |handshakes: &mut Handshakes, is_own| {
            handshakes.link(place, &mut tried, &mut left, |_| is_own)
        };
        assert!(link(&mut handshakes, false).is_none());
        handshakes.take(&secret(1, "SERVER_HANDSHAKE_TRAFFIC_SECRET", 2), &mut keys);
        assert!(link(&mut handshakes, true).is_some());
        // What comes under that name now is the connection's.
        handshakes.take(&secret(1, "CLIENT_TRAFFIC_SECRET_0", 3), &mut keys);
        handshakes.take(&secret(1, "SERVER_TRAFFIC_SECRET_0", 3), &mut keys);
        assert!(keys.opens(&[3; 32]));
        assert!(
            link(&mut handshakes, false).is_none(),
            "tried, and not its own"
        );
        assert!(link(&mut handshakes, true).is_none());
    }
}
