//! Requests at a proxy that nothing but the order of its work tells apart.

use super::proxied::{Proxied, passed_on, request};
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::ErrorCode;
use crate::hop::{By, Confidence};
use crate::stream::script::*;

/// Two alike requests in one read; the proxy passes one on, and the server answers with `len` bytes. Then the
/// client gets an answer to both: to the first as `first` says it, to the second whole.
fn one_of_two(len: u32, first: impl FnOnce(&mut Script)) -> Proxied {
    let mut proxy = Proxied::new();
    proxy.down(|s| {
        let now = s.now;
        for id in [1, 3] {
            s.headers(C, id, request(""), true);
            s.now = now;
        }
    });
    proxy.up(|s| {
        s.headers(C, 1, passed_on("", 1), true)
            .headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(len), false)
            .headers(S, 1, trailers("0"), true);
    });
    proxy.down(first);
    proxy.forward(3, len);
    proxy.settle();
    proxy
}

#[test]
fn a_request_without_an_upstream_stream_makes_those_of_its_path_beside_it_ambiguous() {
    // A local answer that nothing tells from one that was passed on: which was which cannot be said.
    let proxy = one_of_two(100, |s| {
        s.headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(100), false)
            .headers(S, 1, trailers("0"), true);
    });
    let joined: Vec<_> = proxy.requests.iter().filter_map(|hop| hop.join).collect();
    let [join] = joined.as_slice() else {
        panic!("{:#?}", proxy.requests);
    };
    assert_eq!(
        (join.by, join.confidence),
        (By::Order, Confidence::Ambiguous)
    );
    // Whichever it is, nothing is wrong; and that either was answered by the proxy itself is not said of one.
    assert_eq!(proxy.kinds(), []);
    proxy.no_trouble();
}

#[test]
fn a_cut_that_may_be_of_the_proxys_own_answer_is_unknown() {
    let proxy = one_of_two(100, |s| {
        s.headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(100)[..50], false)
            .rst(S, 1, ErrorCode::NO_ERROR);
    });
    let cut: Vec<_> = proxy
        .findings
        .iter()
        .filter(|f| f.kind == Kind::ProxyTruncatedCompleteResponse)
        .map(|f| f.verdict)
        .collect();
    // The stream may have been the other request's, and the cut then the proxy's own answer: nobody knows.
    assert_eq!(cut, [Verdict::Unknown], "{:#?}", proxy.findings);
    for hop in proxy.requests.iter().filter(|hop| hop.join.is_some()) {
        assert_eq!(hop.join.unwrap().confidence, Confidence::Ambiguous);
    }
}
