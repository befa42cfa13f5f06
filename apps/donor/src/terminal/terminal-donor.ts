import { loadRtc, type RtcImplementation } from '@shoal/peer/node';
import { coordinatorUrl } from '@shoal/protocol/page';
import type { Device } from '../device.ts';
import { DonorSession } from '../donor-session.ts';
import type { DonorState } from '../donor-state.ts';
import { rememberInvite } from '../invite.ts';
import type { LimitsState } from '../limits/limits-keeper.ts';
import type { LimitSettings } from '../limits/settings.ts';
import { createBackend, findDevice } from './devices.ts';
import { type ClaimedIdentity, claimDiskIdentity } from './disk-identity.ts';
import { DiskShardCache } from './disk-shard-cache.ts';
import { DiskLimits } from './disk-limits.ts';
import { LocalWorker } from './local-worker.ts';
import { MemoryStorage } from '../memory-storage.ts';

export interface TerminalDonorOptions {
  /** The coordinator's address. A path before `donor-info` and the others ends with a slash. */
  url: URL;
  device: Device;
  pledgeBytes: number;
  invite: string | undefined;
  /** Folder of the weights. */
  cacheDir: string;
  /** What the donor allows besides memory. */
  limits: LimitSettings;
  /** Folder of the identity, and of the traffic that was used. */
  dataDir: string;
  onState: (state: DonorState) => void;
}

/** Time for a goodbye to be sent before the process ends. */
const LAST_WORDS_MS = 500;
const EVALUATE_INTERVAL_MS = 1_000;

/** The donor page's own session in Node: the same signalling, laps and reconnection, with a cache on disk. */
export class TerminalDonor {
  readonly #session: DonorSession;
  readonly #rtc: RtcImplementation;
  readonly #identity: ClaimedIdentity;
  readonly #options: TerminalDonorOptions;
  readonly #limits: DiskLimits;
  readonly #evaluating: ReturnType<typeof setInterval>;

  /** Throws a TransportError where no WebRTC loads, and an Error where too many donors of this user run. */
  static async open(options: TerminalDonorOptions): Promise<TerminalDonor> {
    const rtc = await loadRtc();
    try {
      return new TerminalDonor(options, rtc, await claimDiskIdentity(options.dataDir, options.url));
    } catch (error) {
      rtc.close();
      throw error;
    }
  }

  private constructor(options: TerminalDonorOptions, rtc: RtcImplementation, identity: ClaimedIdentity) {
    this.#options = options;
    this.#rtc = rtc;
    this.#identity = identity;
    // What the session takes from a browser.
    Object.assign(globalThis, rtc.classes, { location: options.url });
    ignoreUnreadCandidates();
    const browserStorage = new MemoryStorage();
    if (options.invite !== undefined) rememberInvite(browserStorage, options.invite);
    const cache = new DiskShardCache(options.cacheDir);
    this.#limits = new DiskLimits({ dir: options.dataDir, settings: options.limits });
    this.#session = new DonorSession({
      coordinator: coordinatorUrl(options.url.href),
      createWorker: () =>
        new LocalWorker({
          cache,
          fetch: (...request) => fetch(...request),
          probe: async (device) => (await findDevice(device)).adapter,
          createBackend,
        }) as unknown as Worker,
      cache,
      claimIdentity: async () => ({ donorToken: identity.donorToken, tab: identity.tab, prove: identity.prove }),
      tabStorage: new MemoryStorage(),
      browserStorage,
      initialPledgeBytes: options.pledgeBytes,
      initialDevice: options.device,
      limits: this.#limits.keeper,
    });
    this.#evaluating = setInterval(() => this.#limits.keeper.evaluate(), EVALUATE_INTERVAL_MS);
    this.#session.state.subscribe(options.onState);
  }

  get state(): DonorState {
    return this.#session.state.value;
  }

  get limits(): LimitsState {
    return this.#limits.keeper.state.value;
  }

  lend(): Promise<void> {
    const { device, pledgeBytes } = this.#options;
    return this.#session.lend({ device, pledgeBytes, paused: false });
  }

  /** Takes no new work, and ends in the phase `finished` (or `consent`, if it has not worked) once that in progress is done. */
  finish(): void {
    this.#session.finish();
  }

  /** Leaves at once; resolves when the coordinator has had time to hear of it. */
  async close(): Promise<void> {
    clearInterval(this.#evaluating);
    this.#session.stop();
    this.#limits.close();
    await this.#identity.release();
    await new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS));
    this.#rtc.close();
  }
}

/** Browsers name their addresses by mDNS, which no WebRTC in Node reads; simple-peer warns of each. Others connect. */
function ignoreUnreadCandidates(): void {
  const warn = console.warn.bind(console);
  console.warn = (...words) => {
    if (words[0] !== 'Ignoring unsupported ICE candidate.') warn(...words);
  };
}
