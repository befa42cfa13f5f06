import { EventEmitter } from 'node:events';
import { basename } from 'node:path';
import type { Damage, PackedModel } from '@shoal/weights/node';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import type { EventLog } from '../base/event-log.ts';

/** A check that took t pauses for 4 t, so that checking takes a fifth of one core and of the disk at most. */
const PAUSE_RATIO = 4;
/** From one check of a shard that tabs report to the next, however many do. */
const RECHECK_MS = 60_000;

export interface WeightsHealthOptions {
  events: EventLog;
  clock?: Clock;
}

/**
 * Finds what is damaged on disk before it does harm. All shards are checked once, in the background, since reading a large model
 * takes long. A shard that a tab calls wrong is checked again, and one that is damaged beyond mending once a minute, since it may
 * have been mended by hand.
 */
export class WeightsHealth {
  /** `report`: an event for the log, with its severity. */
  readonly reports = new EventEmitter<{ report: [level: 'info' | 'warning' | 'error', text: string] }>();
  /** Files packed again since startup. */
  mended = 0;
  readonly #events: EventLog;
  readonly #clock: Clock;
  /** What is wrong with each file that could not be packed again, by its name. */
  readonly #damaged = new Map<string, string>();
  /** Checked by turns, those that tabs report first: they may report any, and others are to be reached none the less. */
  readonly #suspects = new Set<string>();
  readonly #unchecked = new Set<string>();
  readonly #suspectedAtMs = new Map<string, number>();
  #shards = 0;
  #packed: PackedModel | undefined;
  #timer: Timer | undefined;
  #running = false;
  #lastWasSuspect = false;

  constructor({ events, clock = systemClock }: WeightsHealthOptions) {
    this.#events = events;
    this.#clock = clock;
  }

  get started(): boolean {
    return this.#packed !== undefined;
  }

  /** Files that are damaged and could not be packed again. */
  get damaged(): number {
    return this.#damaged.size;
  }

  /** Shards of the model, and those that the check at startup has reached. */
  get progress(): { shards: number; checked: number } {
    return { shards: this.#shards, checked: this.#shards - this.#unchecked.size };
  }

  /** Whether a shard's file may be handed out, as far as is known. */
  mayServe(sha256: string): boolean {
    return !this.#damaged.has(sha256);
  }

  /** Takes note of damage that anything which reads weights has found. */
  report({ path, mended, text }: Damage): void {
    const name = basename(path);
    if (mended) {
      this.mended++;
      this.#damaged.delete(name);
      return this.#say('warning', text);
    }
    if (this.#damaged.has(name)) return;
    this.#damaged.set(name, text);
    this.#say('error', `The packed weights are damaged, so this coordinator is not ready: ${text}`);
  }

  /** Begins to check every shard. */
  start(packed: PackedModel): void {
    this.#packed = packed;
    const { shards, expertLayers } = packed.manifest;
    for (const hash of expertLayers.flatMap((layer) => shards[layer]!)) this.#unchecked.add(hash);
    this.#shards = this.#unchecked.size;
    this.#timer = this.#clock.setInterval(() => {
      for (const name of this.#damaged.keys()) if (packed.shardPath(name)) this.#suspects.add(name);
      this.#work();
    }, RECHECK_MS);
    this.#timer.unref();
    this.#work();
  }

  /** Checks shards of the model soon, because a tab was sent other contents. */
  suspect(hashes: readonly string[]): void {
    const nowMs = this.#clock.now();
    for (const hash of hashes) {
      const lastMs = this.#suspectedAtMs.get(hash) ?? Number.NEGATIVE_INFINITY;
      if (nowMs - lastMs < RECHECK_MS) continue;
      this.#suspectedAtMs.set(hash, nowMs);
      this.#suspects.add(hash);
    }
    this.#work();
  }

  close(): void {
    this.#packed = undefined;
    this.#clock.clear(this.#timer);
  }

  /** Checks one shard after another until none is left. */
  #work(): void {
    if (this.#running || !this.#packed) return;
    const isSuspect = this.#suspects.size > 0 && !(this.#lastWasSuspect && this.#unchecked.size > 0);
    const [hash] = isSuspect ? this.#suspects : this.#unchecked;
    if (hash === undefined) return;
    this.#lastWasSuspect = isSuspect;
    this.#running = true;
    const startedMs = this.#clock.now();
    void this.#check(this.#packed, hash).then((isDone) => {
      this.#running = isDone;
      // It is tried again when the timer fires.
      if (!isDone) return;
      const tookMs = this.#clock.now() - startedMs;
      const next = (): void => {
        this.#running = false;
        this.#work();
      };
      this.#clock.setTimeout(next, PAUSE_RATIO * tookMs).unref();
    });
  }

  /** Resolves to false if the shard could not be read for a reason that says nothing of it, such as too many open files. */
  async #check(packed: PackedModel, hash: string): Promise<boolean> {
    try {
      await packed.checkShard(hash);
      if (this.#damaged.delete(hash)) this.#say('info', `${packed.shardPath(hash)} is whole again.`);
    } catch (error) {
      // Damage was reported by `onDamage`.
      if (!this.#damaged.has(hash)) {
        this.#say('warning', `A shard could not be checked: ${error}`);
        return false;
      }
    }
    this.#suspects.delete(hash);
    if (this.#unchecked.delete(hash) && this.#unchecked.size === 0) {
      this.#say('info', `All ${this.#shards} shards on disk have been checked`);
    }
    return true;
  }

  #say(level: 'info' | 'warning' | 'error', text: string): void {
    this.#events.add({ level, kind: 'server', text });
    this.reports.emit('report', level, text);
  }
}
