//! The shipped packs, run over their own examples.


use agent_inspect::examples_hold;
use crate::support::plan;

/// Every detector finds something in each of its examples and nothing in its counter-examples.
#[test]
fn examples_and_counter_examples_of_every_shipped_detector_hold() {
    let faults: Vec<String> = examples_hold(plan().detectors()).iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
