import type { IceServer } from '@shoal/protocol';

/** ICE servers as browsers take them, which refuse a login that is undefined. */
export function rtcIceServers(servers: readonly IceServer[]): RTCIceServer[] {
  return servers.map(({ urls, username, credential }) => ({
    urls,
    ...(username !== undefined && { username }),
    ...(credential !== undefined && { credential }),
  }));
}
