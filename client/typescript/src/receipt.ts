/**
 * Checks a receipt with the genesis alone: no node, no network, nobody to trust. In the order of the words:
 *
 *     receipt ─ leaf ─ path ─ receipts root ─ header ─ parent links ─ certified header ─ quorum ─ genesis
 *
 * What is hashed arrives as the very bytes that are hashed. Integers are little endian. The same as the Rust SDK's
 * `client/src/verify.rs`; signatures are checked by the nodes' own rule, ZIP-215.
 */
import { ed25519 } from "@noble/curves/ed25519.js";
import { blake3 } from "@noble/hashes/blake3.js";

import type { Certificate__Output } from "../generated/epione/v1/Certificate.js";
import type { CertifiedHeader__Output } from "../generated/epione/v1/CertifiedHeader.js";
import type { MerklePath__Output } from "../generated/epione/v1/MerklePath.js";
import type { ReceiptProof__Output } from "../generated/epione/v1/ReceiptProof.js";
import { OrgKind } from "../generated/epione/v1/OrgKind.js";

const EPOCHS_MAX = 4096;
const DESCENDANTS_MAX = 1024;
const VALIDATORS_MAX = 128;

/** What a receipt says for certain. Take nothing from the decoded `receipt` beside a proof: that is one node's word. */
export interface Proven {
  transactionId: Buffer;
  height: bigint;
  index: number;
  /** Applied, or refused with nothing applied. */
  applied: boolean;
  /** Sealed time of the block, in ms. */
  blockTimeMs: bigint;
}

/** A domain tag: the blake3 key under which one kind of thing is hashed, or the prefix of what is signed. */
export function tag(name: string): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.write(name);
  return bytes;
}

export function hash(name: string, ...parts: Uint8Array[]): Buffer {
  return Buffer.from(blake3(Buffer.concat(parts), { key: tag(name) }));
}

function need(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`the receipt does not verify: ${what}`);
}

const u64 = (value: number | bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const u32 = (value: number) => u64(value).subarray(0, 4);
const u16 = (value: number) => u64(value).subarray(0, 2);
const hex = (text: string) => Buffer.from(text, "hex");

/** The validators of an epoch. */
interface ValidatorSet {
  epoch: bigint;
  keys: Buffer[];
}

/** What a verifier starts from. Compare `chainId` with the one you were told. */
export class Trust {
  readonly chainId: Buffer;
  private readonly set: ValidatorSet;

  /** From the text of genesis.json. */
  constructor(text: string) {
    const genesis = JSON.parse(text);
    const { validators, params } = genesis.validators;
    const { policy, organisations } = genesis;
    this.set = { epoch: 0n, keys: validators.map((one: any) => hex(one.public_key)) };
    // The canonical encoding, field by field: its tagged hash is the chain id, and so stands in every signature.
    this.chainId = hash(
      "epione/genesis/v1",
      u16(genesis.version), u64(genesis.timestamp),
      u64(genesis.validators.epoch), u64(validators.length),
      ...validators.flatMap((one: any) => [one.organisation, one.public_key, one.network_key].map(hex)),
      u32(params.execution_version), u64(params.window), u32(params.batch_txs_max), u32(params.batch_bytes_max),
      u64(params.expiry_ahead_max_ms), u64(params.max_clock_skew_ms), u64(params.view_timeout_ms),
      u64(params.view_timeout_max_ms), u64(params.time_block_interval_ms),
      u32(["clear"].indexOf(policy.labels)), Buffer.of(+policy.allow_sensitive_in_clear),
      u16(policy.organisation_signatures), u64(policy.override_open_ms), u64(policy.override_review_ms),
      u32(policy.overdue_reviews_max),
      u64(organisations.length),
      ...organisations.flatMap((org: any) => [
        hex(org.organisation), u32(Object.keys(OrgKind).indexOf(`ORG_KIND_${org.kind}`) - 1),
        u64(org.admins.length), ...org.admins.map(hex), Buffer.of(org.admin_threshold, +org.break_glass),
      ]),
    );
  }

  /** What a proof proves; throws if that is nothing. */
  verify(proof: ReceiptProof__Output): Proven {
    need(!!proof.path && !!proof.header, "path and header must be set");
    const receipt = proof.receiptBytes;
    need(receipt.length >= 50 && receipt.readUInt16LE(0) === 1, "this client reads receipts of version 1");
    const header = this.header(proof.header);
    const root = merkleRoot(hash("epione/receipt-leaf/v1", receipt), proof.path);
    need(root.equals(header.subarray(122, 154)), "the receipt is not in the block");
    return {
      transactionId: receipt.subarray(2, 34),
      height: receipt.readBigUInt64LE(34),
      index: receipt.readUInt32LE(42),
      applied: receipt.readUInt32LE(46) === 0,
      blockTimeMs: header.readBigUInt64LE(50),
    };
  }

  /** The header that is proven. */
  private header(proof: CertifiedHeader__Output): Buffer {
    need(proof.epochs.length <= EPOCHS_MAX, "too many epochs");
    need(proof.descendantBytes.length <= DESCENDANTS_MAX, "too many descendants");
    let set = this.set;
    for (const step of proof.epochs) {
      // The last header of each epoch names the next set.
      this.certified(step.headerBytes, step.certificate, set);
      const next = validatorSet(step.validatorSetBytes);
      const named = step.headerBytes.subarray(186, 218);
      need(hash("epione/epoch/v1", step.validatorSetBytes).equals(named), "another set of validators");
      need(next.epoch === set.epoch + 1n, "an epoch is left out");
      set = next;
    }
    let tip = proof.headerBytes;
    for (const child of proof.descendantBytes) {
      need(child.length === 218 && tip.length === 218, "a header has 218 bytes");
      need(child.subarray(18, 50).equals(hash("epione/header/v1", tip)), "a header is not the child of the one before");
      need(child.readBigUInt64LE(2) === tip.readBigUInt64LE(2) + 1n, "a height is left out");
      tip = child;
    }
    this.certified(tip, proof.certificate, set);
    return proof.headerBytes;
  }

  /** A quorum of the set signed this header. */
  private certified(header: Buffer, certificate: Certificate__Output | null, set: ValidatorSet): void {
    need(header.length === 218 && header.readUInt16LE(0) === 1, "this client reads headers of version 1");
    need(!!certificate, "there is no certificate");
    const [height, epoch, headerHash] = [header.subarray(2, 10), header.subarray(10, 18), hash("epione/header/v1", header)];
    need(
      headerHash.equals(certificate.headerHash) && u64(certificate.height).equals(height) &&
        u64(certificate.epoch).equals(epoch) && u64(set.epoch).equals(epoch),
      "the certificate is for another header",
    );
    const n = set.keys.length;
    const quorum = Math.ceil((n + Math.floor((n - 1) / 3) + 1) / 2);
    need(certificate.signatures.length >= quorum, `${certificate.signatures.length} of ${quorum} signatures`);
    // A seal has no view: eight zero bytes stand in its place.
    const message = Buffer.concat([tag("epione/seal/v1"), this.chainId, epoch, u64(0), height, headerHash]);
    let last = -1;
    for (const { validator, signature } of certificate.signatures) {
      need(validator > last && validator < n, "signers must be validators, distinct and in ascending order");
      need(signature.length === 64 && ed25519.verify(signature, message, set.keys[validator]!, { zip215: true }),
        `validator ${validator} did not sign this`);
      last = validator;
    }
  }
}

function validatorSet(bytes: Buffer): ValidatorSet {
  need(bytes.length >= 16, "a validator set is too short");
  const n = Number(bytes.readBigUInt64LE(8));
  need(n >= 1 && n <= VALIDATORS_MAX && bytes.length === 16 + 80 * n + 60, "a validator set has a wrong length");
  const keys = Array.from({ length: n }, (_, i) => bytes.subarray(32 + 80 * i, 64 + 80 * i));
  return { epoch: bytes.readBigUInt64LE(0), keys };
}

/** The root that a leaf and its path lead to: a list splits at the largest power of two below its length. */
function merkleRoot(leaf: Buffer, { index, count, siblings }: MerklePath__Output): Buffer {
  const rights: boolean[] = [];
  need(index < count, "there is no such leaf");
  for (let [at, width] = [index, count]; width > 1; ) {
    let left = 1;
    while (left * 2 < width) left *= 2;
    rights.unshift(at >= left);
    [at, width] = at >= left ? [at - left, width - left] : [at, left];
  }
  need(rights.length === siblings.length && siblings.every((one) => one.length === 32), "the path has a wrong length");
  const node = (left: Buffer, right: Buffer) => hash("epione/merkle-node/v1", left, right);
  const top = siblings.reduce((below, one, i) => (rights[i] ? node(one, below) : node(below, one)), leaf);
  return node(u64(count), top);
}
