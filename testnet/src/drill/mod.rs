//! Drills: what goes wrong in a hospital's machine room, done to a network of real processes under load.
//!
//! ```text
//! scenarios/NAME.txt ─▶ own network, a proxy in every wire ─▶ load ─▶ faults and what must hold ─▶ load stops
//!                     ─▶ one height and state root everywhere, every answer COMMITTED there once ─▶ network ended
//! ```
//!
//! A drill says which way it did what it did (a small disk may be a mount or a limit), how long the network took to certify
//! again, and what was lost. Nothing of it is random but what the system makes of it.
//!
//! Tested by `cli/tests/drill.rs`, where the binary is known, and by the tests of each part.

mod disk;
mod load;
mod lost;
mod proxy;
mod runner;
mod scenario;
mod stored;

pub use runner::{Report, run};
pub use scenario::{Drill, Member, Part, STEPS, ScenarioError, Step, Who};
pub(crate) use stored::UNFINISHED;

/// A drill that did not come out as it must, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Failed {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::local::TestnetError> for Failed {
    fn from(error: crate::local::TestnetError) -> Self {
        Self::of(error)
    }
}

macro_rules! drills {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of every drill, in the order in which they are run.
        pub const DRILLS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".txt")))),+];
    };
}

drills!(
    "kill-primary",
    "kill-f",
    "kill-all",
    "three-faults",
    "freeze",
    "partition",
    "slow-link",
    "full-disk",
    "corrupt-log-tail",
    "corrupt-log",
    "corrupt-store",
    "corrupt-page",
    "wiped-node",
    "far-behind",
    "clock-offset",
    "rolling-restart",
    "join",
    "leave",
    "key-rotation",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drill_is_one_says_what_it_is_about_and_requires_something() {
        for (name, text) in DRILLS {
            let drill = Drill::from_text(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(drill.about.len() > 20, "{name}");
            assert!(drill.steps.iter().any(|(_, step)| step.is_requirement()), "{name}");
        }
    }

    #[test]
    fn no_scenario_lies_there_and_is_not_run() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let count = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(count, DRILLS.len());
    }
}
