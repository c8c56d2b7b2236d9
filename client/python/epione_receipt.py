"""Checks a receipt with the genesis alone: no node, no network, nobody to trust. In the order of the words:

    receipt - leaf - path - receipts root - header - parent links - certified header - quorum - genesis

What is hashed arrives as the very bytes that are hashed. Integers are little endian. The same as the Rust SDK's
`client/src/verify.rs`, but for one thing: nodes check signatures by ZIP-215, this library by RFC 8032's strict
equation. Every signature that is accepted here is accepted there; a validator that takes pains can make one that only
the nodes accept, and then a receipt is refused here that holds. Ask another node for the proof: other signers will do.
"""

import json
import struct
from dataclasses import dataclass

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from epione.v1 import codes_pb2 as codes

EPOCHS_MAX = 4096
DESCENDANTS_MAX = 1024
VALIDATORS_MAX = 128


class NotProven(Exception):
    """The receipt does not verify."""


@dataclass(frozen=True)
class Proven:
    """What a receipt says for certain. Take nothing from the decoded `receipt` beside a proof: one node's word."""

    transaction_id: bytes
    height: int
    index: int
    applied: bool
    block_time_ms: int


def hashed(tag: str, *parts: bytes) -> bytes:
    """A hash of one kind: the tag, padded with zeros, is the key."""
    return blake3(b"".join(parts), key=tag.encode().ljust(32, b"\0")).digest()


def need(holds, what):
    if not holds:
        raise NotProven(what)


class Trust:
    """What a verifier starts from. Compare `chain_id` with the one you were told."""

    def __init__(self, genesis_json: str):
        genesis = json.loads(genesis_json)
        of, policy, hex_ = genesis["validators"], genesis["policy"], bytes.fromhex
        params, validators, orgs = of["params"], of["validators"], genesis["organisations"]
        self.first = (0, [hex_(one["public_key"]) for one in validators])
        # The canonical encoding, field by field: its tagged hash is the chain id, and so stands in every signature.
        parts = [struct.pack("<HQQQ", genesis["version"], genesis["timestamp"], of["epoch"], len(validators))]
        for one in validators:
            parts += [hex_(one[field]) for field in ("organisation", "public_key", "network_key")]
        names = (
            "execution_version window batch_txs_max batch_bytes_max expiry_ahead_max_ms max_clock_skew_ms"
            " view_timeout_ms view_timeout_max_ms time_block_interval_ms"
        )
        parts.append(struct.pack("<IQIIQQQQQ", *(params[name] for name in names.split())))
        names = "allow_sensitive_in_clear organisation_signatures override_open_ms override_review_ms overdue_reviews_max"
        labels = ["clear"].index(policy["labels"])
        parts.append(struct.pack("<I?HQQI", labels, *(policy[name] for name in names.split())))
        parts.append(struct.pack("<Q", len(orgs)))
        for org in orgs:
            kind, admins = codes.OrgKind.Value(f"ORG_KIND_{org['kind']}") - 1, org["admins"]
            parts += [hex_(org["organisation"]), struct.pack("<IQ", kind, len(admins)), *map(hex_, admins)]
            parts.append(struct.pack("<B?", org["admin_threshold"], org["break_glass"]))
        self.chain_id = hashed("epione/genesis/v1", *parts)

    def verify(self, proof) -> Proven:
        """What an epione.v1.ReceiptProof proves; raises NotProven if that is nothing."""
        receipt = proof.receipt_bytes
        need(len(receipt) >= 50 and receipt[:2] == b"\1\0", "this client reads receipts of version 1")
        header = self._header(proof.header)
        root = merkle_root(hashed("epione/receipt-leaf/v1", receipt), proof.path)
        need(root == header[122:154], "the receipt is not in the block")
        transaction_id, height, index, outcome = struct.unpack_from("<32sQII", receipt, 2)
        return Proven(transaction_id, height, index, outcome == 0, int.from_bytes(header[50:58], "little"))

    def _header(self, proof) -> bytes:
        """The header that is proven."""
        need(len(proof.epochs) <= EPOCHS_MAX, "too many epochs")
        need(len(proof.descendant_bytes) <= DESCENDANTS_MAX, "too many descendants")
        epoch, keys = self.first
        for step in proof.epochs:
            # The last header of each epoch names the next set.
            self._certified(step.header_bytes, step.certificate, epoch, keys)
            named = hashed("epione/epoch/v1", step.validator_set_bytes) == step.header_bytes[186:218]
            need(named, "another set of validators")
            before, (epoch, keys) = epoch, validator_set(step.validator_set_bytes)
            need(epoch == before + 1, "an epoch is left out")
        tip = proof.header_bytes
        for child in proof.descendant_bytes:
            need(len(child) == len(tip) == 218, "a header has 218 bytes")
            need(child[18:50] == hashed("epione/header/v1", tip), "a header is not the child of the one before")
            heights = [int.from_bytes(header[2:10], "little") for header in (tip, child)]
            need(heights[1] == heights[0] + 1, "a height is left out")
            tip = child
        self._certified(tip, proof.certificate, epoch, keys)
        return proof.header_bytes

    def _certified(self, header, certificate, epoch, keys):
        """A quorum of the epoch's validators signed this header."""
        need(len(header) == 218 and header[:2] == b"\1\0", "this client reads headers of version 1")
        header_hash, place = hashed("epione/header/v1", header), struct.unpack_from("<QQ", header, 2)
        same = certificate.header_hash == header_hash and (certificate.height, certificate.epoch) == place
        need(same and certificate.epoch == epoch, "the certificate is for another header")
        n, signers = len(keys), [one.validator for one in certificate.signatures]
        quorum = (n + (n - 1) // 3 + 2) // 2
        need(len(signers) >= quorum, f"{len(signers)} of {quorum} signatures")
        need(signers == sorted(set(signers)) and signers[-1] < n, "signers must be validators, distinct and in order")
        # A seal has no view: eight zero bytes stand in its place.
        where = struct.pack("<QQQ", certificate.epoch, 0, certificate.height)
        message = b"epione/seal/v1".ljust(32, b"\0") + self.chain_id + where + header_hash
        for one in certificate.signatures:
            try:
                Ed25519PublicKey.from_public_bytes(keys[one.validator]).verify(one.signature, message)
            except (InvalidSignature, ValueError):
                raise NotProven(f"validator {one.validator} did not sign this") from None


def validator_set(encoded: bytes):
    """Epoch and public keys of an encoded validator set."""
    need(len(encoded) >= 16, "a validator set is too short")
    epoch, n = struct.unpack_from("<QQ", encoded)
    need(1 <= n <= VALIDATORS_MAX and len(encoded) == 16 + 80 * n + 60, "a validator set has a wrong length")
    return epoch, [encoded[32 + 80 * i : 64 + 80 * i] for i in range(n)]


def merkle_root(leaf: bytes, path) -> bytes:
    """The root that a leaf and its path lead to: a list splits at the largest power of two below its length."""
    at, width, rights = path.index, path.count, []
    need(at < width, "there is no such leaf")
    while width > 1:
        left = 1 << (width - 1).bit_length() - 1
        rights.append(at >= left)
        at, width = (at - left, width - left) if at >= left else (at, left)
    lengths = len(rights) == len(path.siblings) and all(len(one) == 32 for one in path.siblings)
    need(lengths, "the path has a wrong length")
    for sibling, right in zip(path.siblings, reversed(rights)):
        leaf = hashed("epione/merkle-node/v1", *((sibling, leaf) if right else (leaf, sibling)))
    return hashed("epione/merkle-node/v1", struct.pack("<Q", path.count), leaf)
