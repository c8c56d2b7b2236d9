"""A client of one Epione node: sign, submit, read, follow. Stubs come from the .proto files (see generate.sh).

A transaction is encoded and signed once and the same bytes are sent again after an unknown outcome; the node
returns the first receipt. Every call carries a short-lived token that the caller's own key signed.
"""

import base64
import os
import time
from pathlib import Path

import grpc
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from epione.v1 import (
    audit_pb2_grpc,
    consent_pb2_grpc,
    event_pb2_grpc,
    identity_pb2_grpc,
    ledger_pb2_grpc,
    record_pb2_grpc,
    submission_pb2 as submission,
    submission_pb2_grpc,
    transaction_pb2 as tx,
)

TX_SIGN = b"epione/tx-sign/v1".ljust(32, b"\0")
TX_ID = b"epione/tx-id/v1".ljust(32, b"\0")
COMMITMENT = b"epione/commitment/v1".ljust(32, b"\0")


def random_id() -> bytes:
    """A new id. Bytes that happen to be printable are refused as text: one draw in seven million."""
    while True:
        drawn = os.urandom(16)
        if not all(byte == 0 or 0x20 <= byte <= 0x7E for byte in drawn):
            return drawn


class Key:
    """An ed25519 key."""

    def __init__(self, seed: bytes):
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def generate(cls) -> "Key":
        return cls(os.urandom(32))

    @classmethod
    def load(cls, path: Path) -> "Key":
        return cls(bytes.fromhex(Path(path).read_text().strip()))

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def transaction_id(body: bytes) -> bytes:
    """Hash of the body alone: known before anything is sent."""
    return blake3(body, key=TX_ID).digest()


def commitment(salt: bytes, body: bytes) -> bytes:
    """Salted commitment to what stays off the ledger."""
    return blake3(salt + body, key=COMMITMENT).digest()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    """Speaks to one node over TLS, as the holder of `key`."""

    def __init__(self, endpoint: str, ca_file: Path, chain_id: bytes, key: Key):
        credentials = grpc.ssl_channel_credentials(Path(ca_file).read_bytes())
        self.channel = grpc.secure_channel(endpoint, credentials)
        self.chain_id, self.key = chain_id, key
        self.submission = submission_pb2_grpc.SubmissionServiceStub(self.channel)
        self.identity = identity_pb2_grpc.IdentityServiceStub(self.channel)
        self.records = record_pb2_grpc.RecordServiceStub(self.channel)
        self.consent = consent_pb2_grpc.ConsentServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(self.channel)
        self.events = event_pb2_grpc.EventServiceStub(self.channel)

    def metadata(self):
        """The token of this call: an EdDSA JWT of five minutes."""
        now = int(time.time())
        header = _b64(b'{"alg":"EdDSA","typ":"JWT"}')
        subject, audience = self.key.public.hex(), self.chain_id.hex()
        claims = _b64(f'{{"sub":"{subject}","aud":"{audience}","iat":{now},"exp":{now + 300}}}'.encode())
        signature = _b64(self.key.sign(f"{header}.{claims}".encode()))
        return [("authorization", f"Bearer {header}.{claims}.{signature}")]

    def call(self, method, request, timeout=20):
        """Any unary call, with the token."""
        return method(request, metadata=self.metadata(), timeout=timeout)

    def build(self, signers=(), lifetime_s=300, **call) -> tx.SignedTransaction:
        """Encodes and signs a call once, by this client's key and by `signers`."""
        body = tx.TransactionBody(
            chain_id=self.chain_id,
            sender=self.key.public,
            co_signers=[key.public for key in signers],
            request_id=random_id(),
            expires_at_ms=int((time.time() + lifetime_s) * 1000),
            **call,
        ).SerializeToString()
        message = TX_SIGN + body
        signatures = [tx.Signature(public_key=k.public, signature=k.sign(message)) for k in (self.key, *signers)]
        return tx.SignedTransaction(body=body, signatures=signatures)

    def submit(self, transaction: tx.SignedTransaction, wait=submission.WAIT_LEVEL_CERTIFIED, timeout=20):
        """Submits and waits; after an unknown outcome the same bytes may be submitted again."""
        request = submission.SubmitRequest(transaction=transaction, wait=wait)
        return self.call(self.submission.Submit, request, timeout).status

    def follow(self, request, timeout=20):
        """Events from a height or cursor on, until `timeout` seconds have passed or the caller stops."""
        return self.events.Subscribe(request, metadata=self.metadata(), timeout=timeout)
