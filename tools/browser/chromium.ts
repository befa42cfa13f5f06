import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContext, type BrowserServer, chromium } from 'playwright';
import { CHROMIUM_FLAGS, findChromium, WEBGPU_FLAG } from '../../coordinator/src/cli/doctor/chromium.ts';

const find = (): string | undefined => findChromium(() => chromium.executablePath());

/** Finds a Chromium or installs one: Debian's package as root, otherwise Playwright's download. */
export function ensureChromium(say: (line: string) => void): string {
  const found = find();
  if (found !== undefined) return found;
  const tried: string[] = [];
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    say('No Chromium found: installing the chromium package with apt-get …');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    run('apt-get', ['update', '-qq'], env);
    if (run('apt-get', ['install', '-y', '-qq', 'chromium'], env)) {
      const installed = find();
      if (installed !== undefined) return installed;
    }
    tried.push('apt-get install chromium');
  }
  say('No Chromium found: letting Playwright download one …');
  run(
    process.execPath,
    [join(import.meta.dirname, '../../node_modules/playwright/cli.js'), 'install', 'chromium'],
    process.env,
  );
  tried.push('playwright install chromium');
  const downloaded = find();
  if (downloaded !== undefined) return downloaded;
  throw new Error(
    `No Chromium on this machine, and none could be installed (tried ${tried.join(', ')}). ` +
      'Install Chromium or Chrome, or name one with SHOAL_CHROMIUM.',
  );
}

export interface LaunchOptions {
  say?: (line: string) => void;
  extraFlags?: readonly string[];
  /** If false, a machine without a GPU offers no adapter. */
  webGpu?: boolean;
  /** The caller closes the browser on Ctrl-C; otherwise Playwright ends the whole process. */
  ownSignals?: boolean;
}

/** Headless Chromium with WebGPU, installed if needed. */
export function launchChromium(options: LaunchOptions = {}): Promise<Browser> {
  const signals = options.ownSignals ? { handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false } : {};
  return chromium.launch({ ...commandLine(options), ...signals });
}

/** The same with a profile of its own on disk, where a private window would keep caches in memory. */
export function launchProfile(dir: string, options: LaunchOptions = {}): Promise<BrowserContext> {
  return chromium.launchPersistentContext(dir, commandLine(options));
}

/** Launches a browser that many test files share; a closed connection closes what it opened. */
export function launchSharedChromium(options: LaunchOptions = {}): Promise<BrowserServer> {
  return chromium.launchServer(commandLine(options));
}

function commandLine(options: LaunchOptions): { executablePath: string; args: string[] } {
  const executablePath = ensureChromium(options.say ?? (() => {}));
  const webGpu = options.webGpu === false ? [] : [WEBGPU_FLAG];
  return { executablePath, args: [...CHROMIUM_FLAGS, ...webGpu, ...(options.extraFlags ?? [])] };
}

function run(command: string, args: string[], env: NodeJS.ProcessEnv): boolean {
  // stdout may be reserved for a JSON document, so installers write to stderr.
  return spawnSync(command, args, { env, stdio: ['ignore', 2, 2], timeout: 15 * 60_000 }).status === 0;
}
