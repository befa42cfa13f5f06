import { once } from 'node:events';
import { createServer } from 'node:net';
import { failed, type Finding, ok, warning } from './finding.ts';

const ASK_TIMEOUT_MS = 2_000;

export interface PortRange {
  first: number;
  last: number;
}

/** Whether the coordinator could listen at the address: one free port of a range is enough. */
export async function checkPort(host: string, { first, last }: PortRange, listen = listenError): Promise<Finding[]> {
  let problem: Finding | undefined;
  for (let port = first; port <= last; port++) {
    const error = await listen(host, port);
    if (error === undefined) return [ok(`${shown(host, port)} is free${reach(host)}`)];
    problem = await explain(host, port, error);
    // No other port would help.
    if (error.code === 'EADDRNOTAVAIL' || error.syscall === 'getaddrinfo') break;
  }
  if (first === last) return [problem!];
  return [failed(`no port from ${first} to ${last} is free; of the last: ${problem!.what}`, problem!.remedy!)];
}

async function listenError(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  } finally {
    server.close();
  }
}

async function explain(host: string, port: number, error: NodeJS.ErrnoException): Promise<Finding> {
  const at = shown(host, port);
  switch (error.code) {
    case 'EADDRINUSE': {
      const version = await shoalAt(host, port);
      return version === undefined
        ? failed(`${at} is used by another program`, 'End it, or choose another port with --port.')
        : warning(
            `a Shoal ${version} serves at ${at} already`,
            'Leave it if it is the one meant; a second one needs another --port.',
          );
    }
    case 'EACCES':
      return failed(
        `this user may not listen at ${at}`,
        'Choose a port from 1024 on with --port and a proxy in front, or allow low ports (sysctl net.ipv4.ip_unprivileged_port_start).',
      );
    case 'EADDRNOTAVAIL':
      return failed(
        `${host} is no address of this machine`,
        'Give one of its own with --host, or 0.0.0.0 for all of them.',
      );
    default:
      return failed(`${at} cannot be listened at: ${error.message}`, 'Choose another address with --host or --port.');
  }
}

/** The version of the coordinator that answers there. */
async function shoalAt(host: string, port: number): Promise<string | undefined> {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  try {
    const response = await fetch(`http://${shown(name, port)}/healthz`, {
      signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    });
    const { version, status } = (await response.json()) as { version?: unknown; status?: unknown };
    return typeof version === 'string' && (status === 'up' || status === 'starting') ? version : undefined;
  } catch {
    return undefined;
  }
}

function reach(host: string): string {
  const isOwn = host === 'localhost' || host === '::1' || host.startsWith('127.');
  return isOwn ? '; programs on this machine alone reach it, as a proxy with TLS that is in front' : '';
}

const shown = (host: string, port: number): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;
