//! A local network of real processes, drills on it, and the simulator.

pub mod bundles;
pub mod drill;
pub mod local;
pub mod sim;
