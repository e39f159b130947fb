//! The directory: people (names live here alone, K28) and the directory log (C2SP tlog-tiles).

use policies::terms::{GroupName, PersonId};
use serde::{Deserialize, Serialize};

/// `GET`: everybody of the tenant, for choosing an audience: a [`People`].
pub const PEOPLE_PATH: &str = "/v1/people";
/// `GET`: the signed checkpoint of the directory log, a C2SP signed note (text).
pub const CHECKPOINT_PATH: &str = "/v1/directory/checkpoint";
/// `GET {TILE_PREFIX}/...`: tiles and entry bundles, paths as in C2SP tlog-tiles, after `tile/`.
pub const TILE_PREFIX: &str = "/v1/directory/tile";

/// The people of the tenant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// In order of name.
    pub people: Vec<Person>,
    /// Who asks.
    pub you: Option<PersonId>,
    /// The asker's directory groups, for the policy's `group` conditions (P22).
    pub your_groups: Vec<GroupName>,
}

/// One person, for people of the same tenant.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Opaque id, as in the directory log.
    pub person: PersonId,
    /// The name that colleagues know.
    pub name: String,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person")
            .field("person", &self.person)
            .finish_non_exhaustive()
    }
}
