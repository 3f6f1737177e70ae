//! What the header blocks of a stream are worth saying besides their content.

use crate::connection::Endpoint;
use crate::field::Seen;
use crate::frame::HeaderBlock;
use crate::stream::fields::{self, Section};
use crate::stream::grpc::length_prefix::Stray;
use crate::stream::live::{Env, Stream};

impl Stream {
    /// Looks at the fields of a block of `sender`: how large they are, and which rule they break. What is said
    /// of it names the rule, and a field only by a name that is known or may be shown.
    pub(super) fn check_fields(
        &mut self,
        sender: Endpoint,
        block: &HeaderBlock,
        section: Section,
        env: Env<'_>,
    ) -> &'static str {
        let half = &mut self.direction_mut(sender).half;
        half.header_list = half.header_list.max(block.list_size);
        if fields::is_clean(block.facts(env.shown), block.complete, section) {
            return "";
        }
        let Some(broken) = fields::broken(block, section) else {
            return "";
        };
        // A PUSH_PROMISE is the server's word for what the client would have said.
        let sender = if self.pushed {
            Endpoint::Server
        } else {
            sender
        };
        self.content.malformed(sender, broken);
        if env.shown.bodies()
            && broken.field.is_none()
            && let Some(told) = &mut self.content.malformed
            && (told.sender, told.rule) == (sender, broken.rule)
        {
            told.name = fields::unknown_name(block).map(Stray::of);
        }
        broken.rule.as_str()
    }

    /// Looks at the fields of a PUSH_PROMISE: what a request may be, and a promised one may not.
    pub(super) fn check_promise(&mut self, block: &HeaderBlock) {
        if let Some(broken) = fields::of_promise(block) {
            self.content.malformed(Endpoint::Server, broken);
        }
    }

    /// What `sender` sends crosses its peer's reset: it is none of the stream, and yet well-formed or not.
    pub(super) fn crosses_reset(&self, sender: Endpoint) -> bool {
        let own = self.resets.iter().any(|reset| reset.sender == sender);
        !own && !self.resets.is_empty()
    }

    /// Nothing informational comes behind the final response. The rule that this one breaks.
    pub(super) fn check_informational(&mut self) -> Option<&'static str> {
        if !matches!(self.content.http_status, Seen::Value(200..)) {
            return None;
        }
        let broken = fields::INFORMATIONAL_AFTER_FINAL;
        self.content.malformed(Endpoint::Server, broken);
        Some(broken.rule.as_str())
    }

    /// The message of `sender` has ended, and is not as long as its content-length says.
    pub(crate) fn breaks_length(&self, sender: Endpoint) -> bool {
        let (request, response) = self.content.content_length();
        let (half, said) = match sender {
            Endpoint::Client => (&self.request.half, request),
            Endpoint::Server => (&self.response.half, response),
        };
        let is_ended = half.end_stream_at.is_some();
        self.whole && is_ended && said.is_some_and(|said| said != half.data_bytes)
    }

    /// DATA where there may be none.
    pub(crate) fn check_data(&mut self) {
        if self.response.half.data_bytes > 0 && self.content.response_has_no_content() {
            self.content
                .malformed(Endpoint::Server, fields::DATA_WITHOUT_CONTENT);
        }
    }

    /// The rules that message prefixes broke, where a content-type says that they are gRPC's.
    pub(crate) fn check_prefixes(&mut self) {
        for sender in [Endpoint::Client, Endpoint::Server] {
            let messages = &self.direction_mut(sender).messages;
            let (stray, compressed) = (messages.stray(), messages.compressed());
            if !self.content.is_grpc(sender) {
                continue;
            }
            if let Some(stray) = stray {
                let first = stray.bytes().first().copied().unwrap_or_default();
                let broken = fields::no_compressed_flag(first);
                self.content.malformed(sender, broken);
                if let Some(told) = &mut self.content.malformed
                    && (told.sender, told.rule) == (sender, broken.rule)
                {
                    told.stray = Some(stray);
                }
            } else if compressed && let Some(broken) = self.content.rule_against_compression(sender)
            {
                self.content.malformed(sender, broken);
            }
        }
    }
}
