import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT_DIR } from '../../base/places.ts';
import { defaultConfig } from '../../config.ts';
import { DatabaseError } from '../../database/index.ts';
import { checkClock, type Clocks, compareDates } from './clock.ts';
import { checkDatabase } from './database.ts';
import { runChecks, runDoctor } from './doctor.ts';
import { failed, ok } from './finding.ts';
import { checkGpu } from './gpu.ts';
import { checkMemory } from './memory.ts';
import { examineModel } from './model.ts';
import { checkFolder } from './storage.ts';

const GIB = 2 ** 30;
const silent = { stdout: { write: () => {} }, stderr: { write: () => {} } };

function captured() {
  const texts: string[] = [];
  return { io: { ...silent, stdout: { write: (text: string) => texts.push(text) } }, text: () => texts.join('') };
}

describe('shoal doctor', () => {
  it('ends with 1 where something failed, names the remedy, and shows a check that fails itself or never ends', async () => {
    const { io, text } = captured();
    const reports = await runChecks(
      [
        { name: 'one', run: async () => [ok('fine'), failed('broken', 'Mend it.')] },
        { name: 'two', run: () => Promise.reject(new Error('of its own')) },
        { name: 'three', run: () => new Promise(() => {}) },
      ],
      io,
      50,
    );
    expect(reports.map(({ findings }) => findings.map(({ verdict }) => verdict))).toEqual([
      ['ok', 'failed'],
      ['failed'],
      ['failed'],
    ]);
    expect(text()).toMatch(
      /^ok +one +fine\nfailed +one +broken\n +Mend it\.\nfailed +two +.*of its own\n.*\nfailed +three +.*longer than 0.05 s/,
    );
  });

  it('refuses options that serve would refuse', async () => {
    expect(await runDoctor(['--port', 'x'], silent)).toBe(2);
    expect(await runDoctor(['--help'], silent)).toBe(0);
  });
});

describe('the disk', () => {
  const folder = {
    dir: join(tmpdir(), 'none/of/these'),
    keeps: 'the packed model',
    flag: '--cache',
    neededBytes: 2 * GIB,
  };
  const disk = (freeBytes: number) => ({ mayWrite: async () => {}, freeBytes: async () => freeBytes });

  it('has room, hardly any, or none', async () => {
    expect(await checkFolder(folder, disk(3 * GIB))).toMatchObject({ verdict: 'ok' });
    expect(await checkFolder(folder, disk(2.1 * GIB))).toMatchObject({ verdict: 'warning' });
    expect(await checkFolder(folder, disk(GIB))).toMatchObject({
      verdict: 'failed',
      what: expect.stringContaining('1.0 GiB free, 2.0 GiB needed'),
    });
  });

  it('may be written where the folder is, or will be made', async () => {
    expect(await checkFolder({ ...folder, neededBytes: 1 })).toMatchObject({ verdict: 'ok' });
    const mayWrite = (dir: string): Promise<void> => {
      const code = dir === '/data' ? 'EACCES' : 'ENOENT';
      return Promise.reject(Object.assign(new Error(`${code}: '${dir}'`), { code }));
    };
    const finding = await checkFolder({ ...folder, dir: '/data/shoal/packed' }, { ...disk(3 * GIB), mayWrite });
    expect(finding).toMatchObject({
      verdict: 'failed',
      what: expect.stringContaining("EACCES: '/data'"),
      remedy: expect.stringContaining('--cache DIR'),
    });
  });
});

it('memory is compared with what there is in all, and with what is available', () => {
  const needs = { weights: GIB, kvCache: GIB, experts: GIB, process: GIB };
  const verdict = (availableBytes: number, totalBytes: number): string =>
    checkMemory(needs, { availableBytes, totalBytes }).verdict;
  expect([verdict(5 * GIB, 8 * GIB), verdict(3 * GIB, 8 * GIB), verdict(3 * GIB, 3.5 * GIB)]).toEqual([
    'ok',
    'warning',
    'failed',
  ]);
});

describe('the clock', () => {
  const NOW = Date.parse('2026-12-01T12:00:00Z');
  function clocks(dateMs: (turn: number) => number): Clocks {
    let turn = 0;
    return { monotonicMs: () => performance.now(), dateMs: () => dateMs(turn++), watchMs: 10 };
  }

  it('runs evenly, jumps, stands still, or is years behind', async () => {
    const startMs = performance.now();
    const even = (): number => NOW + performance.now() - startMs;
    expect(await checkClock(undefined, clocks(even))).toMatchObject([{ verdict: 'ok' }]);
    expect(
      await checkClock(
        undefined,
        clocks((turn) => even() + 900 * turn),
      ),
    ).toMatchObject([{ verdict: 'warning', what: expect.stringContaining('moved by') }]);
    expect(
      await checkClock(
        undefined,
        clocks(() => 0),
      ),
    ).toMatchObject([{ verdict: 'failed', what: expect.stringContaining('1970') }]);
    expect(await checkClock(undefined, { ...clocks(even), monotonicMs: () => 1 })).toMatchObject([
      { verdict: 'failed' },
    ]);
  });

  it('is compared with a Date header', async () => {
    const server = createServer((_, response) => response.setHeader('date', new Date(NOW).toUTCString()).end()).listen(
      0,
      '127.0.0.1',
    );
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const at = async (offsetMs: number) =>
      (
        await checkClock(
          url,
          clocks(() => NOW + 500 + offsetMs),
        )
      )[1];
    expect([(await at(300))!.verdict, (await at(-5_000))!.verdict]).toEqual(['ok', 'warning']);
    expect(await at(3_600_000)).toMatchObject({ verdict: 'failed', what: expect.stringContaining('3600.0 s ahead') });
    server.close();
    await once(server, 'close');
    expect(await at(0)).toMatchObject({ verdict: 'warning', what: expect.stringContaining('does not answer') });
  });
});

it('a GPU is told from software, and from none, without a guess where no browser can be asked', async () => {
  const adapter = { vendor: 'nvidia', architecture: 'hopper', description: '', maxBufferBytes: 4 * GIB };
  expect(await checkGpu(async () => ({ adapter }))).toEqual(ok('Chromium offers nvidia hopper, buffers up to 4.0 GiB'));
  expect((await checkGpu(async () => ({ adapter: { ...adapter, architecture: 'swiftshader' } }))).what).toContain(
    'no GPU',
  );
  expect(await checkGpu(async () => ({ adapter: undefined }))).toMatchObject({ verdict: 'warning' });
  expect(await checkGpu(async () => undefined)).toMatchObject({
    verdict: 'ok',
    what: expect.stringContaining('not tried'),
  });
  expect(await checkGpu(() => Promise.reject(new Error('no display')))).toMatchObject({
    verdict: 'warning',
    what: expect.stringContaining('no display'),
  });
});

describe('the model', () => {
  const config = defaultConfig({ cacheDir: join(tmpdir(), 'shoal-doctor-none') });

  it('is here, and what it takes is known', async () => {
    const { findings, memory, packedBytes } = await examineModel(config, silent);
    expect(findings).toMatchObject([
      { verdict: 'ok', what: expect.stringContaining('is here; the first start packs it') },
    ]);
    expect(packedBytes).toBeGreaterThan(2 ** 24);
    expect(memory!.experts).toBeGreaterThan(11 * 2 ** 20);
  });

  it('is of no use without experts, or where it is not', async () => {
    const dense = join(ROOT_DIR, 'docs');
    expect((await examineModel({ ...config, model: dense }, silent)).findings).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('config.json') },
    ]);
  });
});

describe('the database', () => {
  const server = { kind: 'server', url: 'postgres://db/shoal' } as const;

  it('need not be there yet, or at all', async () => {
    expect(await checkDatabase(undefined)).toMatchObject([{ verdict: 'ok' }]);
    expect(await checkDatabase({ kind: 'embedded', dir: join(tmpdir(), 'none') })).toMatchObject([
      { verdict: 'ok', what: expect.stringContaining('the first start') },
    ]);
  });

  it('refuses, with its own remedy', async () => {
    const refuse = (reason: 'in-use' | 'unreachable') => () =>
      Promise.reject(new DatabaseError(reason, 'No server answers at db:5432 (ECONNREFUSED). Start it.'));
    expect(await checkDatabase(server, refuse('unreachable'))).toEqual([
      failed('No server answers at db:5432 (ECONNREFUSED).', 'Start it.'),
    ]);
    expect(await checkDatabase(server, refuse('in-use'))).toMatchObject([{ verdict: 'warning' }]);
  });

  it('has a clock of its own', () => {
    expect(compareDates('db', 10_000, 10_400)).toMatchObject({ verdict: 'ok' });
    expect(compareDates('db', 10_000, 5_000)).toMatchObject({
      verdict: 'warning',
      what: expect.stringContaining('5.0 s behind'),
    });
  });
});
