//! What two proxies made of a request, with an opaque leg between them.

use super::{HopFinding, words};
use crate::anomaly::kind::{Kind, Verdict};
use crate::hop::{AllMissing, Confidence, DroppedBy, Hop, Mesh, MissingBytes};
use crate::stream::record::{Seen, StreamRecord};

/// What holds of the two together stays, and is told of the two.
pub(super) fn of_two<T>(found: &mut Vec<HopFinding>, hop: &Hop<T>, up: &StreamRecord) {
    let Some(mesh) = &hop.mesh else { return };
    found.retain(|found| is_of_two(found.kind) && !found.holds);
    for found in found {
        found.summary = match found.kind {
            Kind::StatusChanged | Kind::EarlyResponseUpstream => {
                found.summary.replacen("the proxy", "one of two proxies", 1)
            }
            _ if found.verdict < Verdict::Anomaly => PERHAPS.to_owned(),
            _ => dropped(hop, mesh, up),
        };
    }
}

const PERHAPS: &str = "a response may have been whole at the server's sidecar and cut at the client's: the leg between \
     them is TLS, and which requests of the two belong together is not certain";

/// Two proxies show it together as one does. What else one does to a request, such as to give up, needs both its sides.
const fn is_of_two(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ProxyTruncatedCompleteResponse
            | Kind::ProxyDroppedTrailers
            | Kind::ProxyLostBytes
            | Kind::StatusChanged
            | Kind::EarlyResponseUpstream
    )
}

fn dropped<T>(hop: &Hop<T>, mesh: &Mesh, up: &StreamRecord) -> String {
    let down = &*hop.downstream.record;
    let is_certain = hop
        .join
        .is_none_or(|join| join.confidence < Confidence::Ambiguous);
    let missing = hop.missing();
    let passed = match missing {
        Some(MissingBytes { bytes: 0, .. }) => "all of it but the trailers".to_owned(),
        _ => words::passed(down),
    };
    let mut text = format!(
        "the response was whole at the server's sidecar ({}) and cut at the client's, which passed on {passed}",
        words::came(up)
    );
    if let Some(missing) = missing.filter(|missing| missing.bytes > 0) {
        text.push_str(&format!(": {missing} bytes are missing"));
        if down.trailers == Seen::Absent && up.trailers == Seen::Value(()) {
            text.push_str(", and the trailers");
        }
    }
    text.push_str(&leg(hop, mesh));
    words::how_it_ended(&mut text, down, up);
    if !is_certain {
        text = words::whichever(Kind::ProxyTruncatedCompleteResponse, &text, true);
    }
    text
}

/// What the leg between them carried, and who dropped the rest.
fn leg<T>(hop: &Hop<T>, mesh: &Mesh) -> String {
    let (Some(carried), Some([client, server])) = (mesh.carried, hop.dropped()) else {
        return ". What the TLS leg between them carried of it is not known: one of the two dropped the rest".to_owned();
    };
    if hop.missing_bytes() == Some(0) {
        return ". Which of the two dropped them is not known: the leg between them is TLS"
            .to_owned();
    }
    let others = match mesh.together {
        0 | 1 => String::new(),
        2 => " while one other response went by".to_owned(),
        n => format!(" while {} other responses went by", n - 1),
    };
    let carried = if carried.least == carried.most {
        format!("{} bytes", carried.least)
    } else {
        format!("{} to {} bytes", carried.least, carried.most)
    };
    let text = format!(". The TLS leg between them carried {carried} of it{others}");
    let by = match hop.dropped_by() {
        Some(DroppedBy::Client) => format!("the client's sidecar dropped at least {client} bytes"),
        Some(DroppedBy::Server) => format!("the server's sidecar dropped at least {server} bytes"),
        Some(DroppedBy::Both) => format!(
            "the server's sidecar dropped at least {server} bytes, and the client's at least {client}"
        ),
        Some(DroppedBy::Either) | None => {
            "one of the two dropped the rest, and that does not say which".to_owned()
        }
    };
    format!("{text}: {by}{}", of_all(mesh))
}

/// What is missing of all that went by with it, where there are others.
fn of_all(mesh: &Mesh) -> String {
    let Some(AllMissing { bytes, server_side }) = mesh.all.filter(|_| mesh.together > 1) else {
        return String::new();
    };
    let range = |least: u64, most: u64| match (least, most) {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let client = range(bytes - server_side.most, bytes - server_side.least);
    let server = range(server_side.least, server_side.most);
    format!(
        ". Of the {bytes} bytes that are missing of all these, the client's dropped {client} and the server's {server}"
    )
}
