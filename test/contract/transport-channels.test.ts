import { afterEach, describe, expect, it, vi } from 'vitest';
import { FramedChannel, memoryLinkPair, type DataChannelLike, type MemoryChannel } from '@shoal/transport';
import { closeReason, collect, patterned, sameBytes, until } from './transport-suite.ts';

// A link over several channels: how frames are spread; any but the first may fail.

const row = patterned(14_336, 1);

/** Bytes of each message that leaves on it from now on. */
function spy(channel: DataChannelLike): number[] {
  const sizes: number[] = [];
  const send = channel.send.bind(channel);
  channel.send = (data) => {
    sizes.push(data.byteLength);
    send(data);
  };
  return sizes;
}

/** Behaves like the memory channel once it is open. */
function connecting(channel: MemoryChannel): { channel: DataChannelLike; open: () => void } {
  let isOpen = false;
  let told: (() => void) | undefined;
  const wrapped = new Proxy(channel, {
    get(target, name) {
      if (name === 'readyState' && !isOpen) return 'connecting';
      if (name === 'addEventListener') {
        return (type: string, listener: () => void) => {
          if (type === 'open') told = listener;
          else target.addEventListener(type as 'message', listener);
        };
      }
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  });
  return {
    channel: wrapped,
    open: () => {
      isOpen = true;
      told?.();
    },
  };
}

describe('a link over four channels', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('spreads a row of 14 KiB evenly, and sends what is one burst on the main one', async () => {
    const { a, b, wires } = memoryLinkPair({ channels: 4 });
    const sizes = wires.map((wire) => spy(wire.a));
    const received = collect(b, 2);
    await a.send(row);
    expect(sizes.map((each) => each.length).sort()).toEqual([1, 2, 2, 2]);
    expect(sizes.flat()).toEqual(Array.from({ length: 7 }, () => 2048 + 8));
    await a.send(patterned(4096, 2));
    expect(sizes[0]!.at(-1)).toBe(4100);
    const frames = await received;
    expect(
      sameBytes(
        frames.find(({ byteLength }) => byteLength === row.byteLength)!,
        row,
      ),
    ).toBe(true);
    // All that passed, on whichever channel.
    const wireBytes = 7 * (2048 + 8) + 4100;
    expect(a.stats()).toMatchObject({ framesSent: 2, bytesSent: wireBytes });
    expect(b.stats()).toMatchObject({ framesReceived: 2, bytesReceived: wireBytes });
  });

  it('uses a channel as soon as it is open, and not before', async () => {
    const { a, b, wires } = memoryLinkPair();
    const [wire] = memoryLinkPair().wires;
    const late = connecting(wire!.a);
    const sent = spy(late.channel);
    const main = spy(wires[0]!.a);
    a.addChannel(late.channel);
    b.addChannel(wire!.b);
    const first = collect(b, 1);
    await a.send(row);
    await first;
    expect([main.length, sent.length]).toEqual([7, 0]);
    late.open();
    await a.send(row);
    expect([main.length, sent.length]).toEqual([10, 4]);
    a.close();
  });

  it('spares a channel whose buffer is fuller', async () => {
    const slow = { bytesPerSecond: 1 };
    const { a, wires } = memoryLinkPair({ channels: 3 });
    Object.assign(wires[1]!.aToB, slow);
    await a.send(row);
    const sizes = wires.map((wire) => spy(wire.a));
    await until(() => wires[0]!.a.bufferedAmount === 0 && wires[2]!.a.bufferedAmount === 0);
    await a.send(row);
    expect(sizes.map((each) => each.length)).toEqual([expect.any(Number), 1, expect.any(Number)]);
    expect(sizes.flat().length).toBe(7);
    a.close();
  });

  it('may keep to the main one until so much waits in its buffer', async () => {
    const { a, wires } = memoryLinkPair({ channels: 2, aLink: { spreadAboveBytes: 64 * 1024 } });
    const sizes = wires.map((wire) => spy(wire.a));
    await a.send(patterned(64 * 1024, 1));
    expect(sizes.map((each) => each.length)).toEqual([29, 0]);
    await until(() => wires[0]!.a.bufferedAmount === 0);
    await a.send(patterned(256 * 1024, 1));
    const [main, further] = sizes.map((each) => each.reduce((sum, bytes) => sum + bytes, 0));
    expect(main! - 64 * 1024).toBeGreaterThan(64 * 1024);
    expect(further!).toBeGreaterThan(64 * 1024);
    a.close();
  });

  it.each(['abrupt', 'polite'] as const)('goes on without one that dies (%s), and says so once', async (how) => {
    const lost = vi.fn();
    const { a, b, wires } = memoryLinkPair({ channels: 4, aLink: { onChannelLost: lost } });
    wires[2]!.die(how);
    await until(() => a.channels.length === 3 && b.channels.length === 3);
    expect(lost.mock.calls).toEqual([[wires[2]!.a]]);
    const received = collect(b, 20);
    for (let i = 0; i < 20; i++) await a.send(row);
    expect((await received).every((frame) => sameBytes(frame, row))).toBe(true);
    expect([a.state, b.state, b.stats().lost]).toEqual(['open', 'open', 0]);
    a.close();
  });

  it('sends on the others what a dying one no longer takes', async () => {
    const lost = vi.fn();
    const { a, b, wires } = memoryLinkPair({ channels: 2, aLink: { onChannelLost: lost } });
    wires[1]!.a.send = () => {
      throw new DOMException('going', 'InvalidStateError');
    };
    const received = collect(b, 1);
    await a.send(row);
    expect(sameBytes((await received)[0]!, row)).toBe(true);
    expect(lost).toHaveBeenCalledOnce();
    a.close();
  });

  it('spares one that has fallen silent, then gives it up; the link stays', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const lost = vi.fn();
    const { a, b, wires } = memoryLinkPair({ channels: 2, aLink: { heartbeatMs: 1000, onChannelLost: lost } });
    const tick = async (): Promise<void> => {
      vi.advanceTimersByTime(1000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    };
    wires[1]!.die('black-hole');
    await tick();
    await tick();
    const silent = spy(wires[1]!.a);
    const received = collect(b, 1);
    await a.send(row);
    expect(sameBytes((await received)[0]!, row)).toBe(true);
    expect(silent).toEqual([]);
    await tick();
    await tick();
    expect(lost).toHaveBeenCalledExactlyOnceWith(wires[1]!.a);
    expect(a.state).toBe('open');
    a.close();
  });

  it.each(['closed', 'goodbye'] as const)('takes all channels along when it ends (%s)', async (reason) => {
    const lost = vi.fn();
    const { a, b, wires } = memoryLinkPair({ channels: 4, bLink: { onChannelLost: lost } });
    const told = closeReason(b);
    a.close(reason);
    expect(await told).toBe(reason === 'goodbye' ? 'goodbye' : 'remote-closed');
    await until(() => wires.every((wire) => wire.a.readyState === 'closed' && wire.b.readyState === 'closed'));
  });

  it('ends with its main channel, whatever else is open', async () => {
    const { a, b, wires } = memoryLinkPair({ channels: 4 });
    const told = Promise.all([closeReason(a), closeReason(b)]);
    wires[0]!.die('abrupt');
    expect(await told).toEqual(['failed', 'failed']);
    await until(() => wires.slice(1).every((wire) => wire.b.readyState === 'closed'));
  });

  it('closes a channel that is added to a closed link', async () => {
    const lost = vi.fn();
    const { wires } = memoryLinkPair();
    const link = new FramedChannel(memoryLinkPair().wire.a, { onChannelLost: lost });
    link.close();
    link.addChannel(wires[0]!.a);
    expect(lost).toHaveBeenCalledOnce();
    await until(() => wires[0]!.a.readyState === 'closed');
  });

  it.each([
    ['what is no message', Uint8Array.of(9, 0, 0, 0)],
    [
      'a fragment that contradicts one on another channel',
      Uint8Array.from({ length: 2000 }, (_, i) => [2, 5, 0, 0, 1, 0, 4, 0][i] ?? 7),
    ],
  ])('is closed by %s on any channel', async (_, message) => {
    const { b, wires } = memoryLinkPair({ channels: 3 });
    const told = closeReason(b);
    wires[1]!.a.send(Uint8Array.from({ length: 2000 }, (__, i) => [2, 5, 0, 0, 0, 0, 3, 0][i] ?? 7));
    wires[2]!.a.send(message);
    expect(await told).toBe('protocol');
  });

  it('holds one bounded amount of unfinished frames, however many channels they come on', async () => {
    const { b, wires } = memoryLinkPair({ channels: 4 });
    for (let id = 0; id < 4000; id++) {
      const header = [2, id & 255, id >> 8, 0, 0, 0, 2, 0];
      wires[id % 4]!.a.send(Uint8Array.from({ length: 1032 }, (_, i) => header[i] ?? 7));
    }
    await until(() => b.stats().bytesReceived === 4000 * 1032);
    expect(b.stats().lost).toBe(4000 - 1024);
  });
});
