import { throwIfStopped } from './backoff.ts';
import { HubError, PassingError } from './hub-error.ts';

/** Of what is waited for: a hub that sends less is as good as silent. */
const LEAST_BYTES_PER_S = 1024;

export interface BodyLimits {
  maxBytes: number;
  /** Longest wait for the next piece, and for a kilobyte a second of this time. */
  stallMs: number;
  /** Ends the request. */
  stop?: AbortController;
  signal?: AbortSignal | undefined;
}

/**
 * The same answer with limits on its body, whose reader gets a HubError where it is larger than allowed, and a PassingError where it
 * stalls or breaks off.
 */
export function guardBody(response: Response, { maxBytes, stallMs, stop, signal }: BodyLimits): Response {
  const { status, statusText, headers, body } = response;
  if (body === null) return response;
  const reader = body.getReader();
  let left = maxBytes;
  const guarded = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const startedMs = performance.now();
        const { done, value } = await next();
        if (done) return controller.close();
        requireRate(performance.now() - startedMs, value.byteLength);
        left -= value.byteLength;
        if (left < 0) {
          stop?.abort();
          throw new HubError('bad-answer', `the hub's answer is larger than the ${maxBytes} bytes that are read`);
        }
        controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  // Only the time counts in which something was waited for: what is done with the pieces may take longer.
  let [waitedMs, cameBytes] = [0, 0];
  const requireRate = (ms: number, bytes: number): void => {
    waitedMs += ms;
    cameBytes += bytes;
    if (waitedMs < stallMs) return;
    if (cameBytes < (LEAST_BYTES_PER_S * waitedMs) / 1000) {
      stop?.abort();
      throw new PassingError('no-network', `only ${cameBytes} bytes have come in ${waitedMs / 1000} s`);
    }
    [waitedMs, cameBytes] = [0, 0];
  };
  const next = async () => {
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        stop?.abort();
        reject(new PassingError('no-network', `nothing has come for ${stallMs / 1000} s`));
      }, stallMs);
    });
    try {
      return await Promise.race([reader.read(), stalled]);
    } catch (error) {
      throwIfStopped(signal);
      if (error instanceof PassingError) throw error;
      throw new PassingError('no-network', 'the connection has broken off', { cause: error });
    } finally {
      clearTimeout(timer);
    }
  };
  return new Response(guarded, { status, statusText, headers });
}

/** A body of bounded size as text. */
export async function readText(response: Response): Promise<string> {
  return new TextDecoder().decode(await readBytes(response));
}

export async function readBytes(response: Response): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of response.body ?? []) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces);
}
