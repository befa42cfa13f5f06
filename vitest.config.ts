import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Every core: vitest leaves one free, which is half of two.
const allCores = { maxWorkers: availableParallelism() };
// One more, where tests wait for timers, sockets and processes for half of their time.
const coresAndOne = { maxWorkers: availableParallelism() + 1 };

/**
 * Projects with the same `groupOrder` share the workers; the groups run one after another. `npm test -- NAME` runs one
 * project, `npm test -- PATH` the files whose path contains PATH.
 */
const projects = {
  // Node alone, bound by the CPU.
  unit: {
    ...group(0, 60_000, allCores),
    include: [
      '{packages,apps,coordinator}/**/*.test.{ts,tsx}',
      'tools/{demo,lint,package,random-checkpoint}/**/*.test.ts',
      'tools/*.test.ts',
      'test/{bench,tabs}/**/*.test.ts',
    ],
    exclude: ['**/*.mocks.test.ts'],
  },
  // Files that put a mock in the place of a module, which others must not find in theirs.
  mocks: { ...group(0, 60_000, allCores), isolate: true, include: ['{packages,coordinator}/**/*.mocks.test.ts'] },
  contract: { ...group(0, 60_000, allCores), include: ['test/contract/**/*.test.ts'] },
  golden: { ...group(0, 60_000, allCores), include: ['test/golden/**/*.test.ts'] },
  simulate: { ...group(0, 60_000, allCores), include: ['tools/simulate/**/*.test.ts'] },
  // A coordinator with many peers in Node: half of its time goes to timers and sockets.
  integration: {
    ...group(1, 120_000, coresAndOne),
    include: ['test/{integration,behaviours}/**/*.test.ts'],
    globalSetup: 'test/pack-default-model.ts',
  },
  // Other people's clients of one coordinator.
  clients: {
    ...group(1, 120_000, coresAndOne),
    include: ['test/clients/node/*.test.ts'],
    globalSetup: 'test/clients/node/setup.ts',
  },
  // Real tabs in a Chromium that all files share.
  browser: {
    ...group(2, 240_000, allCores),
    include: ['test/browser/**/*.test.ts'],
    globalSetup: ['test/pack-default-model.ts', 'test/browser/setup.ts'],
  },
};

/** A worker loads a module once for all of its files: the unit tests then take a quarter less of the CPU's time. */
function group(groupOrder: number, timeoutMs: number, workers: { maxWorkers: number }) {
  return { testTimeout: timeoutMs, hookTimeout: timeoutMs, sequence: { groupOrder }, isolate: false, ...workers };
}

/** The names that `npm test -- NAME` takes. */
export const PROJECTS: readonly string[] = Object.keys(projects);

export default defineConfig({
  test: { projects: Object.entries(projects).map(([name, options]) => ({ test: { name, ...options } })) },
});
