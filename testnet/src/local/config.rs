//! The configuration of one node, as `epione node run` reads it.

use epione_types::id::OrgId;
use epione_types::{Genesis, PublicKey};

use super::state::Ports;

const HEAD: &str = r#"genesis = "../genesis.json"
data_dir = "data"

[keys]
voting = "voting.key"
network = "network.key"
"#;

fn listening(Ports { grpc, operator, peer }: &Ports) -> String {
    format!(
        r#"
[grpc]
listen = "127.0.0.1:{grpc}"
tls_cert = "tls.pem"
tls_key = "tls.key"

[operator]
listen = "127.0.0.1:{operator}"

[network]
listen = "/ip4/127.0.0.1/tcp/{peer}"
"#
    )
}

fn peer(key: PublicKey, port: u16) -> String {
    format!("\n[[network.peers]]\nnetwork_key = \"{key}\"\naddress = \"/ip4/127.0.0.1/tcp/{port}\"\n")
}

/// TOML of one node. Its paths are relative to the file's folder.
pub(crate) fn text(genesis: &Genesis, ports: &[Ports], node: usize) -> String {
    let mut text = String::from(HEAD);
    for (i, (place, validator)) in ports.iter().zip(&genesis.validators.validators).enumerate() {
        text += &if i == node { listening(place) } else { peer(validator.network_key, place.peer) };
    }
    text
}

/// TOML of a node that joins: it knows where the others listen, and they wait for it.
pub(crate) fn joining(organisation: OrgId, others: &[(PublicKey, Ports)], own: &Ports) -> String {
    let peers = others.iter().map(|(key, place)| peer(*key, place.peer));
    [format!("join = \"{organisation}\"\n{HEAD}"), listening(own)].into_iter().chain(peers).collect()
}
