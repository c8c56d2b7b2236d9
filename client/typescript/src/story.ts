/**
 * The first hour of a clinic's developer, against a running testnet: node build/src/story.js TESTNET_DIR
 *
 * Registers a physician, a patient and a record, grants, checks and records an access, revokes, reads receipts and
 * events, and verifies a receipt offline. Every step is asserted; exit code 0 only if all of them hold.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { type ServiceError, status as code } from "@grpc/grpc-js";

import type { RecordAccess } from "../generated/epione/v1/RecordAccess.js";
import type { ReceiptProof__Output } from "../generated/epione/v1/ReceiptProof.js";
import type { TransactionStatus__Output } from "../generated/epione/v1/TransactionStatus.js";
import { Client, Key, Proof, commitment, consent, ledger, randomId, submission, transactionId } from "./client.js";
import { Trust } from "./receipt.js";

function expect(ok: boolean | undefined, what: string): void {
  if (!ok) throw new Error(`FAILED: ${what}`);
  console.log(`ok  ${what}`);
}

const applied = (status: TransactionStatus__Output) =>
  status.state === "TRANSACTION_STATE_CERTIFIED" && status.receipt?.outcome?.outcome === "applied";

async function refused(call: Promise<unknown>, codes: number[], what: string): Promise<void> {
  const error = await call.then(() => undefined, (error: ServiceError) => error);
  expect(error && codes.includes(error.code), what);
}

function holds(trust: Trust, proof: ReceiptProof__Output): boolean {
  try {
    trust.verify(proof);
    return true;
  } catch {
    return false;
  }
}

/** client/receipts.json: what the Rust client believes and refuses, this one does. */
function tryReceiptsMadeElsewhere(): void {
  const given = JSON.parse(readFileSync(new URL("../../../receipts.json", import.meta.url), "utf8"));
  const trust = new Trust(JSON.stringify(given.genesis));
  const shown = (proof: Buffer) => {
    try {
      const { transactionId, height, index, applied, blockTimeMs } = trust.verify(Proof.deserialize(proof));
      return [transactionId.toString("hex"), Number(height), index, applied, Number(blockTimeMs)].join();
    } catch {
      return undefined;
    }
  };
  const differ = given.proofs.filter(({ proof, proves: it }: any) => {
    const wanted = it && [it.transaction_id, it.height, it.index, it.applied, it.block_time_ms].join();
    return shown(Buffer.from(proof, "hex")) !== (wanted ?? undefined);
  });
  expect(
    trust.chainId.toString("hex") === given.chain_id && differ.length === 0,
    `${given.proofs.length} receipts of the Rust client hold or not, as there; different: ${differ.map((it: any) => it.what)}`,
  );
}

tryReceiptsMadeElsewhere();
const net = process.argv[2];
if (!net) throw new Error("usage: story.js TESTNET_DIR");
const state = JSON.parse(readFileSync(join(net, "testnet.json"), "utf8"));
const ca = readFileSync(join(net, "ca.pem"));
const trust = new Trust(readFileSync(join(net, "genesis.json"), "utf8"));
expect(trust.chainId.toString("hex") === state.chain_id, "the genesis has the chain id that we were told");

const clients: Client[] = [];
/** Somebody at the node of hospital `n`. */
function at(n: number, key: Key): Client {
  const client = new Client(`localhost:${state.nodes[n].ports.grpc}`, ca, trust.chainId, key);
  clients.push(client);
  return client;
}

/** A physician of the hospital: both keys sign. */
async function enrolPhysician(n: number) {
  const admin = at(n, Key.load(join(net!, `keys/hospital${n}/admin.key`)));
  const [key, practitionerId] = [Key.generate(), randomId()];
  const call = {
    practitionerId,
    publicKey: key.public,
    roles: ["ROLE_PHYSICIAN" as const],
    identityCommitment: commitment(randomBytes(32), Buffer.from("name and licence stay here")),
  };
  const status = await admin.submit(admin.build({ registerPractitioner: call }, [key]));
  expect(applied(status), `physician enrolled at height ${status.receipt?.height}`);
  const orgId = status.receipt!.events[0]!.practitionerRegistered!.orgId;
  return { client: at(n, key), practitioner: { orgId, practitionerId } };
}

try {
  const { client: a } = await enrolPhysician(0);
  const { client: b, practitioner } = await enrolPhysician(1);
  const patient = Key.generate();
  const p = at(0, patient);

  const [patientId, recordId, grantId] = [randomId(), randomId(), randomId()];
  const registerPatient = { patientId, publicKey: patient.public, noticeHash: randomBytes(32) };
  expect(applied(await a.submit(a.build({ registerPatient }, [patient]))), "patient registered, with an own key");

  const registered = a.build({
    registerRecord: {
      recordId,
      patientId,
      role: "ROLE_PHYSICIAN",
      category: "CATEGORY_LAB",
      serviceMonth: 202603,
      commitment: commitment(randomBytes(32), Buffer.from('{"resourceType":"Observation"}')),
      ciphertextHash: randomBytes(32),
      sizeClass: 12,
      pointer: randomId(),
    },
  });
  const status = await a.submit(registered);
  expect(applied(status), "record registered");
  expect(status.transactionId.equals(transactionId(registered.body)), "its id is the hash of its body");
  const again = await b.submit(registered);
  const first = again.proof!.receiptBytes.equals(status.proof!.receiptBytes);
  expect(first, "the same bytes at another node give the first receipt");

  const access: RecordAccess = { recordId, role: "ROLE_PHYSICIAN", action: "ACTION_READ", purpose: "PURPOSE_TREAT" };
  const check = (after: TransactionStatus__Output) =>
    b.call(consent.CheckAccess, { access, options: { minHeight: after.receipt!.height } });
  const before = await check(status);
  expect(before.decision === "DECISION_DENY", "the foreign doctor is denied");
  expect(before.reason === "REASON_ACCESS_DENIED", "and is not told why");

  const granted = await p.submit(p.build({
    createGrant: {
      grantId,
      patientId,
      rule: {
        kind: "GRANT_KIND_PERMIT",
        to: { person: { practitioner } },
        purposes: { only: ["PURPOSE_TREAT"] },
        actions: ["ACTION_READ"],
        labels: {},
      },
    },
  }));
  expect(applied(granted), "the patient grants");
  const after = await check(granted);
  expect(after.decision === "DECISION_PERMIT" && after.grantId?.equals(grantId), "the doctor is permitted by it");
  const seen = await b.submit(b.build({ recordAccess: access }));
  const decided = seen.receipt?.events[0]?.accessDecided;
  expect(applied(seen) && decided?.decision === "DECISION_PERMIT", "the access leaves its trace");

  const revoked = await p.submit(p.build({ revokeGrant: { patientId, grantId } }));
  expect(applied(revoked), "the patient revokes");
  expect((await check(revoked)).decision === "DECISION_DENY", "the doctor is denied again");

  const request = { transactionId: seen.transactionId, wait: "WAIT_LEVEL_CERTIFIED" as const };
  const found = (await a.call(submission.GetReceipt, request)).status!;
  expect(found.proof?.receiptBytes.equals(seen.proof!.receiptBytes), "any node gives the same receipt");
  const unknown = (await a.call(submission.GetReceipt, { transactionId: randomBytes(32) })).status!;
  expect(unknown.state === "TRANSACTION_STATE_UNKNOWN", "an id never sent is unknown");

  // From here to the next call of a client nothing needs a network.
  const kept = Proof.serialize(found.proof!);
  const proven = trust.verify(Proof.deserialize(kept));
  expect(
    proven.transactionId.equals(seen.transactionId) && proven.applied && proven.height === BigInt(seen.receipt!.height),
    "the receipt is verified offline, with the genesis alone",
  );
  const copy = Proof.deserialize(kept);
  const { headerBytes, certificate } = copy.header!;
  let flips = 0;
  for (const part of [copy.receiptBytes, headerBytes, ...certificate!.signatures.map((one) => one.signature)]) {
    for (const place of part.keys()) {
      part[place]! ^= 1 << place % 8;
      if (holds(trust, copy)) throw new Error(`FAILED: bit ${place % 8} of byte ${place} of ${part.length} does not matter`);
      part[place]! ^= 1 << place % 8;
      flips += 1;
    }
  }
  expect(holds(trust, copy) && flips > 400, `and refused with any of ${flips} bits flipped`);

  const kinds: string[] = [];
  for await (const { event } of p.follow({ fromHeight: 1, filter: { patientIds: [patientId] } })) {
    if (event) kinds.push(event.event!.kind!);
    if (kinds.at(-1) === "grantRevoked") break;
  }
  const wanted = ["patientRegistered", "recordRegistered", "grantCreated", "accessDecided", "grantRevoked"];
  expect(
    kinds.filter((kind) => wanted.includes(kind)).join() === wanted.join(),
    `the patient follows the events: ${kinds.join(", ")}`,
  );

  const forged = p.build({ revokeGrant: { patientId, grantId: randomId() } });
  forged.signatures![0]!.signature = Buffer.alloc(64);
  await refused(p.submit(forged), [code.UNAUTHENTICATED, code.INVALID_ARGUMENT], "a wrong signature is refused");
  const stranger = at(0, Key.generate());
  const reading = stranger.call(ledger.GetStatus, {});
  await refused(reading, [code.UNAUTHENTICATED, code.PERMISSION_DENIED], "an unregistered key may not read");
  console.log("story complete");
} finally {
  clients.forEach((client) => client.close());
}
