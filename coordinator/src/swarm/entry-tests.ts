import type { ExpertIndex } from '@shoal/placement';
import type { Dismissed } from '@shoal/protocol';
import { LapError } from '../laps/lap.ts';
import type { Judge } from '../trust/judge.ts';
import type { Trust } from '../trust/trust.ts';
import { type ExpertRef, knownAnswerTest } from './known-answer-test.ts';
import type { PeerSession } from './peer-session.ts';

export interface EntryTestsOptions {
  hiddenSize: number;
  judge: Judge;
  ref: (expert: ExpertIndex) => ExpertRef;
  /** Without it nobody is on probation. */
  trust?: Trust | undefined;
  /** In place of the known-answer test. */
  knownAnswerTest?: typeof knownAnswerTest | undefined;
  dismiss: (peer: PeerSession, message: Dismissed) => void;
  /** A peer serves what it was to serve. */
  onServes: () => void;
  /** It will have to say that it is ready again: its time to load begins anew. */
  onWaiting: (peer: PeerSession) => void;
  onEvent: (level: 'info' | 'error', text: string, peer: PeerSession) => void;
}

/** `failed`: the peer is gone, or what it was tested for is no longer wanted of it. `undone`: it is to be tested again. */
type Outcome = 'passed' | 'failed' | 'undone';

/** What stands between loading experts and serving them: the known-answer test of each, and a new peer's probation. */
export class EntryTests {
  readonly #options: EntryTestsOptions;

  constructor(options: EntryTestsOptions) {
    this.#options = options;
  }

  /** Test what is loaded and not tested yet. A paused peer answers no laps: it is tested when it resumes. */
  async testNew(peer: PeerSession): Promise<void> {
    if (peer.state === 'paused' || peer.state === 'gone' || peer.readyEpoch !== peer.epoch) return;
    const { epoch } = peer;
    if (peer.state === 'loading') peer.state = 'testing';
    peer.control.standing(peer.standing());
    const known = new Set([peer.live, ...peer.tests].flatMap((experts) => [...experts]));
    const fresh = [...peer.assigned].filter((expert) => !known.has(expert));
    if (fresh.length > 0) {
      const test = new Set(fresh);
      peer.tests.add(test);
      const outcome = await this.#test(peer, fresh, test);
      if (!peer.tests.delete(test) || outcome === 'failed') return;
      if (outcome === 'undone') return this.#again(peer, epoch);
      // Without those that a newer assignment has taken away meanwhile.
      for (const expert of test) peer.live.add(expert);
      this.#options.onEvent('info', `${peer.peerId} serves ${test.size} more experts (${this.#layerText(peer)})`, peer);
    }
    if (peer.tests.size > 0) return;
    if (peer.state === 'testing') peer.state = peer.live.size > 0 || peer.epoch === epoch ? 'waiting' : 'loading';
    peer.note = undefined;
    peer.control.standing(peer.standing());
    this.#options.onServes();
  }

  /** `test`: as it stands in the peer's tests. Whoever computes wrongly or doesn't answer is sent away. */
  async #test(peer: PeerSession, fresh: readonly ExpertIndex[], test: Set<ExpertIndex>): Promise<Outcome> {
    const refs = fresh.map((expert) => this.#options.ref(expert));
    const isEntry = peer.live.size === 0;
    if (isEntry) peer.beginEntryTest();
    const counts = (): boolean => peer.tests.has(test) && peer.state !== 'gone';
    try {
      const answerKnown = this.#options.knownAnswerTest ?? knownAnswerTest;
      const { tested, matched } = await answerKnown(
        peer.laps,
        this.#options.judge,
        refs,
        this.#options.hiddenSize,
        peer.trust.bounds,
      );
      peer.verifiedShare = matched / tested;
      if (matched === tested) return counts() && (await this.#probation(peer, refs)) && counts() ? 'passed' : 'failed';
      this.#options.trust?.exclude(peer, true);
      const message = `The GPU computed ${tested - matched} of ${tested} experts wrongly. Its driver may be at fault.`;
      this.#options.dismiss(peer, { code: 'self-test', message, retry: false });
    } catch (error) {
      if (!counts()) return 'failed';
      if (!(error instanceof LapError)) {
        // The packed weights cannot be read: nothing against the peer.
        const message = `The coordinator could not test the tab: ${error instanceof Error ? error.message : String(error)}`;
        this.#options.onEvent('error', message, peer);
        this.#options.dismiss(peer, {
          code: 'timeout',
          message: 'The coordinator could not test the tab.',
          retry: true,
        });
        return 'failed';
      }
      if (error.refusal === 'paused' || error.refusal === 'device-lost' || test.size < fresh.length) return 'undone';
      const message = `The self-test was not answered: ${error.message}`;
      this.#options.dismiss(peer, { code: 'timeout', message, retry: true });
    } finally {
      if (isEntry) peer.endEntryTest();
    }
    return 'failed';
  }

  /** The socket will tell why a test was not done, and then that the peer is ready again; or it has told so already. */
  async #again(peer: PeerSession, testedEpoch: number): Promise<void> {
    // A newer assignment took experts from under the test, and the peer had done it when its refusal came: of what the test
    // leaves, nobody else would ever ask.
    if (peer.epoch !== testedEpoch && peer.readyEpoch === peer.epoch) return this.testNew(peer);
    this.#options.onWaiting(peer);
  }

  /** A peer's first rows count for nothing but their comparison. A peer that has served already has them behind it. */
  async #probation(peer: PeerSession, refs: readonly ExpertRef[]): Promise<boolean> {
    const { trust } = this.#options;
    if (!trust || peer.trust.phase === 'trusted') return true;
    const held = new Map<number, Set<number>>();
    for (const { layer, expert } of refs) held.set(layer, (held.get(layer) ?? new Set()).add(expert));
    const passed = await trust.probation(peer, held);
    if (passed)
      this.#options.onEvent('info', `${peer.peerId} was right in ${peer.trust.auditedRows} rows in shadow`, peer);
    return passed;
  }

  #layerText(peer: PeerSession): string {
    const layers = peer.liveLayers();
    return `${layers.length === 1 ? 'layer' : 'layers'} ${layers.join(', ')}`;
  }
}
