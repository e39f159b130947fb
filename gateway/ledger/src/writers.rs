//! The writers' own counts (L6): each writer numbers its entries from 0 without a gap, whatever others write in between.
//!
//! Entries may be shown one and all, or only some of them with their indices. Between two entries of a writer that are
//! shown it can have written no more than there are entries that were not: whatever is beyond that is missing.

use std::collections::BTreeMap;

/// Where each writer stands, as entries are taken in order.
#[derive(Clone, Debug, Default)]
pub struct WriterCounts {
    seen: u64,
    by_writer: BTreeMap<String, Count>,
}

/// After an entry of a writer: its next number, and how many entries had not been shown by then.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    next: u64,
    unseen: u64,
}

/// A number that does not follow the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriterGap {
    /// Numbers are missing.
    #[error(
        "`{writer}` numbered this entry {number}, and {at_most} at most can follow what stands before it: entries that it \
         wrote are missing from the log"
    )]
    Missing {
        /// Who wrote the entry.
        writer: String,
        /// Its number.
        number: u64,
        /// The greatest that it can be.
        at_most: u64,
    },
    /// A number comes again, or numbers run backwards.
    #[error(
        "`{writer}` numbered this entry {number}, and {at_least} at least must follow what stands before it: a number was \
         given twice"
    )]
    Repeated {
        /// Who wrote the entry.
        writer: String,
        /// Its number.
        number: u64,
        /// The smallest that it can be.
        at_least: u64,
    },
}

impl WriterCounts {
    /// Takes the next entry that is shown, by its place in the log and what its header says. Indices rise.
    ///
    /// # Errors
    /// If its number does not follow its writer's last one. What comes after it is held against it.
    pub fn take(&mut self, index: u64, writer: &str, number: u64) -> Result<(), WriterGap> {
        let unseen = index.saturating_sub(self.seen);
        let before = self.by_writer.get(writer).copied().unwrap_or_default();
        let count = Count {
            next: number.saturating_add(1),
            unseen,
        };
        self.seen = self.seen.saturating_add(1);
        self.by_writer.insert(writer.to_owned(), count);
        let at_least = before.next;
        let at_most = at_least.saturating_add(unseen.saturating_sub(before.unseen));
        let writer = writer.to_owned();
        if number < at_least {
            return Err(WriterGap::Repeated {
                writer,
                number,
                at_least,
            });
        }
        if number > at_most {
            return Err(WriterGap::Missing {
                writer,
                number,
                at_most,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first fault among entries `(index, writer, number)`.
    fn fault(entries: &[(u64, &str, u64)]) -> Option<(u64, WriterGap)> {
        let mut counts = WriterCounts::default();
        entries.iter().find_map(|(index, writer, number)| {
            let gap = counts.take(*index, writer, *number).err()?;
            Some((*index, gap))
        })
    }

    /// L6
    #[test]
    fn each_writer_counts_for_itself() {
        assert_eq!(fault(&[]), None);
        assert_eq!(fault(&[(0, "a", 0), (1, "b", 0), (2, "b", 1), (3, "a", 1)]), None);
    }

    /// L6
    #[test]
    fn first_gap_is_named() {
        let (index, gap) = fault(&[(0, "a", 0), (1, "b", 0), (2, "a", 2), (3, "b", 9)]).unwrap();
        assert_eq!(index, 2);
        insta::assert_snapshot!(gap.to_string(), @"`a` numbered this entry 2, and 1 at most can follow what stands before it: entries that it wrote are missing from the log");
        assert_eq!(fault(&[(0, "a", 1)]).unwrap().0, 0);
        assert_eq!(fault(&[(0, "a", 0), (1, "b", u64::MAX)]).unwrap().0, 1);
    }

    /// L6
    #[test]
    fn number_that_comes_again_is_named() {
        let (index, gap) = fault(&[(0, "a", 0), (1, "a", 1), (2, "a", 1)]).unwrap();
        assert_eq!(index, 2);
        insta::assert_snapshot!(gap.to_string(), @"`a` numbered this entry 1, and 2 at least must follow what stands before it: a number was given twice");
    }

    /// L6: between entries that are shown there is room for those that are not, and for no more.
    #[test]
    fn entries_left_out_of_a_view_are_no_gap() {
        assert_eq!(fault(&[(4, "a", 4), (9, "a", 9), (10, "a", 10)]), None);
        assert_eq!(fault(&[(4, "a", 2), (9, "b", 3), (12, "a", 6)]), None);
        for entries in [
            &[(4, "a", 5)][..],
            &[(4, "a", 4), (9, "a", 10)],
            &[(4, "a", 4), (9, "a", 9), (10, "a", 11)],
            &[(4, "a", 4), (9, "a", 4)],
        ] {
            let last = entries.last().unwrap().0;
            assert_eq!(fault(entries).unwrap().0, last, "{entries:?}");
        }
    }
}
