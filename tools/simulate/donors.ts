import type { Rng } from '@shoal/model';
import type { PlacementPeer } from '@shoal/placement';

/**
 * Who lends what, and when. Every distribution is an assumption, stated here and printed with the results; none was
 * measured on real donors.
 */
export const DISTRIBUTIONS = {
  /** GiB that a tab lends: share of donors. */
  pledgeGiB: [
    [1, 0.5],
    [2, 0.3],
    [4, 0.2],
  ],
  /** (row, expert) pairs a second for an expert of 4.3 M weights (V2-Lite's 8.7 M: half): log-normal, median and σ of ln. */
  rowsPerSecond: { median: 4_000, sigma: 0.8 },
  rttMs: { median: 40, sigma: 0.6 },
  downloadMbitPerS: { median: 50, sigma: 0.8 },
  /** Length of a visit: Weibull of shape ½, a falling rate of leaving: many go soon, and those who stay tend to stay. */
  visitMinutes: { mean: 40 },
  /** Until the same donor is back: exponential. */
  absenceMinutes: { mean: 60 },
  /** Of departures, those without a goodbye: crash, sleep, a lost network. */
  silentShare: 0.3,
} as const;

/** A donor's machine and line; the same over all visits. */
export interface SimDonor {
  peer: PlacementPeer & { rowsPerSecond: number; rttMs: number };
  downloadBytesPerMs: number;
}

export function drawDonor(index: number, rng: Rng, weightsPerExpert: number): SimDonor {
  const { rowsPerSecond, rttMs, downloadMbitPerS } = DISTRIBUTIONS;
  const REFERENCE_WEIGHTS = 4.3e6;
  return {
    peer: {
      peerId: `tab-${index}`,
      donorId: `donor-${index}`,
      pledgeBytes: drawPledgeGiB(rng) * 2 ** 30,
      maxExpertsPerLayer: Number.MAX_SAFE_INTEGER,
      rowsPerSecond: (logNormal(rng, rowsPerSecond) * REFERENCE_WEIGHTS) / weightsPerExpert,
      rttMs: logNormal(rng, rttMs),
      trust: 1,
    },
    downloadBytesPerMs: (logNormal(rng, downloadMbitPerS) * 1e6) / 8 / 1000,
  };
}

export function drawVisitMs(rng: Rng): number {
  // Weibull of shape ½ has a mean of Γ(3) = 2 times its scale, and is the square of an exponential.
  const scale = DISTRIBUTIONS.visitMinutes.mean / 2;
  return scale * Math.log(1 - rng()) ** 2 * 60_000;
}

/** What is left of the visit of a donor who is there at a random moment: long visits are met more often. */
export function drawRestOfVisitMs(rng: Rng): number {
  const scale = DISTRIBUTIONS.visitMinutes.mean / 2;
  // Weighting a visit by its length makes the exponential's place that of a sum of three.
  const sum = -Math.log((1 - rng()) * (1 - rng()) * (1 - rng()));
  return rng() * scale * sum ** 2 * 60_000;
}

export function drawAbsenceMs(rng: Rng): number {
  return -Math.log(1 - rng()) * DISTRIBUTIONS.absenceMinutes.mean * 60_000;
}

/** Share of donors that are there at any time, in the long run. */
export function availability(): number {
  const { visitMinutes, absenceMinutes } = DISTRIBUTIONS;
  return visitMinutes.mean / (visitMinutes.mean + absenceMinutes.mean);
}

export function logNormal(rng: Rng, { median, sigma }: { median: number; sigma: number }): number {
  const normal = Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
  return median * Math.exp(sigma * normal);
}

function drawPledgeGiB(rng: Rng): number {
  let left = rng();
  for (const [gib, share] of DISTRIBUTIONS.pledgeGiB) {
    if (left < share) return gib;
    left -= share;
  }
  return DISTRIBUTIONS.pledgeGiB.at(-1)![0];
}
