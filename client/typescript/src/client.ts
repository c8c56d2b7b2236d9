/**
 * A client of one Epione node: sign, submit, read, follow. Types and stubs come from the .proto files.
 *
 * A transaction is encoded and signed once and the same bytes are sent again after an unknown outcome; the node
 * returns the first receipt. Every call carries a short-lived token that the caller's own key signed.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

import * as grpc from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition, type MethodDefinition } from "@grpc/proto-loader";
import { ed25519 } from "@noble/curves/ed25519.js";

import type { AuditServiceDefinition } from "../generated/epione/v1/AuditService.js";
import type { ConsentServiceDefinition } from "../generated/epione/v1/ConsentService.js";
import type { EventServiceDefinition } from "../generated/epione/v1/EventService.js";
import type { IdentityServiceDefinition } from "../generated/epione/v1/IdentityService.js";
import type { LedgerServiceDefinition } from "../generated/epione/v1/LedgerService.js";
import type { ReceiptProof, ReceiptProof__Output } from "../generated/epione/v1/ReceiptProof.js";
import type { RecordServiceDefinition } from "../generated/epione/v1/RecordService.js";
import type { SignedTransaction } from "../generated/epione/v1/SignedTransaction.js";
import type { SubmissionServiceDefinition } from "../generated/epione/v1/SubmissionService.js";
import type { SubscribeRequest } from "../generated/epione/v1/SubscribeRequest.js";
import type { SubscribeResponse__Output } from "../generated/epione/v1/SubscribeResponse.js";
import type { TransactionBody, TransactionBody__Output } from "../generated/epione/v1/TransactionBody.js";
import type { TransactionStatus__Output } from "../generated/epione/v1/TransactionStatus.js";
import type { WaitLevel } from "../generated/epione/v1/WaitLevel.js";
import { hash, tag } from "./receipt.js";

export const PROTO = process.env.EPIONE_PROTO ?? new URL("../../../../proto", import.meta.url).pathname;
const FILES = ["audit", "consent", "event", "identity", "ledger", "record", "submission"];
// As package.json's `generate` says. Heights and milliseconds stay far below 2^53.
const OPTIONS = { longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO] };
const api = loadSync(FILES.map((name) => `epione/v1/${name}.proto`), OPTIONS);

/** The services: `client.call(consent.CheckAccess, request)`. */
export const audit = api["epione.v1.AuditService"] as unknown as AuditServiceDefinition;
export const consent = api["epione.v1.ConsentService"] as unknown as ConsentServiceDefinition;
export const events = api["epione.v1.EventService"] as unknown as EventServiceDefinition;
export const identity = api["epione.v1.IdentityService"] as unknown as IdentityServiceDefinition;
export const ledger = api["epione.v1.LedgerService"] as unknown as LedgerServiceDefinition;
export const records = api["epione.v1.RecordService"] as unknown as RecordServiceDefinition;
export const submission = api["epione.v1.SubmissionService"] as unknown as SubmissionServiceDefinition;

const Body = api["epione.v1.TransactionBody"] as MessageTypeDefinition<TransactionBody, TransactionBody__Output>;
/** Encodes and decodes a proof to be kept, as `epione receipt get --out` does. */
export const Proof = api["epione.v1.ReceiptProof"] as MessageTypeDefinition<ReceiptProof, ReceiptProof__Output>;

/** What a transaction does: one of the calls. */
export type Call = Omit<TransactionBody, "chainId" | "sender" | "coSigners" | "requestId" | "expiresAtMs">;

/** A new id. Bytes that happen to be printable are refused as text: one draw in seven million. */
export function randomId(): Buffer {
  for (;;) {
    const drawn = randomBytes(16);
    if (!drawn.every((byte) => byte === 0 || (byte >= 0x20 && byte <= 0x7e))) return drawn;
  }
}

/** An ed25519 key. */
export class Key {
  readonly public: Buffer;

  constructor(private readonly seed: Uint8Array) {
    this.public = Buffer.from(ed25519.getPublicKey(seed));
  }
  static generate(): Key {
    return new Key(randomBytes(32));
  }
  static load(path: string): Key {
    return new Key(Buffer.from(readFileSync(path, "utf8").trim(), "hex"));
  }
  sign(message: Uint8Array): Buffer {
    return Buffer.from(ed25519.sign(message, this.seed));
  }
}

/** Hash of the body alone: known before anything is sent. */
export const transactionId = (body: Uint8Array): Buffer => hash("epione/tx-id/v1", body);

/** Salted commitment to what stays off the ledger. */
export const commitment = (salt: Uint8Array, body: Uint8Array): Buffer => hash("epione/commitment/v1", salt, body);

/** A signed transaction: send these very bytes again after an unknown outcome. */
export type Signed = SignedTransaction & { body: Buffer };

/** Speaks to one node over TLS, as the holder of `key`. */
export class Client {
  private readonly channel: grpc.Client;

  constructor(endpoint: string, ca: Buffer, readonly chainId: Buffer, readonly key: Key) {
    this.channel = new grpc.Client(endpoint, grpc.credentials.createSsl(ca));
  }

  close(): void {
    this.channel.close();
  }

  /** The token of a call: an EdDSA JWT of five minutes. */
  private metadata(): grpc.Metadata {
    const now = Math.floor(Date.now() / 1000);
    const claims = { sub: this.key.public.toString("hex"), aud: this.chainId.toString("hex"), iat: now, exp: now + 300 };
    const signed = [{ alg: "EdDSA", typ: "JWT" }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    const metadata = new grpc.Metadata();
    const signature = this.key.sign(Buffer.from(signed)).toString("base64url");
    metadata.set("authorization", `Bearer ${signed}.${signature}`);
    return metadata;
  }

  /** Any unary call, with the token. Rejects with a `grpc.ServiceError`. */
  call<Q, R>(method: MethodDefinition<Q, any, any, R>, request: Q, timeoutMs = 20_000): Promise<R> {
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      this.channel.makeUnaryRequest(
        method.path, method.requestSerialize, method.responseDeserialize, request, this.metadata(), options,
        (error, answer) => (error ? reject(error) : resolve(answer!)),
      );
    });
  }

  /** Encodes and signs a call once, by this client's key and by `cosigners`. */
  build(call: Call, cosigners: Key[] = [], lifetimeMs = 300_000): Signed {
    const body = Body.serialize({
      chainId: this.chainId,
      sender: this.key.public,
      coSigners: cosigners.map((key) => key.public),
      requestId: randomId(),
      expiresAtMs: Date.now() + lifetimeMs,
      ...call,
    });
    const message = Buffer.concat([tag("epione/tx-sign/v1"), body]);
    const signatures = [this.key, ...cosigners].map((key) => ({ publicKey: key.public, signature: key.sign(message) }));
    return { body, signatures };
  }

  /** Submits and waits; after an unknown outcome the same transaction may be submitted again. */
  async submit(transaction: Signed, wait: WaitLevel = "WAIT_LEVEL_CERTIFIED"): Promise<TransactionStatus__Output> {
    return (await this.call(submission.Submit, { transaction, wait })).status!;
  }

  /** Events from a height or cursor on, until the caller stops or `timeoutMs` have passed. */
  async *follow(request: SubscribeRequest, timeoutMs = 20_000): AsyncGenerator<SubscribeResponse__Output> {
    const method = events.Subscribe;
    const options = { deadline: Date.now() + timeoutMs };
    const stream = this.channel.makeServerStreamRequest(
      method.path, method.requestSerialize, method.responseDeserialize, request, this.metadata(), options,
    );
    stream.on("error", () => {}); // the loop below throws it; cancelling after the loop is no error
    try {
      yield* stream;
    } finally {
      stream.cancel();
    }
  }
}
