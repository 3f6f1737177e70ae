//! What is counted of one connection end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::connection::Endpoint;
use h2trace_core::hop::early_response;
use h2trace_core::stream::record::{Outcome, Reset, Seen, StreamEnd, StreamRecord};

use super::room::Room;
use super::series::Series;
use super::text::Family;
use super::times::{ByRole, ROLES, role_index};
use crate::export::labels::{self, OTHER, UNKNOWN};
use crate::export::metrics;

const OUTCOMES: usize = Outcome::Unknown as usize + 1;

/// Series that a role has from its beginning, and outcomes, for which room is taken then.
pub(super) const ROLE_SERIES: usize = 5 + OUTCOMES;

/// What a line has at most besides the end's labels and a path: the metric's name, labels of its own, and a number.
const LINE: usize = 220;

#[derive(Debug, Default)]
pub(super) struct EndCounts {
    roles: ByRole<RoleCounts>,
    /// What has no role.
    own: BTreeMap<Series, u64>,
}

/// Of one end and role. Most series are there from the beginning: a rate over a series that has just been
/// born misses its first rise.
#[derive(Debug, Default)]
pub(super) struct RoleCounts {
    at: usize,
    pub(super) connections: u64,
    pub(super) opened: u64,
    early: u64,
    request_bytes: u64,
    response_bytes: u64,
    /// By [`Outcome`]; with its name once it came.
    outcomes: [(&'static str, u64); OUTCOMES],
    rare: BTreeMap<Series, u64>,
    resets: usize,
    methods: HashMap<Arc<str>, MethodCounts, RandomState>,
    /// Methods of which no server has said yet that there is one.
    unproven: usize,
}

/// Of one method.
#[derive(Debug)]
struct MethodCounts {
    statuses: Vec<(&'static str, u64)>,
    proven: bool,
}

/// The status of a server that has no such method.
const UNIMPLEMENTED: &str = "UNIMPLEMENTED";

/// The server gave this status, and has the method: clients can make up any name. (Without a status it may have.)
fn proves(code: &str) -> bool {
    labels::GRPC_CODES.contains(&code) && code != UNIMPLEMENTED
}

impl EndCounts {
    /// The counts of a role. None when there is no room for it.
    pub(super) fn role(
        &mut self,
        role: Option<Endpoint>,
        room: &mut Room,
    ) -> Option<&mut RoleCounts> {
        self.role_at(role_index(role), room)
    }

    fn role_at(&mut self, at: usize, room: &mut Room) -> Option<&mut RoleCounts> {
        let place = self.roles.get_mut(at)?;
        if place.is_none() {
            if !room.take(ROLE_SERIES) {
                return None;
            }
            *place = Some(Box::new(RoleCounts {
                at,
                ..RoleCounts::default()
            }));
        }
        place.as_deref_mut()
    }

    /// Counts what has no role.
    pub(super) fn add(&mut self, series: Series, n: u64, room: &mut Room) {
        match self.own.get_mut(&series) {
            Some(count) => *count += n,
            None if room.take(1) => {
                self.own.insert(series, n);
            }
            None => room.spill(None, series, n),
        }
    }

    /// Counts at a role, or at the end itself.
    pub(super) fn add_at(&mut self, role: Option<usize>, series: Series, n: u64, room: &mut Room) {
        match role {
            None => self.add(series, n, room),
            Some(at) => match self.role_at(at, room) {
                Some(role) => role.add(series, n, room),
                None => room.spill(role, series, n),
            },
        }
    }

    /// Series that stand on the page, and those that may follow without asking.
    pub(super) fn series(&self) -> usize {
        let of_roles = self.roles.iter().flatten().map(|role| {
            let statuses: usize = role
                .methods
                .values()
                .map(|method| method.statuses.len())
                .sum();
            ROLE_SERIES + role.rare.len() + statuses
        });
        self.own.len() + of_roles.sum::<usize>()
    }

    /// How long their lines on the page are at most, with labels of this length before their own.
    pub(super) fn page_bytes(&self, labels: usize) -> usize {
        let methods = self.roles.iter().flatten().flat_map(|role| &role.methods);
        // A path becomes a service and a method.
        let paths = methods.map(|(path, method)| path.len() * method.statuses.len());
        self.series() * (labels + LINE) + paths.sum::<usize>()
    }

    /// Takes what another counted, whose room was given back.
    pub(super) fn merge(&mut self, other: EndCounts, room: &mut Room) {
        for (series, n) in other.own {
            self.add(series, n, room);
        }
        for from in other.roles.into_iter().flatten() {
            let Some(role) = self.role_at(from.at, room) else {
                continue;
            };
            role.connections += from.connections;
            role.opened += from.opened;
            role.early += from.early;
            role.request_bytes += from.request_bytes;
            role.response_bytes += from.response_bytes;
            for (outcome, (name, n)) in role.outcomes.iter_mut().zip(from.outcomes) {
                if n > 0 {
                    *outcome = (name, outcome.1 + n);
                }
            }
            for (series, n) in from.rare {
                match series {
                    Series::Reset { .. } => role.add_reset(series, n, room),
                    series => role.add(series, n, room),
                }
            }
            for (path, method) in from.methods {
                for (code, n) in method.statuses {
                    role.add_status(&path, code, n, room);
                }
            }
        }
    }

    /// Writes the series of one metric.
    pub(super) fn write(&self, family: &mut Family<'_>, metric: &str, before: &str) {
        const CONNECTIONS: &str = metrics::CONNECTIONS.name;
        const STREAMS_OPENED: &str = metrics::STREAMS_OPENED.name;
        const STREAMS_ENDED: &str = metrics::STREAMS_ENDED.name;
        const EARLY_RESPONSES: &str = metrics::EARLY_RESPONSES.name;
        const DATA_BYTES: &str = metrics::DATA_BYTES.name;
        const GRPC_STATUS: &str = metrics::GRPC_STATUS.name;
        let mut before_role = String::new();
        for (role, name) in self.roles.iter().zip(ROLES) {
            let Some(counts) = role else { continue };
            let role = ("role", name);
            match metric {
                CONNECTIONS => family.line(before, &[role], counts.connections),
                STREAMS_OPENED => family.line(before, &[role], counts.opened),
                EARLY_RESPONSES => family.line(before, &[role], counts.early),
                DATA_BYTES => {
                    let both = [counts.request_bytes, counts.response_bytes];
                    for (direction, bytes) in ["request", "response"].into_iter().zip(both) {
                        family.line(before, &[role, ("direction", direction)], bytes);
                    }
                }
                STREAMS_ENDED => {
                    for (outcome, n) in counts.outcomes.iter().filter(|(_, n)| *n > 0) {
                        family.line(before, &[role, ("outcome", outcome)], n);
                    }
                }
                _ => {
                    before_role.clear();
                    before_role.push_str(before);
                    super::text::label(&mut before_role, "role", name);
                    rare(family, metric, &before_role, &counts.rare);
                    if metric == GRPC_STATUS {
                        counts.write_methods(family, &before_role);
                    }
                }
            }
        }
        rare(family, metric, before, &self.own);
    }
}

/// Writes those of one metric.
fn rare(family: &mut Family<'_>, metric: &str, before: &str, counts: &BTreeMap<Series, u64>) {
    for (series, n) in counts
        .iter()
        .filter(|(series, _)| series.metric() == metric)
    {
        series.with_labels(|labels| family.line(before, labels, n));
    }
}

impl RoleCounts {
    /// Counts one of the series that come into being when they are needed.
    pub(super) fn add(&mut self, series: Series, n: u64, room: &mut Room) {
        match self.rare.get_mut(&series) {
            Some(count) => *count += n,
            None if room.take(1) => {
                self.rare.insert(series, n);
            }
            None => room.spill(Some(self.at), series, n),
        }
    }

    /// Counts a stream that ended; its times are not kept here.
    pub(super) fn count(&mut self, record: &StreamRecord, findings: &[Finding], room: &mut Room) {
        if let Some(outcome) = self.outcomes.get_mut(record.outcome as usize) {
            *outcome = (record.outcome.as_str(), outcome.1 + 1);
        }
        self.request_bytes += record.request.data_bytes;
        self.response_bytes += record.response.data_bytes;
        if early_response(record) {
            self.early += 1;
        }
        if record.grpc == Seen::Value(()) {
            self.count_grpc(record, room);
        }
        for reset in &record.resets {
            let series = Series::Reset {
                sender: reset.sender.as_str(),
                code: reset.code.name(),
                request_phase: labels::request_phase(reset.request_phase),
                response_phase: labels::response_phase(reset.response_phase),
                verdict: verdict_of(reset, findings),
            };
            self.add_reset(series, 1, room);
        }
        for finding in findings {
            self.add(Series::of_finding(finding), 1, room);
        }
    }

    fn count_grpc(&mut self, record: &StreamRecord, room: &mut Room) {
        let end = labels::stream_end(record.end);
        if record.trailers == Seen::Absent
            && !matches!(record.end, StreamEnd::Evicted | StreamEnd::Unseen)
        {
            self.add(Series::MissingTrailers { end }, 1, room);
        }
        for (direction, half) in [("request", &record.request), ("response", &record.response)] {
            if half.messages.known && half.messages.open.is_some() {
                self.add(Series::Truncated { direction, end }, 1, room);
            }
        }
        let code = labels::grpc_code(record);
        match record.path.as_deref() {
            None => self.add(
                Series::Status {
                    method: UNKNOWN,
                    code,
                },
                1,
                room,
            ),
            Some(path) => self.add_status(path, code, 1, room),
        }
    }

    /// Counts a status by its method, if there is room for it.
    fn add_status(&mut self, path: &str, code: &'static str, n: u64, room: &mut Room) {
        let other = Series::Status {
            method: OTHER,
            code,
        };
        let proven = proves(code);
        if let Some(method) = self.methods.get_mut(path) {
            if proven && !method.proven {
                method.proven = true;
                self.unproven -= 1;
            }
            match method.statuses.iter_mut().find(|(known, _)| *known == code) {
                Some((_, count)) => *count += n,
                None if room.take(1) => method.statuses.push((code, n)),
                None => {
                    room.no_method();
                    self.add(other, n, room);
                }
            }
            return;
        }
        // What has no method's form may hold anything, so it is no label. Nor is what the server does not have, and what
        // it may not have takes half of the places at most.
        let has_place =
            self.methods.len() < room.methods && (proven || self.unproven < room.methods / 2);
        if labels::service_and_method(path) == (OTHER, OTHER) || code == UNIMPLEMENTED {
            self.add(other, n, room);
        } else if has_place && room.take(1) {
            self.unproven += usize::from(!proven);
            let statuses = vec![(code, n)];
            self.methods
                .insert(room.path(path), MethodCounts { statuses, proven });
        } else {
            room.no_method();
            self.add(other, n, room);
        }
    }

    /// Counts a reset, if there is room for one more sort of them.
    fn add_reset(&mut self, series: Series, n: u64, room: &mut Room) {
        let Series::Reset {
            sender, verdict, ..
        } = series
        else {
            return;
        };
        if self.rare.contains_key(&series) {
            self.add(series, n, room);
        } else if self.resets < room.resets {
            let before = self.rare.len();
            self.add(series, n, room);
            self.resets += self.rare.len() - before;
        } else {
            room.no_reset();
            let other = Series::Reset {
                sender,
                code: OTHER,
                request_phase: OTHER,
                response_phase: OTHER,
                verdict,
            };
            self.add(other, n, room);
        }
    }

    fn write_methods(&self, family: &mut Family<'_>, before: &str) {
        for (path, counts) in &self.methods {
            let (service, method) = labels::service_and_method(path);
            for (code, n) in &counts.statuses {
                let labels = [
                    ("grpc_service", service),
                    ("grpc_method", method),
                    ("grpc_code", *code),
                ];
                family.line(before, &labels, n);
            }
        }
    }
}

/// What was found about this very RST_STREAM: the worst verdict that names its sender and code.
pub(super) fn verdict_of(reset: &Reset, findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .filter(|finding| finding.code == Some(reset.code) && finding.sender == Some(reset.sender))
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Unknown)
}
