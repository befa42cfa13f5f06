import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { PeerSession } from '../swarm/peer-session.ts';
import type { Swarm } from '../swarm/swarm.ts';
import { certificateOf, Probes } from './probes.ts';
import { TabClocks } from './tab-clocks.ts';
import { ENDED, KEY, VALID } from './testing/certificates.ts';

const ends: (() => unknown)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function serve(cert: string): Promise<URL> {
  const server = createServer({ key: KEY, cert }, (socket) => socket.end());
  server.listen(0, '127.0.0.1');
  ends.push(() => server.close());
  await once(server, 'listening');
  return new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

describe('certificateOf', () => {
  it('says why browsers do not take one, and of one that has ended by when', async () => {
    const fault = 'DEPTH_ZERO_SELF_SIGNED_CERT';
    expect(await certificateOf(await serve(VALID))).toEqual({ isAnswered: true, host: '127.0.0.1', fault });
    const ended = await certificateOf(await serve(ENDED));
    expect(ended).toMatchObject({ isAnswered: true, host: '127.0.0.1', leftMs: expect.any(Number) });
    expect((ended as { leftMs: number }).leftMs).toBeLessThan(0);
  });

  it('knows nothing of a server that does not answer', async () => {
    const url = await serve(VALID);
    ends.pop()!();
    expect(await certificateOf(url)).toEqual({ isAnswered: false });
  });
});

describe('Probes', () => {
  it('find free space, also where a directory is not made yet, and ask no clock of an embedded database', async () => {
    const disks = [{ what: 'the packed model', dir: join(tmpdir(), 'not/made/yet') }];
    const options = { disks, publicUrl: await serve(ENDED), database: undefined, tabOffsetsMs: () => [] };
    const probes = new Probes(options);
    ends.push(() => probes.close());
    await expect.poll(() => probes.found.disks.length, { timeout: 90_000 }).toBe(1);
    await expect.poll(() => probes.found.certificate, { timeout: 90_000 }).toBeDefined();
    expect(probes.found.disks[0]!.freeBytes).toBeGreaterThan(0);
    expect(probes.found.clock).toEqual({ databaseMs: null, tabsMs: null });
  });

  it('take the word of most tabs, not of one, and of three at least', () => {
    const visits: Swarm['visits'] = new EventEmitter();
    const clocks = new TabClocks({ visits });
    const tabOffsetsMs = (): number[] => clocks.offsetsMs;
    const probes = new Probes({ disks: [], publicUrl: undefined, database: undefined, tabOffsetsMs });
    ends.push(
      () => probes.close(),
      () => clocks.close(),
    );
    const join = (offsetMs?: number): PeerSession => {
      const clockMs = offsetMs === undefined ? undefined : Date.now() - offsetMs;
      const peer = { hello: { clockMs } } as unknown as PeerSession;
      visits.emit('joined', peer);
      return peer;
    };
    join(90_000);
    join(-1e12);
    join();
    expect(probes.found.clock.tabsMs).toBeNull();
    const third = join(9_000_000);
    expect(probes.found.clock.tabsMs! / 60_000).toBeCloseTo(1.5, 0);
    visits.emit('left', third);
    expect(probes.found.clock.tabsMs).toBeNull();
  });
});
