//! A status of gRPC in any spelling: `DEADLINE_EXCEEDED`, `DeadlineExceeded`, `grpc-status: 4`.

use super::Decoded;
use crate::explain::words::Word;
use h2trace_core::anomaly::kind::Kind;

/// The number, the name, what it says, and what it comes from; statuses that only servers' own
/// code gives are left out.
const STATUSES: [(u64, &str, &str, &[Kind]); 7] = [
    (
        1,
        "CANCELLED",
        "The call was cancelled, mostly by the client.",
        &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ResetBeforeResponse,
            Kind::CancelNotPropagated,
        ],
    ),
    (
        2,
        "UNKNOWN",
        "The call ended without a status that its client knew.",
        &[
            Kind::MissingGrpcStatus,
            Kind::NonGrpcResponse,
            Kind::StatusChanged,
            Kind::MissingTrailers,
        ],
    ),
    (
        4,
        "DEADLINE_EXCEEDED",
        "The call was not done by its deadline. Who was slow, it does not say.",
        &[
            Kind::DeadlineReset,
            Kind::ResponseOverdue,
            Kind::StreamWindowStall,
            Kind::ConnectionWindowStall,
            Kind::ConcurrencySaturated,
            Kind::ProxyLeftClientWaiting,
        ],
    ),
    (
        8,
        "RESOURCE_EXHAUSTED",
        "A limit was reached: of messages, header lists, streams, or one of the server's own.",
        &[
            Kind::StreamThrottled,
            Kind::ClientRejectedResponse,
            Kind::HeaderListTooLarge,
            Kind::WindowOverrun,
        ],
    ),
    (
        12,
        "UNIMPLEMENTED",
        "The method is not known where the call came to; clients make it of a 404 too.",
        &[Kind::NonGrpcResponse, Kind::SynthesizedAnswer],
    ),
    (
        13,
        "INTERNAL",
        "An end or a library found that the call broke a rule.",
        &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::MalformedFields,
        ],
    ),
    (
        14,
        "UNAVAILABLE",
        "The connection or the stream was lost, or was never made.",
        &[
            Kind::ConnectionLostStreams,
            Kind::StreamUnprocessed,
            Kind::StreamRefused,
            Kind::GoAwayLostStreams,
            Kind::SynthesizedAnswer,
        ],
    ),
];

/// Words before a number that is a status.
const BEFORE: [&str; 4] = ["grpc_status", "grpcstatus", "grpc_code", "grpccode"];

/// The first status that the words name.
pub(super) fn decode(words: &[Word]) -> Option<Decoded> {
    words.iter().enumerate().find_map(|(n, word)| {
        let before = |n_before: usize| {
            n.checked_sub(n_before)
                .and_then(|n| words.get(n))
                .map_or("", |word| word.lower.as_str())
        };
        let (number, name, means, kinds) = STATUSES.iter().find(|(number, name, ..)| {
            let numbered = word.number() == Some(*number)
                && (BEFORE.contains(&before(1)) || (before(2), before(1)) == ("grpc", "status"));
            numbered || is_name(word, name) || is_spoken(words, n, name)
        })?;
        Some(Decoded {
            part: word.given.clone(),
            is: format!("the gRPC status {name} ({number})"),
            means,
            kinds,
            word: n,
        })
    })
}

/// In capitals or in the way of Go and C#; in small letters they are words of the language.
fn is_name(word: &Word, name: &str) -> bool {
    let plain = |text: &str| text.replace('_', "");
    let given = plain(&word.given);
    let spelled = plain(name);
    let same = given.eq_ignore_ascii_case(&spelled)
        || (name == "CANCELLED" && given.eq_ignore_ascii_case("canceled"));
    let telling = word.given.contains('_') || word.given == word.given.to_uppercase() || {
        // DeadlineExceeded, Unavailable
        name.contains('_') && word.given.chars().filter(|c| c.is_uppercase()).count() > 1
    };
    same && telling
}

/// `deadline exceeded`, `code = Unavailable`, `StatusCode=Internal`.
fn is_spoken(words: &[Word], n: usize, name: &str) -> bool {
    let Some(word) = words.get(n) else {
        return false;
    };
    if name == "DEADLINE_EXCEEDED" && word.lower == "deadline" {
        let next = words.get(n + 1..).unwrap_or_default();
        return next
            .iter()
            .take(3)
            .any(|word| matches!(word.lower.as_str(), "exceeded" | "expired" | "passed"));
    }
    let before = n
        .checked_sub(1)
        .and_then(|n| words.get(n))
        .map_or("", |word| word.lower.as_str());
    let after_code = matches!(before, "code" | "status" | "statuscode" | "codename");
    let given = word.lower.replace('_', "");
    after_code
        && (given == name.replace('_', "").to_lowercase()
            || (name == "CANCELLED" && given == "canceled"))
}
