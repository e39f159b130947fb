//! `log search`: entries in order, page by page, and what they are of: complete, or said to be incomplete.

use std::fmt;
use std::str::FromStr;

use gateway_api::error::ErrorCode;
use serde_json::json;

use super::super::{Reply, lines};
use super::with_person;
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::record::Kind;
use crate::domain::search::{self, Coverage, Filter, Gap};
use crate::limits;
use crate::store::logs::ReadEntry;

/// Where a page begins, in a ledger of the size that it had when the first page was asked for: so the pages together
/// cover exactly that many entries, however much is written meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    from: u64,
    tree_size: u64,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.from, self.tree_size)
    }
}

impl FromStr for Page {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let parse = || {
            let (from, tree_size) = text.split_once('.')?;
            let page = Self {
                from: from.parse().ok()?,
                tree_size: tree_size.parse().ok()?,
            };
            (page.from < page.tree_size).then_some(page)
        };
        parse()
            .ok_or_else(|| Fault::bad_request("this is no page; give --page what an answer named as `next`"))
    }
}

/// The search is recorded before it is answered (L9), under the key of the person that it is about, if it is about one.
pub(crate) async fn search(
    gateway: &Gateway,
    filter: Filter,
    person: Option<&str>,
    page: Option<&str>,
    limit: usize,
) -> Result<Reply, Fault> {
    let filter = with_person(gateway, filter, person).await?;
    let size = gateway.ledger.size();
    let page = match page {
        Some(text) => text.parse()?,
        None => Page {
            from: 0,
            tree_size: size,
        },
    };
    if page.tree_size > size {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "the ledger has fewer entries than when this search began; run `sealgate verify` on it",
        ));
    }
    let payload = json!({ "search": filter, "page": page.to_string() });
    gateway.record(Kind::LogRead, filter.person, payload).await?;
    let bounds = (
        limit.clamp(1, limits::SEARCH_RESULTS_MAX),
        limits::SEARCH_ENTRIES_MAX,
    );
    let scan = search::scan(&gateway.ledger, &filter, page.from, page.tree_size, bounds).await?;
    let next = scan.coverage.has_more().then(|| {
        let next = Page {
            from: scan.coverage.to,
            ..page
        };
        next.to_string()
    });
    let found = scan
        .found
        .iter()
        .map(|entry| format!("{:>8}  {}  {}", entry.index, entry.at_s, entry.kind));
    let text = format!(
        "{}\n{}",
        lines(found.collect(), "nothing was found"),
        sentence(&scan.coverage, next.as_deref())
    );
    let entries: Vec<_> = scan.found.iter().map(ReadEntry::to_json).collect();
    let json = json!({
        "entries": entries, "complete": scan.coverage.is_complete(), "coverage": scan.coverage,
        "more": next.is_some(), "next": next,
    });
    Ok(Reply::new(json, text))
}

/// Is this complete?
pub(super) fn sentence(coverage: &Coverage, next: Option<&str>) -> String {
    let Coverage {
        tree_size,
        from,
        to,
        unreadable,
        first_gap,
        ..
    } = coverage;
    let looked_at = if from == to {
        format!("no entry of {tree_size} was looked at")
    } else {
        format!(
            "entries {from} to {} of {tree_size} were looked at",
            to.saturating_sub(1)
        )
    };
    let mut parts = vec![looked_at];
    if *unreadable > 0 {
        parts.push(format!(
            "{unreadable} of them cannot be read any more, since their subject's key was shredded, and may or may not match"
        ));
    }
    if let Some(Gap { entry, fault }) = first_gap {
        parts.push(format!(
            "entry {entry}: {fault}; keep a copy for evidence and run `sealgate verify` on it"
        ));
    }
    match next {
        Some(next) => parts.push(format!("NOT COMPLETE: go on with --page {next}")),
        None if *from > 0 => parts.push("this is the last page".to_owned()),
        None if *unreadable > 0 || first_gap.is_some() => parts.push("NOT COMPLETE".to_owned()),
        None => parts.push("complete".to_owned()),
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(from: u64, to: u64, unreadable: u64) -> Coverage {
        Coverage {
            tree_size: 10,
            from,
            to,
            matched: 1,
            unreadable,
            unreadable_entries: Vec::new(),
            first_gap: None,
        }
    }

    #[test]
    fn answer_says_whether_it_is_complete() {
        let check = |coverage, next, expected| assert_eq!(sentence(&coverage, next), expected);
        check(
            coverage(0, 10, 0),
            None,
            "entries 0 to 9 of 10 were looked at; complete",
        );
        check(
            coverage(0, 4, 0),
            Some("4.10"),
            "entries 0 to 3 of 10 were looked at; NOT COMPLETE: go on with --page 4.10",
        );
        check(
            coverage(4, 10, 0),
            None,
            "entries 4 to 9 of 10 were looked at; this is the last page",
        );
        check(
            coverage(0, 10, 2),
            None,
            "entries 0 to 9 of 10 were looked at; 2 of them cannot be read any more, since their subject's key was \
             shredded, and may or may not match; NOT COMPLETE",
        );
        let gap = Gap {
            entry: 7,
            fault: "numbers are missing".to_owned(),
        };
        check(
            Coverage {
                first_gap: Some(gap),
                ..coverage(0, 10, 0)
            },
            None,
            "entries 0 to 9 of 10 were looked at; entry 7: numbers are missing; keep a copy for evidence and run \
             `sealgate verify` on it; NOT COMPLETE",
        );
    }

    #[test]
    fn page_reads_back_and_nothing_else_is_one() {
        let page = Page {
            from: 4,
            tree_size: 10,
        };
        assert_eq!(page.to_string().parse::<Page>().ok(), Some(page));
        for text in ["", "4", "4.", "10.10", "11.10", "a.b", "-1.10"] {
            assert!(text.parse::<Page>().is_err(), "{text}");
        }
    }
}
