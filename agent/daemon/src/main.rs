//! The program `sealgate-agent`; everything is in the library beside it, so that fuzzers and benches reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_daemon::main()
}
