import { HOME } from '@shoal/peer';
import type { AdapterInfo, DonorInfo, Standing, Trouble } from '@shoal/protocol';
import { signal } from '@preact/signals';
import type { Consent } from './consent.ts';
import type { ContributionDesk } from './contribution/desk.ts';
import { ConsentBook } from './consent-book.ts';
import { MAX_CPU_PLEDGE_BYTES, type Device } from './device.ts';
import { DeviceWorker, type WorkerNews } from './device-worker.ts';
import { CoordinatorConnection, type ConnectionEnd, type Welcome } from './coordinator-connection.ts';
import { initialState, isLending, isLive, isReady, livePhase, type DonorState } from './donor-state.ts';
import { KeptCache } from './kept-cache.ts';
import { LentMemory } from './lent-memory.ts';
import { GuestLinks } from './guest-links.ts';
import { rememberedInvite, rememberInvite } from './invite.ts';
import { ExchangeSession } from './exchange-session.ts';
import { FetchedReport } from './fetched-report.ts';
import type { DonorIdentity } from './donor-identity.ts';
import type { DonorSessionOptions } from './donor-session-options.ts';
import type { LimitsKeeper } from './limits/limits-keeper.ts';
import { SessionLimits } from './limits/session-limits.ts';
import { configureProblem, endProblem, probeProblem, troubleProblem, type Problem } from './problems.ts';
import { isFinal, Recovery } from './recovery.ts';
import { VisitFigures } from './visit-figures.ts';
import { workerTerms } from './worker-terms.ts';

/** Time for the coordinator to make a new placement and say goodbye after `finish`; then the tab leaves anyway. */
const FINISH_TIMEOUT_MS = 30_000;

/** Carries out what the donor asks for and keeps `state` up to date; views only read it. */
export class DonorSession {
  readonly state = signal<DonorState>(initialState(0));
  readonly #options: DonorSessionOptions;
  readonly #worker: DeviceWorker;
  readonly #exchange: ExchangeSession;
  readonly #figures: VisitFigures;
  readonly #book: ConsentBook;
  readonly #recovery: Recovery;
  readonly #memory: LentMemory;
  readonly #kept: KeptCache;
  readonly #guests: GuestLinks;
  #connection: CoordinatorConnection | undefined;
  #identity: DonorIdentity | undefined;
  #paused = false;
  #finishing = false;
  #finishTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #fetched = new FetchedReport();
  /** What the donor allows besides memory. */
  readonly limits: LimitsKeeper | undefined;
  readonly desk: ContributionDesk | undefined;
  readonly #limits: SessionLimits;

  constructor(options: DonorSessionOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.desk = options.desk;
    this.#figures = new VisitFigures(this.state, options.tabStorage);
    this.#book = new ConsentBook(options);
    this.#recovery = new Recovery(this.state, {
      set: (change) => this.#set(change),
      onRetry: () => this.#begin(),
      onGivenUp: ({ code }) => {
        this.#guests.endAll();
        this.#memory.leave();
        if (isFinal(code)) this.#book.withdraw();
      },
    });
    this.#kept = new KeptCache(this.state, options.cache);
    this.#memory = new LentMemory(this.state, options.sharingTabs, () => this.#rejoin());
    this.#worker = new DeviceWorker({
      createWorker: options.createWorker,
      onMessage: (message) => this.#fromWorker(message),
      onFailure: (problem) => this.#failLocally(problem),
    });
    this.#limits = new SessionLimits(options.limits, this.#worker, this.state, () => this.#connection);
    this.#exchange = new ExchangeSession(this.#worker, () => this.#connection);
    this.#guests = new GuestLinks({
      onLapChannel: (...given) => this.#handOver(...given),
      onEnd: (coordinator) => this.#worker.detach(coordinator),
    });
    this.state.value = initialState(options.initialPledgeBytes, options.initialDevice);
    this.#set({ offersTabToTab: options.offersTabToTab ?? false, keepsNothing: options.keepsNothing ?? false });
    void this.#kept.measure();
  }

  /** Starts lending, once the donor has agreed. Until then the page does nothing. */
  async lend({ device, pledgeBytes: wantedBytes, paused, exchangeMbit }: Consent): Promise<void> {
    const pledgeBytes = device === 'cpu' ? Math.min(wantedBytes, MAX_CPU_PLEDGE_BYTES) : wantedBytes;
    this.#paused = paused;
    this.#finishing = false;
    this.#recovery.worked();
    this.#set({ device, exchangeMbit, pledgeBytes, lentBytes: pledgeBytes });
    this.#agree();
    this.#figures.begin();
    this.#identity ??= await this.#options.claimIdentity();
    this.#limits.begin(this.#identity.tab);
    this.#begin();
  }

  /** Retries at once after a problem. */
  retry(): void {
    this.#agree();
    this.#begin();
  }

  /** What the coordinator tells donors, or null if it doesn't answer now. */
  inform(info: DonorInfo | undefined): void {
    this.#set({ info: info ?? (this.state.value.info || null) });
  }

  /** Whether there is an invitation to show. */
  get hasInvite(): boolean {
    return rememberedInvite(this.#options.browserStorage) !== undefined;
  }

  /** Selects the device on the consent form. */
  choose(device: Device): void {
    this.#set({ device });
  }

  /** Lends the CPU after a GPU problem, once the donor has agreed to that. */
  lendCpu(): void {
    const { pledgeBytes, exchangeMbit } = this.state.value;
    void this.lend({ device: 'cpu', pledgeBytes, paused: this.#paused, exchangeMbit });
  }

  pause(): void {
    this.#setPaused(true);
    // Without a home, no coordinator passes this on to guests.
    if (!this.#connection) this.#guests.endAll();
    this.#set({ phase: 'paused' });
  }

  resume(): void {
    this.#setPaused(false);
    this.#set({ phase: livePhase(this.state.value.standing) });
  }

  /** Takes no new work, and leaves once the work in progress is done. */
  finish(): void {
    this.#finishing = true;
    if (!this.#connection) return this.#ended();
    this.#connection.intend('finish');
    this.#set({ phase: 'finishing' });
    clearTimeout(this.#finishTimer);
    this.#finishTimer = setTimeout(() => this.stop(), FINISH_TIMEOUT_MS);
  }

  /** Leaves at once. */
  stop(): void {
    this.#disconnect();
    this.#ended();
  }

  /** Changes the limit. While lending, the tab rejoins with it; experts that are still needed stay loaded. */
  changePledge(pledgeBytes: number): void {
    this.#book.choosePledge(pledgeBytes);
    this.#memory.change(pledgeBytes);
  }

  /** If it has joined, with what it lends now. */
  #rejoin(): void {
    if (!this.#connection) return;
    this.#agree();
    this.#disconnect();
    this.#connect();
  }

  /** Changes what is exchanged with other tabs, also while lending. */
  changeExchange(exchangeMbit: number | undefined): void {
    this.#set({ exchangeMbit });
    this.changePledge(this.state.value.pledgeBytes);
  }

  /** Uses a new invitation: the given one, or one that was already stored. */
  useInvite(token?: string): void {
    if (token !== undefined) rememberInvite(this.#options.browserStorage, token);
    // Shown anew in any case, since an invitation is no part of the state.
    this.#set({});
    if (this.state.value.problem?.code === 'invite') this.retry();
  }

  deleteKeptWeights(): Promise<void> {
    return this.#kept.deleteAll();
  }

  /** The page is being closed, put into the back-forward cache, or frozen. It may be gone without another word. */
  leave(): void {
    this.#disconnect();
    this.#guests.endAll();
    this.#memory.leave();
    if (!isLending(this.state.value.phase)) return;
    this.#figures.forgetHistory();
    this.#set({ phase: 'asleep', problem: undefined, interrupted: undefined, retryAtMs: undefined });
  }

  /** The page goes on after `leave`, or the network is back. */
  comeBack(): void {
    if (isLending(this.state.value.phase) && !this.#connection) this.#begin();
  }

  #begin(): void {
    this.#recovery.begin();
    this.#memory.join();
    if (this.state.value.adapter && this.#worker.isRunning) return this.#connect();
    this.#set({ phase: 'checking' });
    this.#worker.post({ type: 'probe', device: this.state.value.device });
  }

  #connect(): void {
    const { adapter, lentBytes } = this.state.value;
    const inviteToken = rememberedInvite(this.#options.browserStorage);
    this.#figures.rejoin();
    this.#set({ phase: 'connecting' });
    this.#connection = new CoordinatorConnection(
      this.#options.coordinator,
      {
        ...this.#identity!,
        adapter: adapter!,
        pledgeBytes: lentBytes,
        tabToTab: this.state.value.exchangeMbit !== undefined,
        kept: () => this.#options.cache.names(),
        promise: () => this.#limits.introduce(),
        ...(inviteToken !== undefined && { inviteToken }),
      },
      {
        onWelcome: (welcome) => this.#onWelcome(welcome),
        onLapChannel: (channel, isFurther) => this.#handOver(channel, isFurther, HOME),
        onAssign: (assignment) => {
          this.#worker.post({ type: 'assign', assignment });
          if (!isLive(this.state.value.phase)) this.#set({ phase: 'downloading' });
        },
        onAdapters: (message) => this.#worker.post({ type: 'adapters', message }),
        onStanding: (standing) => this.#onStanding(standing),
        ...this.#exchange.handlers,
        onGuest: (guest) => this.#guests.take(guest),
        onGuestSignal: (signal) => this.#guests.signal(signal),
        onEnd: (end) => this.#onEnd(end),
      },
    );
  }

  async #onWelcome(welcome: Welcome): Promise<void> {
    this.#set({ model: welcome.model });
    const { device, lentBytes, exchangeMbit } = this.state.value;
    try {
      this.#limits.tellWorker();
      await this.#worker.configure(device, workerTerms(this.#options.coordinator, welcome, lentBytes));
    } catch (problem) {
      this.#disconnect();
      this.#recovery.after(problem as Problem);
      throw problem;
    }
    this.#exchange.start(welcome, exchangeMbit);
    if (this.#connection) this.#guests.settle(this.#connection);
    if (this.#paused) this.#setPaused(true);
  }

  #handOver(channel: RTCDataChannel, isFurther: boolean, coordinator: string): void {
    if (this.#worker.handOver(channel, isFurther, coordinator)) this.#set({ relayed: true });
  }

  #onStanding(standing: Standing): void {
    if (standing.phase !== 'connecting') this.#connection?.channelOpened();
    this.#figures.readStanding(standing);
    if (standing.contribution) this.desk?.read(standing.contribution);
    if (this.#finishing) return;
    this.#set({ isFreed: standing.phase === 'draining' });
    const { phase } = this.state.value;
    const pausedBefore = this.#paused && standing.phase === 'paused';
    if (isReady(standing) || pausedBefore || isLive(phase)) {
      this.#recovery.worked();
      this.#set({ phase: this.#paused ? 'paused' : livePhase(standing) });
    } else if (standing.phase === 'testing') {
      this.#set({ phase: 'testing' });
    }
  }

  #onEnd(end: ConnectionEnd): void {
    this.#connection = undefined;
    this.#guests.loseHome();
    this.#worker.detach(HOME);
    this.#exchange.stop();
    if (this.#finishing || (end.kind === 'dismissed' && end.dismissed.code === 'finished')) return this.#ended();
    this.#recovery.after(endProblem(end));
  }

  #ended(): void {
    this.#guests.endAll();
    this.#memory.leave();
    clearTimeout(this.#finishTimer);
    this.#recovery.stop();
    this.#book.withdraw();
    const { visit, phase } = this.state.value;
    const hasHelped = visit.rows > 0 || isLive(phase);
    this.#worker.terminate();
    this.#fetched.restart();
    this.#finishing = false;
    this.#figures.end();
    this.#set({ phase: hasHelped ? 'finished' : 'consent', problem: undefined, retryAtMs: undefined });
    void this.#kept.measure();
  }

  #disconnect(): void {
    this.#recovery.stop();
    this.#connection?.leave();
    this.#connection = undefined;
    this.#guests.loseHome();
    this.#worker.detach(HOME);
    this.#exchange.stop();
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    this.#agree();
    // The worker first, since it refuses laps at once, before the coordinator knows.
    this.#worker.post({ type: 'pause', paused });
    this.#connection?.intend(paused ? 'pause' : 'resume');
  }

  #agree(): void {
    const { device, pledgeBytes, exchangeMbit } = this.state.value;
    this.#book.agree({ device, pledgeBytes, paused: this.#paused, exchangeMbit });
  }

  #fromWorker(message: WorkerNews): void {
    switch (message.type) {
      case 'probed':
        return this.#onProbed(message.adapter);
      case 'probe-failed':
        return this.#recovery.after(probeProblem(message.reason));
      case 'progress':
        return this.#onProgress(message);
      case 'ready':
        this.#connection?.send('ready', message.ready);
        if (!isLive(this.state.value.phase)) this.#set({ phase: 'testing' });
        return void this.#kept.measure();
      case 'trouble':
        return this.#onTrouble(message.trouble);
      case 'adapted':
        return this.#connection?.send('adapted', message.adapted);
      case 'seek':
        return void this.#exchange.seek(message);
      case 'backend-gone':
        return this.#failLocally({ ...configureProblem('device-lost', message.message), recovery: 'manual' });
      case 'spent':
        return this.limits?.evaluate();
      case 'cache-failed':
        return this.#set({ cacheFailure: message.reason });
      case 'link-closed':
        if (message.coordinator !== HOME) return this.#guests.end(message.coordinator);
        this.#connection?.leave();
        return this.#connection && this.#onEnd({ kind: 'gone' });
      case 'stats':
        return this.#onStats(message);
    }
    message satisfies never;
  }

  #onProbed(adapter: AdapterInfo): void {
    this.#set({ adapter });
    if (!this.#connection && ['checking', 'resting'].includes(this.state.value.phase)) this.#connect();
  }

  #onProgress({ progress }: Extract<WorkerNews, { type: 'progress' }>): void {
    const { epoch, phase, doneBytes, totalBytes, cachedBytes } = progress;
    this.#connection?.send('progress', { epoch, phase, doneBytes, totalBytes, cachedBytes });
    this.#figures.readDownload(progress);
    if (!isLive(this.state.value.phase)) this.#set({ phase: 'downloading' });
  }

  #onTrouble(trouble: Trouble): void {
    this.#connection?.send('trouble', trouble);
    // `ready` or `backend-gone` follows.
    if (trouble.code === 'device-lost') return this.#set({ phase: 'downloading', download: undefined });
    this.#disconnect();
    this.#recovery.after(troubleProblem(trouble));
  }

  #onStats(news: Extract<WorkerNews, { type: 'stats' }>): void {
    this.#fetched.tell(this.#connection, news.stats.fetched, news.mirrorFaults);
    this.#figures.readStats(news);
    this.limits?.readStats(news.stats);
  }

  #failLocally(problem: Problem): void {
    this.#disconnect();
    this.#guests.endAll();
    this.#worker.terminate();
    this.#fetched.restart();
    this.#figures.restartWorker();
    this.limits?.restartWorker();
    this.#recovery.after(problem);
  }

  #set(change: Partial<DonorState>): void {
    const phase = this.#limits.phaseOf(change.phase ?? this.state.value.phase);
    this.state.value = { ...this.state.value, ...change, phase };
  }
}
