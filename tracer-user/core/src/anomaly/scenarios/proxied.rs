//! A proxy written by hand: two connections, and one clock.

use crate::anomaly::Rules;
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::event::Timestamp;
use crate::frame::HeaderBlock;
use crate::hop::{Hop, Hops, ProxyKey, Side};
use crate::limits;
use crate::stream::condition::Condition;
use crate::stream::record::{StreamEvent, StreamRecord};
use crate::stream::script::{C, S, Script, block, grpc_response, message, trailers};

/// What a connection is to the tests: its number.
pub(crate) type Tag = u64;

/// A proxy between a client and a server.
pub(crate) struct Proxied {
    /// The client's connection, at the proxy.
    pub(crate) down: Script,
    /// The server's connection, at the proxy.
    pub(crate) up: Script,
    pub(crate) hops: Hops<Tag>,
    rules: Rules,
    place: ProxyKey,
    /// Findings about single streams.
    pub(crate) single: Vec<Finding>,
    /// Requests that were decided.
    pub(crate) requests: Vec<Hop<Tag>>,
    /// Findings about them.
    pub(crate) findings: Vec<Finding>,
    /// When each was decided.
    pub(crate) streams: Vec<StreamRecord>,
}

impl Proxied {
    pub(crate) fn new() -> Self {
        Proxied::at(ProxyKey::Process(10), true)
    }

    pub(crate) fn at(place: ProxyKey, from_start: bool) -> Self {
        let mut hops = Hops::default();
        hops.connected(place, Side::Downstream);
        hops.connected(place, Side::Upstream);
        Proxied {
            down: Script::on(1, Some(S), from_start),
            up: Script::on(2, Some(C), from_start),
            hops,
            rules: Rules::new(),
            place,
            single: Vec::new(),
            requests: Vec::new(),
            findings: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// Something happens on the client's hop.
    pub(crate) fn down(&mut self, act: impl FnOnce(&mut Script)) -> &mut Self {
        self.down.now = self.down.now.max(self.up.now);
        act(&mut self.down);
        self.take(Side::Downstream);
        self
    }

    /// Something happens on the server's hop.
    pub(crate) fn up(&mut self, act: impl FnOnce(&mut Script)) -> &mut Self {
        self.up.now = self.up.now.max(self.down.now);
        act(&mut self.up);
        self.take(Side::Upstream);
        self
    }

    fn take(&mut self, side: Side) {
        let events = match side {
            Side::Downstream => self.down.events(),
            Side::Upstream => self.up.events(),
        };
        for event in events {
            self.single.extend(self.rules.judge(&event));
            match event {
                StreamEvent::Requested(opening) => self.hops.requested(self.place, side, &opening),
                StreamEvent::Condition(condition) => {
                    if let (Condition::Overdue { .. }, Some(request)) =
                        (condition.what, &condition.stream)
                    {
                        let of = (request.connection, request.stream_id);
                        let upstream = self.hops.all_over(self.place, of);
                        let found = self.rules.judge_waiting(request, &upstream, condition.at);
                        self.findings.extend(found);
                    }
                }
                StreamEvent::Ended(record) => {
                    self.streams.push((*record).clone());
                    let tag = record.connection.0;
                    let at = record.last_at;
                    self.hops.ended(self.place, side, at, record, tag);
                }
                _ => {}
            }
        }
        self.decided();
    }

    fn decided(&mut self) {
        while let Some(request) = self.hops.poll() {
            self.findings.extend(self.rules.judge_hop(&request));
            self.requests.push(*request);
        }
    }

    /// Lets every linger pass.
    pub(crate) fn settle(&mut self) -> &mut Self {
        self.pass(limits::STREAM_LINGER_NS)
            .pass(limits::HOP_SETTLE_NS)
    }

    /// Time passes on both hops.
    pub(crate) fn pass(&mut self, ns: u64) -> &mut Self {
        let now = self.down.now.max(self.up.now) + ns;
        (self.down.now, self.up.now) = (now, now);
        self.down.table.advance(Timestamp(now));
        self.take(Side::Downstream);
        self.up.table.advance(Timestamp(now));
        self.take(Side::Upstream);
        self.hops.advance(Timestamp(now));
        self.decided();
        self
    }

    /// The request comes in on stream `down` and goes out on stream `up`, END_STREAM still to come.
    pub(crate) fn open(&mut self, down: u32, up: u32, id: &str) -> &mut Self {
        self.down(|s| {
            s.headers(C, down, request(id), false)
                .data(C, down, &message(11), false);
        })
        .up(|s| {
            s.headers(C, up, passed_on(id, up), false)
                .data(C, up, &message(11), false);
        })
    }

    /// A whole response of `len` bytes comes, and after it the server's RST_STREAM(NO_ERROR).
    pub(crate) fn early_answer(&mut self, up: u32, len: u32) -> &mut Self {
        self.up(|s| {
            s.headers(S, up, grpc_response(), false)
                .data(S, up, &message(len), false)
                .headers(S, up, trailers("0"), true)
                .rst(S, up, crate::frame::ErrorCode::NO_ERROR);
        })
    }

    /// The response goes on whole.
    pub(crate) fn forward(&mut self, down: u32, len: u32) -> &mut Self {
        self.down(|s| {
            s.headers(S, down, grpc_response(), false)
                .data(S, down, &message(len), false)
                .headers(S, down, trailers("0"), true);
        })
    }

    /// The only request.
    #[track_caller]
    pub(crate) fn request(&self) -> &Hop<Tag> {
        assert_eq!(self.requests.len(), 1, "{:#?}", self.requests);
        &self.requests[0]
    }

    /// The only finding about a request.
    #[track_caller]
    pub(crate) fn finding(&self) -> &Finding {
        assert_eq!(self.findings.len(), 1, "{:#?}", self.findings);
        &self.findings[0]
    }

    /// Kinds and verdicts of the findings about requests.
    pub(crate) fn kinds(&self) -> Vec<(Kind, Verdict)> {
        self.findings.iter().map(|f| (f.kind, f.verdict)).collect()
    }

    /// Nothing worse than expected was found, of requests or single streams.
    #[track_caller]
    pub(crate) fn no_trouble(&self) {
        let all = self.findings.iter().chain(&self.single);
        let trouble: Vec<_> = all.filter(|f| f.verdict > Verdict::Expected).collect();
        assert!(trouble.is_empty(), "{trouble:#?}");
    }
}

/// A request as the client sends it; an empty id leaves it like every other.
pub(crate) fn request(id: &str) -> HeaderBlock {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/test.Test/Call"),
        (":authority", "proxy"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "grpc-node-js/1.12.6"),
    ];
    if !id.is_empty() {
        fields.push(("x-call-id", id));
    }
    block(&fields)
}

/// The same request as Envoy passes it on, with an `x-request-id` of its own.
pub(crate) fn passed_on(id: &str, n: u32) -> HeaderBlock {
    let mut passed = request(id);
    let request_id = format!("6b5f4a2c-{n}");
    let added = [
        ("x-forwarded-proto", "http"),
        ("x-request-id", request_id.as_str()),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
    ];
    passed.fields.extend(block(&added).fields);
    passed
}
