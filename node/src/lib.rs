//! One node: the parts below it, put together and connected to the world.

pub mod network;
