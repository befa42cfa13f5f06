import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LimitsKeeper } from '../limits/limits-keeper.ts';
import { type LocalTime, systemLocalTime } from '../limits/local-time.ts';
import { NO_SENSORS } from '../limits/sensors.ts';
import { type LimitSettings, type LimitsStorage, SETTINGS_KEY } from '../limits/settings.ts';

/** How often traffic is written down: within the time in which another donor takes this one to be running (`TrafficBook`). */
const WRITE_EVERY_MS = 5_000;

interface DiskLimitsOptions {
  /** Folder of this user's donors, which share a budget of traffic as the tabs of a browser do. It is made if need be. */
  dir: string;
  settings: LimitSettings;
  local?: LocalTime;
  /** The machine's clock, in milliseconds of Unix. */
  unixMs?: () => number;
}

/** The donor page's limits in Node: given by the command line for one visit; traffic is kept in a file for each running donor. */
export class DiskLimits {
  readonly keeper: LimitsKeeper;
  readonly #dir: string;
  readonly #unixMs: () => number;
  /** Of this process: what it has written, or has still to write. */
  readonly #own = new Map<string, string>();
  readonly #written = new Map<string, { text: string; atMs: number }>();

  constructor({ dir, settings, local = systemLocalTime, unixMs = () => Date.now() }: DiskLimitsOptions) {
    this.#dir = dir;
    this.#unixMs = unixMs;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const storage: LimitsStorage = {
      getItem: (key) => (key === SETTINGS_KEY ? JSON.stringify(settings) : (this.#own.get(key) ?? this.#read(key))),
      setItem: (key, text) => {
        this.#own.set(key, text);
        const { atMs = Number.NEGATIVE_INFINITY } = this.#written.get(key) ?? {};
        // A clock that was set back must not keep it from writing.
        if (Math.abs(unixMs() - atMs) >= WRITE_EVERY_MS) this.#write(key, text);
      },
    };
    this.keeper = new LimitsKeeper({ storage, isKept: true, sensors: NO_SENSORS, local, unixMs });
  }

  /** Writes what is not written yet. */
  close(): void {
    for (const [key, text] of this.#own) if (this.#written.get(key)?.text !== text) this.#write(key, text);
  }

  #read(key: string): string | null {
    try {
      return readFileSync(this.#path(key), 'utf8');
    } catch {
      return null;
    }
  }

  /** Whole or not at all, since other donors read it at any time. */
  #write(key: string, text: string): void {
    this.#written.set(key, { text, atMs: this.#unixMs() });
    const part = `${this.#path(key)}.part`;
    try {
      writeFileSync(part, text, { mode: 0o600 });
      renameSync(part, this.#path(key));
    } catch {
      // A full disk: the budget holds for this process, and is written as soon as it can be.
    }
  }

  #path(key: string): string {
    return join(this.#dir, `${key.replace(/^shoal\./, '').replaceAll('.', '-')}.json`);
  }
}
