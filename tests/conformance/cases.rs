//! The cases of h2spec 2.2.1, and what h2trace has to say of each.

use crate::peers::Tested;

/// A case of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Suite, section and number.
    pub(crate) id: &'static str,
    expected: Expected,
}

/// What is right to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing is forbidden. The client may leave in the middle of a response, or give something up: that is all that
    /// may be told, and of it.
    Legal(&'static [&'static str]),
    /// One of these kinds of finding, of the client, and none of the server.
    Broken(&'static [&'static str]),
    /// The client does nothing wrong, and the server may refuse it, which is told of the server as these kinds.
    Refused(&'static [&'static str]),
    /// The client does not speak HTTP/2: the connection is told as one of another protocol, and a finding is
    /// right only if the server spoke HTTP/2 all the same.
    Foreign,
}

impl Case {
    /// What is right to say when it is run against this server.
    pub(crate) fn expected(self, server: Tested) -> Expected {
        match (self.id, server) {
            // They announce a larger SETTINGS_MAX_FRAME_SIZE than the header block is long; nginx the largest.
            ("http2/4.2/3", Tested::Go | Tested::Nginx) | ("http2/4.2/2", Tested::Nginx) => {
                Expected::Legal(LEAVES)
            }
            // nginx may have ended the stream before the WINDOW_UPDATE that is too much: then there is no window.
            ("http2/6.9.1/3", Tested::Nginx) => {
                Expected::Legal(&["connection_lost_streams", "bad_window_update"])
            }
            // The same parameter twice in SETTINGS (RFC 9113 section 6.5: processed in order). And trailers of a
            // request, which nginx has sometimes answered before.
            ("http2/6.5.3/1", Tested::Go) | ("generic/4/4", Tested::Nginx) => {
                Expected::Refused(&["error_go_away"])
            }
            _ => self.expected,
        }
    }

    /// Its header block is longer than what is copied of one, so a loss is told.
    pub(crate) fn has_long_block(self) -> bool {
        self.id == "http2/4.2/3"
    }

    pub(crate) fn is_violation(self) -> bool {
        !matches!(self.expected, Expected::Legal(_))
    }
}

/// What the gate runs: one case of each kind of violation, and some that are legal.
pub(crate) fn small() -> Vec<Case> {
    let few = [
        "generic/1/1",
        "generic/2/4",
        "generic/3.3/5",
        "generic/3.10/2",
        "generic/4/4",
        "http2/4.1/1",
        "http2/4.3/1",
        "http2/5.1/2",
        "http2/5.1/5",
        "http2/5.1.1/2",
        "http2/6.1/3",
        "http2/6.5.2/2",
        "http2/6.9/2",
        "http2/6.9.2/2",
        "http2/6.10/4",
        "http2/8.1.2/1",
        "http2/8.1.2.3/2",
        "http2/8.1.2.6/1",
        "hpack/2.3.3/1",
    ];
    let of = |id: &str| ALL.iter().copied().find(|case| case.id == id);
    few.into_iter()
        .map(|id| of(id).unwrap_or_else(|| panic!("there is no case {id}")))
        .collect()
}

/// The client closes the connection when it has seen enough.
pub(crate) const LEAVES: &[&str] = &["connection_lost_streams"];

const fn legal(id: &'static str) -> Case {
    let expected = Expected::Legal(LEAVES);
    Case { id, expected }
}

/// Legal, and the client gives up the stream or the connection with an error code.
const fn gives_up(id: &'static str, kinds: &'static [&'static str]) -> Case {
    let expected = Expected::Legal(kinds);
    Case { id, expected }
}

const fn foreign(id: &'static str) -> Case {
    let expected = Expected::Foreign;
    Case { id, expected }
}

const fn broken(id: &'static str, kinds: &'static [&'static str]) -> Case {
    let expected = Expected::Broken(kinds);
    Case { id, expected }
}

const FRAMING: &[&str] = &["framing_violation"];
const FIELDS: &[&str] = &["malformed_fields"];
const HPACK: &[&str] = &["hpack_failure"];

/// All, in the suite's order.
pub(crate) const ALL: &[Case] = &[
    legal("generic/1/1"),
    legal("generic/2/1"),
    legal("generic/2/2"),
    legal("generic/2/3"),
    legal("generic/2/4"),
    legal("generic/2/5"),
    legal("generic/3.1/1"),
    legal("generic/3.1/2"),
    legal("generic/3.1/3"),
    legal("generic/3.2/1"),
    legal("generic/3.2/2"),
    legal("generic/3.2/3"),
    legal("generic/3.3/1"),
    legal("generic/3.3/2"),
    legal("generic/3.3/3"),
    legal("generic/3.3/4"),
    legal("generic/3.3/5"),
    legal("generic/3.4/1"),
    legal("generic/3.5/1"),
    legal("generic/3.7/1"),
    legal("generic/3.8/1"),
    legal("generic/3.9/1"),
    legal("generic/3.9/2"),
    legal("generic/3.10/1"),
    legal("generic/3.10/2"),
    legal("generic/4/1"),
    legal("generic/4/2"),
    legal("generic/4/3"),
    legal("generic/4/4"),
    legal("generic/5/1"),
    legal("generic/5/2"),
    legal("generic/5/3"),
    legal("generic/5/4"),
    legal("generic/5/5"),
    legal("generic/5/6"),
    legal("generic/5/7"),
    legal("generic/5/8"),
    legal("generic/5/9"),
    legal("generic/5/10"),
    legal("generic/5/11"),
    legal("generic/5/12"),
    legal("generic/5/13"),
    legal("generic/5/14"),
    legal("generic/5/15"),
    legal("http2/3.5/1"),
    foreign("http2/3.5/2"),
    legal("http2/4.1/1"),
    legal("http2/4.1/2"),
    legal("http2/4.1/3"),
    legal("http2/4.2/1"),
    broken("http2/4.2/2", FRAMING),
    broken("http2/4.2/3", FRAMING),
    broken("http2/4.3/1", HPACK),
    broken("http2/4.3/2", FRAMING),
    broken("http2/4.3/3", FRAMING),
    broken("http2/5.1/1", &["framing_violation", "unexpected_frame"]),
    broken("http2/5.1/2", FRAMING),
    broken("http2/5.1/3", FRAMING),
    broken("http2/5.1/4", FRAMING),
    broken("http2/5.1/5", &["frame_after_end_stream"]),
    broken("http2/5.1/6", &["frame_after_end_stream"]),
    broken(
        "http2/5.1/7",
        &[
            "framing_violation",
            "frame_after_end_stream",
            "frame_after_reset",
        ],
    ),
    broken("http2/5.1/8", &["frame_after_reset"]),
    broken("http2/5.1/9", &["frame_after_reset"]),
    broken(
        "http2/5.1/10",
        &[
            "framing_violation",
            "frame_after_end_stream",
            "frame_after_reset",
        ],
    ),
    broken("http2/5.1/11", &["frame_after_end_stream"]),
    broken("http2/5.1/12", &["frame_after_end_stream"]),
    broken(
        "http2/5.1/13",
        &[
            "framing_violation",
            "frame_after_end_stream",
            "frame_after_reset",
        ],
    ),
    broken("http2/5.1.1/1", FRAMING),
    broken("http2/5.1.1/2", FRAMING),
    broken("http2/5.1.2/1", &["concurrency_exceeded"]),
    broken("http2/5.3.1/1", FRAMING),
    broken("http2/5.3.1/2", FRAMING),
    broken("http2/5.4.1/1", FRAMING),
    broken("http2/5.4.1/2", FRAMING),
    legal("http2/5.5/1"),
    broken("http2/5.5/2", FRAMING),
    broken("http2/6.1/1", FRAMING),
    broken(
        "http2/6.1/2",
        &[
            "frame_after_end_stream",
            "unexpected_frame",
            "framing_violation",
        ],
    ),
    broken("http2/6.1/3", FRAMING),
    broken("http2/6.2/1", FRAMING),
    broken("http2/6.2/2", FRAMING),
    broken("http2/6.2/3", FRAMING),
    broken("http2/6.2/4", FRAMING),
    broken("http2/6.3/1", FRAMING),
    broken("http2/6.3/2", FRAMING),
    broken("http2/6.4/1", FRAMING),
    broken("http2/6.4/2", FRAMING),
    broken("http2/6.4/3", FRAMING),
    broken("http2/6.5/1", FRAMING),
    broken("http2/6.5/2", FRAMING),
    broken("http2/6.5/3", FRAMING),
    broken("http2/6.5.2/1", FRAMING),
    broken("http2/6.5.2/2", FRAMING),
    broken("http2/6.5.2/3", FRAMING),
    broken("http2/6.5.2/4", FRAMING),
    legal("http2/6.5.2/5"),
    legal("http2/6.5.3/1"),
    legal("http2/6.5.3/2"),
    legal("http2/6.7/1"),
    legal("http2/6.7/2"),
    broken("http2/6.7/3", FRAMING),
    broken("http2/6.7/4", FRAMING),
    broken("http2/6.8/1", FRAMING),
    broken("http2/6.9/1", &["bad_window_update"]),
    broken("http2/6.9/2", &["bad_window_update"]),
    broken("http2/6.9/3", FRAMING),
    legal("http2/6.9.1/1"),
    broken("http2/6.9.1/2", &["bad_window_update"]),
    broken("http2/6.9.1/3", &["bad_window_update"]),
    legal("http2/6.9.2/1"),
    legal("http2/6.9.2/2"),
    broken("http2/6.9.2/3", FRAMING),
    legal("http2/6.10/1"),
    broken("http2/6.10/2", FRAMING),
    broken("http2/6.10/3", FRAMING),
    broken("http2/6.10/4", FRAMING),
    broken("http2/6.10/5", FRAMING),
    broken("http2/6.10/6", FRAMING),
    gives_up("http2/7/1", &["error_go_away"]),
    gives_up("http2/7/2", &["client_rejected_response"]),
    broken("http2/8.1/1", FIELDS),
    broken("http2/8.1.2/1", FIELDS),
    broken("http2/8.1.2.1/1", FIELDS),
    broken("http2/8.1.2.1/2", FIELDS),
    broken("http2/8.1.2.1/3", FIELDS),
    broken("http2/8.1.2.1/4", FIELDS),
    broken("http2/8.1.2.2/1", FIELDS),
    broken("http2/8.1.2.2/2", FIELDS),
    broken("http2/8.1.2.3/1", FIELDS),
    broken("http2/8.1.2.3/2", FIELDS),
    broken("http2/8.1.2.3/3", FIELDS),
    broken("http2/8.1.2.3/4", FIELDS),
    broken("http2/8.1.2.3/5", FIELDS),
    broken("http2/8.1.2.3/6", FIELDS),
    broken("http2/8.1.2.3/7", FIELDS),
    broken("http2/8.1.2.6/1", &["content_length_mismatch"]),
    broken("http2/8.1.2.6/2", &["content_length_mismatch"]),
    broken("http2/8.2/1", FRAMING),
    broken("hpack/2.3.3/1", HPACK),
    broken("hpack/4.2/1", HPACK),
    broken("hpack/5.2/1", HPACK),
    broken("hpack/5.2/2", HPACK),
    broken("hpack/5.2/3", HPACK),
    broken("hpack/6.1/1", HPACK),
    broken("hpack/6.3/1", HPACK),
];
