//! `content-type`.

/// What a content-type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/grpc`, with or without `+proto` and the like.
    Grpc,
    /// `application/grpc-web*`: trailers travel in the body.
    GrpcWeb,
    Other,
}

impl Media {
    /// Reads a content-type's value.
    pub(crate) fn of(value: &[u8]) -> Media {
        let media = essence(value);
        let Some(rest) = strip_prefix_ignore_case(media, b"application/grpc") else {
            return Media::Other;
        };
        match rest {
            [] | [b'+', ..] => Media::Grpc,
            [b'-', ..] => Media::GrpcWeb,
            _ => Media::Other,
        }
    }
}

/// The media type alone, without parameters.
pub(crate) fn essence(value: &[u8]) -> &[u8] {
    let media = value.split(|b| *b == b';').next().unwrap_or_default();
    media.trim_ascii()
}

fn strip_prefix_ignore_case<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_application_grpc_is_grpc() {
        for (value, want) in [
            ("application/grpc", Media::Grpc),
            ("application/grpc+proto", Media::Grpc),
            ("Application/GRPC; charset=utf-8", Media::Grpc),
            ("application/grpc-web+proto", Media::GrpcWeb),
            ("application/grpc-web-text", Media::GrpcWeb),
            ("application/grpcx", Media::Other),
            ("application/json", Media::Other),
            ("text/html; charset=utf-8", Media::Other),
            ("", Media::Other),
        ] {
            assert_eq!(Media::of(value.as_bytes()), want, "{value}");
        }
        assert_eq!(essence(b"text/html ; charset=utf-8"), b"text/html");
    }
}
