import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, type BrowserContext, type BrowserServer, chromium } from 'playwright';

/** Names of Chromium browsers on PATH, in order of preference. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome', 'msedge'];
/** Where installers put it on systems without it on PATH. */
const PLACES = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  join(process.env.ProgramFiles ?? 'C:/Program Files', 'Google/Chrome/Application/chrome.exe'),
  join(process.env['ProgramFiles(x86)'] ?? 'C:/Program Files (x86)', 'Microsoft/Edge/Application/msedge.exe'),
];

/**
 * WebGPU without a GPU (SwiftShader) needs the unsafe flag; the rest keeps a test browser from contacting others.
 * `--no-sandbox` is for root, as which Chromium refuses to start with a sandbox.
 */
const CHROMIUM_FLAGS = [
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const WEBGPU_FLAG = '--enable-unsafe-webgpu';

/** Finds an installed Chromium: SHOAL_CHROMIUM, PATH, the usual places, or Playwright's own download. */
function findChromium(): string | undefined {
  const named = process.env.SHOAL_CHROMIUM;
  if (named) {
    if (existsSync(named)) return named;
    throw new Error(`SHOAL_CHROMIUM names ${named}, which does not exist.`);
  }
  const extension = process.platform === 'win32' ? '.exe' : '';
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((dir) => NAMES.map((name) => join(dir, name + extension)));
  return [...onPath, ...PLACES, chromium.executablePath()].find((path) => existsSync(path));
}

/** Finds a Chromium or installs one: Debian's package as root, otherwise Playwright's download. */
export function ensureChromium(say: (line: string) => void): string {
  const found = findChromium();
  if (found !== undefined) return found;
  const tried: string[] = [];
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    say('No Chromium found: installing the chromium package with apt-get …');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    run('apt-get', ['update', '-qq'], env);
    if (run('apt-get', ['install', '-y', '-qq', 'chromium'], env)) {
      const installed = findChromium();
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
  const downloaded = findChromium();
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
