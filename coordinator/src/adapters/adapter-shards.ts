import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { ExpertAdapter, ExpertAdapters } from '@shoal/model';
import { adapterShardBytes, packAdapter } from '@shoal/weights';

/** What an adapter adds to one routed expert, as tabs know it. */
export interface AdapterShard {
  /** By which frames name it. Never used again for another. */
  number: number;
  /** The adapter's. */
  name: string;
  layer: number;
  expert: number;
  bytes: number;
}

/**
 * The low-rank shards of the adapters that are loaded, or still used. Nothing is packed before a tab is to have it, and the bytes
 * are not kept: they are made of the adapter's matrices each time that a tab downloads them.
 */
export class AdapterShards {
  /** `gone`: an adapter was unloaded, and no answer uses it any more. */
  readonly events = new EventEmitter<{ gone: [adapters: readonly ExpertAdapter[]] }>();
  readonly #shards = new Map<ExpertAdapter, AdapterShard>();
  readonly #hashes = new WeakMap<ExpertAdapter, string>();
  readonly #byHash = new Map<string, ExpertAdapter>();
  #next = 1;

  /** Numbers an adapter's shards. */
  add(name: string, experts: ExpertAdapters): void {
    for (const [layer, ofLayer] of experts) {
      for (const [expert, adapter] of ofLayer) {
        const bytes = adapterShardBytes(adapter);
        this.#shards.set(adapter, { number: this.#next++, name, layer, expert, bytes });
      }
    }
  }

  remove(experts: ExpertAdapters): void {
    const adapters = [...experts.values()].flatMap((ofLayer) => [...ofLayer.values()]);
    for (const adapter of adapters) {
      this.#shards.delete(adapter);
      const hash = this.#hashes.get(adapter);
      if (hash !== undefined && this.#byHash.get(hash) === adapter) this.#byHash.delete(hash);
    }
    if (adapters.length > 0) this.events.emit('gone', adapters);
  }

  /** Undefined of an adapter that is gone. */
  of(adapter: ExpertAdapter): AdapterShard | undefined {
    return this.#shards.get(adapter);
  }

  /** The shard's SHA-256, by which it can be downloaded from now on. Takes about a millisecond for half a megabyte. */
  hash(adapter: ExpertAdapter): string {
    let hash = this.#hashes.get(adapter);
    if (hash === undefined) {
      hash = createHash('sha256').update(packAdapter(adapter)).digest('hex');
      this.#hashes.set(adapter, hash);
    }
    this.#byHash.set(hash, adapter);
    return hash;
  }

  /** The shard with this SHA-256, of those that tabs were told of. */
  shard(sha256: string): { contents: () => Uint8Array<ArrayBuffer>; bytes: number } | undefined {
    const adapter = this.#byHash.get(sha256);
    return adapter && { contents: () => packAdapter(adapter), bytes: adapterShardBytes(adapter) };
  }
}
