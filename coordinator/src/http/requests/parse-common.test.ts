import { describe, expect, it } from 'vitest';
import type { ServedAdapter } from '../../adapters/served-adapter.ts';
import { FakeGeneration } from '../testing/fake-generation.ts';
import { fitContext, underAdapter } from './parse-common.ts';
import type { ParseDeps } from './parsed-request.ts';

describe('underAdapter', () => {
  it('leaves answers without a limit of their own the room that there is under a mixture, whose sequences have two caches', () => {
    const generation = new FakeGeneration({ script: () => ({ ids: [] }), maxContext: 100 });
    const mixture = { name: 'mixture' } as ServedAdapter;
    generation.maxContextUnder = (adapter) => (adapter === mixture ? 40 : 100);
    const adapters = { find: (name: string) => (name === 'mixture' ? mixture : undefined), isAuto: () => false };
    const deps = { generation, aliases: ['alias'], adapters } as unknown as ParseDeps;
    const room = (model: string | undefined): number =>
      fitContext([1, 2, 3], undefined, Number.POSITIVE_INFINITY, 'messages', underAdapter(model, deps)).maxTokens;
    expect([undefined, 'alias', 'mixture'].map(room)).toEqual([97, 97, 37]);
    expect(underAdapter('alias', deps)).toBe(deps);
    expect(() => underAdapter('nobody', deps)).toThrow(/model/);
  });
});
