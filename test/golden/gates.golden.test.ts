import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Assignments,
  GATES,
  type GateLayer,
  type GateName,
  mixIntoRows,
  mixIntoSlots,
  openGate,
  type Slots,
} from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { chooseNoisy } from '../../packages/model/src/gates/noisy-top-k.ts';

interface GateCase {
  name: string;
  /** Bits of the arithmetic that gave the expected values. */
  precision: 32 | 64;
  settings: Record<string, unknown>;
  layer: { layer: number; numExperts: number; bias?: number[]; holders?: number[][]; hashTable?: number[] };
  rows: { numRows: number; logits: number[]; tokenIds?: number[]; noiseLogits?: number[]; normals?: number[] };
  expected: { experts: number[][]; weights: number[][]; dropped: [number, number][] };
}

interface SlotCase extends Omit<GateCase, 'expected'> {
  /** [numRows, 6] and [numSlots, 6] */
  x: number[];
  outputs: number[];
  expected: { dispatch: number[]; combine: number[]; slots: number[]; rows: number[] };
}

const TOLERANCE = { 32: 1e-6, 64: 1e-10 };
const names = Object.keys(GATES) as GateName[];

/** Made by test/golden/make/gates/make.py; a gate without a fixture fails here. */
function casesOf<Case = GateCase>(name: GateName): Case[] {
  const file = join(import.meta.dirname, 'fixtures/gates', `${name}.json`);
  if (!existsSync(file))
    throw new Error(`${file} is missing: add the gate's equations to test/golden/make/gates/make.py`);
  return JSON.parse(readFileSync(file, 'utf8')) as Case[];
}

function layerOf({ layer: { bias, holders, ...layer } }: Pick<GateCase, 'layer'>): GateLayer {
  return {
    ...layer,
    ...(bias && { bias: Float64Array.from(bias) }),
    ...(holders && { holders: (expert) => holders[expert]! }),
  };
}

function rowsOf({ precision, rows }: Pick<GateCase, 'precision' | 'rows'>) {
  const { noiseLogits, normals: _normals, logits, ...rest } = rows;
  const floats = (values: number[]) => (precision === 32 ? Float32Array.from(values) : Float64Array.from(values));
  return { ...rest, logits: floats(logits), ...(noiseLogits && { noiseLogits: floats(noiseLogits) }) };
}

function choose(name: GateName, example: GateCase): Assignments {
  const [layer, rows] = [layerOf(example), rowsOf(example)];
  const { normals } = example.rows;
  if (!normals) return openGate(name, example.settings, layer)(rows) as Assignments;
  const { k, noiseScale } = example.settings as { k: number; noiseScale: number };
  const drawsOf = (row: number) => {
    let next = row * layer.numExperts;
    return () => normals[next++]!;
  };
  return chooseNoisy(k, layer, rows, noiseScale, drawsOf);
}

function expectClose(actual: ArrayLike<number>, expected: number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (const [i, value] of expected.entries()) worst = Math.max(worst, Math.abs(actual[i]! - value));
  expect(worst).toBeLessThanOrEqual(tolerance);
}

describe.each(names.filter((name) => name !== 'soft'))('gate %s, against its equations in NumPy,', (name) => {
  it.each(casesOf(name))('$name', (example) => {
    const { rowEnd, experts, weights, dropped, numRows } = choose(name, example);
    const { expected, precision } = example;
    expect(dropped.map(({ row, expert }) => [row, expert]).sort(byRow)).toEqual(expected.dropped.sort(byRow));
    for (let row = 0; row < numRows; row++) {
      const [from, to] = [row === 0 ? 0 : rowEnd[row - 1]!, rowEnd[row]!];
      const ascending = Array.from({ length: to - from }, (_, i) => from + i).sort((a, b) => experts[a]! - experts[b]!);
      expect(ascending.map((i) => experts[i]!)).toEqual(expected.experts[row]);
      expectClose(
        ascending.map((i) => weights[i]!),
        expected.weights[row]!,
        TOLERANCE[precision],
      );
    }
  });
});

function byRow([a, x]: number[], [b, y]: number[]): number {
  return a! - b! || x! - y!;
}

describe('gate soft, against its equations in NumPy,', () => {
  it.each(casesOf<SlotCase>('soft'))('$name', (example) => {
    const slots: Slots = openGate('soft', example.settings, layerOf(example))(rowsOf(example));
    expectClose(slots.dispatch, example.expected.dispatch, 1e-10);
    expectClose(slots.combine, example.expected.combine, 1e-10);
    expectClose(mixIntoSlots(slots, Float64Array.from(example.x)), example.expected.slots, 1e-10);
    expectClose(mixIntoRows(slots, Float64Array.from(example.outputs)), example.expected.rows, 1e-10);
  });
});
