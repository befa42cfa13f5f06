import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { donateCommand } from './donate.ts';

/** Exit code and what was said, where nobody can be asked. */
async function run(...argv: readonly string[]): Promise<[code: number, said: string]> {
  let said = '';
  const stream = { write: (text: string) => (said += text) };
  return [await donateCommand(argv, { stdout: stream, stderr: stream }), said];
}

it.each([
  [['shoal.example', '--yes'], 'URL is the coordinator’s address, such as https://shoal.example, not "shoal.example"'],
  [['ftp://shoal.example', '--yes'], 'URL is the coordinator’s address'],
  [['--yes'], 'URL is missing'],
  [['https://shoal.example'], 'there is no terminal to ask on: read the terms, and add --yes'],
  [['https://shoal.example', '--yes', '--invite', 'x y'], '--invite takes an invitation'],
  [['https://shoal.example', '--yes', '--device', 'tpu'], '--device takes gpu, cpu'],
])('shoal donate refuses %j before it asks anybody', async (argv, why) => {
  expect(await run(...argv)).toEqual([2, expect.stringContaining(why)]);
});

it('shoal donate says that nothing is there, or something else', async () => {
  const other = createServer((_request, response) => response.writeHead(404).end('not here'));
  await once(other.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}/`;
  expect(await run(url, '--yes')).toEqual([
    1,
    expect.stringContaining(`There is no Shoal coordinator at ${url}: /healthz answered 404. Is the address right`),
  ]);
  const closed = once(other, 'close');
  other.close();
  other.closeAllConnections();
  await closed;
  expect(await run(url, '--yes')).toEqual([1, expect.stringMatching(/can't be reached \(.+\)\. Is the address right/)]);
});
