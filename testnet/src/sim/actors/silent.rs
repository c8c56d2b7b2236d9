//! Hears everything, says nothing: as dead to the others as it can be while its links stay up.

use bytes::Bytes;
use epione_node::network::Class;

use super::{Actor, Stage};

#[derive(Debug)]
pub(super) struct Silent;

impl Actor for Silent {
    fn outbound(&mut self, stage: &mut Stage<'_>, _: usize, _: usize, _: Class, _: Bytes) {
        stage.deed();
    }
}
