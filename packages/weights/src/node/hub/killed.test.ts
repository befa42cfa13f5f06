import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRng } from '@shoal/model';
import { afterAll, expect, it } from 'vitest';
import { COMMIT, FakeHub, REPO, splitModel } from '../../testing/fake-hub.ts';
import { writeSmallModel } from '../../testing/small-model.ts';
import { packModel } from '../pack-model.ts';
import { openPacked } from '../packed-model.ts';
import { openSource } from '../source/open-source.ts';

/** Each costs the start of a process. `SHOAL_KILLS=20` makes them as many as were asked for. */
const KILLS = Number(process.env['SHOAL_KILLS'] ?? 2);
/** A kill costs two packings over a bad line, which take 6 s on a loaded machine. */
const TIMEOUT_MS = 60_000 + 30_000 * KILLS;

const folder = await mkdtemp(join(tmpdir(), 'shoal-killed-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

it(
  'a packer that is killed at any moment of a bad line is resumed to the same bytes',
  { timeout: TIMEOUT_MS },
  async () => {
    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir);
    const files = await splitModel(modelDir, 6);
    const whole = await packModel({ modelDir, outDir: join(folder, 'whole'), quant: 'q8', modelId: 'Small-MoE' });
    const rng = createRng(7);
    let child: ChildProcess | undefined;
    let killAfterBytes = 0;
    const hub = await FakeHub.start({
      files,
      pieceBytes: 512,
      fault: ({ kind, name, range, count }, response) => {
        if (kind !== 'store') return false;
        // One body in three breaks off, wherever it is.
        hub.send(response, files.get(name)!, range, count % 3 === 1 ? Math.floor(3000 * rng()) : undefined);
        const victim = child;
        if (hub.sentBytes > killAfterBytes) setTimeout(() => victim?.kill('SIGKILL'), 25 * rng());
        return true;
      },
    });
    const total = [...files.values()].reduce((sum, bytes) => sum + bytes.byteLength, 0);
    try {
      const env = { ...hub.env, HF_HOME: join(folder, 'home') };
      let kills = 0;
      for (let run = 0; run < KILLS; run++) {
        const outDir = join(folder, `out-${run}`);
        hub.sentBytes = 0;
        // Headers and bodies are sent, and some of it again.
        killAfterBytes = 1.8 * total * rng();
        const script = join(import.meta.dirname, '../../testing/pack-from-hub.ts');
        const args = ['--import', 'tsx', script, `${REPO}@${COMMIT}`, outDir];
        child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
        const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
        child = undefined;
        if (signal === 'SIGKILL') kills++;
        const source = await openSource(`${REPO}@${COMMIT}`, { env, patience: { delayMs: 1 } });
        const manifest = await packModel({ source, outDir, quant: 'q8', threads: 0 });
        expect(manifest.modelDigest).toBe(whole.modelDigest);
        await (await openPacked(outDir)).verify();
        const dense = await Promise.all(
          [outDir, join(folder, 'whole')].map((dir) => readFile(join(dir, 'dense.shoal'))),
        );
        expect(dense[0]!.equals(dense[1]!)).toBe(true);
      }
      expect(kills).toBeGreaterThan(KILLS / 2);
    } finally {
      await hub.close();
    }
  },
);
