//! A value that may be out of sight.

/// A value that may be out of sight. Never folded into an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen<T> {
    /// Certainly not there.
    Absent,
    /// There, and known.
    Value(T),
    /// Not known: late attach, loss.
    #[default]
    Unknown,
}

impl<T: Copy> Seen<T> {
    /// The value, if known and there.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Seen::Value(v) => Some(v),
            Seen::Absent | Seen::Unknown => None,
        }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Absent => Seen::Absent,
            Seen::Value(v) => Seen::Value(f(v)),
            Seen::Unknown => Seen::Unknown,
        }
    }

    pub(crate) fn and_then<U>(self, f: impl FnOnce(T) -> Seen<U>) -> Seen<U> {
        match self {
            Seen::Absent => Seen::Absent,
            Seen::Value(v) => f(v),
            Seen::Unknown => Seen::Unknown,
        }
    }
}
