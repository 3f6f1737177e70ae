//! The rules that an endpoint can break: of RFC 9113 and 9218, of HPACK (RFC 7541), and of gRPC.

use super::FrameKind;

/// Declares the rules: name, the frame that its text names, text.
macro_rules! rules {
    ($($variant:ident $($frame:ident)? = $text:literal;)+) => {
        /// A rule, with its section.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = concat!("Broken by: ", $text, ".")] $variant,)+
        }

        impl Rule {
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)+];

            /// What it forbids, with its section.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Rule::$variant => $text,)+
                }
            }

            /// The kind of frame that its text names: all that can break it, or one of several.
            #[must_use]
            pub const fn frame(self) -> Option<FrameKind> {
                let named: &[FrameKind] = match self {
                    $(Rule::$variant => &[$(FrameKind::$frame)?],)+
                };
                named.first().copied()
            }
        }
    };
}

rules! {
    NotBegunWithSettings = "as its first frame, which must be SETTINGS without ACK (RFC 9113 section 3.4)";
    Http1InPlaceOfFrame = "HTTP/1 text where a frame must begin (RFC 9113 section 4.1)";
    PrefaceInPlaceOfFrame = "the connection preface where a frame must begin (RFC 9113 sections 3.4 and 4.1)";
    FrameTooLong = "longer than SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 4.2)";
    TooShortForFields = "frame too short for its mandatory fields (RFC 9113 section 4.2)";
    NoPadLength Data = "DATA with PADDED and without a pad length (RFC 9113 section 4.2)";
    DataOnConnection Data = "DATA on stream 0 (RFC 9113 section 6.1)";
    DataPadding = "with more padding than payload (RFC 9113 section 6.1)";
    HeadersOnConnection Headers = "HEADERS on stream 0 (RFC 9113 section 6.2)";
    HeadersPadding = "with more padding than payload (RFC 9113 sections 6.2 and 6.6)";
    PriorityOnConnection Priority = "PRIORITY on stream 0 (RFC 9113 section 6.3)";
    PriorityLength Priority = "PRIORITY whose length is not 5 (RFC 9113 section 6.3)";
    ResetOnConnection RstStream = "RST_STREAM on stream 0 (RFC 9113 section 6.4)";
    ResetLength RstStream = "RST_STREAM whose length is not 4 (RFC 9113 section 6.4)";
    SettingsOnStream Settings = "SETTINGS on a stream (RFC 9113 section 6.5)";
    SettingsAckWithPayload Settings = "SETTINGS with ACK and a payload (RFC 9113 section 6.5)";
    SettingsLength Settings = "SETTINGS whose length is no multiple of 6 (RFC 9113 section 6.5)";
    EnablePushValue Settings = "a SETTINGS_ENABLE_PUSH that is neither 0 nor 1 (RFC 9113 section 6.5.2)";
    EnablePushOfServer Settings = "a SETTINGS_ENABLE_PUSH of 1, which only a client may send (RFC 9113 section 6.5.2)";
    EnableConnectProtocolValue Settings = "a SETTINGS_ENABLE_CONNECT_PROTOCOL that is neither 0 nor 1 (RFC 8441 section 3)";
    ConnectProtocolTakenBack Settings = "a SETTINGS_ENABLE_CONNECT_PROTOCOL of 0 after one of 1 (RFC 8441 section 3)";
    InitialWindowSizeValue Settings = "a SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 (RFC 9113 section 6.5.2)";
    MaxFrameSizeValue Settings = "a SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1 (RFC 9113 section 6.5.2)";
    NoPrioritiesValue Settings = "a SETTINGS_NO_RFC7540_PRIORITIES that is neither 0 nor 1 (RFC 9218 section 2.1)";
    PushOnConnection PushPromise = "PUSH_PROMISE on stream 0 (RFC 9113 section 6.6)";
    PushOfClientStream PushPromise = "PUSH_PROMISE of a stream that a server cannot open (RFC 9113 sections 5.1.1 and 6.6)";
    PushForbidden PushPromise = "PUSH_PROMISE though SETTINGS_ENABLE_PUSH is 0 (RFC 9113 6.6)";
    PushByClient PushPromise = "PUSH_PROMISE by a client (RFC 9113 8.4)";
    PushOnOwnStream PushPromise = "PUSH_PROMISE on a stream that the server itself had opened (RFC 9113 6.6)";
    PushToGrpc PushPromise = "PUSH_PROMISE on a gRPC call (gRPC over HTTP/2 has no push)";
    PingOnStream Ping = "PING on a stream (RFC 9113 section 6.7)";
    PingLength Ping = "PING whose length is not 8 (RFC 9113 section 6.7)";
    GoAwayOnStream GoAway = "GOAWAY on a stream (RFC 9113 section 6.8)";
    GoAwayLength GoAway = "GOAWAY shorter than 8 bytes (RFC 9113 section 6.8)";
    WindowUpdateLength WindowUpdate = "WINDOW_UPDATE whose length is not 4 (RFC 9113 section 6.9)";
    WindowUpdateOfZero WindowUpdate = "WINDOW_UPDATE with increment 0 (RFC 9113 section 6.9)";
    ContinuationOnConnection Continuation = "CONTINUATION on stream 0 (RFC 9113 section 6.10)";
    ContinuationWithoutBlock Continuation = "CONTINUATION without an open header block (RFC 9113 section 6.10)";
    BlockInterrupted = "inside a header block (RFC 9113 section 6.10)";
    PriorityUpdateOnStream PriorityUpdate = "PRIORITY_UPDATE on a stream (RFC 9218 section 7.1)";
    PriorityUpdateByServer PriorityUpdate = "PRIORITY_UPDATE, which a server may not send (RFC 9218 section 7.1)";
    PriorityUpdateLength PriorityUpdate = "PRIORITY_UPDATE shorter than 4 bytes (RFC 9218 section 7.1)";
    PriorityUpdateOfConnection PriorityUpdate = "PRIORITY_UPDATE of stream 0 (RFC 9218 section 7.1)";
    BlockTruncated = "whose header block ends inside a field (RFC 7541 section 3.2)";
    IntegerTooLarge = "with an integer that is too large (RFC 7541 section 5.1)";
    HuffmanCode = "with a malformed Huffman code (RFC 7541 section 5.2)";
    TableIndex = "with an index outside of the tables (RFC 7541 section 2.3.3)";
    SizeUpdatePlace = "with a dynamic table size update after a field (RFC 7541 section 4.2)";
    SizeUpdateMissing = "without the dynamic table size update that its peer's SETTINGS demand (RFC 9113 section 4.3.1)";
    SizeUpdateLimit = "with a dynamic table size update above the limit (RFC 7541 section 6.3)";
    DataBeforeHeaders Data = "DATA before HEADERS (RFC 9113 8.1)";
    AfterEndStream = "after END_STREAM (RFC 9113 5.1)";
    OnPromisedStream = "on a stream that the server had promised (RFC 9113 5.1)";
    AfterOwnReset = "after its own RST_STREAM (RFC 9113 5.1)";
    AfterProcessedReset = "after the stream was reset and the reset was processed (RFC 9113 5.1)";
    IdleStream = "on an idle stream (RFC 9113 5.1)";
    EvenId Headers = "HEADERS on a stream that a client cannot open (RFC 9113 5.1.1)";
    OpenedAfterGoAway Headers = "HEADERS of a new stream after GOAWAY had been received (RFC 9113 6.8)";
    DependsOnItself = "of a stream that depends on itself (RFC 7540 section 5.3.1)";
    FallingId = "of a stream whose id is not above those opened before (RFC 9113 5.1.1)";
    TrailersWithoutEndStream = "trailers without END_STREAM (RFC 9113 8.1)";
    InformationalAfterFinal = "an informational response after the final one (RFC 9113 8.1)";
    PseudoFieldInTrailers = "a pseudo-header field in trailers (RFC 9113 8.1)";
    PseudoFieldUndefined = "a pseudo-header field that is not defined for this message (RFC 9113 8.3)";
    PseudoFieldLate = "a pseudo-header field after a regular one (RFC 9113 8.3)";
    PseudoFieldTwice = "a pseudo-header field twice (RFC 9113 8.3)";
    PseudoFieldMissing = "a request without a pseudo-header field that it must have (RFC 9113 8.3.1)";
    PseudoFieldOfConnect = "a CONNECT request with a pseudo-header field that it may not have (RFC 9113 8.5)";
    NoStatus = "a response without :status (RFC 9113 8.3.2)";
    StatusValue = "a :status that is not three digits (RFC 9113 8.3.2, RFC 9110 15)";
    FieldValue = "NUL, CR or LF in a field value (RFC 9113 8.2.1)";
    ValueControl = "a control character in a field value (RFC 9110 5.5)";
    ValueWhitespace = "a field value with white space before or after it (RFC 9113 8.2.1)";
    UppercaseName = "an uppercase letter in a field name (RFC 9113 8.2.1)";
    FieldName = "a character in a field name that none may have (RFC 9113 8.2.1)";
    ConnectionSpecificField = "a connection-specific field (RFC 9113 8.2.2)";
    TeOfResponse = "te in a response, where it is a connection-specific field (RFC 9113 8.2.2)";
    TeValue = "te with another value than trailers (RFC 9113 8.2.2)";
    EmptyPath = "an empty :path (RFC 9113 8.3.1)";
    PathNotAscii = "a :path with octets above 127, which it has as %XX (RFC 9113 8.3.1, RFC 3986 3.3)";
    PathCharacter = "a blank, a control character or a fragment in :path (RFC 9113 8.3.1, RFC 3986 3.3)";
    MethodValue = "a :method that is no token (RFC 9110 9.1)";
    NoAuthority = "neither :authority nor host, and no request for http or https may lack both (RFC 9113 8.3.1, RFC 9110 7.2)";
    HostTwice = "host twice, and a request has it once at most (RFC 9110 7.2, RFC 9112 3.2)";
    EmptyAuthority = "an empty :authority or host (RFC 9113 8.3.1)";
    ProtocolWithoutConnect = "the pseudo-header field :protocol in a request that is no CONNECT (RFC 8441 4)";
    ProtocolNotAnnounced = "the pseudo-header field :protocol to a server that has not announced SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 3)";
    PromisedMethod = "PUSH_PROMISE of a request whose method is not safe and cacheable (RFC 9113 8.4)";
    PromisedWithoutAuthority = "PUSH_PROMISE of a request without :authority (RFC 9113 8.4)";
    PromisedContent = "PUSH_PROMISE of a request with content (RFC 9113 8.4)";
    SwitchingProtocols = "a response with :status 101, which HTTP/2 does not have (RFC 9113 8.6)";
    PathWithoutSlash = "a :path that does not begin with \"/\" (RFC 9113 8.3.1)";
    PathAsterisk = "a :path of \"*\" in a request that is no OPTIONS (RFC 9113 8.3.1)";
    SchemeValue = "a :scheme that is none (RFC 3986 3.1)";
    AuthorityValue = "an :authority or host that is no host and port (RFC 9113 8.3.1, RFC 3986 3.2)";
    UserInformation = "an :authority with user information (RFC 9113 8.3.1)";
    PathInAuthority = "an :authority that holds a path (RFC 9113 8.3.1, RFC 3986 3.2)";
    HostDiffers = "a host that differs from :authority (RFC 9113 8.3.1)";
    ContentLengthValue = "a content-length that is no number (RFC 9110 8.6)";
    ContentLengthTwice = "two different values of content-length (RFC 9110 8.6)";
    ContentLengthForbidden = "content-length in a response of status 1xx or 204 (RFC 9110 8.6)";
    DataWithoutContent = "DATA in a response that has no content: to HEAD, or of status 204, 205 or 304 (RFC 9110 6.4.1)";
    GrpcTimeoutValue = "a grpc-timeout that is not 1 to 8 digits and a unit (gRPC \"Requests\")";
    GrpcContentEncoding = "content-encoding over gRPC, so that no message prefix stands where it must (gRPC \"Compression\")";
    GrpcMethod = "a gRPC request with another :method than POST (gRPC \"Requests\")";
    GrpcWithoutTe = "a gRPC request without te: trailers (gRPC \"Requests\")";
    GrpcStatusTwice = "two different values of grpc-status (gRPC \"Responses\")";
    GrpcStatusTooEarly = "grpc-status in HEADERS that do not end the response (gRPC \"Responses\")";
    CompressedFlag = "a message prefix whose Compressed-Flag is neither 0 nor 1 (gRPC \"Length-Prefixed-Message\")";
    PrefixIsMarkup = "HTML or XML in place of a message prefix: \"<\" where the Compressed-Flag must be (gRPC \"Length-Prefixed-Message\")";
    PrefixIsHttp1 = "text of HTTP/1 in place of a message prefix: \"H\" where the Compressed-Flag must be (gRPC \"Length-Prefixed-Message\")";
    PrefixIsJson = "JSON in place of a message prefix: \"{\" or \"[\" where the Compressed-Flag must be (gRPC \"Length-Prefixed-Message\")";
    PrefixIsGzip = "gzip in place of a message prefix: the whole body is compressed, not each message (gRPC \"Compression\")";
    CompressedWithoutEncoding = "a message with Compressed-Flag 1 without grpc-encoding (gRPC \"Length-Prefixed-Message\")";
    CompressedAsIdentity = "a message with Compressed-Flag 1 and grpc-encoding: identity (gRPC \"Compression\")";
    EncodingNotAccepted = "a message in a grpc-encoding that the client's grpc-accept-encoding leaves out (gRPC \"Compression\")";
}

impl Rule {
    /// What broke it is no frame.
    #[must_use]
    pub const fn is_of_no_frame(self) -> bool {
        matches!(
            self,
            Rule::Http1InPlaceOfFrame | Rule::PrefaceInPlaceOfFrame
        )
    }

    /// RFC 9113 does not have it any more, or most receivers bear it, and yet some hold to it.
    #[must_use]
    pub const fn is_obsolete(self) -> bool {
        matches!(self, Rule::DependsOnItself | Rule::SizeUpdateMissing)
    }

    /// Many a server takes a request all the same: that is worth a word only where one did not.
    #[must_use]
    pub const fn is_borne_unless_refused(self) -> bool {
        matches!(
            self,
            Rule::NoAuthority | Rule::EmptyAuthority | Rule::PathNotAscii
        )
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_own_text_and_section() {
        let mut texts: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            let text = rule.as_str();
            assert!(text.contains("(RFC ") || text.contains("(gRPC "), "{text}");
            let frame = rule.frame().map_or("", FrameKind::as_str);
            assert!(text.contains(frame), "{text}: {frame}");
        }
    }
}
