//! A detector carries its own examples and counter-examples; this runs them.

use std::fmt;

use policies::detector::Detector;
use policies::terms::DetectorId;

use crate::draft::Draft;
use crate::engine::Engine;
use crate::limits::Limits;

/// An example that does not hold. `Debug` and `Display` name it by its number: examples are texts like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleFault {
    /// The detector.
    pub detector: DetectorId,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not compile.
    DoesNotCompile,
    /// It finds nothing in this example, counted from 1.
    Missed(usize),
    /// It finds something in this counter-example, counted from 1.
    FoundInCounterExample(usize),
}

impl fmt::Display for ExampleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::DoesNotCompile => write!(f, "detector `{}` does not compile", self.detector),
            Fault::Missed(n) => write!(f, "detector `{}` finds nothing in its example {n}", self.detector),
            Fault::FoundInCounterExample(n) => {
                write!(
                    f,
                    "detector `{}` finds something in its counter-example {n}",
                    self.detector
                )
            }
        }
    }
}

/// Every example in which a detector finds nothing, and every counter-example in which it finds something.
#[must_use]
pub fn examples_hold(detectors: &[Detector]) -> Vec<ExampleFault> {
    detectors.iter().flat_map(faults).collect()
}

fn faults(detector: &Detector) -> Vec<ExampleFault> {
    let fault = |fault| ExampleFault {
        detector: detector.id.clone(),
        fault,
    };
    let Ok(engine) = Engine::of_detectors(std::slice::from_ref(detector)) else {
        return vec![fault(Fault::DoesNotCompile)];
    };
    let finds = |text: &String| {
        let report = engine.inspect(&Draft::new(text.clone(), Vec::new()), &Limits::default());
        report.matches().iter().any(|found| found.detector == detector.id)
    };
    let missed = (1..)
        .zip(&detector.examples)
        .filter(|(_, text)| !finds(text))
        .map(|(n, _)| fault(Fault::Missed(n)));
    let found = (1..)
        .zip(&detector.counter_examples)
        .filter(|(_, text)| finds(text))
        .map(|(n, _)| fault(Fault::FoundInCounterExample(n)));
    missed.chain(found).collect()
}
