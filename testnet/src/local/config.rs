//! The configuration of one node, as `epione node run` reads it.

use core::fmt::Write as _;

use epione_types::Genesis;

use super::state::Ports;

/// TOML of one node. Its paths are relative to the file's folder.
pub(crate) fn text(genesis: &Genesis, ports: &[Ports], node: usize) -> String {
    let mut text = String::from(
        r#"genesis = "../genesis.json"
data_dir = "data"

[keys]
voting = "voting.key"
network = "network.key"
"#,
    );
    for (i, (place, validator)) in ports.iter().zip(&genesis.validators.validators).enumerate() {
        let Ports { grpc, operator, peer } = place;
        let written = if i == node {
            write!(
                text,
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
        } else {
            let key = validator.network_key;
            write!(
                text,
                "\n[[network.peers]]\nnetwork_key = \"{key}\"\naddress = \"/ip4/127.0.0.1/tcp/{peer}\"\n"
            )
        };
        assert!(written.is_ok(), "a String takes any text");
    }
    text
}
