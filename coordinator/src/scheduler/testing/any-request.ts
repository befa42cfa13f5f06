import { createRng, sample } from '@shoal/model';
import type { GenerationEvent, GenerationRequest } from '../generation.ts';
import { encoded, EOS, logitsAfter, VOCAB } from './hash-engine.ts';
import { request } from './hash-scheduler.ts';
import type { Rule } from './rule-constraint.ts';

export type Asked = GenerationRequest & { rule?: Rule };

/** What the answer must be: token by token from the model's logits, with nothing kept from one to the next. */
export function expected({ rule, ...asked }: Asked): { ids: number[]; stopTokenId?: number } {
  const {
    promptIds,
    sourceLength = 0,
    maxTokens,
    temperature,
    topP,
    topK,
    minP,
    seed,
    stopTokenIds = [],
    ignoreEos,
  } = asked;
  const rng = createRng(seed);
  const source = promptIds.slice(0, sourceLength);
  const held = source.map((id) => encoded(id, source));
  const ids: number[] = [];
  const count = (tokenId: number): number => ids.filter((id) => id === tokenId).length;
  while (ids.length < maxTokens) {
    const text = [...promptIds.slice(sourceLength), ...ids];
    const isEarly = ids.length < (asked.minTokens ?? 0);
    const isBanned = (id: number): boolean =>
      isEarly
        ? id === EOS || stopTokenIds.includes(id)
        : ignoreEos === true && id === EOS && !stopTokenIds.includes(id);
    const all = Array.from({ length: VOCAB }, (_, id) => id);
    const ruled = all.filter((id) => rule?.(ids, id) ?? true);
    const unbanned = ruled.filter((id) => !isBanned(id));
    const allowed = unbanned.length > 0 ? unbanned : ruled;
    const biases = new Map(asked.logitBias);
    const penalties = {
      repetition: asked.repetitionPenalty ?? 1,
      frequency: asked.frequencyPenalty ?? 0,
      presence: asked.presencePenalty ?? 0,
      seen: Int32Array.from([...new Set(text)].flatMap((id) => [id, count(id)])),
    };
    const mask = Uint32Array.of(allowed.reduce((word, id) => word | (1 << id), 0));
    const changes = { biases, penalties };
    const tokenId = sample(logitsAfter([...held, ...text]), { temperature, topP, topK, minP, changes, mask, rng });
    if (tokenId === EOS || stopTokenIds.includes(tokenId)) return { ids, stopTokenId: tokenId };
    ids.push(tokenId);
  }
  return { ids };
}

export const idsOf = (events: readonly object[]): number[] =>
  (events as GenerationEvent[]).flatMap((event) => (event.type === 'token' ? [event.token.tokenId] : []));

/** Words of alternating kinds of tokens, of any length above three. */
export const alternating: Rule = (ids, tokenId) =>
  tokenId === EOS ? ids.length >= 4 : tokenId % 2 === (ids.at(-1) ?? 1 + ids.length) % 2 || tokenId % 5 === 0;

/** A request with any parameters. */
export function anyRequest(i: number, rng: () => number): Asked {
  const some = <T>(share: number, value: T): T | undefined => (rng() < share ? value : undefined);
  const bias = new Map([
    [EOS, rng() * 8],
    [Math.floor(rng() * VOCAB), rng() * 6 - 3],
  ]);
  const given = {
    minP: some(0.3, rng() / 3),
    topK: some(0.3, 1 + Math.floor(rng() * 9)),
    presencePenalty: some(0.4, rng() * 4 - 2),
    frequencyPenalty: some(0.4, rng() * 4 - 2),
    repetitionPenalty: some(0.4, 0.5 + rng()),
    logitBias: some(0.5, bias),
    stopTokenIds: some(0.3, [Math.floor(rng() * VOCAB)]),
    ignoreEos: some(0.2, true),
    minTokens: some(0.3, Math.floor(rng() * 12)),
    rule: some(0.5, alternating),
  };
  return {
    ...request(`request ${i}`, {
      promptIds: Array.from({ length: 1 + Math.floor(rng() * 16) }, () => Math.floor(rng() * 4)),
      maxTokens: 1 + Math.floor(rng() * 30),
      temperature: rng() < 0.3 ? 0 : 0.3 + rng(),
      topP: rng() < 0.5 ? 1 : 0.5 + rng() / 2,
      seed: i,
    }),
    ...(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<Asked>),
  };
}
