//! Stories.

pub(super) mod post;
pub(super) mod revoke;
pub(super) mod show;

use policies::terms::Cti;

use crate::domain::fault::Fault;
use crate::http::server::bad_id;

fn cti(text: &str) -> Result<Cti, Fault> {
    text.parse().map_err(|_| bad_id())
}
