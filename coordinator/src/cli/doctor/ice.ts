import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { IceServer } from '@shoal/protocol';
import { failed, type Finding, ok, warning } from './finding.ts';
import { TurnClient, type TurnServer } from './turn-client.ts';

/** RFC 7064 and RFC 7065. */
const DEFAULT_PORT = 3478;
const DEFAULT_TLS_PORT = 5349;

/** Asks every URL of `--ice-servers` as a tab would: STUN for this machine's address, TURN for a relay, which is given back. */
export async function checkIceServers(servers: readonly IceServer[], timeoutMs?: number): Promise<Finding[]> {
  if (servers.length === 0)
    return [
      ok(
        'none are given, which is enough where tabs and coordinator are in one network, or the coordinator has a public address',
      ),
    ];
  const asked = servers.flatMap((server) => [server.urls].flat().map((url) => checkUrl(url, server, timeoutMs)));
  const findings = await Promise.all(asked);
  const urls = servers.flatMap(({ urls: all }) => all);
  if (urls.some((url) => url.startsWith('turn'))) return findings;
  return [
    ...findings,
    warning('no TURN server is given', 'Add one for donors whose network lets no UDP through (docs/OPERATIONS.md).'),
  ];
}

interface IceUrl {
  scheme: 'stun' | 'stuns' | 'turn' | 'turns';
  host: string;
  port: number;
  transport: 'udp' | 'tcp' | 'tls';
}

/** As `turn:HOST[:PORT][?transport=udp|tcp]`; undefined for another form. */
export function parseIceUrl(url: string): IceUrl | undefined {
  const parts = /^(stuns?|turns?):(\[[\da-f:.]+\]|[^:?[\]/@]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/i.exec(url);
  if (!parts) return undefined;
  const [, kind, name, port, transport = 'udp'] = parts;
  const scheme = kind!.toLowerCase() as IceUrl['scheme'];
  const isTls = scheme.endsWith('s');
  return {
    scheme,
    host: name!.replace(/^\[|\]$/g, ''),
    port: port === undefined ? (isTls ? DEFAULT_TLS_PORT : DEFAULT_PORT) : Number(port),
    transport: isTls ? 'tls' : (transport.toLowerCase() as 'udp' | 'tcp'),
  };
}

async function checkUrl(url: string, { username, credential }: IceServer, timeoutMs?: number): Promise<Finding> {
  const parsed = parseIceUrl(url);
  if (!parsed)
    return failed(`${url} is no STUN or TURN URL`, 'Write it as stun:HOST:PORT or turn:HOST:PORT?transport=tcp.');
  const { scheme, host, port, transport } = parsed;
  const isTurn = scheme.startsWith('turn');
  if (isTurn && (!username || !credential))
    return failed(`${url} has no username or no credential, so browsers refuse it`, 'Give both in --ice-servers.');
  let address: string;
  try {
    address = isIP(host) === 0 ? (await lookup(host)).address : host;
  } catch (error) {
    return failed(`${url}: ${(error as Error).message}`, 'Correct the name, or its entry in the DNS.');
  }
  const server = {
    address,
    host,
    port,
    username: username ?? '',
    password: credential ?? '',
    ...(timeoutMs && { timeoutMs }),
  };
  return isTurn ? checkTurn(url, server, transport) : checkStun(url, server, transport);
}

async function checkStun(url: string, server: TurnServer, transport: IceUrl['transport']): Promise<Finding> {
  try {
    const client = await open(server, transport);
    const seen = await client.bind().finally(() => client.close());
    if (seen !== undefined) return ok(`${url} answers; it sees this machine as ${seen}`);
    return failed(`${url} answers, but not as a STUN server`, 'Correct the port, or the server.');
  } catch (error) {
    return unanswered(url, transport, error as Error);
  }
}

async function checkTurn(url: string, server: TurnServer, transport: IceUrl['transport']): Promise<Finding> {
  try {
    const client = await open(server, transport);
    try {
      const code = await client.allocate('udp');
      if (code !== 0) return refused(url, code);
      const { relayed } = client;
      await client.release().catch(() => {});
      return ok(`${url} answers and gives a relay at ${relayed ?? 'an address that it does not tell'}`);
    } finally {
      client.close();
    }
  } catch (error) {
    return unanswered(url, transport, error as Error);
  }
}

function open(server: TurnServer, transport: IceUrl['transport']): Promise<TurnClient> {
  return transport === 'udp' ? TurnClient.overUdp(server) : TurnClient.overTcp(server, transport === 'tls');
}

/** Codes of RFC 8489 and RFC 8656. */
function refused(url: string, code: number): Finding {
  switch (code) {
    case 401:
      return failed(
        `${url} refuses the username or the credential (401)`,
        'Give those that the server was started with (coturn: --user=NAME:PASSWORD).',
      );
    case 403:
      return failed(`${url} forbids relays (403)`, "Allow this machine in the server's rules.");
    case 442:
      return failed(`${url} relays no UDP (442)`, 'Allow it in the server: laps travel over UDP.');
    case 486:
      return failed(
        `${url} has given this user all of its relays (486)`,
        'Raise its quota (coturn: --user-quota, --total-quota).',
      );
    case 508:
      return failed(`${url} has no port left for a relay (508)`, 'Widen its range (coturn: --min-port, --max-port).');
    default:
      return failed(`${url} gives no relay (${code})`, "See the server's log.");
  }
}

function unanswered(url: string, transport: IceUrl['transport'], { message }: Error): Finding {
  const name = transport === 'tls' ? 'TLS' : transport.toUpperCase();
  return failed(
    `${url} does not answer over ${name}: ${message}`,
    `Start the server, and let ${name} to its port through firewalls.`,
  );
}
