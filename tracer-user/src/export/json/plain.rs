//! JSON that may be read on a terminal: what is not to be shown there is escaped, and so is still what it was.

use std::io::{self, Write};

use serde_json::ser::Formatter;

use crate::plain::is_unsafe;

/// Like the compact form, and every character of [`is_unsafe`] is an escape.
pub(super) struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Controls of C0 do not come here, as no string of JSON may have them.
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut chars = from.chars();
            // None of them is beyond the 16 bits that one escape has.
            let code = chars.next().map_or(0, u32::from);
            write!(out, "\\u{code:04x}")?;
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;
    use serde_json::Serializer;

    use super::*;
    use crate::plain::tests::{HOSTILE, harm};

    #[test]
    fn hostile_text_is_escaped_and_still_what_it_was() {
        let mut out = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut out, Plain);
        HOSTILE.serialize(&mut serializer).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((harm(&text), text.contains('\n')), (String::new(), false));
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
    }
}
