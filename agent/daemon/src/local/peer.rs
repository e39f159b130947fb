//! Who is at the other end of the socket: taken from the kernel at every accept, never from the
//! request (A1).

use std::any::Any;

use actix_web::dev::Extensions;
use tokio::net::UnixStream;

/// The peer's user, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub uid: u32,
}

/// `on_connect` of the local server: remembers the peer with its connection.
pub(crate) fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<UnixStream>() else {
        return;
    };
    if let Ok(credentials) = stream.peer_cred() {
        extensions.insert(Peer {
            uid: credentials.uid(),
        });
    }
}

/// Whether the peer may use the agent: its own user, nobody else (one agent per user, K5).
pub(crate) fn may_use(peer: Option<Peer>, own_uid: u32) -> bool {
    peer.is_some_and(|peer| peer.uid == own_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A1
    #[test]
    fn only_the_agents_own_user_may_use_it() {
        assert!(may_use(Some(Peer { uid: 1000 }), 1000));
        assert!(!may_use(Some(Peer { uid: 0 }), 1000));
        assert!(!may_use(None, 1000));
    }
}
