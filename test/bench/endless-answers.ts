import { setTimeout as delay } from 'node:timers/promises';
import type { Core } from '../../coordinator/src/index.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';

/** Answers of the default model, one after the other on each of several streams, and how many tokens they have had. */
export class EndlessAnswers {
  tokens = 0;
  failed = 0;
  #isOver = false;
  readonly #streams: Promise<void>[];

  constructor(core: Core, streams: number) {
    this.#streams = Array.from({ length: streams }, (_, i) => this.#stream(core, i));
  }

  async rate(ms: number): Promise<number> {
    const [before, startedMs] = [this.tokens, performance.now()];
    await delay(ms);
    return ((this.tokens - before) * 1000) / (performance.now() - startedMs);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.race([Promise.all(this.#streams), delay(30_000)]);
  }

  async #stream(core: Core, i: number): Promise<void> {
    const onEvent = ({ type }: { type: string }): void => void (type === 'token' && this.tokens++);
    for (let round = i; !this.#isOver; round++) {
      const { prompt_ids: prompt } = GOLDEN[round % GOLDEN.length]!;
      await answer(core, prompt, { maxTokens: 48, onEvent }).catch(() => this.failed++);
    }
  }
}
