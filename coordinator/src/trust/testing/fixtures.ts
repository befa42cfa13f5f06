import { createRng, uniformWorkItem, type WorkItem } from '@shoal/model';
import { PeerTrust } from '../peer-trust.ts';

export const HIDDEN = 16;
export const BOUNDS = { maxRelativeL2: 1e-3, maxNormDeviation: 1e-3, rowFormat: 'f16' } as const;

export const drawFrom = (seed: number) => {
  const rng = createRng(seed);
  return (below: number) => Math.floor(rng() * below);
};

export const randoms = (length: number, rng: () => number, scale = 1) =>
  Float32Array.from({ length }, () => (rng() - 0.5) * 2 * scale);

export const scaled = (row: Float32Array, factor: number) => row.map((value) => value * factor);

export const usedRow = (experts: number[], weights: number[]) => ({
  layer: 1,
  experts: Uint16Array.from(experts),
  weights: Float32Array.from(weights),
});

/** The trust of a peer that has passed probation. */
export function trusted(): PeerTrust {
  const trust = new PeerTrust({ consecutiveRight: 0, verifiedRows: 0 }, BOUNDS, drawFrom(3));
  trust.phase = 'trusted';
  return trust;
}

/** A work item of one row. */
export function oneRow(rows: Uint16Array, experts: number[], weights: number[]): WorkItem {
  return uniformWorkItem({ ...usedRow(experts, weights), rows, numRows: 1 });
}
