//! The engine of the example company's policy.

use agent_inspect::Engine;
use policies::document::{Folder, check};
use policies::plan::Plan;

/// The policy of the example company, which uses every shipped pack and one detector of its own.
pub(crate) fn plan() -> Plan {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    let files = [
        file(
            "policy.toml",
            include_str!("../../../../policies/example/policy.toml"),
        ),
        file("dlp.toml", include_str!("../../../../policies/example/dlp.toml")),
        file(
            "detectors/own.toml",
            include_str!("../../../../policies/example/detectors/own.toml"),
        ),
        file(
            "sharing/model.conf",
            include_str!("../../../../policies/example/sharing/model.conf"),
        ),
        file(
            "sharing/policy.csv",
            include_str!("../../../../policies/example/sharing/policy.csv"),
        ),
    ];
    Plan::draft(&check(&Folder { files: files.into() }).unwrap())
}

/// An engine with every shipped detector.
pub(crate) fn engine() -> Engine {
    Engine::compile(&plan()).unwrap()
}
