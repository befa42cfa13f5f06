import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FakeHub, type FakeHubOptions, REPO, splitModel } from '../../testing/fake-hub.ts';
import { writeSmallModel } from '../../testing/small-model.ts';
import { packModel } from '../pack-model.ts';
import { openSource } from '../source/open-source.ts';

let folder: string;
let files: Map<string, Buffer>;
let expected: string;
let hub: FakeHub | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-hub-'));
  const modelDir = join(folder, 'model');
  await writeSmallModel(modelDir);
  files = await splitModel(modelDir, 4);
  const outDir = join(folder, 'expected');
  await packModel({ modelDir, outDir, quant: 'q8', modelId: 'Small-MoE' });
  expected = await contents(outDir);
});
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Names and bytes of a packed folder, without what names its source. */
async function contents(dir: string): Promise<string> {
  const names = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = names.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    const bytes = await readFile(path);
    if (name !== 'manifest.json') return `${path.slice(dir.length)} ${bytes.toString('base64')}`;
    const {
      sourceFingerprint: _,
      manifestDigest: __,
      ...manifest
    } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    return `manifest ${JSON.stringify(manifest)}`;
  });
  return (await Promise.all(texts)).sort().join('\n');
}

async function start(options: Partial<FakeHubOptions> = {}): Promise<FakeHub> {
  return (hub = await FakeHub.start({ files, ...options }));
}

let nextDir = 0;
async function pack(from: FakeHub, name = REPO, more: { home?: string; outDir?: string } = {}) {
  const home = more.home ?? join(folder, `home-${nextDir++}`);
  const outDir = more.outDir ?? join(folder, `out-${nextDir++}`);
  const patience = { delayMs: 1, maxDelayMs: 4, stallMs: 2_000, answerMs: 2_000 };
  const notices: string[] = [];
  const source = await openSource(name, {
    env: { ...from.env, HF_HOME: home },
    patience,
    onNotice: (text) => notices.push(text),
  });
  const manifest = await packModel({ source, outDir, quant: 'q8', threads: 0 });
  return { manifest, outDir, home, notices };
}

describe('a model of a hub', () => {
  it.each([false, true])(
    'is packed while it is fetched, to the same bytes as from a directory (xet: %s)',
    async (xet) => {
      const { outDir } = await pack(await start({ xet }));
      expect(await contents(outDir)).toBe(expected);
    },
  );
});
