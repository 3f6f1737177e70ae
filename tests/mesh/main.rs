//! The reference incident in a mesh: client, sidecar, mutual TLS, sidecar, server. What h2trace says of each failed call
//! without any key, and with keys from the sidecars' memory, is held against what the client reports, and against the same capture with the leg between the
//! sidecars opened by a key log.

mod keyed;
mod parts;
mod replayed;
