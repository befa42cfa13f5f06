import type { CandidateCounts, NoPath, Signal } from '@shoal/protocol';
import { addressOf, candidatesOf } from './candidates.ts';

const SAMPLE_MS = 1_000;
/** Those of the other side that are named to people. */
const MAX_NAMED = 3;

/** As much of RTCStats as is read. */
interface PairStats {
  type: string;
  state?: string;
  requestsSent?: number;
  responsesReceived?: number;
  requestsReceived?: number;
}

/** Watches how ICE looks for a way to the other side, to say what is known if it finds none. Ends with the first connection. */
export class PathWatch {
  readonly #pc: RTCPeerConnection;
  readonly #hasTurn: boolean;
  readonly #startedMs = performance.now();
  readonly #own = noCandidates();
  readonly #theirs = noCandidates();
  readonly #addresses = new Set<string>();
  #turnError: number | undefined;
  #checks: NoPath['checks'];
  #found = false;
  #sampler: ReturnType<typeof setInterval> | undefined;

  constructor(pc: RTCPeerConnection, iceServers: readonly RTCIceServer[]) {
    this.#pc = pc;
    this.#hasTurn = iceServers.flatMap(({ urls }) => urls).some((url) => /^turns?:/i.test(url));
    pc.addEventListener('icecandidate', ({ candidate }) => count(this.#own, candidate?.candidate ?? ''));
    pc.addEventListener('icecandidateerror', ({ url, errorCode }) => {
      // Of several servers and networks, a refusal tells more than silence (701).
      if (/^turns?:/i.test(url ?? '') && (this.#turnError ?? 701) >= 700) this.#turnError = errorCode;
    });
    pc.addEventListener('iceconnectionstatechange', () => {
      if (['connected', 'completed'].includes(pc.iceConnectionState)) this.#found = true;
    });
    this.#sampler = setInterval(() => void this.#sample(), SAMPLE_MS);
    (this.#sampler as { unref?: () => void }).unref?.();
  }

  /** Whether ICE has found a way; what is missing then is the handshake. */
  get isFound(): boolean {
    return this.#found;
  }

  /** The other side's addresses, a few of them, as `ADDRESS:PORT`. */
  get addresses(): string[] {
    return [...this.#addresses];
  }

  /** A signal that the other side sent. */
  heard(signal: Signal): void {
    for (const candidate of candidatesOf(signal)) {
      count(this.#theirs, candidate);
      const address = addressOf(candidate);
      if (address && this.#addresses.size < MAX_NAMED) this.#addresses.add(address);
    }
  }

  facts(): NoPath {
    return {
      waitedMs: Math.round(performance.now() - this.#startedMs),
      own: { ...this.#own },
      theirs: { ...this.#theirs },
      ...(this.#checks && { checks: this.#checks }),
      turn: this.#turn(),
    };
  }

  close(): void {
    clearInterval(this.#sampler);
  }

  #turn(): NoPath['turn'] {
    if (!this.#hasTurn) return { state: 'none' };
    if (this.#own.relay > 0) return { state: 'answered' };
    const code = this.#turnError;
    return code !== undefined && code >= 300 && code < 700 ? { state: 'refused', code } : { state: 'silent' };
  }

  async #sample(): Promise<void> {
    // Not every implementation has them; a closed connection has none.
    const report = await this.#pc.getStats?.().catch(() => undefined);
    if (!report) return;
    const sums = { sent: 0, answered: 0, heard: 0 };
    let isCounted = false;
    report.forEach((each: PairStats) => {
      if (each.type !== 'candidate-pair' || each.requestsSent === undefined) return;
      isCounted = true;
      sums.sent += each.requestsSent;
      sums.answered += each.responsesReceived ?? 0;
      sums.heard += each.requestsReceived ?? 0;
    });
    if (isCounted) this.#checks = sums;
  }
}

function noCandidates(): CandidateCounts {
  return { host: 0, srflx: 0, relay: 0 };
}

/** Counts at most as many as a report may have. */
function count(counts: CandidateCounts, line: string): void {
  const [, type] = / typ (host|srflx|relay)/.exec(line) ?? [];
  if (type) counts[type as keyof CandidateCounts] = Math.min(1000, counts[type as keyof CandidateCounts] + 1);
}
