import { throwIfStopped } from './backoff.ts';
import { HubError, PassingError } from './hub-error.ts';

export interface BodyLimits {
  maxBytes: number;
  /** Longest wait for the next piece. */
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
        const { done, value } = await next();
        if (done) return controller.close();
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
