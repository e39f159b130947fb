//! The people of an audience (K8): a GroupContext extension that only owners change.

use std::collections::BTreeSet;

use ciborium::Value;

use crate::cbor;
use crate::terms::PersonId;

/// Extension type of the roster in the MLS GroupContext (private use range of RFC 9420, section 17.3).
pub const EXTENSION_TYPE: u16 = 0xF5E1;
/// People in one audience (M11 bounds devices; one person has at least one).
pub const PERSONS_MAX: usize = 2_000;

/// The bytes are no roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audience's list of people cannot be read")]
pub struct InvalidRoster;

/// Who is in an audience, and who may change that.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Roster {
    /// A subset of `persons`.
    pub owners: BTreeSet<PersonId>,
    /// Everybody.
    pub persons: BTreeSet<PersonId>,
}

impl Roster {
    /// Canonical CBOR `[owners, persons]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let list = |people: &BTreeSet<PersonId>| {
            Value::Array(
                people
                    .iter()
                    .map(|person| Value::Bytes(person.as_bytes().to_vec()))
                    .collect(),
            )
        };
        cbor::canonical(&Value::Array(vec![list(&self.owners), list(&self.persons)]))
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`InvalidRoster`] for anything else, for a roster without an owner, and for an owner who is not in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRoster> {
        let value = cbor::strict_value(bytes).map_err(|_| InvalidRoster)?;
        let lists = value.into_array().map_err(|_| InvalidRoster)?;
        let [owners, persons] = <[Value; 2]>::try_from(lists).map_err(|_| InvalidRoster)?;
        let roster = Self {
            owners: people(owners)?,
            persons: people(persons)?,
        };
        let sound = !roster.owners.is_empty() && roster.owners.is_subset(&roster.persons);
        if sound && roster.encode() == bytes {
            Ok(roster)
        } else {
            Err(InvalidRoster)
        }
    }

    /// Whether `by` may replace `self` by `new`: an owner may change anything while an owner stays; anybody
    /// may take exactly themselves out, unless they are the last owner.
    #[must_use]
    pub fn change_allowed(&self, new: &Self, by: PersonId) -> bool {
        let sound =
            !new.owners.is_empty() && new.owners.is_subset(&new.persons) && new.persons.len() <= PERSONS_MAX;
        if !sound || !self.persons.contains(&by) {
            return false;
        }
        if self.owners.contains(&by) {
            return true;
        }
        let mut without = self.clone();
        without.persons.remove(&by);
        *new == without
    }
}

fn people(value: Value) -> Result<BTreeSet<PersonId>, InvalidRoster> {
    let items = value.into_array().map_err(|_| InvalidRoster)?;
    if items.len() > PERSONS_MAX {
        return Err(InvalidRoster);
    }
    let person = |item: Value| {
        let bytes = item.into_bytes().map_err(|_| InvalidRoster)?;
        Ok(PersonId::from_bytes(bytes.try_into().map_err(|_| InvalidRoster)?))
    };
    items.into_iter().map(person).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(n: u8) -> PersonId {
        PersonId::from_bytes([n; 16])
    }

    fn roster(owners: &[u8], persons: &[u8]) -> Roster {
        let set = |list: &[u8]| list.iter().map(|n| person(*n)).collect();
        Roster {
            owners: set(owners),
            persons: set(persons),
        }
    }

    #[test]
    fn roster_survives_the_wire() {
        let roster = roster(&[1], &[1, 2, 3]);
        assert_eq!(Roster::decode(&roster.encode()), Ok(roster));
    }

    #[test]
    fn roster_without_an_owner_inside_is_refused() {
        assert_eq!(Roster::decode(&roster(&[], &[1]).encode()), Err(InvalidRoster));
        assert_eq!(Roster::decode(&roster(&[2], &[1]).encode()), Err(InvalidRoster));
    }

    /// K8
    #[test]
    fn only_owners_change_the_list_and_anybody_may_leave() {
        let old = roster(&[1], &[1, 2, 3]);
        assert!(old.change_allowed(&roster(&[1], &[1, 2, 3, 4]), person(1)));
        assert!(old.change_allowed(&roster(&[2], &[2, 3]), person(1)));
        assert!(!old.change_allowed(&roster(&[1], &[1, 2, 3, 4]), person(2)));
        assert!(!old.change_allowed(&roster(&[2], &[1, 2, 3]), person(2)));
        assert!(old.change_allowed(&roster(&[1], &[1, 3]), person(2)));
        assert!(!old.change_allowed(&roster(&[1], &[1, 2]), person(2)));
        assert!(!old.change_allowed(&roster(&[], &[2, 3]), person(1)));
        assert!(!old.change_allowed(&roster(&[1], &[1, 2]), person(9)));
    }
}
