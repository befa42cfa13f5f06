import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type EngineEagle3Row,
  type ForwardEngine,
  type HeadEngine,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
  toFloat32,
} from '@shoal/model';
import { openHead, type OpenHead } from '@shoal/model/node';
import type { Family } from './families.ts';

export const headDir = (name: string): string => join(import.meta.dirname, 'fixtures/heads', name);

/** A fixture of make/heads, and what the speculators package computes of it. */
export interface HeadFixture {
  name: string;
  open: OpenHead;
  ids: readonly number[];
  /** Positions of the last known tokens of DFlash's blocks. */
  anchors: readonly number[];
  /** [tokens, auxiliary layers, hiddenSize] */
  auxiliary: Float32Array;
  /** EAGLE-3: [depths, tokens − 1, draftVocabSize]. DFlash: [anchors, block, draftVocabSize]. */
  logits: Float32Array;
  /** EAGLE-3: [depths, tokens − 1, hiddenSize], what the next depth goes on from. */
  hidden: Float32Array;
}

/** Opens a head for the fixture of its target. */
export async function openHeadFixture(name: string, { config }: Pick<Family, 'config'>): Promise<HeadFixture> {
  const dir = headDir(name);
  const about = JSON.parse(readFileSync(join(dir, 'reference.json'), 'utf8')) as { ids: number[]; anchors: number[] };
  const file = readFileSync(join(dir, 'reference.safetensors'));
  const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, name);
  const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, name);
  const read = (tensor: string): Float32Array => {
    const found = table.get(tensor);
    return found ? toFloat32(file.subarray(found.offset, found.offset + found.bytes), found.dtype) : new Float32Array();
  };
  const open = await openHead(dir, config);
  return { name, open, ...about, auxiliary: read('auxiliary'), logits: read('logits'), hidden: read('hidden') };
}

/** The target's hidden states along the fixture's text, some rows a pass. */
export async function auxiliaryOf(
  engine: ForwardEngine,
  { experts }: Family,
  ids: readonly number[],
): Promise<number[]> {
  const cache = engine.newSequence();
  const values: number[] = [];
  for (const [from, to] of [
    [0, 1],
    [1, 23],
    [23, ids.length],
  ] as const) {
    const rows = ids.slice(from, to).map((tokenId, i) => ({ tokenId, position: from + i, cache }));
    const { auxiliary } = await engine.forward(rows, experts);
    values.push(...auxiliary!);
  }
  return values;
}

/**
 * All depths of an EAGLE-3 head at each position of the text: the first from the target's hidden states, further ones from the
 * head's own with the text's tokens as the drafts, each on a cache that ends with the positions before them.
 */
export async function runEagle3(head: HeadEngine, { ids, auxiliary }: HeadFixture, depths: number) {
  const width = auxiliary.length / ids.length;
  const count = ids.length - 1;
  const [logits, hidden]: [number[][], number[][]] = [[], []];
  for (let depth = 0; depth < depths; depth++) [logits[depth], hidden[depth]] = [[], []];
  const cache = head.newSequence();
  for (let position = 0; position < count; position++) {
    let row: EngineEagle3Row = {
      hidden: auxiliary.slice(position * width, (position + 1) * width),
      isOwn: false,
      nextTokenId: ids[position + 1]!,
      position,
      cache,
      wantLogits: true,
    };
    for (let depth = 0; depth < depths; depth++) {
      const result = await head.forwardEagle3([row]);
      logits[depth]!.push(...result.logits[0]!);
      hidden[depth]!.push(...result.hidden);
      // Behind the text's end the package takes token 0.
      const nextTokenId = ids[position + 2 + depth] ?? 0;
      row = { ...row, hidden: result.hidden, isOwn: true, nextTokenId, position: position + 1 + depth };
    }
    cache.truncate(position + 1);
  }
  return { logits: logits.flat(), hidden: hidden.flat() };
}

/** The logits of a DFlash head's drafts at each anchor, [anchors, block − 1, draftVocabSize], one anchor after another. */
export async function runDFlash(head: HeadEngine, { ids, auxiliary, anchors }: HeadFixture): Promise<number[]> {
  const width = auxiliary.length / ids.length;
  const cache = head.newSequence();
  const drafts = head.config.head.kind === 'dflash' ? head.config.head.blockSize - 1 : 0;
  const logits: number[] = [];
  for (const anchor of anchors) {
    const rows = Array.from({ length: anchor - cache.length }, (_, i) => {
      const position = cache.length + i;
      return { hidden: auxiliary.slice(position * width, (position + 1) * width), position, cache };
    });
    if (rows.length > 0) await head.addContext(rows);
    const queries = Array.from({ length: drafts }, () => undefined);
    const block = { tokenId: ids[anchor]!, position: anchor, cache, queries, wantLogits: true };
    const result = await head.forwardBlocks([block]);
    logits.push(...result.logits.flatMap((row) => [...(row ?? [])]));
  }
  return logits;
}

/** The same of the fixture, whose blocks have a row for the anchor itself, too. */
export function draftLogits({ logits, anchors, open }: HeadFixture): number[] {
  const { draftVocabSize: size, head } = open.config;
  if (head.kind !== 'dflash') throw new TypeError('no DFlash head');
  const block = head.blockSize * size;
  return anchors.flatMap((_, i) => [...logits.subarray(i * block + size, (i + 1) * block)]);
}
