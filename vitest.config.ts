import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Every core: vitest leaves one free, which is half of two.
const allCores = { maxWorkers: availableParallelism() };
// One more, where tests wait for timers, sockets and processes for half of their time.
const coresAndOne = { maxWorkers: availableParallelism() + 1 };

/** A test that takes longer hangs: on a machine with thirty busy processes, seconds become minutes. */
const HANGS_MS = 240_000;
/** The same of a state that a test polls for. */
const STATE_MS = 90_000;

/**
 * Projects with the same `groupOrder` share the workers; a group begins when the last file of the one before has ended, so few
 * groups leave few workers without work. `npm test -- NAME` runs one project, `npm test -- PATH` the files whose path contains PATH.
 */
const projects = {
  // Node alone, bound by the CPU.
  unit: {
    ...group(0, allCores),
    include: [
      '{packages,apps,coordinator}/**/*.test.{ts,tsx}',
      'tools/{demo,lint,package,random-checkpoint}/**/*.test.ts',
      'tools/*.test.ts',
      'test/{bench,tabs}/**/*.test.ts',
    ],
    exclude: ['**/*.mocks.test.ts'],
  },
  // Files that put a mock in the place of a module, which others must not find in theirs.
  mocks: { ...group(0, allCores), isolate: true, include: ['{packages,coordinator}/**/*.mocks.test.ts'] },
  golden: { ...group(0, allCores), include: ['test/golden/**/*.test.ts'] },
  simulate: { ...group(0, allCores), include: ['tools/simulate/**/*.test.ts'] },
  // Backends on Dawn, and links between two peers in Node.
  contract: { ...group(1, coresAndOne), include: ['test/contract/**/*.test.ts'] },
  // A coordinator with many peers in Node: half of its time goes to timers and sockets.
  integration: {
    ...group(1, coresAndOne),
    include: ['test/{integration,behaviours}/**/*.test.ts'],
    globalSetup: 'test/pack-default-model.ts',
  },
  // Other people's clients of one coordinator.
  clients: {
    ...group(1, coresAndOne),
    include: ['test/clients/node/*.test.ts'],
    globalSetup: 'test/clients/node/setup.ts',
  },
  // Real tabs in a Chromium that all files share: they too wait for timers, sockets and one another.
  browser: {
    ...group(1, coresAndOne),
    include: ['test/browser/**/*.test.ts'],
    globalSetup: ['test/pack-default-model.ts', 'test/browser/setup.ts'],
  },
};

/** A worker loads a module once for all of its files: the unit tests then take a quarter less of the CPU's time. */
function group(groupOrder: number, workers: { maxWorkers: number }) {
  const limits = { testTimeout: HANGS_MS, hookTimeout: HANGS_MS, expect: { poll: { timeout: STATE_MS } } };
  return { ...limits, sequence: { groupOrder }, isolate: false, ...workers };
}

/** The names that `npm test -- NAME` takes. */
export const PROJECTS: readonly string[] = Object.keys(projects);

export default defineConfig({
  test: { projects: Object.entries(projects).map(([name, options]) => ({ test: { name, ...options } })) },
});
