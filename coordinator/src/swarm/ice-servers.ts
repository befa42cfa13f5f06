import { createHash, createHmac } from 'node:crypto';
import type { IceServer } from '@shoal/protocol';
import { UsageError } from '../base/usage-error.ts';

/** Allocations are refreshed under the login that they were made with, so a login outlives a long visit. */
export const TURN_LOGIN_MS = 24 * 3_600_000;

const isTurn = (url: string): boolean => /^turns?:/i.test(url);

/** The STUN and TURN servers of `--ice-servers`, as each end of a connection uses them. */
export class IceServers {
  readonly #servers: readonly IceServer[];
  readonly #turnSecret: string | undefined;

  /** With `turnSecret`, TURN servers without a login get one for each donor. Throws a UsageError if one has no login at all. */
  constructor(servers: readonly IceServer[], turnSecret?: string) {
    this.#servers = servers;
    this.#turnSecret = turnSecret;
    if (turnSecret !== undefined) return;
    // A browser would refuse all of them, when the first tab joins.
    const bad = servers.find(
      ({ urls, username, credential }) => [urls].flat().some(isTurn) && !(username && credential),
    );
    if (!bad) return;
    const url = [bad.urls].flat().find(isTurn)!;
    throw new UsageError(`--ice-servers: ${url} needs a username and a credential, or --turn-secret that makes them`);
  }

  /**
   * For a donor's tab. A login of its own is `EXPIRY:NAME` with the HMAC-SHA1 of that under the secret that the TURN server has, too
   * (draft-uberti-behave-turn-rest-00; coturn's `use-auth-secret`, which counts a quota by NAME).
   */
  forDonor(donorId: string, now = new Date()): IceServer[] {
    const secret = this.#turnSecret;
    if (secret === undefined) return [...this.#servers];
    const name = createHash('sha256').update(donorId).digest('hex').slice(0, 12);
    const username = `${Math.floor((now.getTime() + TURN_LOGIN_MS) / 1000)}:${name}`;
    const credential = createHmac('sha1', secret).update(username).digest('base64');
    return this.#servers.map((server) => {
      const needsLogin = [server.urls].flat().some(isTurn) && server.username === undefined;
      return needsLogin ? { ...server, username, credential } : server;
    });
  }

  /**
   * For the coordinator's own end. A tab's relay leads here; one of ours would lead to no tab, as our TURN server relays to this
   * machine alone, and each connection would take a place of it that a tab needs.
   */
  withoutRelays(): IceServer[] {
    return this.#servers.flatMap(({ urls, ...login }) => {
      const left = [urls].flat().filter((url) => !isTurn(url));
      return left.length === 0 ? [] : [{ urls: left, ...login }];
    });
  }
}
