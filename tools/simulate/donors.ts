import type { Rng } from '@shoal/model';
import type { PlacementPeer } from '@shoal/placement';
import { logNormal } from './random.ts';
import type { Gpu } from './virtual-backend.ts';
import type { Line } from './virtual-link.ts';

/**
 * What donors lend, and when. Every distribution is an assumption that is printed with the results; none was measured
 * on real donors.
 */
export const DISTRIBUTIONS = {
  /** GiB that a tab lends, share of donors. */
  pledgeGiB: [
    [1, 0.5],
    [2, 0.3],
    [4, 0.2],
  ],
  /** For an expert of 4.3 M weights (half as many for V2-Lite's 8.7 M): log-normal, median and σ of ln. */
  assignmentsPerSecond: { median: 4_000, sigma: 0.8 },
  /** Fixed cost of a lap: submission and readback (1 to 3 ms were seen on real GPUs). */
  lapOverheadMs: 2,
  rttMs: { median: 40, sigma: 0.6 },
  /** Jitter of a donor's round trip from frame to frame: σ of ln. */
  rttSigma: 0.1,
  /** Share of frames with loss. */
  lossShare: 0.001,
  downloadMbitPerS: { median: 50, sigma: 0.8 },
  uploadMbitPerS: { median: 10, sigma: 0.8 },
  /** Length of a visit: Weibull of shape ½ (falling rate of leaving): many leave soon, long visits tend to go on. */
  visitMinutes: { mean: 40 },
  /** Time until a donor returns: exponential. */
  absenceMinutes: { mean: 60 },
  /** Share of departures without a goodbye: crash, sleep, lost network. */
  silentShare: 0.3,
} as const;

/** A donor's machine and line, the same in all visits. */
export interface SimDonor extends Line, Gpu {
  donorToken: string;
  pledgeBytes: number;
}

export function drawDonor(index: number, rng: Rng, weightsPerExpert: number): SimDonor {
  const { assignmentsPerSecond, rttMs, rttSigma, downloadMbitPerS, uploadMbitPerS, lossShare, lapOverheadMs } =
    DISTRIBUTIONS;
  const REFERENCE_WEIGHTS = 4.3e6;
  const bytesPerMs = (mbitPerS: { median: number; sigma: number }): number => (logNormal(rng, mbitPerS) * 1e6) / 8000;
  return {
    donorToken: `donor-${index}`,
    pledgeBytes: drawPledgeGiB(rng) * 2 ** 30,
    assignmentsPerSecond: (logNormal(rng, assignmentsPerSecond) * REFERENCE_WEIGHTS) / weightsPerExpert,
    lapOverheadMs,
    rttMs: logNormal(rng, rttMs),
    rttSigma,
    downloadBytesPerMs: bytesPerMs(downloadMbitPerS),
    uploadBytesPerMs: bytesPerMs(uploadMbitPerS),
    lossShare,
  };
}

/** As placement would measure it. */
export function placementPeerOf({ donorToken, pledgeBytes, assignmentsPerSecond, rttMs }: SimDonor): PlacementPeer {
  const peerId = donorToken;
  return {
    peerId,
    donorId: donorToken,
    pledgeBytes,
    maxExpertsPerLayer: 2 ** 30,
    assignmentsPerSecond,
    rttMs,
    trust: 1,
  };
}

export function drawVisitMs(rng: Rng): number {
  // A Weibull of shape ½ is the square of an exponential; its mean is Γ(3) = 2 times its scale.
  const scale = DISTRIBUTIONS.visitMinutes.mean / 2;
  return scale * Math.log(1 - rng()) ** 2 * 60_000;
}

/** Rest of the visit of a donor who is present at a random moment: long visits are met more often. */
export function drawRestOfVisitMs(rng: Rng): number {
  const scale = DISTRIBUTIONS.visitMinutes.mean / 2;
  // Weighting visits by their length turns the exponential into a sum of three.
  const sum = -Math.log((1 - rng()) * (1 - rng()) * (1 - rng()));
  return rng() * scale * sum ** 2 * 60_000;
}

export function drawAbsenceMs(rng: Rng): number {
  return -Math.log(1 - rng()) * DISTRIBUTIONS.absenceMinutes.mean * 60_000;
}

/** Long-run share of donors who are present. */
export function availability(): number {
  const { visitMinutes, absenceMinutes } = DISTRIBUTIONS;
  return visitMinutes.mean / (visitMinutes.mean + absenceMinutes.mean);
}

function drawPledgeGiB(rng: Rng): number {
  let left = rng();
  for (const [gib, share] of DISTRIBUTIONS.pledgeGiB) {
    if (left < share) return gib;
    left -= share;
  }
  return DISTRIBUTIONS.pledgeGiB.at(-1)![0];
}
