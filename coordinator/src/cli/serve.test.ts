import { expect, it } from 'vitest';
import { defaultStateFile } from './serve.ts';

it('defaultStateFile gives coordinators that share a cache files of their own, which outlast a restart', () => {
  const one = { cacheDir: '/cache', model: '/models/deep seek', port: 8787 };
  expect(defaultStateFile(one)).toBe('/cache/quarantine-deep_seek-8787.json');
  const files = [one, { ...one, port: 8788 }, { ...one, model: '/models/qwen/' }, { ...one }].map(defaultStateFile);
  expect(new Set(files).size).toBe(3);
});
