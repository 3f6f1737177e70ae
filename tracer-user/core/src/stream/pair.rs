//! One thing for each endpoint.

use crate::connection::Endpoint;

/// One `T` of the client and one of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair<T> {
    pub(super) client: T,
    pub(super) server: T,
}

impl<T> Pair<T> {
    pub(super) const fn of(&self, endpoint: Endpoint) -> &T {
        match endpoint {
            Endpoint::Client => &self.client,
            Endpoint::Server => &self.server,
        }
    }

    /// The one of `endpoint`, to change it.
    pub(super) const fn of_mut(&mut self, endpoint: Endpoint) -> &mut T {
        match endpoint {
            Endpoint::Client => &mut self.client,
            Endpoint::Server => &mut self.server,
        }
    }
}
