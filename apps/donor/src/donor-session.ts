import { relayChannel, type PeerHostStats, type ShardCache } from '@shoal/peer';
import type { AdapterInfo, Standing, Trouble } from '@shoal/protocol';
import { signal } from '@preact/signals';
import { Backoff } from './backoff.ts';
import { rememberConsent, withdrawConsent, type Consent } from './consent.ts';
import { DEVICE_WORD, MAX_CPU_PLEDGE_BYTES, type Device } from './device.ts';
import { CoordinatorConnection, type ConnectionEnd, type Welcome } from './coordinator-connection.ts';
import { HISTORY_SECONDS, initialState, isLive, type DonorPhase, type DonorState } from './donor-state.ts';
import { rememberedInvite, rememberInvite } from './invite.ts';
import type { DonorIdentity } from './donor-identity.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { rememberPledge } from './pledge.ts';
import {
  configureProblem,
  dismissalProblem,
  goneProblem,
  noChannelProblem,
  onDevice,
  probeProblem,
  refusalProblem,
  troubleProblem,
  type Problem,
} from './problems.ts';
import { Tally } from './tally.ts';

/** After `finish` the coordinator has this long to re-plan and say goodbye; then the tab goes without. */
const FINISH_TIMEOUT_MS = 30_000;
/** A device takes at most seconds; a driver that hangs must not leave the donor before a bar that stands still. */
const CONFIGURE_TIMEOUT_MS = 60_000;

export interface DonorSessionOptions {
  createWorker: () => Worker;
  cache: ShardCache;
  claimIdentity: () => Promise<DonorIdentity>;
  tabStorage: Storage;
  browserStorage: Storage;
  initialPledgeBytes: number;
  /** What is offered first. */
  initialDevice: Device;
}

/** The page's one actor: carries out what the donor asks, and keeps `state` true. Views only read it. */
export class DonorSession {
  readonly state = signal<DonorState>(initialState(0));
  readonly #options: DonorSessionOptions;
  readonly #backoff = new Backoff();
  #worker: Worker | undefined;
  #connection: CoordinatorConnection | undefined;
  #identity: DonorIdentity | undefined;
  #paused = false;
  #finishing = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #finishTimer: ReturnType<typeof setTimeout> | undefined;
  #configured: { resolve: () => void; reject: (problem: Problem) => void } | undefined;
  #downloadEpoch = -1;
  #tallies = newTallies();

  constructor(options: DonorSessionOptions) {
    this.#options = options;
    this.state.value = initialState(options.initialPledgeBytes, options.initialDevice);
    void this.#measureCache();
  }

  /** The donor has agreed: from here on the page does things. */
  async lend({ device, pledgeBytes: wantedBytes, paused }: Consent): Promise<void> {
    const pledgeBytes = device === 'cpu' ? Math.min(wantedBytes, MAX_CPU_PLEDGE_BYTES) : wantedBytes;
    this.#paused = paused;
    this.#finishing = false;
    this.#backoff.reset();
    this.#tallies = newTallies();
    this.#set({ device });
    this.#consent(pledgeBytes);
    const { visit } = initialState(pledgeBytes);
    this.#set({ pledgeBytes, visit: { ...visit, startedMs: Date.now() }, rowsHistory: [] });
    this.#identity ??= await this.#options.claimIdentity();
    this.#begin();
  }

  /** Try again after a problem, at once. */
  retry(): void {
    this.#consent(this.state.value.pledgeBytes);
    this.#begin();
  }

  /** Nothing changes but what is offered. */
  choose(device: Device): void {
    this.#set({ device });
  }

  /** After the GPU was not to be had: the donor has agreed to this too. */
  lendCpu(): void {
    void this.lend({ device: 'cpu', pledgeBytes: this.state.value.pledgeBytes, paused: this.#paused });
  }

  pause(): void {
    this.#setPaused(true);
    this.#set({ phase: 'paused' });
  }

  resume(): void {
    this.#setPaused(false);
    this.#set({ phase: livePhase(this.state.value.standing) });
  }

  /** Take no new work; what is under way is answered, then the tab goes. */
  finish(): void {
    this.#finishing = true;
    if (!this.#connection) return this.#ended();
    this.#connection.intend('finish');
    this.#set({ phase: 'finishing' });
    clearTimeout(this.#finishTimer);
    this.#finishTimer = setTimeout(() => this.stop(), FINISH_TIMEOUT_MS);
  }

  /** Go now. */
  stop(): void {
    this.#disconnect();
    this.#ended();
  }

  /** While lending, this means joining again with the new limit; what is loaded and still wanted stays. */
  changePledge(pledgeBytes: number): void {
    rememberPledge(this.#options.browserStorage, pledgeBytes);
    this.#set({ pledgeBytes });
    if (!this.#connection) return;
    this.#consent(pledgeBytes);
    this.#disconnect();
    this.#connect();
  }

  /** An invitation has come while the page was open; without one given, it is remembered already. */
  useInvite(token?: string): void {
    if (token !== undefined) rememberInvite(this.#options.browserStorage, token);
    if (this.state.value.problem?.code === 'invite') this.retry();
  }

  async deleteKeptWeights(): Promise<void> {
    await this.#options.cache.deleteAll().catch(() => {});
    await this.#measureCache();
  }

  /** The page is going away, or into the browser's back-forward cache. */
  leave(): void {
    this.#disconnect();
  }

  /** The page was taken out of the back-forward cache, or the network is back. */
  comeBack(): void {
    const { phase } = this.state.value;
    if (phase === 'consent' || phase === 'finished' || phase === 'failed' || this.#connection) return;
    this.#begin();
  }

  #begin(): void {
    clearTimeout(this.#retryTimer);
    this.#set({ problem: undefined, interrupted: undefined, retryAtMs: undefined });
    if (this.state.value.adapter && this.#worker) return this.#connect();
    this.#set({ phase: 'checking' });
    this.#toWorker({ type: 'probe', device: this.state.value.device });
  }

  #connect(): void {
    const { adapter, pledgeBytes } = this.state.value;
    const inviteToken = rememberedInvite(this.#options.browserStorage);
    this.#set({ phase: 'connecting', download: undefined, standing: undefined, stats: undefined });
    this.#tallies.tokensHelped.restart();
    this.#tallies.wireBytes.restart();
    this.#connection = new CoordinatorConnection(
      {
        ...this.#identity!,
        adapter: adapter!,
        pledgeBytes,
        kept: () => this.#options.cache.names(),
        ...(inviteToken !== undefined && { inviteToken }),
      },
      {
        onWelcome: (welcome) => this.#onWelcome(welcome),
        onLapChannel: (channel, isFurther) => this.#handOver(channel, isFurther),
        onAssign: (assignment) => {
          this.#toWorker({ type: 'assign', assignment });
          if (!isLive(this.state.value.phase)) this.#set({ phase: 'downloading' });
        },
        onStanding: (standing) => this.#onStanding(standing),
        onEnd: (end) => this.#onEnd(end),
      },
    );
  }

  async #onWelcome({ model, heartbeatMs }: Welcome): Promise<void> {
    this.#set({ model });
    const { pledgeBytes } = this.state.value;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const hung = () =>
          reject(configureProblem('device-lost', `The ${DEVICE_WORD[this.state.value.device]} did not answer`));
        timer = setTimeout(hung, CONFIGURE_TIMEOUT_MS);
        this.#configured = { resolve, reject };
        this.#toWorker({ type: 'configure', model, pledgeBytes, heartbeatMs });
      });
    } catch (problem) {
      this.#disconnect();
      this.#recover(problem as Problem);
      throw problem;
    } finally {
      clearTimeout(timer);
      this.#configured = undefined;
    }
    if (this.#paused) this.#setPaused(true);
  }

  #handOver(channel: RTCDataChannel, isFurther: boolean): void {
    const worker = this.#worker!;
    try {
      const message: ToWorker = { type: 'channel', channel, isFurther };
      worker.postMessage(message, [channel as unknown as Transferable]);
    } catch {
      const { port1, port2 } = new MessageChannel();
      relayChannel(channel, port1);
      const message: ToWorker = { type: 'relay', port: port2, isFurther };
      worker.postMessage(message, [port2]);
      this.#set({ relayed: true });
    }
  }

  #onStanding(standing: Standing): void {
    if (standing.phase !== 'connecting') this.#connection?.channelOpened();
    this.#tallies.tokensHelped.read(standing.tokensHelped);
    this.#set({ standing });
    this.#updateVisit();
    if (this.#finishing) return;
    const { phase } = this.state.value;
    const pausedBefore = this.#paused && standing.phase === 'paused';
    if (standing.phase === 'waiting' || standing.phase === 'working' || pausedBefore || isLive(phase)) {
      this.#backoff.reset();
      this.#set({ phase: this.#paused ? 'paused' : livePhase(standing) });
    } else if (standing.phase === 'testing') {
      this.#set({ phase: 'testing' });
    }
  }

  #onEnd(end: ConnectionEnd): void {
    this.#connection = undefined;
    this.#toWorker({ type: 'detach' });
    if (this.#finishing || (end.kind === 'dismissed' && end.dismissed.code === 'finished')) return this.#ended();
    this.#recover(problemOf(end));
  }

  #recover(known: Problem): void {
    const { phase, device } = this.state.value;
    const problem = onDevice(known, device);
    const interrupted = phase === 'away' || phase === 'failed' ? this.state.value.interrupted : phase;
    if (problem.recovery !== 'auto') {
      if (FINAL_CODES.has(problem.code)) withdrawConsent(this.#options.tabStorage);
      return this.#set({ phase: 'failed', problem, interrupted, retryAtMs: undefined });
    }
    const delayMs = this.#backoff.nextDelayMs();
    this.#set({ phase: 'away', problem, interrupted, retryAtMs: Date.now() + delayMs });
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#begin(), delayMs);
  }

  #ended(): void {
    clearTimeout(this.#finishTimer);
    clearTimeout(this.#retryTimer);
    withdrawConsent(this.#options.tabStorage);
    const { visit, phase } = this.state.value;
    const hasHelped = visit.rows > 0 || isLive(phase);
    // Ending the worker gives the GPU its memory back; the weights stay in the browser's storage.
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#finishing = false;
    this.#set({
      phase: hasHelped ? 'finished' : 'consent',
      visit: { ...visit, endedMs: Date.now() },
      problem: undefined,
      retryAtMs: undefined,
    });
    void this.#measureCache();
  }

  #disconnect(): void {
    clearTimeout(this.#retryTimer);
    this.#connection?.leave();
    this.#connection = undefined;
    if (this.#worker) this.#toWorker({ type: 'detach' });
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    const { device, pledgeBytes } = this.state.value;
    rememberConsent(this.#options.tabStorage, { device, pledgeBytes, paused });
    // The worker first: it refuses at once, whether or not the coordinator has heard.
    this.#toWorker({ type: 'pause', paused });
    this.#connection?.intend(paused ? 'pause' : 'resume');
  }

  #consent(pledgeBytes: number): void {
    rememberPledge(this.#options.browserStorage, pledgeBytes);
    rememberConsent(this.#options.tabStorage, { device: this.state.value.device, pledgeBytes, paused: this.#paused });
  }

  #toWorker(message: ToWorker): void {
    if (!this.#worker) {
      this.#worker = this.#options.createWorker();
      this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#fromWorker(data);
      this.#worker.onerror = ({ message: text }) => {
        this.#failLocally(troubleProblem({ code: 'internal', message: text || 'The page’s worker did not start' }));
      };
    }
    this.#worker.postMessage(message);
  }

  #fromWorker(message: FromWorker): void {
    switch (message.type) {
      case 'probed':
        return this.#onProbed(message.adapter);
      case 'probe-failed':
        return this.#recover(probeProblem(message.reason));
      case 'configured':
        return this.#configured?.resolve();
      case 'configure-failed':
        return this.#configured?.reject(configureProblem(message.reason, message.message));
      case 'progress':
        return this.#onProgress(message);
      case 'ready':
        this.#connection?.ready(message.ready);
        if (!isLive(this.state.value.phase)) this.#set({ phase: 'testing' });
        return void this.#measureCache();
      case 'trouble':
        return this.#onTrouble(message.trouble);
      case 'backend-gone':
        return this.#failLocally({ ...configureProblem('device-lost', message.message), recovery: 'manual' });
      case 'cache-failed':
        return this.#set({ cacheFailure: message.reason });
      case 'link-closed':
        this.#connection?.leave();
        return this.#connection && this.#onEnd({ kind: 'gone' });
      case 'stats':
        return this.#onStats(message.stats);
    }
    message satisfies never;
  }

  #onProbed(adapter: AdapterInfo): void {
    this.#set({ adapter });
    if (this.state.value.phase === 'checking') this.#connect();
  }

  #onProgress({ progress }: Extract<FromWorker, { type: 'progress' }>): void {
    const { epoch, phase, doneBytes, totalBytes, cachedBytes } = progress;
    this.#connection?.progress({ epoch, phase, doneBytes, totalBytes, cachedBytes });
    if (epoch !== this.#downloadEpoch) this.#tallies.downloadedBytes.restart();
    this.#downloadEpoch = epoch;
    this.#tallies.downloadedBytes.read(Math.max(0, doneBytes - cachedBytes));
    this.#set({ download: progress });
    this.#updateVisit();
    if (!isLive(this.state.value.phase)) this.#set({ phase: 'downloading' });
  }

  #onTrouble(trouble: Trouble): void {
    this.#connection?.trouble(trouble);
    if (trouble.code === 'device-lost') {
      // The worker is getting itself a new device; `ready` or `backend-gone` follows.
      this.#tallies.rows.restart();
      return this.#set({ phase: 'downloading', download: undefined });
    }
    this.#disconnect();
    this.#recover(troubleProblem(trouble));
  }

  #onStats(stats: PeerHostStats): void {
    const rows = this.#tallies.rows.read(stats.rows);
    this.#tallies.wireBytes.read(stats.bytesSent + stats.bytesReceived);
    const rowsHistory = [...this.state.value.rowsHistory, rows].slice(-HISTORY_SECONDS);
    this.#set({ stats, rowsHistory });
    this.#updateVisit();
  }

  #failLocally(problem: Problem): void {
    this.#disconnect();
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#recover(problem);
  }

  #updateVisit(): void {
    const { tokensHelped, rows, wireBytes, downloadedBytes } = this.#tallies;
    this.#set({
      visit: {
        ...this.state.value.visit,
        tokensHelped: tokensHelped.total,
        rows: rows.total,
        wireBytes: wireBytes.total,
        downloadedBytes: downloadedBytes.total,
      },
    });
  }

  async #measureCache(): Promise<void> {
    try {
      this.#set({ keptBytes: await this.#options.cache.sizeBytes() });
    } catch {
      this.#set({ cacheFailure: 'unavailable' });
    }
  }

  #set(change: Partial<DonorState>): void {
    this.state.value = { ...this.state.value, ...change };
  }
}

/** After these a reload must not start work again either. */
const FINAL_CODES = new Set(['removed', 'banned', 'replaced']);

function newTallies() {
  return { tokensHelped: new Tally(), rows: new Tally(), wireBytes: new Tally(), downloadedBytes: new Tally() };
}

function livePhase(standing: Standing | undefined): DonorPhase {
  if (standing?.phase === 'draining') return 'finishing';
  return standing?.phase === 'working' ? 'working' : 'waiting';
}

function problemOf(end: ConnectionEnd): Problem {
  switch (end.kind) {
    case 'gone':
      return goneProblem;
    case 'no-channel':
      return noChannelProblem;
    case 'refused':
      return refusalProblem(end.code, end.message);
    case 'dismissed': {
      const { code, message, retry } = end.dismissed;
      return code === 'finished' ? goneProblem : dismissalProblem({ code, message, retry });
    }
  }
  return end satisfies never;
}
