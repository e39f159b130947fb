//! Exit codes of the commands: scripts and the outbox of other programs rely on them.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// 0
    Done,
    /// 1: anything else.
    Failed,
    /// 2: the command line.
    Usage,
    /// 10: the policy blocks the draft.
    Blocked,
    /// 11: the policy asks for a reason (`--reason`).
    NeedsReason,
    /// 12: the policy warns (`--accept-warning`).
    NeedsAcceptance,
    /// 13: the gateway refused.
    Refused,
    /// 14: kept for later, the gateway cannot be reached.
    Kept,
    /// 15: no policy in force: nothing is sealed.
    NoPolicy,
    /// 16: waits for an administrator's approval.
    Waiting,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Blocked => 10,
            Self::NeedsReason => 11,
            Self::NeedsAcceptance => 12,
            Self::Refused => 13,
            Self::Kept => 14,
            Self::NoPolicy => 15,
            Self::Waiting => 16,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
