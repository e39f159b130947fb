//! Bounds of an inspection, and the account that is kept of them (X4).

use policies::terms::UnscannableReason;

/// What an inspection may cost. All of it is counted, none of it is clocked, so that the same bytes give the same
/// report on every machine (K21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the containers of a draft may expand to, all together.
    pub expanded_bytes_max: u64,
    /// Times that a container may expand over its own size.
    pub ratio_max: u64,
    /// Containers, and decoders, inside each other.
    pub depth_max: u8,
    /// Entries of the containers of a draft, all together.
    pub entries_max: u32,
    /// Bytes read, decoded and matched, all together.
    pub work_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Twice the largest attachment that messengers pass on.
            expanded_bytes_max: 64 << 20,
            // Text deflates 3 to 20 times; OOXML seldom 50.
            ratio_max: 100,
            // A docx in a zip in a mail is three.
            depth_max: 5,
            // A large project's archive.
            entries_max: 10_000,
            // About two seconds on a slow core.
            work_max: 512 << 20,
        }
    }
}

/// Expansion that needs no ratio: a table of zeros in a small archive is no bomb.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Characters of context that a joined view takes from each end of an item: more than any detector's window.
pub(crate) const JOIN_BYTES: usize = 512;
/// Bytes around an escape that the decoded view of it takes along, for context.
pub(crate) const EXCERPT_BYTES: usize = 600;
/// Longest match of a pattern that has no longest match of its own.
pub(crate) const MATCH_BYTES: usize = 1_024;
/// Matches of one detector in one view. Behind them a surer one may stand, so that the item is then not read whole.
pub(crate) const MATCHES_MAX: usize = 1_000;
/// Views of one segment: escapes within escapes must end.
pub(crate) const VIEWS_MAX: usize = 65_536;
/// What a view costs beside its bytes.
pub(crate) const VIEW_WORK: usize = 1_024;
/// What a keyword or literal that is found costs; a text of nothing but keywords must not fill the memory.
pub(crate) const WORD_WORK: usize = 64;
/// Matches of a whole draft; a table of a million addresses is no more sensitive than one of this many.
pub(crate) const DRAFT_MATCHES_MAX: usize = 100_000;
/// Memory of one compiled pattern.
pub(crate) const PATTERN_BYTES: usize = 4 << 20;
/// Attributes of one XML tag; office suites write less than a hundred, namespaces included.
pub(crate) const XML_ATTRIBUTES_MAX: usize = 1_000;
/// XML elements inside each other; office suites write less than forty.
pub(crate) const XML_DEPTH_MAX: usize = 512;

/// What an inspection has used so far.
pub(crate) struct Budget {
    limits: Limits,
    expanded: u64,
    entries: u32,
    work: u64,
    left_out: bool,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            expanded: 0,
            entries: 0,
            work: 0,
            left_out: false,
        }
    }

    /// Notes that matches were left out.
    pub(crate) fn leave_out(&mut self) {
        self.left_out = true;
    }

    /// Whether no match was left out since this was last asked.
    pub(crate) fn complete(&mut self) -> Result<(), UnscannableReason> {
        if std::mem::take(&mut self.left_out) {
            Err(UnscannableReason::WorkLimit)
        } else {
            Ok(())
        }
    }

    pub(crate) fn depth_max(&self) -> u8 {
        self.limits.depth_max
    }

    /// Bytes that a container of `compressed` bytes may still give, at most one more than allowed.
    pub(crate) fn allowance(&self, compressed: u64) -> u64 {
        let by_ratio = compressed
            .saturating_mul(self.limits.ratio_max)
            .max(RATIO_FREE_BYTES);
        by_ratio.min(self.limits.expanded_bytes_max.saturating_sub(self.expanded))
    }

    /// Accounts for `expanded` bytes that came out of `compressed` bytes.
    pub(crate) fn expand(&mut self, compressed: u64, expanded: u64) -> Result<(), UnscannableReason> {
        self.expanded = self.expanded.saturating_add(expanded);
        if self.expanded > self.limits.expanded_bytes_max {
            return Err(UnscannableReason::TooLarge);
        }
        if expanded
            > compressed
                .saturating_mul(self.limits.ratio_max)
                .max(RATIO_FREE_BYTES)
        {
            return Err(UnscannableReason::RatioExceeded);
        }
        Ok(())
    }

    pub(crate) fn entry(&mut self) -> Result<(), UnscannableReason> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.limits.entries_max {
            Err(UnscannableReason::TooManyEntries)
        } else {
            Ok(())
        }
    }

    pub(crate) fn work(&mut self, bytes: usize) -> Result<(), UnscannableReason> {
        self.work = self.work.saturating_add(bytes as u64);
        if self.work > self.limits.work_max {
            Err(UnscannableReason::WorkLimit)
        } else {
            Ok(())
        }
    }
}
