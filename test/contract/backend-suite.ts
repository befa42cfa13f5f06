import { describe, expect, it } from 'vitest';
import { conformanceCases, type BackendFactory, type ConformanceCase } from '../../packages/kernels/src/conformance.ts';

/** The cases of the kernels' conformance module as tests: one suite for every ExpertBackend. */
export function describeExpertBackend(
  name: string,
  factory: BackendFactory,
  cases: readonly ConformanceCase[] = conformanceCases(),
): void {
  describe(`ExpertBackend: ${name}`, () => {
    for (const { name: caseName, run } of cases) {
      it(caseName, async () => {
        expect(await run(factory)).not.toBe('');
      });
    }
  });
}
