import { QUANTS, type Quant } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { conformanceCases, type BackendFactory } from '../../packages/kernels/src/conformance.ts';

/** The cases of the kernels' conformance module as tests: one suite for every ExpertBackend. */
export function describeExpertBackend(name: string, factory: BackendFactory, quants: readonly Quant[] = QUANTS): void {
  describe(`ExpertBackend: ${name}`, () => {
    for (const { name: caseName, run } of conformanceCases(quants)) {
      it(caseName, async () => {
        expect(await run(factory)).not.toBe('');
      });
    }
  });
}
