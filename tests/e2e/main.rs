//! Whole stories with real processes: gateway and agents as an administrator and employees run them, on
//! ports and in folders of their own. Nothing of the product is linked but its wire types.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed expectation fails the test, and shows its seed"
)]

mod auditor;
mod backup;
mod crash;
mod crowd;
mod damage;
mod day;
mod deletion;
mod doctor;
mod drafts;
mod evidence;
mod false_positive;
mod foreign;
mod groups;
mod hostile;
mod identity;
mod local;
mod lost;
mod network;
mod offline;
mod outbox;
mod policy;
mod privacy;
mod relay;
mod removal;
mod spool;
mod strangers;
mod telemetry;
mod unenroll;
mod upgrade;
mod world;
