//! How a limit is declared.

macro_rules! loss_cause {
    ($name:ident) => {
        concat!("limit_", stringify!($name))
    };
    ($name:ident $counter:literal) => {
        concat!("limit_", $counter)
    };
}

/// Declares each limit as a constant, which code compares with, and as a variant of [`Limit`], which says what was
/// reached: its doc comment, `[variant, unit, counter, hides_traffic]`, and the constant.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        [$variant:ident, $unit:ident $(, $counter:literal)? $(, $hides:ident)?]
        pub const $name:ident: $type:ty = $value:expr;
    )+) => {
        $($(#[doc = $doc])+ pub const $name: $type = $value;)+

        /// A limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Limit {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Limit {
            /// All of them.
            pub const ALL: &'static [Limit] = &[$(Limit::$variant,)+];

            /// The name of its constant.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Limit::$variant => stringify!($name),)+
                }
            }

            /// What happens there.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Limit::$variant => concat!($($doc),+),)+
                }
            }

            /// The largest value that is allowed.
            #[must_use]
            pub const fn bound(self) -> u64 {
                match self {
                    $(Limit::$variant => $value,)+
                }
            }

            /// What the bound counts.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self {
                    $(Limit::$variant => Unit::$unit,)+
                }
            }

            /// Under which name it is counted that it was reached. A limit without one affects no result, or its
            /// description says where it shows.
            #[must_use]
            pub const fn counter(self) -> Option<&'static str> {
                let counter: &[&str] = match self {
                    $(Limit::$variant => &[$($counter)?],)+
                };
                counter.first().copied()
            }

            /// The same as a label value; the limit's name where nothing counts it.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self.counter() {
                    Some(counter) => counter,
                    None => self.name(),
                }
            }

            /// The cause of a loss at this limit: its label after `limit_`.
            #[must_use]
            pub const fn loss_cause(self) -> &'static str {
                match self {
                    $(Limit::$variant => loss_cause!($name $($counter)?),)+
                }
            }

            /// Where it was reached, something of the traffic was not followed or not decoded. Not so where all of it
            /// was: a story without its middle, what rules remember of connections and methods, one more broken rule
            /// of a connection that has broken many.
            #[must_use]
            pub const fn hides_traffic(self) -> bool {
                match self {
                    $(Limit::$variant => hides_traffic!($($hides)?),)+
                }
            }
        }
    };
}

macro_rules! hides_traffic {
    () => {
        false
    };
    (hides_traffic) => {
        true
    };
}
