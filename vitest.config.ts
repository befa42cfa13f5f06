import { defineConfig } from 'vitest/config';

// Three projects, so that `vitest --project unit` stays quick: what runs in Node alone, what wants many peers, what wants a browser.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/**/*.test.ts',
            'apps/**/*.test.{ts,tsx}',
            'coordinator/**/*.test.ts',
            'tools/**/*.test.ts',
            'test/{contract,golden,bench,tabs}/**/*.test.ts',
          ],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 240_000,
          // The machine has two cores, and every file starts a browser of its own.
          fileParallelism: false,
        },
      },
    ],
  },
});
