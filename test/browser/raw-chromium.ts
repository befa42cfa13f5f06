import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ensureChromium } from '../../tools/browser/chromium.ts';
import { CHROMIUM_FLAGS, WEBGPU_FLAG } from '../../coordinator/src/cli/doctor/chromium.ts';

interface Target {
  targetId: string;
  url: string;
  title: string;
}

/**
 * A Chromium whose tabs nobody drives: Playwright attaches to each, and what is attached to is neither hidden nor discarded. Speaks
 * the DevTools protocol over one pipe.
 */
export class RawChromium {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #replies = new Map<number, (reply: { result?: object; error?: { message: string } }) => void>();
  #calls = 0;

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
    let text = '';
    (process.stdio[4] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (part: string) => {
      const messages = (text + part).split('\0');
      text = messages.pop()!;
      for (const message of messages) {
        const reply = JSON.parse(message) as { id?: number; result?: object };
        if (reply.id !== undefined) this.#replies.get(reply.id)?.(reply);
      }
    });
  }

  /** `isHeaded`: with windows, which need a display. */
  static async launch({ isHeaded = false } = {}): Promise<RawChromium> {
    const profile = await mkdtemp(join(tmpdir(), 'shoal-raw-'));
    // Without this, Chromium hides its page that can discard tabs.
    await writeFile(join(profile, 'Local State'), JSON.stringify({ internal_only_uis_enabled: true }));
    const flags = [
      ...CHROMIUM_FLAGS,
      WEBGPU_FLAG,
      '--enable-automation',
      '--remote-debugging-pipe',
      '--no-default-browser-check',
    ];
    const head = isHeaded ? [] : ['--headless=new'];
    const args = [...flags, ...head, `--user-data-dir=${profile}`, 'about:blank'];
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] as const;
    return new RawChromium(spawn(await ensureChromium(), args, { stdio: [...stdio] }), profile);
  }

  async open(url: string): Promise<string> {
    return (await this.send<{ targetId: string }>('Target.createTarget', { url })).targetId;
  }

  /** Brings a tab to the front, which hides the others. */
  async show(targetId: string): Promise<void> {
    await this.send('Target.activateTarget', { targetId });
  }

  async tabs(): Promise<Target[]> {
    return (await this.send<{ targetInfos: Target[] }>('Target.getTargets')).targetInfos;
  }

  /** Has the browser discard the tab with this address, as it does when memory is short. */
  async discard(url: string): Promise<void> {
    const page = await this.open('chrome://discards');
    const { sessionId } = await this.send<{ sessionId: string }>('Target.attachToTarget', {
      targetId: page,
      flatten: true,
    });
    const expression = `(${PRESS_DISCARD})(${JSON.stringify(url)})`;
    const press = () => this.send<{ result: { value: boolean } }>('Runtime.evaluate', { expression }, sessionId);
    while (!(await press()).result.value) await delay(100);
  }

  send<Result = object>(method: string, params: object = {}, sessionId?: string): Promise<Result> {
    const id = ++this.#calls;
    (this.#process.stdio[3] as NodeJS.WritableStream).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => {
      this.#replies.set(id, ({ result, error }) => {
        this.#replies.delete(id);
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result as Result);
      });
    });
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Runs in chrome://discards with the tab's address; returns whether it was listed. Its parts are in trees of their own. */
const PRESS_DISCARD = `(url) => {
  const parts = (root) =>
    [...root.querySelectorAll('*')].flatMap((one) => [one, ...(one.shadowRoot ? parts(one.shadowRoot) : [])]);
  const row = parts(document).find((one) => one.tagName === 'TR' && one.textContent.includes(url));
  const button = row && parts(row).find((one) => one.children.length === 0 && /Urgent/.test(one.textContent));
  button?.click();
  return button !== undefined;
}`;
