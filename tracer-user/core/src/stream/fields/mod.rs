//! Which rule of RFC 9113 sections 8.2 and 8.3, or of gRPC, the fields of a header block break. Only what
//! was seen counts: a name that is unseen breaks nothing, and nothing is missed in a block of which a part
//! is unseen.

use crate::field::media::Media;
use crate::field::{Facts, Field, HeaderBlock, Known, Method, NameFault, Seen, ValueFault};
use crate::frame::Rule;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The request's HEADERS, or a PUSH_PROMISE.
    Request,
    /// HEADERS with a 1xx :status.
    Informational,
    /// The final HEADERS of the response.
    Response { end_stream: bool },
    /// What comes after them.
    Trailers { end_stream: bool },
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenFieldRule {
    pub(super) rule: Rule,
    /// False for what many receivers bear.
    pub(super) grave: bool,
    /// The field that broke it, where the rule does not say which, and its name is known.
    pub(super) field: Option<&'static str>,
}

impl BrokenFieldRule {
    /// The same of this field, if its name is known.
    fn of(self, known: Known) -> BrokenFieldRule {
        let name = known.name().and_then(|name| std::str::from_utf8(name).ok());
        BrokenFieldRule {
            field: name,
            ..self
        }
    }

    const fn weight(self) -> u8 {
        weight(self.rule, self.grave)
    }
}

/// Of several rules that were broken the one that weighs most is told, and of equal ones the first.
pub(super) const fn weight(rule: Rule, grave: bool) -> u8 {
    match (grave, rule.is_borne_unless_refused()) {
        (true, _) => 2,
        (false, false) => 1,
        (false, true) => 0,
    }
}

/// The one that is told.
fn heavier(
    first: Option<BrokenFieldRule>,
    next: Option<BrokenFieldRule>,
) -> Option<BrokenFieldRule> {
    match (first, next) {
        (Some(first), Some(next)) if next.weight() > first.weight() => Some(next),
        (first, next) => first.or(next),
    }
}

const fn broken_rule(rule: Rule, grave: bool) -> BrokenFieldRule {
    BrokenFieldRule {
        rule,
        grave,
        field: None,
    }
}

const fn grave(rule: Rule) -> Option<BrokenFieldRule> {
    Some(broken_rule(rule, true))
}

const fn light(rule: Rule) -> Option<BrokenFieldRule> {
    Some(broken_rule(rule, false))
}

/// A message prefix of gRPC whose first byte is no Compressed-Flag: what the byte says of what is there instead.
pub(super) const fn no_compressed_flag(first: u8) -> BrokenFieldRule {
    let rule = match first {
        b'<' => Rule::PrefixIsMarkup,
        b'H' => Rule::PrefixIsHttp1,
        b'{' | b'[' => Rule::PrefixIsJson,
        0x1f => Rule::PrefixIsGzip,
        _ => Rule::CompressedFlag,
    };
    broken_rule(rule, true)
}

/// A compressed message, and no word of how.
pub(super) const COMPRESSED_WITHOUT_ENCODING: BrokenFieldRule =
    broken_rule(Rule::CompressedWithoutEncoding, true);

/// A compressed message, and the word that it is not.
pub(super) const COMPRESSED_AS_IDENTITY: BrokenFieldRule =
    broken_rule(Rule::CompressedAsIdentity, true);

/// A compressed message that the client did not ask for.
pub(super) const ENCODING_NOT_ACCEPTED: BrokenFieldRule =
    broken_rule(Rule::EncodingNotAccepted, false);
/// Content where there is none.
pub(super) const DATA_WITHOUT_CONTENT: BrokenFieldRule =
    broken_rule(Rule::DataWithoutContent, true);

/// 1xx behind the answer that it announces.
pub(super) const INFORMATIONAL_AFTER_FINAL: BrokenFieldRule =
    broken_rule(Rule::InformationalAfterFinal, true);

/// An extended CONNECT that the server cannot know.
pub(super) const PROTOCOL_NOT_ANNOUNCED: BrokenFieldRule =
    broken_rule(Rule::ProtocolNotAnnounced, true);

/// What a request may be, and a promised one may not.
pub(super) fn of_promise(block: &HeaderBlock) -> Option<BrokenFieldRule> {
    // Of all methods these alone are safe and cacheable (RFC 9110 9.2).
    let is_other = |method: &[u8]| !matches!(method, b"GET" | b"HEAD");
    match (block.seen(Known::Method), block.seen(Known::ContentLength)) {
        (Seen::Value(method), _) if is_other(method) => grave(Rule::PromisedMethod),
        (_, Seen::Value(length)) if length.iter().any(|digit| *digit != b'0') => {
            grave(Rule::PromisedContent)
        }
        _ if block.complete && block.get(Known::Authority).is_none() => {
            grave(Rule::PromisedWithoutAuthority)
        }
        _ => None,
    }
}

/// The first rule that the block breaks, and a grave one before the others.
pub(super) fn broken(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let trailing = match section {
        Section::Trailers { end_stream: false } => grave(Rule::TrailersWithoutEndStream),
        _ => None,
    };
    let mut lighter = None;
    trailing
        .or_else(|| each_field(block, section, &mut lighter))
        .or_else(|| {
            let missing = missing(block, section);
            heavier(heavier(missing, lighter), of_grpc(block, section))
        })
}

/// The block breaks no rule for certain: what is asked of nearly every block, without looking at its fields.
pub(super) fn is_clean(facts: &Facts, complete: bool, section: Section) -> bool {
    const PSEUDO: u64 = Known::Status.bit() * 2 - 1;
    let has = |names: u64| facts.names & names == names;
    if facts.is_odd
        || facts.names & PSEUDO & !of_section(section) != 0
        || facts.names & Known::ContentEncoding.bit() != 0
    {
        return false;
    }
    let is_grpc = facts.media == Seen::Value(Media::Grpc);
    match section {
        Section::Request => {
            let wanted = Known::Method.bit()
                | Known::Scheme.bit()
                | Known::Path.bit()
                | Known::Authority.bit();
            let is_posted = has(Known::Te.bit()) && facts.method == Seen::Value(Method::Post);
            let is_whole = has(wanted) && (!is_grpc || is_posted);
            facts.method != Seen::Value(Method::Connect)
                && facts.names & Known::Protocol.bit() == 0
                && (is_whole || !complete)
        }
        Section::Response { end_stream } => {
            (has(Known::Status.bit()) || !complete)
                && !has(Known::Te.bit())
                && (!has(Known::ContentLength.bit()) || facts.status != Seen::Value(204))
                && (end_stream || !is_grpc || !has(Known::GrpcStatus.bit()))
        }
        Section::Informational => {
            !has(Known::ContentLength.bit()) && facts.status != Seen::Value(101)
        }
        Section::Trailers { end_stream: true } => true,
        Section::Trailers { end_stream: false } => false,
    }
}

/// The name of the first field that is none of those that are asked for and has a fault of its own.
pub(super) fn unknown_name(block: &HeaderBlock) -> Option<&[u8]> {
    let mut fields = block.fields.iter();
    let odd = fields.find(|field| {
        let entry = field.entry();
        let is_odd = entry.name_fault().is_some() || entry.value_fault.is_some();
        field.known() == Known::Other && (is_odd || entry.is_pseudo())
    });
    odd?.name()
}

/// The first grave rule that a field breaks. `lighter`: the first other one.
fn each_field(
    block: &HeaderBlock,
    section: Section,
    lighter: &mut Option<BrokenFieldRule>,
) -> Option<BrokenFieldRule> {
    let mut regular_seen = false;
    let mut pseudo_seen = 0_u64;
    let (mut length, mut host_seen): (Option<&Field>, _) = (None, false);
    let mut grpc_status: Option<&Field> = None;
    for field in &block.fields {
        let entry = field.entry();
        let of_this = |rule| Some(broken_rule(rule, true).of(field.known()));
        if entry.is_pseudo() {
            if section == (Section::Trailers { end_stream: true }) {
                return of_this(Rule::PseudoFieldInTrailers);
            }
            let (bit, expected) = (field.known().bit(), of_section(section));
            if !field.known().is_pseudo() || bit & expected == 0 {
                return of_this(Rule::PseudoFieldUndefined);
            }
            if regular_seen {
                return of_this(Rule::PseudoFieldLate);
            }
            if pseudo_seen & bit != 0 {
                return of_this(Rule::PseudoFieldTwice);
            }
            pseudo_seen |= bit;
            match field.known() {
                Known::Protocol if matches!(block.seen(Known::Method), Seen::Value(method) if method != b"CONNECT") =>
                {
                    return grave(Rule::ProtocolWithoutConnect);
                }
                Known::Status if field.value() == Some(b"101") => {
                    *lighter = heavier(*lighter, light(Rule::SwitchingProtocols));
                }
                _ => {}
            }
        } else if field.name().is_some() {
            regular_seen = true;
            if let Some(fault) = entry.name_fault() {
                return of_this(match fault {
                    NameFault::Uppercase => Rule::UppercaseName,
                    NameFault::Character => Rule::FieldName,
                    NameFault::ConnectionSpecific => Rule::ConnectionSpecificField,
                });
            }
            match field.known() {
                Known::Te if section == Section::Request && has_other_te(field) => {
                    return grave(Rule::TeValue);
                }
                Known::Te if matches!(section, Section::Response { .. }) => {
                    *lighter = heavier(*lighter, light(Rule::TeOfResponse));
                }
                Known::Host if section == Section::Request => {
                    let broken = match std::mem::replace(&mut host_seen, true) {
                        true => light(Rule::HostTwice),
                        false if differs(field, block) => light(Rule::HostDiffers),
                        false => None,
                    };
                    *lighter = heavier(*lighter, broken);
                }
                Known::GrpcStatus => match grpc_status.and_then(Field::value) {
                    Some(before) if field.value().is_some_and(|value| value != before) => {
                        return grave(Rule::GrpcStatusTwice);
                    }
                    _ => grpc_status = Some(field),
                },
                Known::ContentLength if forbids_length(block, section, field) => {
                    *lighter = heavier(*lighter, light(Rule::ContentLengthForbidden));
                }
                Known::ContentLength => match length.and_then(Field::value) {
                    Some(before) if field.value().is_some_and(|value| value != before) => {
                        return grave(Rule::ContentLengthTwice);
                    }
                    _ => length = Some(field),
                },
                _ => {}
            }
        } else {
            continue;
        }
        if let Some(broken) = entry
            .value_fault
            .and_then(|fault| of_value(fault, (block, section), field.known()))
        {
            if broken.grave {
                return Some(broken);
            }
            *lighter = heavier(*lighter, Some(broken));
        }
    }
    None
}

/// The rule that a value breaks where it stands.
fn of_value(
    fault: ValueFault,
    (block, section): (&HeaderBlock, Section),
    known: Known,
) -> Option<BrokenFieldRule> {
    match fault {
        ValueFault::Character => Some(broken_rule(Rule::FieldValue, true).of(known)),
        ValueFault::Control => Some(broken_rule(Rule::ValueControl, false).of(known)),
        ValueFault::PathNotAscii => light(Rule::PathNotAscii),
        ValueFault::Whitespace => Some(broken_rule(Rule::ValueWhitespace, false).of(known)),
        ValueFault::Asterisk
            if matches!(
                block.seen(Known::Method),
                Seen::Unknown | Seen::Value(b"OPTIONS")
            ) =>
        {
            None
        }
        ValueFault::Asterisk => light(Rule::PathAsterisk),
        ValueFault::Scheme => light(Rule::SchemeValue),
        ValueFault::Authority if section != Section::Request => None,
        ValueFault::Authority => light(Rule::AuthorityValue),
        // Only "http" and "https" are known to have such paths.
        ValueFault::EmptyPath | ValueFault::PathWithoutSlash
            if !matches!(block.seen(Known::Scheme), Seen::Value(b"http" | b"https")) =>
        {
            None
        }
        ValueFault::EmptyAuthority if names_no_host(block, section) => light(Rule::EmptyAuthority),
        ValueFault::PathCharacter => light(Rule::PathCharacter),
        ValueFault::Method => light(Rule::MethodValue),
        ValueFault::EmptyPath => grave(Rule::EmptyPath),
        ValueFault::PathWithoutSlash => light(Rule::PathWithoutSlash),
        ValueFault::UserInformation => light(Rule::UserInformation),
        ValueFault::PathInAuthority => light(Rule::PathInAuthority),
        ValueFault::Status => grave(Rule::StatusValue),
        ValueFault::ContentLength => grave(Rule::ContentLengthValue),
        ValueFault::GrpcTimeout if section == Section::Request && is_grpc(block) => {
            light(Rule::GrpcTimeoutValue)
        }
        ValueFault::EmptyAuthority | ValueFault::GrpcTimeout => None,
    }
}

/// The authority of a request is empty where it may not be. CONNECT has no scheme.
fn names_no_host(block: &HeaderBlock, section: Section) -> bool {
    section == Section::Request
        && matches!(block.seen(Known::Scheme), Seen::Value(b"http" | b"https"))
}

/// A response of this status may not have the field. Many servers say that nothing follows 204: that is borne.
fn forbids_length(block: &HeaderBlock, section: Section, length: &Field) -> bool {
    match section {
        Section::Informational => true,
        Section::Response { .. } => {
            block.seen(Known::Status) == Seen::Value(b"204") && length.value() != Some(b"0")
        }
        Section::Request | Section::Trailers { .. } => false,
    }
}

/// `host` names another entity than :authority.
fn differs(host: &Field, block: &HeaderBlock) -> bool {
    let (Some(host), Seen::Value(authority)) = (host.value(), block.seen(Known::Authority)) else {
        return false;
    };
    // Both name the default port, or neither has to.
    let without_port = |name| {
        let port: &[u8] = match block.seen(Known::Scheme) {
            Seen::Value(b"http") => b":80",
            _ => b":443",
        };
        <[u8]>::strip_suffix(name, port).unwrap_or(name)
    };
    !host.is_empty() && !without_port(host).eq_ignore_ascii_case(without_port(authority))
}

fn is_grpc(block: &HeaderBlock) -> bool {
    block.seen(Known::ContentType).map(Media::of) == Seen::Value(Media::Grpc)
}

/// The pseudo-header fields of a request (RFC 9113 section 8.3.1, RFC 8441 section 4) or of a response (RFC 9113
/// section 8.3.2), as a set.
const fn of_section(section: Section) -> u64 {
    match section {
        Section::Request => {
            Known::Method.bit()
                | Known::Scheme.bit()
                | Known::Path.bit()
                | Known::Authority.bit()
                | Known::Protocol.bit()
        }
        Section::Informational | Section::Response { .. } => Known::Status.bit(),
        Section::Trailers { .. } => 0,
    }
}

/// `te` with a value that a request may not have.
fn has_other_te(field: &Field) -> bool {
    field
        .value()
        .is_some_and(|value| !value.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Pseudo-header fields that must be there.
fn missing(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let absent = |known: Known| block.get(known).is_none();
    if !block.complete {
        return None;
    }
    match section {
        Section::Request => {
            let connect = block.seen(Known::Method) == Seen::Value(b"CONNECT");
            // CONNECT has an authority alone (section 8.5), unless it is extended (RFC 8441).
            let plain_connect = connect && absent(Known::Protocol);
            let wanted: &[Known] = if plain_connect {
                &[Known::Authority]
            } else {
                &[Known::Method, Known::Scheme, Known::Path]
            };
            let forbidden = [Known::Scheme, Known::Path].into_iter();
            let mut forbidden = forbidden.filter(|known| plain_connect && !absent(*known));
            let broken = |rule, known| Some(broken_rule(rule, true).of(known));
            if let Some(known) = wanted.iter().find(|known| absent(**known)) {
                return broken(Rule::PseudoFieldMissing, *known);
            }
            if let Some(known) = forbidden.next() {
                return broken(Rule::PseudoFieldOfConnect, known);
            }
            let is_nameless = absent(Known::Authority) && absent(Known::Host);
            if is_nameless && names_no_host(block, section) {
                light(Rule::NoAuthority)
            } else {
                None
            }
        }
        Section::Response { .. } if absent(Known::Status) => grave(Rule::NoStatus),
        Section::Response { .. } | Section::Informational | Section::Trailers { .. } => None,
    }
}

/// What gRPC demands beyond HTTP/2.
fn of_grpc(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    if !is_grpc(block) {
        return None;
    }
    let coding = block.seen(Known::ContentEncoding);
    if coding.value().is_some_and(|coding| coding != b"identity") {
        return light(Rule::GrpcContentEncoding);
    }
    match section {
        Section::Request if matches!(block.seen(Known::Method), Seen::Value(method) if method != b"POST") => {
            light(Rule::GrpcMethod)
        }
        Section::Request if block.complete && block.get(Known::Te).is_none() => {
            light(Rule::GrpcWithoutTe)
        }
        Section::Response { end_stream: false } if block.get(Known::GrpcStatus).is_some() => {
            light(Rule::GrpcStatusTooEarly)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
