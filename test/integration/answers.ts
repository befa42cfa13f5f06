import { randomUUID } from 'node:crypto';
import type { Core, GenerationEvent, GenerationRequest } from '../../coordinator/src/index.ts';

export type AnswerOptions = Partial<Omit<GenerationRequest, 'id' | 'promptIds'>> & {
  onToken?: (tokenId: number, index: number) => void | Promise<void>;
  onEvent?: (event: GenerationEvent) => void;
};

export interface Answer {
  ids: number[];
  finish: 'stop' | 'length';
  events: GenerationEvent[];
}

/** One complete answer; greedy by default. */
export async function answer(core: Core, promptIds: readonly number[], options: AnswerOptions = {}): Promise<Answer> {
  const { onToken, onEvent, ...request } = options;
  const events: GenerationEvent[] = [];
  const ids: number[] = [];
  const stream = core.scheduler.submit({
    id: randomUUID(),
    promptIds,
    maxTokens: 48,
    temperature: 0,
    topP: 1,
    seed: 0,
    signal: new AbortController().signal,
    ...request,
  });
  for await (const event of stream) {
    events.push(event);
    onEvent?.(event);
    if (event.type === 'finish') return { ids, finish: event.reason, events };
    if (event.type !== 'token') continue;
    ids.push(event.token.tokenId);
    await onToken?.(event.token.tokenId, ids.length - 1);
  }
  throw new Error('The answer ended without a finish event.');
}
