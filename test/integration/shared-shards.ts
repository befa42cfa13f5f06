import { readFile } from 'node:fs/promises';
import type { ExpertWeights } from '@shoal/model';
import type { ShardCache } from '@shoal/peer';
import { type ExpertShape, unpackExpert } from '@shoal/weights';
import type { Core } from '../../coordinator/src/index.ts';

// Every donor of every test loads the same shards. What each would compute of them, its hash and its weights, is computed once
// for all: that was a sixth of the CPU time of all integration tests.

const shards = new Map<string, Promise<Buffer<ArrayBuffer>>>();
const hashes = new WeakMap<object, Promise<ArrayBuffer>>();
const unpacked = new WeakMap<Uint8Array, ExpertWeights>();

/** A shard's file, read once. */
export function shardAt(path: string): Promise<Buffer<ArrayBuffer>> {
  const shard = shards.get(path) ?? readShard(path);
  shards.set(path, shard);
  return shard;
}

async function readShard(path: string): Promise<Buffer<ArrayBuffer>> {
  const bytes = (await readFile(path)) as Buffer<ArrayBuffer>;
  hashes.set(bytes, digest('SHA-256', bytes));
  return bytes;
}

const digest = crypto.subtle.digest.bind(crypto.subtle);
crypto.subtle.digest = (algorithm, data) => hashes.get(data) ?? digest(algorithm, data);

/** `unpackExpert`; donors don't change what they share. */
export function unpackOnce(shape: ExpertShape, shard: Uint8Array): ExpertWeights {
  const weights = unpacked.get(shard) ?? unpackExpert(shape, shard);
  unpacked.set(shard, weights);
  return weights;
}

/** As of a donor that was here before: it has all shards of the model. */
export class FilledCache implements ShardCache {
  readonly #packed: Core['packed'];

  constructor(packed: Core['packed']) {
    this.#packed = packed;
  }

  async get(sha256: string): Promise<Uint8Array | undefined> {
    const path = this.#packed.shardPath(sha256);
    return path === undefined ? undefined : shardAt(path);
  }

  async names(): Promise<string[]> {
    return [];
  }

  async put(): Promise<void> {}

  async delete(): Promise<void> {}

  async prune(): Promise<void> {}

  async deleteAll(): Promise<number> {
    return 0;
  }

  async sizeBytes(): Promise<number> {
    return 0;
  }
}
