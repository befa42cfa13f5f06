import type { ExpertBackend, ExpertShape } from '@shoal/kernels';
import { encodeF16, type WorkItem, uniformWorkItem } from '@shoal/model';
import { decodeCombine, decodeRefuse, encodeDispatch, type LapRefusal, peekFrame } from '@shoal/protocol';
import type { Link } from '@shoal/transport';

export const SHAPE: ExpertShape = { hiddenSize: 192, moeIntermediateSize: 64, quant: 'f16' };
export const EXPERTS_PER_LAYER = 8;

export interface LapOutcome {
  /** NMSE of the tab's partial sums; undefined if the lap was refused. */
  nmse: number | undefined;
  refusal: LapRefusal | undefined;
}

/** Laps with random rows over one link, whose answers are compared with the reference. */
export class FakeLaps {
  /** Answered. */
  rows = 0;
  readonly #link: Link;
  readonly #reference: ExpertBackend;
  readonly #waiting = new Map<number, (frame: Uint8Array) => void>();
  #nextLapId = 1;

  constructor(link: Link, reference: ExpertBackend) {
    this.#link = link;
    this.#reference = reference;
    link.onFrame = (frame) => {
      const { lapId } = peekFrame(frame);
      this.#waiting.get(lapId)?.(frame);
      this.#waiting.delete(lapId);
    };
  }

  /** Sends random rows through two experts each of a layer. */
  async ask(layer: number, numRows: number): Promise<LapOutcome> {
    const lapId = this.#nextLapId++;
    const lap = randomLap(layer, numRows, lapId);
    const answer = new Promise<Uint8Array>((resolve) => this.#waiting.set(lapId, resolve));
    await this.#link.send(encodeDispatch({ lapId, epoch: 1, hiddenSize: SHAPE.hiddenSize, ...lap }));
    const frame = await answer;
    if (peekFrame(frame).type === 'refuse') return { nmse: undefined, refusal: decodeRefuse(frame).reason };
    const combine = decodeCombine(frame, { numRows, hiddenSize: SHAPE.hiddenSize });
    this.rows += numRows;
    return { nmse: nmse(combine.partial, (await this.#reference.run(lap)).partial), refusal: undefined };
  }
}

function randomLap(layer: number, numRows: number, seed: number): WorkItem {
  const random = seededNormal(seed);
  const rows = encodeF16(Float32Array.from({ length: numRows * SHAPE.hiddenSize }, random));
  const perRow = 2;
  return uniformWorkItem({
    layer,
    numRows,
    rows,
    experts: Uint16Array.from({ length: numRows * perRow }, (_, i) => (i * 3) % EXPERTS_PER_LAYER),
    weights: Float32Array.from({ length: numRows * perRow }, () => Math.abs(random())),
  });
}

/** Σ (a − b)² / Σ b² */
function nmse(a: Float32Array, b: Float32Array): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return error / norm;
}

/** Normally distributed numbers, the same for the same seed (a linear congruential generator, Box–Muller). */
export function seededNormal(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
