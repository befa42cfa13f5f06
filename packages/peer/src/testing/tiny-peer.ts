import {
  createReferenceBackend,
  type ExpertBackend,
  type ExpertShape,
  uniformWorkItem,
  type WorkItem,
} from '@shoal/kernels';
import { decodeCombine, decodeRefuse, encodeDispatch, encodeF16, peekFrame } from '@shoal/protocol';
import type { CombineFrame, LapRefusal, ShardRef } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { packExpert, shardBytes } from '@shoal/weights';
import { sha256Hex } from '../fetch-shard.ts';

// Shared by this package's tests: a tiny model, a server of its shards, and a coordinator's end of a link.

export const SHAPE: ExpertShape = { hiddenSize: 16, moeIntermediateSize: 8, quant: 'f16' };
export const MODEL = { id: 'tiny', ...SHAPE, shardBytes: shardBytes(SHAPE) };

/** Makes shards of `layers` × `experts`, all different and the same in every run. */
export async function makeShards(layers: readonly number[], experts: number) {
  const refs: ShardRef[] = [];
  const bytesOf = new Map<string, Uint8Array<ArrayBuffer>>();
  const reference = createReferenceBackend(SHAPE);
  for (const layer of layers) {
    for (let expert = 0; expert < experts; expert++) {
      const size = SHAPE.hiddenSize * SHAPE.moeIntermediateSize;
      const matrix = (phase: number) =>
        Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.7 + phase + layer * 31 + expert * 7) / 4);
      const bytes = packExpert(SHAPE, { gate: matrix(1), up: matrix(2), down: matrix(3) });
      const sha256 = await sha256Hex(bytes);
      refs.push({ layer, expert, sha256 });
      bytesOf.set(sha256, bytes);
      await reference.load(layer, expert, bytes);
    }
  }
  return { refs, bytesOf, reference };
}

export const urlOf = (sha256: string) => `/shards/${sha256}`;

/** Serves shards in place of `fetch`; `answer` may replace the honest answer to a request. */
export class ShardServer {
  readonly requests: string[] = [];
  answer: (sha256: string, attempt: number, signal: AbortSignal | null) => Promise<Response> | Response | undefined =
    () => undefined;
  readonly #bytesOf: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

  constructor(bytesOf: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) {
    this.#bytesOf = bytesOf;
  }

  readonly fetch = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const sha256 = String(input).slice('/shards/'.length);
    this.requests.push(sha256);
    const attempt = this.requests.filter((request) => request === sha256).length;
    init?.signal?.throwIfAborted();
    const answer = this.answer(sha256, attempt, init?.signal ?? null);
    return answer ?? new Response(this.#bytesOf.get(sha256) ?? null, { status: this.#bytesOf.has(sha256) ? 200 : 404 });
  };
}

export function makeLap(layer: number, experts: readonly number[], numRows = 3): WorkItem {
  const rows = Float32Array.from({ length: numRows * SHAPE.hiddenSize }, (_, i) => Math.cos(i * 0.3));
  return uniformWorkItem({
    layer,
    numRows,
    rows: encodeF16(rows),
    experts: Uint16Array.from(Array.from({ length: numRows }, () => experts).flat()),
    weights: Float32Array.from({ length: numRows * experts.length }, (_, i) => 0.1 + (i % 5) / 10),
  });
}

export type LapAnswer = { combine: CombineFrame; refusal?: undefined } | { combine?: undefined; refusal: LapRefusal };

/** The coordinator's end: sends laps and takes their answers in any order. */
export class LapAsker {
  readonly #link: Link;
  readonly #waiting = new Map<number, { lap: WorkItem; resolve: (answer: LapAnswer) => void }>();
  #nextLapId = 1;

  constructor(link: Link) {
    this.#link = link;
    link.onFrame = (frame) => this.#onFrame(frame);
  }

  async ask(lap: WorkItem, epoch = 1): Promise<LapAnswer> {
    const lapId = this.#nextLapId++;
    return this.sendRaw(encodeDispatch({ lapId, epoch, hiddenSize: SHAPE.hiddenSize, ...lap }), lapId, lap);
  }

  /** Sends any bytes and waits for the answer with this lap id. */
  async sendRaw(frame: Uint8Array, lapId: number, lap: WorkItem = makeLap(0, [0])): Promise<LapAnswer> {
    const answer = new Promise<LapAnswer>((resolve) => this.#waiting.set(lapId, { lap, resolve }));
    await this.#link.send(frame);
    return answer;
  }

  #onFrame(frame: Uint8Array): void {
    const { type, lapId } = peekFrame(frame);
    const { lap, resolve } = this.#waiting.get(lapId)!;
    this.#waiting.delete(lapId);
    if (type === 'refuse') return resolve({ refusal: decodeRefuse(frame).reason });
    const { numRows } = lap;
    resolve({ combine: decodeCombine(frame, { numRows, hiddenSize: SHAPE.hiddenSize }) });
  }
}

/** NMSE of the answer against the reference; f16 on the wire costs about 1e-7. */
export async function nmseOf(answer: LapAnswer, lap: WorkItem, reference: ExpertBackend): Promise<number> {
  if (!answer.combine) throw new Error(`The lap was refused: ${answer.refusal}`);
  const got = answer.combine.partial;
  const wanted = (await reference.run(lap)).partial;
  let error = 0;
  let norm = 0;
  for (let i = 0; i < wanted.length; i++) {
    error += (got[i]! - wanted[i]!) ** 2;
    norm += wanted[i]! ** 2;
  }
  return error / norm;
}
