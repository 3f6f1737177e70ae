//! RFC 7541: header compression, alive after a late attach.
