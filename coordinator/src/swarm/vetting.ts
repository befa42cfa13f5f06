import type { ExpertIndex } from '@shoal/placement';
import type { Dismissed } from '@shoal/protocol';
import { LapError } from '../laps/lap.ts';
import type { Judge } from '../trust/judge.ts';
import { type ExpertRef, knownAnswerTest } from './known-answer-test.ts';
import { TOO_MANY_TESTS } from './messages.ts';
import type { PeerSession } from './peer-session.ts';
import { isStopped } from './peer-state.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface VettingOptions extends Pick<SwarmOptions, 'trust' | 'knownAnswerTest'> {
  hiddenSize: number;
  judge: Judge;
  ref: (expert: ExpertIndex) => ExpertRef;
  dismiss: (peer: PeerSession, message: Dismissed) => void;
  /** All experts that the peer has loaded serve. */
  onServes: () => void;
  /** The peer has to report `ready` again: its time to load starts anew. */
  onWaiting: (peer: PeerSession) => void;
  /** As `dismiss`, and the donor may have to wait before it joins again. */
  letGo: (peer: PeerSession, message: Dismissed) => void;
  onEvent: (level: 'info' | 'error', text: string, peer: PeerSession) => void;
}

/** `failed`: the peer is gone, or the tested experts were taken from it. `undone`: the test has to be repeated. */
type Outcome = 'passed' | 'failed' | 'undone';

/** The checks between loading experts and serving them: the known-answer test of each expert, and a new peer's probation. */
export class Vetting {
  readonly #options: VettingOptions;

  constructor(options: VettingOptions) {
    this.#options = options;
  }

  /** Tests loaded experts that are not tested yet. A paused or resting peer answers no laps: it is tested when it goes on. */
  async testNew(peer: PeerSession): Promise<void> {
    if (isStopped(peer.state) || peer.state === 'gone' || peer.readyEpoch !== peer.epoch) return;
    const { epoch } = peer;
    peer.apply('test');
    peer.control.standing(peer.standing());
    const known = new Set([peer.live, ...peer.tests].flatMap((experts) => [...experts]));
    const fresh = [...peer.assigned].filter((expert) => !known.has(expert));
    if (fresh.length > 0) {
      const test = new Set(fresh);
      peer.tests.add(test);
      const outcome = await this.#test(peer, fresh, test);
      if (!peer.tests.delete(test) || outcome === 'failed') return;
      if (outcome === 'undone') return this.#repeat(peer, epoch);
      // A newer assignment has removed from `test` what it took away meanwhile.
      for (const expert of test) peer.live.add(expert);
      peer.noteLoaded();
      const experts = `${test.size} more ${test.size === 1 ? 'expert' : 'experts'}`;
      const layers = peer.liveLayers();
      const where = `${layers.length === 1 ? 'layer' : 'layers'} ${layers.join(', ')}`;
      this.#options.onEvent('info', `${peer.peerId} serves ${experts} (${where})`, peer);
    }
    if (peer.tests.size > 0) return;
    peer.apply(peer.live.size > 0 || peer.epoch === epoch ? 'pass' : 'supersede');
    peer.note = undefined;
    peer.control.standing(peer.standing());
    this.#options.onServes();
  }

  /** Tests `fresh`, whose set in the peer's tests is `test`. A peer that is wrong or doesn't answer is dismissed. */
  async #test(peer: PeerSession, fresh: readonly ExpertIndex[], test: Set<ExpertIndex>): Promise<Outcome> {
    const refs = fresh.map((expert) => this.#options.ref(expert));
    const isFirst = peer.live.size === 0;
    if (isFirst) peer.startTestMeter();
    const counts = (): boolean => peer.tests.has(test) && peer.state !== 'gone';
    try {
      const { knownAnswerTest: run = knownAnswerTest, judge, hiddenSize } = this.#options;
      const { tested, matched } = await run(peer.laps, judge, refs, hiddenSize, peer.trust.bounds);
      peer.verifiedShare = matched / tested;
      if (matched === tested) return counts() && (await this.#probation(peer, refs)) && counts() ? 'passed' : 'failed';
      this.dismissWrong(peer, `The tab computed ${tested - matched} of ${tested} experts wrongly.`);
    } catch (error) {
      if (!counts()) return 'failed';
      if (!(error instanceof LapError)) this.#dismissUntested(peer, error);
      else if (error.reason === 'wrong') this.dismissWrong(peer, error.message);
      else if (error.refusal === 'paused' || error.refusal === 'device-lost' || test.size < fresh.length)
        return 'undone';
      else {
        const message = `The tab did not answer the test of its experts: ${error.message}`;
        this.#options.letGo(peer, { code: 'timeout', message, retry: true });
      }
    } finally {
      if (isFirst) peer.stopTestMeter();
    }
    return 'failed';
  }

  /** What it gave was not used, and need not be a lie. */
  dismissWrong(peer: PeerSession, what: string): void {
    this.#options.trust?.exclude(peer, true);
    const message = `${what} If it uses the GPU, its driver may be at fault: update it, or lend less memory.`;
    this.#options.dismiss(peer, { code: 'self-test', message, retry: false });
  }

  /** The coordinator cannot read the packed weights, which says nothing about the peer. */
  #dismissUntested(peer: PeerSession, error: unknown): void {
    const cause = error instanceof Error ? error.message : String(error);
    this.#options.onEvent('error', `The coordinator could not test ${peer.peerId}: ${cause}`, peer);
    const message = 'The coordinator could not test this tab, because of an error of its own.';
    this.#options.dismiss(peer, { code: 'timeout', message, retry: true });
  }

  /** The tab says over its socket why a test was refused, and later that it is ready again, or has said so already. */
  async #repeat(peer: PeerSession, testedEpoch: number): Promise<void> {
    // The peer had already completed a newer assignment, which took experts from the test, when its refusal came. The rest of
    // the test would never be requested again.
    if (peer.epoch !== testedEpoch && peer.readyEpoch === peer.epoch) return this.testNew(peer);
    if (peer.mayRepeatTest()) this.#options.onWaiting(peer);
    else this.#options.letGo(peer, TOO_MANY_TESTS);
  }

  /** Resolves to whether the peer has passed probation, now or before. */
  async #probation(peer: PeerSession, refs: readonly ExpertRef[]): Promise<boolean> {
    const { trust } = this.#options;
    if (!trust || peer.trust.phase === 'trusted') return true;
    const held = new Map<number, Set<number>>();
    for (const { layer, expert } of refs) held.set(layer, (held.get(layer) ?? new Set()).add(expert));
    const passed = await trust.probation(peer, held);
    if (passed)
      this.#options.onEvent(
        'info',
        `${peer.peerId} passed probation with ${peer.trust.auditedRows} correct rows`,
        peer,
      );
    return passed;
  }
}
