//! What a connection speaks, as far as is known.
//!
//! ```text
//!   Undecided --preface, plausible frames--> Believed --role and a step--> Http2 --another answer--> Foreign
//!        ^------------the place is lost---------/
//! ```
//!
//! A connection that begins with anything else leaves the pipeline at once, without a state.

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Not known.
    Undecided,
    /// It looks like HTTP/2. Its role is not proven, or there is no step yet.
    Believed,
    /// HTTP/2: the connection has been reported, its steps go on.
    Http2 {
        /// The stage that joins hops knows of it.
        at_hops: bool,
    },
    /// HTTP/2 of the client alone, as the first answer showed: nothing more is told of either direction.
    Foreign,
}

impl Spoken {
    /// Something looks like HTTP/2.
    pub(super) fn believe(&mut self) {
        match self {
            Spoken::Undecided => *self = Spoken::Believed,
            Spoken::Believed | Spoken::Http2 { .. } | Spoken::Foreign => {}
        }
    }

    /// What looked like HTTP/2 did not prove to be it.
    pub(super) fn doubt(&mut self) {
        match self {
            Spoken::Believed => *self = Spoken::Undecided,
            Spoken::Undecided | Spoken::Http2 { .. } | Spoken::Foreign => {}
        }
    }

    /// The connection has been reported as one of HTTP/2.
    pub(super) const fn is_announced(self) -> bool {
        match self {
            Spoken::Undecided | Spoken::Believed => false,
            Spoken::Http2 { .. } | Spoken::Foreign => true,
        }
    }

    /// The stage that joins hops is to be told of it, and is with this call.
    pub(super) fn join_hops(&mut self) -> bool {
        match self {
            Spoken::Http2 { at_hops } => !std::mem::replace(at_hops, true),
            Spoken::Undecided | Spoken::Believed | Spoken::Foreign => false,
        }
    }

    /// The stage that joins hops knows of it.
    pub(super) const fn is_at_hops(self) -> bool {
        match self {
            Spoken::Http2 { at_hops } => at_hops,
            // The steps that announced it have gone through all stages before the answer came.
            Spoken::Foreign => true,
            Spoken::Undecided | Spoken::Believed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_reported_can_be_doubted() {
        let mut spoken = Spoken::Undecided;
        spoken.believe();
        assert_eq!(spoken, Spoken::Believed);
        spoken.doubt();
        assert_eq!(spoken, Spoken::Undecided);
        for reported in [Spoken::Http2 { at_hops: false }, Spoken::Foreign] {
            let mut spoken = reported;
            spoken.doubt();
            spoken.believe();
            assert_eq!(spoken, reported);
        }
    }

    #[test]
    fn hops_are_told_once() {
        let mut spoken = Spoken::Http2 { at_hops: false };
        assert!(!spoken.is_at_hops());
        assert!(spoken.join_hops() && !spoken.join_hops());
        assert!(spoken.is_at_hops() && Spoken::Foreign.is_at_hops());
    }
}
