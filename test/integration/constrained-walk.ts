import type { Rng } from '@shoal/model';
import { bytesOfToken, type Vocabulary } from '../../coordinator/src/grammar/vocabulary.ts';
import type { TokenConstraint } from '../../coordinator/src/scheduler/token-constraint.ts';

/** What brings JSON to its end, the best first. */
const CLOSING = ['}', ']', '"', 'null', 'n', 't', 'f', '0', '1'];

/** Written in turn where a string may not end yet. */
const CYCLE = 'abcy@a.com';

export interface WalkOptions {
  /** Tokens after which the walk takes what closes. */
  closeAfter: number;
  /** Tokens after which it gives up. */
  most: number;
}

export const isAllowed = (mask: Uint32Array | undefined, id: number): boolean =>
  !mask || ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1;

/** An answer of tokens drawn at random, all equally likely, from those that a constraint allows. */
export async function randomWalk(
  constraint: TokenConstraint,
  vocabulary: Vocabulary,
  rng: Rng,
  { closeAfter, most }: WalkOptions,
): Promise<string> {
  const bytes: Uint8Array[] = [];
  for (let count = 0; count < most; count++) {
    const [mask] = await constraint.masks([]);
    const ids: number[] = [];
    for (let id = 0; id < vocabulary.size; id++) if (isAllowed(mask, id)) ids.push(id);
    const id =
      count < closeAfter
        ? ids[Math.floor(rng() * ids.length)]!
        : closing(ids, Buffer.concat(bytes).toString(), count, vocabulary, rng);
    if (vocabulary.endIds.includes(id)) return Buffer.concat(bytes).toString();
    bytes.push(bytesOfToken(vocabulary, id));
    constraint.accept(id);
  }
  throw new Error(`no end after ${most} tokens: ${Buffer.concat(bytes).toString().slice(0, 400)}`);
}

function closing(ids: readonly number[], text: string, count: number, vocabulary: Vocabulary, rng: Rng): number {
  const end = ids.find((id) => vocabulary.endIds.includes(id));
  if (end !== undefined) return end;
  const texts = new Map(ids.map((id) => [Buffer.from(bytesOfToken(vocabulary, id)).toString(), id]));
  const best = (isInString(text) ? ['"'] : CLOSING).find((wanted) => texts.has(wanted));
  if (best !== undefined) return texts.get(best)!;
  // Sooner or later, what the patterns of the tests ask for.
  const wanted = texts.get(CYCLE[count % CYCLE.length]!);
  if (wanted !== undefined) return wanted;
  return ids[Math.floor(rng() * ids.length)]!;
}

/** Whether a piece of JSON ends inside a string. */
const isInString = (text: string): boolean => (text.replaceAll(/\\./gs, '').split('"').length - 1) % 2 === 1;
