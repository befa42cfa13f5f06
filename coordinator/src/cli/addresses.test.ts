import type { NetworkInterfaceInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { reachText } from './addresses.ts';
import { qrCode } from './qr-code.ts';
import { reachableUrls } from './reach.ts';

const v4 = (address: string, internal = false) => ({ address, internal, family: 'IPv4' }) as NetworkInterfaceInfo;
const v6 = (address: string, scopeid = 0, internal = false) =>
  ({ address, internal, family: 'IPv6', scopeid }) as NetworkInterfaceInfo;

const INTERFACES = {
  lo: [v4('127.0.0.1', true), v6('::1', 0, true)],
  docker0: [v4('172.17.0.1')],
  eth0: [v4('192.168.1.5'), v6('2001:db8::5'), v6('fe80::5', 2)],
  wlan0: [v4('10.0.0.7')],
};
const urls = (host: string): string[] => reachableUrls(host, 8787, INTERFACES).map(({ url }) => url);

describe('the addresses that --host makes reachable', () => {
  it('are those of all interfaces, virtual ones last', () => {
    const all = ['http://192.168.1.5:8787', 'http://10.0.0.7:8787', 'http://172.17.0.1:8787'];
    expect(urls('0.0.0.0')).toEqual(all);
    expect(urls('::')).toEqual([all[0], 'http://[2001:db8::5]:8787', ...all.slice(1)]);
  });

  it('are none on loopback, and the one that is named', () => {
    for (const host of ['127.0.0.1', '127.0.0.2', '::1', 'localhost']) expect(urls(host), host).toEqual([]);
    expect(urls('10.0.0.7')).toEqual(['http://10.0.0.7:8787']);
    expect(urls('shoal.example.org')).toEqual(['http://shoal.example.org:8787']);
  });
});

describe('what the start prints', () => {
  const text = (host: string, terminal = {}): string =>
    reachText(reachableUrls(host, 8787, INTERFACES), 'http://localhost:8787', terminal);

  it('names each address and what works there, and how a GPU can be lent from elsewhere', () => {
    expect(text('0.0.0.0')).toMatch(/ {2}http:\/\/192\.168\.1\.5:8787 {3}\(eth0\)\n.*10\.0\.0\.7.*\n.*docker0/);
    expect(text('0.0.0.0')).toMatch(/playground.*work\.\nBrowsers lend .* https and localhost\./);
    expect(text('0.0.0.0')).toContain('ssh -L 8787:localhost:8787');
    expect(text('127.0.0.1')).toContain('--host 0.0.0.0');
  });

  it('has a code for a telephone on a terminal that is wide enough', () => {
    const code = qrCode('http://192.168.1.5:8787/playground')!;
    expect(text('0.0.0.0', { isTTY: true, columns: 80 })).toContain(code);
    for (const terminal of [{}, { isTTY: true, columns: 20 }]) expect(text('0.0.0.0', terminal)).not.toContain('█');
    expect(text('127.0.0.1', { isTTY: true })).not.toContain('█');
    const onlyContainers = reachableUrls('0.0.0.0', 8787, { docker0: INTERFACES.docker0 });
    expect(reachText(onlyContainers, 'http://localhost:8787', { isTTY: true })).not.toContain('█');
  });

  it('leaves out what would fill the screen', () => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`eth${i}`, [v4(`10.0.0.${i}`)]]));
    const lines = reachText(reachableUrls('0.0.0.0', 8787, many), 'http://localhost:8787', {});
    expect(lines).toContain('\n  and 22 more\n');
  });
});

it('draws a code that is read back', async () => {
  const { default: decodeQR } = await import('qr/decode.js');
  const text = 'http://192.168.1.5:8787/playground';
  const rows = qrCode(text)!.replaceAll('\u001B[97;40m', '').replaceAll('\u001B[0m', '').trimEnd().split('\n');
  const light = rows.flatMap((row) => [
    [...row].map((cell) => cell === '█' || cell === '▀'),
    [...row].map((cell) => cell === '█' || cell === '▄'),
  ]);
  const scale = 4;
  const side = light[0]!.length * scale;
  const pixels = Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const at = Math.floor(i / 3);
    return light[Math.min(light.length - 1, Math.floor(at / side / scale))]![Math.floor((at % side) / scale)] ? 255 : 0;
  });
  expect(decodeQR({ width: side, height: side, data: pixels })).toBe(text);
});
