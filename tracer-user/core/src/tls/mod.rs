//! TLS: what its handshakes say in clear, and the plain text of connections whose secrets are known.
//!
//! ```text
//! bytes -> records -> opened by keys -> handshake messages (which change keys)
//!                                    -> plain text
//! ```
//!
//! TLS 1.2 (RFC 5246) and 1.3 (RFC 8446) with AES-GCM and ChaCha20-Poly1305. Nothing is trusted until it
//! authenticates: after lost bytes, reading goes on with the next record that a key opens. Cryptography is `ring`'s, and
//! all of it stands in `keys`, `found` and `opener`; without the feature `tls` that module has no key for anything, and the facts remain.

mod failure;
#[cfg(feature = "tls")]
mod found;
#[cfg(feature = "tls")]
mod frames;
mod half;
#[cfg(feature = "tls")]
mod handover;
mod handshake;
#[cfg(feature = "tls")]
mod handshake_secrets;
mod hello;
mod info;
#[cfg(feature = "tls")]
mod keys;
#[cfg(not(feature = "tls"))]
#[path = "keyless.rs"]
mod keys;
#[cfg(feature = "tls")]
mod label;
mod negotiation;
mod opaque;
#[cfg(feature = "tls")]
mod opener;
mod record;
mod scan;
#[cfg(feature = "tls")]
mod schedule;
mod session;
mod suite;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod waiting;

pub use failure::{Alert, Failure};
#[cfg(feature = "tls")]
pub use found::{Proof, Trial, Tries};
#[cfg(feature = "tls")]
pub use handover::{GivenBack, Handover, Watched};
#[cfg(feature = "tls")]
pub use handshake_secrets::HandshakeSecrets;
pub use hello::Random as ClientRandom;
pub use info::{KeySource, TlsInfo, Version, Why};
#[cfg(feature = "tls")]
pub use keys::Label;
pub use keys::{FoundKey, KeyLog, KeyLogReader};
pub use opaque::Opaque;
#[cfg(feature = "tls")]
pub use opener::{Kept, KeptSecret, KeyPlace, LONGEST_SECRET, Opener, wipe_stack};
#[cfg(feature = "tls")]
pub use schedule::{LONGEST_SCHEDULE, Searched, schedules};
pub use session::{Context, Plain, Scratch, Session};
pub use suite::Suite;
pub use waiting::Sample;
