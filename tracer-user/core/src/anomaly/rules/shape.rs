//! Whether the calls of a method have one message or several: what was seen so far (it can't be told
//! from one call).

use crate::anomaly::rules::methods::Methods;
use crate::limits;
use crate::stream::record::{Messages, Outcome, Seen, StreamRecord};

/// Calls that must have gone well before anything is said of a method.
const CALLS: u32 = 3;

/// Calls after which what all of them had in common is the method's nature: a stream of messages that
/// happened to have one each so often is rare.
const SURE_CALLS: u32 = 100;

/// What all calls of a method had in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Each request had exactly one message.
    pub(super) one_request: bool,
    /// Each response had exactly one message.
    pub(super) one_response: bool,
    pub(super) sure: bool,
}

/// The methods seen.
#[derive(Debug)]
pub(super) struct Shapes {
    known: Methods<(Shape, u32)>,
    /// Methods that were forgotten to make room.
    pub(super) n_forgotten: u32,
}

impl Default for Shapes {
    fn default() -> Shapes {
        Shapes {
            known: Methods::new(limits::METHOD_SHAPES),
            n_forgotten: 0,
        }
    }
}

impl Shapes {
    /// The shape of a method, once enough of its calls were seen.
    pub(super) fn of(&self, record: &StreamRecord) -> Option<Shape> {
        self.known
            .get(record.pid, record.path.as_deref()?)
            .filter(|(_, n_calls)| *n_calls >= CALLS)
            .map(|(shape, n_calls)| Shape {
                sure: *n_calls >= SURE_CALLS,
                ..*shape
            })
    }

    /// Learns from a call that went well.
    pub(super) fn learn(&mut self, record: &StreamRecord) {
        let (request, response) = (&record.request.messages, &record.response.messages);
        let fit = record.outcome == Outcome::Ok
            && record.grpc == Seen::Value(())
            && !record.trailers_only
            && request.known
            && response.known;
        let Some(path) = record.path.as_ref().filter(|_| fit) else {
            return;
        };
        let one = |messages: &Messages| messages.complete == 1 && messages.open.is_none();
        let call = Shape {
            one_request: one(request),
            one_response: one(response),
            sure: false,
        };
        if let Some((shape, n_calls)) = self.known.get_shared(record.pid, path) {
            shape.one_request &= call.one_request;
            shape.one_response &= call.one_response;
            *n_calls = n_calls.saturating_add(1);
        } else if self.known.insert(record.pid, path, (call, 1)) {
            self.n_forgotten = self.n_forgotten.saturating_add(1);
        }
    }
}
