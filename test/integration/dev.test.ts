import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { SECURITY_HEADERS } from '../../coordinator/src/http/headers.ts';
import { until } from './virtual-donor.ts';

const ROOT = join(import.meta.dirname, '../..');

it('npm run dev serves pages and API at one address, restarts the coordinator, and leaves nothing behind', async () => {
  const args = ['--port', '0'];
  const dev = spawn(process.execPath, ['tools/run.mjs', 'dev', ...args], { cwd: ROOT, detached: true });
  const exited = once(dev, 'exit');
  let output = '';
  dev.stdout.on('data', (text: Buffer) => (output += text));
  dev.stderr.on('data', (text: Buffer) => (output += text));
  const starts = (): number => output.split('the coordinator is ready').length - 1;
  try {
    await until('the coordinator to start', () => starts() === 1, 60_000);
    const url = /lend a GPU +(\S+)\//.exec(output)![1]!;
    for (const [path, source] of [
      ['/', '/apps/donor/src/main.tsx'],
      ['/console', '/apps/console/src/main.tsx'],
      ['/playground', '/apps/console/src/main.tsx'],
      ['/lab', '/apps/console/src/main.tsx'],
    ] as const) {
      const page = await fetch(url + path);
      expect(Object.fromEntries(page.headers)).toMatchObject(SECURITY_HEADERS);
      const html = await page.text();
      expect(html).toContain('/@vite/client');
      expect(html).toContain(`src="${source}"`);
      const script = await fetch(url + source);
      expect(Object.fromEntries(script.headers)).toMatchObject(SECURITY_HEADERS);
      expect(script.headers.get('content-type')).toBe('text/javascript');
    }
    expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject({ ready: true, model: 'tiny-stories' });
    // Only the time changes: other tests read the file.
    await utimes(join(ROOT, 'coordinator/src/http/pages.ts'), new Date(), new Date());
    await until('the coordinator to restart', () => starts() === 2, 60_000);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  } finally {
    dev.kill('SIGTERM');
    await exited;
  }
  // Its own process group must be empty.
  await until('all of its processes to end', () => !groupLives(dev.pid!));
});

function groupLives(pid: number): boolean {
  try {
    return process.kill(-pid, 0);
  } catch {
    return false;
  }
}
