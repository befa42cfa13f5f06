import { DONOR_INFO_PATH, type DonorInfo } from '@shoal/protocol';
import type { FastifyInstance } from 'fastify';
import { type Clock, systemClock } from '../base/clock.ts';

/** Long enough that anyone may ask at any rate, short enough for a figure that people read. */
const FRESH_MS = 2_000;

/** `GET /donor-info`, made at most once in FRESH_MS. */
export function registerDonorInfo(app: FastifyInstance, make: () => DonorInfo, clock: Clock = systemClock): void {
  let latest: { info: DonorInfo; madeMs: number } | undefined;
  app.get(`/${DONOR_INFO_PATH}`, (_request, reply) => {
    const nowMs = clock.now();
    if (!latest || nowMs - latest.madeMs >= FRESH_MS) latest = { info: make(), madeMs: nowMs };
    return reply.header('cache-control', 'no-store').send(latest.info);
  });
}
