//! Free loopback ports, found by binding them.
//!
//! Chosen at random below the range that the system gives to outgoing connections (32768 and up on Linux,
//! 49152 on macOS), so that no client's connection sits on the port of a node that is down for a moment. Held
//! until the node is about to start: another testnet that looks meanwhile finds them taken.

use std::net::{Ipv4Addr, TcpListener};

use super::TestnetError;

const LOWEST: u16 = 10_000;
const SPAN: u16 = 22_000;
const TRIES_PER_PORT: usize = 200;

/// `count` distinct ports of 127.0.0.1, each still bound.
pub(crate) fn free(count: usize) -> Result<Vec<TcpListener>, TestnetError> {
    let mut found: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count * TRIES_PER_PORT {
        if found.len() == count {
            return Ok(found);
        }
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).map_err(|error| TestnetError::Randomness(error.to_string()))?;
        let port = LOWEST + u16::from_le_bytes(bytes) % SPAN;
        found.extend(bind(port).ok());
    }
    if found.len() == count {
        Ok(found)
    } else {
        Err(TestnetError::NoPorts { wanted: count, tries: count * TRIES_PER_PORT })
    }
}

/// Binds one port; an error if somebody listens there.
pub(crate) fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// The port that a listener holds.
pub(crate) fn port_of(listener: &TcpListener) -> std::io::Result<u16> {
    listener.local_addr().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_ports_are_distinct_and_taken() {
        let held = free(12).unwrap();
        let ports: std::collections::BTreeSet<u16> = held.iter().map(|one| port_of(one).unwrap()).collect();
        assert_eq!(ports.len(), 12);
        assert!(ports.iter().all(|port| (LOWEST..LOWEST + SPAN).contains(port) && bind(*port).is_err()));
    }
}
