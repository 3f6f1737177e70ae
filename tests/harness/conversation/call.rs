//! One call of a conversation: what both sides do, in order.

use std::collections::VecDeque;

use super::{Plan, Random, Side};

type Fields = Vec<(&'static str, String)>;

/// What one side does on a stream.
pub(super) enum Action {
    Fields {
        by: Side,
        fields: Fields,
        end_stream: bool,
    },
    Data {
        by: Side,
        bytes: Vec<u8>,
        end_stream: bool,
    },
    Reset {
        by: Side,
        code: u32,
    },
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Unary,
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
    /// Trailers-Only with an error status.
    Refusal,
    /// The client gives up, which is its right.
    Cancelled,
    /// The client gives up before it is answered, and the answer crosses its reset.
    Crossed,
    /// The server answers in full and resets before the request has ended.
    EarlyAnswer,
    /// Broken: the server resets in the middle of its message.
    Cut,
    /// Broken: the response ends on DATA.
    NoTrailers,
    /// Broken: the server resets before it answers.
    NoAnswer,
    /// Broken: trailers without grpc-status.
    NoStatus,
}

const HEALTHY: [CallKind; 9] = [
    CallKind::Unary,
    CallKind::Unary,
    CallKind::ServerStreaming,
    CallKind::ClientStreaming,
    CallKind::Bidirectional,
    CallKind::Refusal,
    CallKind::Cancelled,
    CallKind::Crossed,
    CallKind::EarlyAnswer,
];
const BROKEN: [CallKind; 4] = [
    CallKind::Cut,
    CallKind::NoTrailers,
    CallKind::NoAnswer,
    CallKind::NoStatus,
];

impl CallKind {
    pub(super) fn choose(plan: &Plan, random: &mut Random) -> CallKind {
        if plan.plain {
            return CallKind::Unary;
        }
        if plan.broken && random.once_in(2) {
            return BROKEN[random.below(BROKEN.len())];
        }
        HEALTHY[random.below(HEALTHY.len())]
    }

    const fn path(self) -> &'static str {
        match self {
            CallKind::ServerStreaming => "/shop.Orders/Watch",
            CallKind::ClientStreaming | CallKind::EarlyAnswer => "/shop.Orders/Upload",
            CallKind::Bidirectional => "/shop.Orders/Chat",
            CallKind::Refusal => "/shop.Orders/Find",
            CallKind::Cancelled | CallKind::Crossed => "/shop.Orders/Follow",
            CallKind::Unary
            | CallKind::Cut
            | CallKind::NoTrailers
            | CallKind::NoAnswer
            | CallKind::NoStatus => "/shop.Orders/Get",
        }
    }
}

/// A call that is going on.
pub(super) struct ScriptedCall {
    pub(super) id: u32,
    actions: VecDeque<Action>,
}

impl ScriptedCall {
    pub(super) fn new(id: u32, kind: CallKind, plan: &Plan, random: &mut Random) -> ScriptedCall {
        use Side::{Client, Server};
        let mut script = Script {
            actions: VecDeque::new(),
            plan,
            random,
        };
        script.request_headers(id, kind);
        match kind {
            CallKind::Unary => script.asks(1).answers(1).succeeds(),
            CallKind::ServerStreaming => {
                let n = 1 + script.random.below(4);
                script.asks(1).answers(n).succeeds();
            }
            CallKind::ClientStreaming => {
                let n = 1 + script.random.below(4);
                script.asks(n).answers(1).succeeds();
            }
            CallKind::Bidirectional => {
                script.message(Client, false).response_headers();
                for _ in 0..script.random.below(4) {
                    script.message(Server, false).message(Client, false);
                }
                script.message(Server, false).end(Client).succeeds();
            }
            CallKind::Refusal => script.asks(1).trailers_only("5"),
            CallKind::Cancelled => {
                script.asks(1).answers(1).reset(Client, 8);
            }
            CallKind::Crossed => {
                script.asks(1).reset(Client, 8);
                script.answers(1).succeeds();
            }
            CallKind::EarlyAnswer => {
                script.message(Client, false).answers(1).succeeds();
                script.reset(Server, 0);
            }
            CallKind::Cut => {
                script.asks(1).response_headers().half_a_message();
                script.reset(Server, 0);
            }
            CallKind::NoTrailers => {
                script.asks(1).response_headers().message(Server, true);
            }
            CallKind::NoAnswer => {
                script.asks(1).reset(Server, 2);
            }
            CallKind::NoStatus => {
                script.asks(1).answers(1);
                script.fields(Server, vec![("grpc-message", "ok".to_owned())], true);
            }
        }
        ScriptedCall {
            id,
            actions: script.actions,
        }
    }

    pub(super) fn next(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

/// Actions that are being put together.
struct Script<'a> {
    actions: VecDeque<Action>,
    plan: &'a Plan,
    random: &'a mut Random,
}

impl Script<'_> {
    fn fields(&mut self, by: Side, fields: Fields, end_stream: bool) {
        self.actions.push_back(Action::Fields {
            by,
            fields,
            end_stream,
        });
    }

    fn request_headers(&mut self, id: u32, kind: CallKind) {
        let mut fields = vec![
            (":method", "POST".to_owned()),
            (":scheme", "http".to_owned()),
            (":path", kind.path().to_owned()),
            (":authority", "orders.shop:8080".to_owned()),
            ("content-type", "application/grpc".to_owned()),
            ("te", "trailers".to_owned()),
            ("user-agent", "grpc-go/1.70.0".to_owned()),
            ("x-request-id", format!("{:08x}-{id}", self.plan.seed)),
        ];
        if !self.plan.plain && self.random.once_in(2) {
            fields.push(("grpc-timeout", "10S".to_owned()));
        }
        self.fields(Side::Client, fields, false);
    }

    fn response_headers(&mut self) -> &mut Self {
        let fields = vec![
            (":status", "200".to_owned()),
            ("content-type", "application/grpc".to_owned()),
        ];
        self.fields(Side::Server, fields, false);
        self
    }

    fn trailers_only(&mut self, status: &str) {
        let fields = vec![
            (":status", "200".to_owned()),
            ("content-type", "application/grpc".to_owned()),
            ("grpc-status", status.to_owned()),
        ];
        self.fields(Side::Server, fields, true);
    }

    /// A length-prefixed message; it may begin in one DATA frame and end in another.
    fn message(&mut self, by: Side, end_stream: bool) -> &mut Self {
        let sizes = match by {
            Side::Client => &self.plan.request,
            Side::Server => &self.plan.response,
        };
        let len = self.random.within(sizes);
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(len).unwrap_or(0).to_be_bytes());
        bytes.extend((0..len).map(|n| b'a' + (n % 26) as u8));
        if !self.plan.plain && self.random.once_in(5) {
            let rest = bytes.split_off(self.random.below(bytes.len()));
            self.data(by, bytes, false);
            bytes = rest;
        }
        self.data(by, bytes, end_stream);
        self
    }

    fn data(&mut self, by: Side, bytes: Vec<u8>, end_stream: bool) {
        self.actions.push_back(Action::Data {
            by,
            bytes,
            end_stream,
        });
    }

    fn half_a_message(&mut self) {
        let mut bytes = vec![0, 0, 0, 0x2b, 0x6d];
        bytes.resize(5 + 100 + self.random.below(1_000), b'x');
        self.data(Side::Server, bytes, false);
    }

    fn end(&mut self, by: Side) -> &mut Self {
        self.data(by, Vec::new(), true);
        self
    }

    fn asks(&mut self, messages: usize) -> &mut Self {
        let with_message = self.random.once_in(2);
        for n in 1..=messages {
            self.message(Side::Client, n == messages && with_message);
        }
        if !with_message {
            self.end(Side::Client);
        }
        self
    }

    fn answers(&mut self, messages: usize) -> &mut Self {
        self.response_headers();
        for _ in 0..messages {
            self.message(Side::Server, false);
        }
        self
    }

    fn succeeds(&mut self) {
        let fields = vec![
            ("grpc-status", "0".to_owned()),
            ("grpc-message", String::new()),
        ];
        self.fields(Side::Server, fields, true);
    }

    fn reset(&mut self, by: Side, code: u32) {
        self.actions.push_back(Action::Reset { by, code });
    }
}
