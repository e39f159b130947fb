//! The program `sealgate`; everything is in the library beside it, so that fuzzers and benches reach it too.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    gateway_server::main().await
}
