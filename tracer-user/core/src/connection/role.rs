//! Who is the client? Evidence from how the connection was opened and from what its frames say.

use super::Endpoint;
use crate::event::{Direction, Opened};

/// What is known of the observed end's role. Only proof is taken, never a guess by port number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Role {
    known: Option<Endpoint>,
}

impl Role {
    /// From how the kernel saw the connection open.
    #[must_use]
    pub const fn from_opening(opened: Opened) -> Role {
        let known = match opened {
            Opened::Active => Some(Endpoint::Client),
            Opened::Passive => Some(Endpoint::Server),
            Opened::Unseen => None,
        };
        Role { known }
    }

    /// The role of the observed end.
    #[must_use]
    pub const fn get(&self) -> Option<Endpoint> {
        self.known
    }

    /// Somebody says so. It is believed until frames prove something else.
    pub fn assume(&mut self, owner: Endpoint) {
        self.known.get_or_insert(owner);
    }

    /// `sender` was seen to send in `direction`. What frames prove outweighs how the socket was opened:
    /// a socket handed over by a proxy protocol or a reverse tunnel is served by its opener.
    pub fn prove(&mut self, direction: Direction, sender: Endpoint) {
        self.known = Some(match direction {
            Direction::Tx => sender,
            Direction::Rx => sender.peer(),
        });
    }

    /// In which direction `sender` sends, when the role is known.
    #[must_use]
    pub fn direction_of(&self, sender: Endpoint) -> Option<Direction> {
        self.known.map(|owner| {
            if owner == sender {
                Direction::Tx
            } else {
                Direction::Rx
            }
        })
    }

    /// Who sends in `direction`, when the role is known.
    #[must_use]
    pub fn sender(&self, direction: Direction) -> Option<Endpoint> {
        self.known.map(|owner| match direction {
            Direction::Tx => owner,
            Direction::Rx => owner.peer(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_that_sends_the_preface_is_the_client() {
        let mut role = Role::from_opening(Opened::Unseen);
        assert_eq!(role.sender(Direction::Tx), None);
        role.prove(Direction::Rx, Endpoint::Client);
        assert_eq!(role.get(), Some(Endpoint::Server));
        assert_eq!(role.sender(Direction::Tx), Some(Endpoint::Server));
    }

    #[test]
    fn frames_outweigh_the_opening() {
        let mut role = Role::from_opening(Opened::Active);
        role.prove(Direction::Tx, Endpoint::Server);
        assert_eq!(role.get(), Some(Endpoint::Server));
    }
}
