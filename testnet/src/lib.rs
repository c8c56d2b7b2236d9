//! A local network of real processes, and the simulator.

pub mod bundles;
pub mod local;
pub mod sim;
