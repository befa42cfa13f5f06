import { messageOf } from '@shoal/model';
import { Backoff, type HubPatience, PATIENCE, throwIfStopped } from './backoff.ts';
import { guardBody, readText } from './guarded-body.ts';
import { HubError, PassingError, quoted } from './hub-error.ts';
import type { HubName } from './hub-name.ts';
import type { HubSettings } from './hub-settings.ts';

export interface HubClientOptions {
  settings: HubSettings;
  name: HubName;
  signal?: AbortSignal | undefined;
  /** Called with a sentence about what is waited for. */
  onNotice?: ((text: string) => void) | undefined;
  patience?: Partial<HubPatience> | undefined;
}

const MAX_REDIRECTS = 5;
/** What an error answer may hold. */
const MAX_ERROR_BYTES = 64 * 1024;
/** Too many requests, a gateway's or server's fault. */
const PASSING = new Set([408, 429, 500, 502, 503, 504, 521, 522, 523, 524]);

/**
 * Makes requests to a hub for one model. What it answers is a stranger's: redirects are followed a few times, the token goes to the
 * hub's own address only, every answer has a limit and a deadline, and errors become sentences with a remedy.
 */
export class HubClient {
  readonly name: HubName;
  readonly endpoint: string;
  readonly signal: AbortSignal | undefined;
  readonly onNotice: (text: string) => void;
  readonly patience: HubPatience;
  readonly #settings: HubSettings;

  constructor({ settings, name, signal, onNotice, patience }: HubClientOptions) {
    this.#settings = settings;
    this.name = name;
    this.endpoint = settings.endpoint;
    this.signal = signal;
    this.onNotice = onNotice ?? (() => {});
    this.patience = { ...PATIENCE, ...patience };
  }

  /** The same, until another signal too. */
  until(signal: AbortSignal): HubClient {
    const both = this.signal ? AbortSignal.any([this.signal, signal]) : signal;
    return new HubClient({
      settings: this.#settings,
      name: this.name,
      onNotice: this.onNotice,
      patience: this.patience,
      signal: both,
    });
  }

  /** The address of a file, whose parts are plain. */
  fileUrl(commit: string, file: string): string {
    const path = file.split('/').map(encodeURIComponent).join('/');
    return `${this.endpoint}/${this.name.repo}/resolve/${commit}/${path}`;
  }

  /** A `fetch` for the hub's library, of one try. Rejects as `request` does, for an answer that is no success. */
  fetchUpTo(maxBytes: number): typeof fetch {
    return (input, init) => this.request(String(input), init, maxBytes);
  }

  /** Does work again that fails with a PassingError. Rejects with HubError. */
  async retry<T>(work: () => Promise<T>): Promise<T> {
    const backoff = new Backoff(this.patience, this.patience.tries, this);
    for (;;) {
      try {
        return await work();
      } catch (error) {
        await backoff.wait(error);
      }
    }
  }

  /**
   * One try of a request, redirects included. The body may have `maxBytes`, and fails where it stalls. Rejects with PassingError for
   * what may be over at the next try, else with HubError.
   */
  async request(url: string, init: RequestInit | undefined, maxBytes: number): Promise<Response> {
    throwIfStopped(this.signal);
    const stop = new AbortController();
    const signals = [stop.signal, this.signal].filter((signal) => signal !== undefined);
    const late = new PassingError('no-network', `${hostOf(url)} did not answer in ${this.patience.answerMs / 1000} s`);
    const timer = setTimeout(() => stop.abort(late), this.patience.answerMs);
    try {
      const response = await this.#follow(url, { ...init, signal: AbortSignal.any(signals) });
      if (!response.ok) throw await this.#errorOf(response);
      return guardBody(response, { maxBytes, stallMs: this.patience.stallMs, stop, signal: this.signal });
    } catch (error) {
      throwIfStopped(this.signal);
      if (error instanceof HubError || error instanceof PassingError) throw error;
      throw new PassingError('no-network', `cannot reach ${hostOf(url)} (${reasonOf(error)})`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  async #follow(given: string, init: RequestInit): Promise<Response> {
    const first = this.#target(given, this.endpoint);
    let url = first;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await fetch(url, { ...init, headers: this.#headersFor(url, first, init), redirect: 'manual' });
      const location = response.headers.get('location');
      if (response.status < 300 || response.status >= 400 || location === null) return response;
      await response.body?.cancel();
      url = this.#target(location, url);
    }
    throw new HubError('bad-answer', `${hostOf(first)} redirects more than ${MAX_REDIRECTS} times`);
  }

  /**
   * Where an address leads that a hub has given, in a redirect, in a list's link to its next page, or as the place of a block. Nothing
   * of an encrypted hub's is fetched in plain: neither weights, nor what answers inside this network.
   */
  #target(address: string, from: string): string {
    const to = URL.canParse(address, from) ? new URL(address, from) : undefined;
    const isEncrypted = [from, this.endpoint].some((one) => one.startsWith('https:'));
    if (to && (to.protocol === 'https:' || (to.protocol === 'http:' && !isEncrypted))) return to.href;
    throw new HubError('bad-answer', `${hostOf(from)} leads to ${quoted(address)}, which is not followed`);
  }

  /** The user's token for the hub's own address alone. A header of the library's, for the store of its files, goes where it was meant. */
  #headersFor(url: string, first: string, init: RequestInit): Headers {
    const headers = new Headers(init.headers);
    const origin = new URL(url).origin;
    if (origin !== new URL(first).origin) headers.delete('authorization');
    const { token } = this.#settings;
    if (token !== undefined && origin === new URL(this.endpoint).origin)
      headers.set('authorization', `Bearer ${token}`);
    // A compressed answer would have other bytes than the file.
    if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity');
    headers.set('user-agent', 'shoal');
    return headers;
  }

  async #errorOf(response: Response): Promise<Error> {
    const { status, headers } = response;
    const guarded = guardBody(response, { maxBytes: MAX_ERROR_BYTES, stallMs: this.patience.stallMs });
    const body = await readText(guarded).catch(() => '');
    const said = quoted(headers.get('x-error-message') || messageIn(body) || `status ${status}`);
    if (PASSING.has(status)) {
      const problem = status === 429 ? 'is asked too often' : 'has a fault';
      const afterMs = askedDelayMs(headers);
      const more = afterMs === undefined ? {} : { afterMs };
      return new PassingError(
        'unavailable',
        `${hostOf(response.url || this.endpoint)} ${problem} (${status}: ${said})`,
        more,
      );
    }
    return this.#refusal(status, headers.get('x-error-code') ?? '', said);
  }

  #refusal(status: number, code: string, said: string): HubError {
    const { repo, revision } = this.name;
    const { token, tokenFrom } = this.#settings;
    const page = `${this.endpoint}/${repo}`;
    const tokens = `${this.endpoint}/settings/tokens`;
    if (code === 'GatedRepo' || (status === 403 && /gated|restricted/i.test(said))) {
      const login =
        token === undefined
          ? `then set HF_TOKEN to a token of your account, made at ${tokens}`
          : `with the account whose token is in ${tokenFrom}`;
      return new HubError(
        'gated',
        `${repo} is gated: open ${page}, accept the licence there, ${login} (the hub says: ${said})`,
      );
    }
    if (code === 'RevisionNotFound') {
      return new HubError(
        'no-revision',
        `${repo} has no revision ${revision}: it may be gone; see ${page}/commits, or leave @${revision} out`,
      );
    }
    if (code === 'EntryNotFound')
      return new HubError('no-file', `${repo}@${revision} does not have a file that is needed (${said})`);
    if (status === 401 && token !== undefined && code !== 'RepoNotFound') {
      return new HubError('bad-token', `the hub refuses the token in ${tokenFrom} (${said}): make one at ${tokens}`);
    }
    if (status === 401 || status === 404) {
      const remedy =
        token === undefined
          ? `if it is private, set HF_TOKEN to a token made at ${tokens}`
          : `if it is private, the token in ${tokenFrom} may not read it`;
      return new HubError('no-model', `there is no model ${repo} at ${this.endpoint}: check the spelling; ${remedy}`);
    }
    return new HubError('bad-answer', `the hub refuses a request for ${repo} (${status}: ${said})`);
  }
}

function messageIn(body: string): string {
  try {
    const { error, message } = JSON.parse(body) as { error?: unknown; message?: unknown };
    return [error, message].find((text): text is string => typeof text === 'string') ?? '';
  } catch {
    return '';
  }
}

/** What `Retry-After` asks for (seconds, or a date), or the time until the allowance is renewed in `RateLimit` (`"api";r=0;t=55`). */
function askedDelayMs(headers: Headers): number | undefined {
  const after = headers.get('retry-after')?.trim() ?? '';
  if (/^\d+$/.test(after)) return 1000 * Number(after);
  const dateMs = Date.parse(after);
  if (!Number.isNaN(dateMs)) return Math.max(0, dateMs - Date.now());
  const seconds = /;\s*t=(\d{1,9})/.exec(headers.get('ratelimit') ?? '')?.[1];
  return seconds === undefined ? undefined : 1000 * Number(seconds);
}

export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : quoted(url);
}

/** fetch says only "fetch failed"; the cause has the reason. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const { code } = (cause ?? error) as { code?: unknown };
  return typeof code === 'string' ? code : quoted(messageOf(cause ?? error));
}
