//! Who is at the other end of the socket: taken from the kernel at every accept, never from the
//! request (A1); and how many connections a user holds (A8).

use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::Extensions;
use tokio::net::UnixStream;

use crate::limits::LOCAL_CONNECTIONS_MAX;

/// The process at the other end, as the kernel says.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub uid: u32,
    /// The process that connected; another one may have inherited the connection.
    pub pid: Option<i32>,
    /// Names the process for good: a number alone may be given to another one (Linux 6.5).
    pub pidfd: Option<Arc<OwnedFd>>,
    /// Its place among the connections of its user; none: there were too many.
    slot: Option<Arc<Slot>>,
}

impl Peer {
    /// Whether the peer may use the agent: its own user, nobody else (one agent per user, K5).
    pub(crate) const fn may_use(&self, own_uid: u32) -> bool {
        self.uid == own_uid
    }

    /// Whether its user has more connections open than the agent takes.
    pub(crate) const fn is_too_many(&self) -> bool {
        self.slot.is_none()
    }
}

/// Open connections by user.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_uid: Mutex<BTreeMap<u32, usize>>,
}

/// One connection's place; given back when the connection ends.
#[derive(Debug)]
struct Slot {
    connections: Arc<Connections>,
    uid: u32,
}

impl Connections {
    fn take(self: &Arc<Self>, uid: u32) -> Option<Slot> {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_uid.entry(uid).or_default();
        if *open >= LOCAL_CONNECTIONS_MAX {
            return None;
        }
        *open += 1;
        Some(Slot {
            connections: Arc::clone(self),
            uid,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_uid = self
            .connections
            .by_uid
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let left = by_uid.get(&self.uid).map_or(0, |open| open.saturating_sub(1));
        if left == 0 {
            by_uid.remove(&self.uid);
        } else {
            by_uid.insert(self.uid, left);
        }
    }
}

/// `on_connect` of the local server: remembers the peer with its connection.
pub(crate) fn remember(connections: &Arc<Connections>, connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<UnixStream>() else {
        return;
    };
    if let Ok(credentials) = stream.peer_cred() {
        let uid = credentials.uid();
        extensions.insert(Peer {
            uid,
            pid: credentials.pid(),
            pidfd: pidfd(stream).map(Arc::new),
            slot: connections.take(uid).map(Arc::new),
        });
    }
}

#[cfg(target_os = "linux")]
fn pidfd(stream: &UnixStream) -> Option<OwnedFd> {
    nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerPidfd).ok()
}

#[cfg(not(target_os = "linux"))]
fn pidfd(_stream: &UnixStream) -> Option<OwnedFd> {
    None
}

/// How this system tells who the peer is, for `status` (A1).
pub(crate) fn identification() -> &'static str {
    let Ok((one, _other)) = UnixStream::pair() else {
        return "the peer's user";
    };
    match (pidfd(&one), one.peer_cred().ok().and_then(|peer| peer.pid())) {
        (Some(_), _) => "the peer's user and process (SO_PEERCRED, SO_PEERPIDFD)",
        (None, Some(_)) => {
            "the peer's user and process number (SO_PEERCRED); SO_PEERPIDFD needs Linux 6.5, so that a number that was given again is found less surely"
        }
        (None, None) => "the peer's user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer_of(stream: &UnixStream) -> Peer {
        let mut extensions = Extensions::new();
        remember(&Arc::default(), stream, &mut extensions);
        extensions.get::<Peer>().unwrap().clone()
    }

    /// A1: user and process come from the kernel.
    #[tokio::test]
    async fn the_kernel_says_who_connects() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer_of(&one);
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.pid, Some(i32::try_from(std::process::id()).unwrap()));
        assert!(peer.may_use(peer.uid));
        assert!(!peer.may_use(peer.uid + 1));
    }

    /// A1: what is no socket has no peer, and without a peer nothing is allowed.
    #[test]
    fn what_is_no_socket_has_no_peer() {
        let mut extensions = Extensions::new();
        remember(&Arc::default(), &"a file", &mut extensions);
        assert!(extensions.get::<Peer>().is_none());
    }

    /// A8: a user's connections are bounded, another user's are not touched, and an ended one makes room.
    #[test]
    fn connections_of_a_user_are_bounded() {
        let connections = Arc::new(Connections::default());
        let mut held: Vec<Slot> = (0..LOCAL_CONNECTIONS_MAX)
            .map(|_| connections.take(1000).unwrap())
            .collect();
        assert!(connections.take(1000).is_none());
        assert!(connections.take(1001).is_some());
        held.pop();
        assert!(connections.take(1000).is_some());
        held.clear();
        assert!(connections.by_uid.lock().unwrap().is_empty());
    }
}
