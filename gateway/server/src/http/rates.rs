//! How many requests are taken: of a device by class, of all devices together, of an address that shows no certificate
//! (H6). Checked before a body is read. A full writer's queue turns stories away here too: what is refused costs least
//! before it was read.
//!
//! Addresses are kept in memory alone, and dropped with the next sweep after their bucket is full again.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web;
use gateway_api::error::ErrorCode;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use policies::terms::DeviceId;

use super::device;
use super::problem::ApiError;
use crate::config;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::limits;
use crate::metrics::Metrics;

/// Buckets by key. Each sweep is paid for by many checks, however many keys a flood brings.
struct Keyed<K: Hash + Eq + Clone> {
    buckets: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    since_sweep: AtomicUsize,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: config::Rate) -> Self {
        Self {
            buckets: RateLimiter::hashmap(quota(rate)),
            since_sweep: AtomicUsize::new(0),
        }
    }

    fn take(&self, key: &K) -> Result<(), u32> {
        let since = self.since_sweep.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if since.is_multiple_of(limits::RATE_CHECKS_PER_SWEEP) {
            // Buckets that are full again say nothing.
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
        self.buckets.check_key(key).map_err(|until| wait_s(&until))
    }
}

/// What kind of work a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Story,
    Upload,
    Poll,
    Read,
    Change,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Upload => "upload",
            Self::Poll => "poll",
            Self::Read => "read",
            Self::Change => "change",
        }
    }

    /// By the route's template.
    fn of(method: &Method, route: &str) -> Self {
        if route.ends_with("/stories") && method == Method::POST {
            Self::Story
        } else if route.starts_with("/v1/blobs/") && method == Method::PUT {
            Self::Upload
        } else if route == gateway_api::v1::sync::PATH || route == gateway_api::v1::bundle::PATH {
            Self::Poll
        } else if method == Method::GET {
            Self::Read
        } else {
            Self::Change
        }
    }
}

/// The buckets of one server.
pub(super) struct Rates {
    story: Keyed<DeviceId>,
    upload: Keyed<DeviceId>,
    poll: Keyed<DeviceId>,
    read: Keyed<DeviceId>,
    change: Keyed<DeviceId>,
    tenant: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    stranger: Keyed<IpAddr>,
}

impl Rates {
    pub(super) fn new(rates: &config::Rates) -> Self {
        Self {
            story: Keyed::new(rates.story),
            upload: Keyed::new(rates.upload),
            poll: Keyed::new(rates.poll),
            read: Keyed::new(rates.read),
            change: Keyed::new(rates.change),
            tenant: RateLimiter::direct(quota(rates.tenant)),
            stranger: Keyed::new(rates.stranger),
        }
    }

    /// Shows every rate before it was reached for the first time: a counter that appears with its first count hides it.
    pub(super) fn announce(metrics: &Metrics) {
        let classes = [
            Class::Story,
            Class::Upload,
            Class::Poll,
            Class::Read,
            Class::Change,
        ];
        let classes = classes.map(Class::as_str);
        classes
            .into_iter()
            .chain(["tenant", "stranger"])
            .for_each(|class| metrics.limit(class, 0));
    }

    /// Whether one more is taken; otherwise which rate was reached.
    fn check(&self, peer: Peer, class: Class) -> Result<(), Reached> {
        let device = match peer {
            Peer::Stranger(address) => {
                return self.stranger.take(&address).map_err(Reached::of("stranger"));
            }
            Peer::Device(device) => device,
        };
        let of_device = match class {
            Class::Story => &self.story,
            Class::Upload => &self.upload,
            Class::Poll => &self.poll,
            Class::Read => &self.read,
            Class::Change => &self.change,
        };
        of_device.take(&device).map_err(Reached::of(class.as_str()))?;
        let of_all = self.tenant.check().map_err(|until| wait_s(&until));
        of_all.map_err(Reached::of("tenant"))
    }
}

/// The rate that was reached.
#[derive(Debug, PartialEq, Eq)]
struct Reached {
    class: &'static str,
    wait_s: u32,
}

impl Reached {
    fn of(class: &'static str) -> impl FnOnce(u32) -> Self {
        move |wait_s| Self { class, wait_s }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Device(DeviceId),
    Stranger(IpAddr),
}

fn quota(rate: config::Rate) -> Quota {
    Quota::per_second(rate.per_s).allow_burst(rate.burst)
}

fn wait_s(until: &NotUntil<<DefaultClock as governor::clock::Clock>::Instant>) -> u32 {
    let wait = until.wait_time_from(DefaultClock::default().now());
    u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// Strangers of one network count together: an IPv6 host has 2^64 addresses.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// Lets a request through, or answers it at once.
pub(super) async fn limit(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    admit(&request)?;
    next.call(request).await
}

fn admit(request: &ServiceRequest) -> Result<(), ApiError> {
    let missing = || Fault::new(ErrorCode::Internal, "the gateway is not set up");
    let rates = request.app_data::<web::Data<Rates>>().ok_or_else(missing)?;
    let gateway = request
        .app_data::<web::Data<Arc<Gateway>>>()
        .ok_or_else(missing)?;
    let route = request.match_pattern().unwrap_or_default();
    let class = Class::of(request.method(), &route);
    let peer = match (device::shown_by(request), request.peer_addr()) {
        (Some(device), _) => Peer::Device(device),
        (None, Some(address)) => Peer::Stranger(network_of(address.ip())),
        (None, None) => return Err(missing().into()),
    };
    rates.check(peer, class).map_err(|reached| {
        gateway.metrics.limit(reached.class, 1);
        ApiError::after(
            Fault::new(ErrorCode::RateLimited, "too many requests"),
            reached.wait_s,
        )
    })?;
    if class == Class::Story && gateway.relay.is_full() {
        gateway.metrics.refuse(ErrorCode::Busy);
        return Err(Fault::new(ErrorCode::Busy, "too many stories are waiting").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rates(change: impl FnOnce(&mut config::Rates)) -> Rates {
        let mut rates = config::Rates::default();
        change(&mut rates);
        Rates::new(&rates)
    }

    /// Two at once, then one in two hours.
    fn two() -> config::Rate {
        config::Rate {
            per_s: NonZeroU32::MIN,
            burst: NonZeroU32::new(2).unwrap(),
        }
    }

    fn reached(class: &'static str) -> Result<(), Reached> {
        Err(Reached { class, wait_s: 1 })
    }

    fn device(number: u8) -> Peer {
        Peer::Device(DeviceId::from_bytes([number; 16]))
    }

    /// H6: one device's flood of one kind neither stops its other work nor another device.
    #[test]
    fn classes_and_devices_have_buckets_of_their_own() {
        let rates = rates(|rates| rates.story = two());
        for _ in 0..2 {
            assert_eq!(rates.check(device(1), Class::Story), Ok(()));
        }
        assert_eq!(rates.check(device(1), Class::Story), reached("story"));
        assert_eq!(rates.check(device(1), Class::Poll), Ok(()));
        assert_eq!(rates.check(device(2), Class::Story), Ok(()));
    }

    /// H6: many devices together do not exceed what the tenant has.
    #[test]
    fn tenant_has_a_bucket_over_all_devices() {
        let rates = rates(|rates| rates.tenant = two());
        assert!((0..2).all(|number| rates.check(device(number), Class::Read).is_ok()));
        assert_eq!(rates.check(device(3), Class::Read), reached("tenant"));
    }

    /// H6: strangers are counted by their network, and take nothing from devices.
    #[test]
    fn strangers_are_counted_by_network() {
        let rates = rates(|rates| rates.stranger = two());
        let stranger = |address: &str| Peer::Stranger(network_of(address.parse().unwrap()));
        for address in ["2001:db8::1", "2001:db8::2"] {
            assert_eq!(rates.check(stranger(address), Class::Change), Ok(()));
        }
        assert_eq!(
            rates.check(stranger("2001:db8::3"), Class::Change),
            reached("stranger")
        );
        assert_eq!(rates.check(stranger("2001:db8:0:1::3"), Class::Change), Ok(()));
        assert_eq!(rates.check(stranger("192.0.2.1"), Class::Change), Ok(()));
        assert_eq!(rates.check(device(1), Class::Change), Ok(()));
    }

    /// H6: however many networks ask, what is kept of them is bounded by the checks since the last sweep.
    #[test]
    fn buckets_that_are_full_again_are_dropped() {
        let rate = config::Rate {
            per_s: NonZeroU32::MAX,
            burst: NonZeroU32::MIN,
        };
        let keyed = Keyed::new(rate);
        for key in 0..3 * limits::RATE_CHECKS_PER_SWEEP {
            assert_eq!(keyed.take(&key), Ok(()));
        }
        assert!(keyed.buckets.len() <= limits::RATE_CHECKS_PER_SWEEP + 1);
    }

    #[test]
    fn routes_have_their_classes() {
        let check = |method: Method, route, class| assert_eq!(Class::of(&method, route), class, "{route}");
        check(Method::POST, "/v1/groups/{group}/stories", Class::Story);
        check(Method::POST, "/v1/device-lists/{list}/stories", Class::Story);
        check(Method::GET, "/v1/stories/{cti}", Class::Read);
        check(Method::PUT, "/v1/blobs/{digest}", Class::Upload);
        check(Method::GET, "/v1/blobs/{digest}", Class::Read);
        check(Method::POST, "/v1/sync", Class::Poll);
        check(Method::GET, "/v1/bundle", Class::Poll);
        check(Method::POST, "/v1/groups/{group}/commits", Class::Change);
        check(Method::POST, "", Class::Change);
    }
}
