import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContext, type BrowserServer, chromium } from 'playwright';
import { CHROMIUM_FLAGS, findChromium, WEBGPU_FLAG } from '../../coordinator/src/cli/doctor/chromium.ts';
import { quietRun } from '../quiet-run.mjs';

const APT_GET = '/usr/bin/apt-get';
const PLAYWRIGHT_CLI = join(import.meta.dirname, '../../node_modules/playwright/cli.js');
const INSTALL_TIMEOUT_MS = 15 * 60_000;

const find = (): string | undefined => findChromium(() => chromium.executablePath());

/**
 * Finds a Chromium or installs one: Debian's package as root, with the libraries that it needs, otherwise Playwright's download.
 * Installers write to a log file, of which `out` gets one line.
 */
export async function ensureChromium(out: Out = process.stderr): Promise<string> {
  const found = find();
  if (found !== undefined) return found;
  const tried: string[] = [];
  for (const { name, steps } of installers()) {
    tried.push(name);
    if (!(await runAll(steps, out))) continue;
    const installed = find();
    if (installed !== undefined) return installed;
  }
  throw new Error(
    `No Chromium on this machine, and none could be installed (tried ${tried.join(', ')}). ` +
      'Install Chromium or Chrome, or name one with SHOAL_CHROMIUM. Where only its libraries are missing: ' +
      'npx playwright install-deps chromium, as root.',
  );
}

interface Out {
  isTTY?: boolean;
  write(text: string): unknown;
}

type Step = Pick<Parameters<typeof quietRun>[0], 'what' | 'command' | 'logName'>;

function installers(): { name: string; steps: Step[] }[] {
  const download = {
    name: 'playwright install chromium',
    steps: [
      {
        what: 'No Chromium found: downloading Playwright’s',
        command: [process.execPath, PLAYWRIGHT_CLI, 'install', 'chromium'],
        logName: 'playwright.log',
      },
    ],
  };
  if (process.getuid?.() !== 0 || !existsSync(APT_GET)) return [download];
  const apt = (what: string, logName: string, ...args: string[]): Step => ({
    what,
    command: [APT_GET, ...args],
    logName,
  });
  return [
    {
      name: 'apt-get install chromium',
      steps: [
        apt('No Chromium found: reading the system’s list of packages', 'apt-update.log', 'update', '-qq'),
        apt('Installing Chromium by apt-get', 'apt-install.log', 'install', '-y', '-qq', 'chromium'),
      ],
    },
    download,
  ];
}

/** An old list of packages may do, so only the last step's failure counts. */
async function runAll(steps: readonly Step[], out: Out): Promise<boolean> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  let ok = false;
  // stdout may be reserved for a JSON document, so `out` is stderr.
  for (const step of steps) ({ ok } = await quietRun({ ...step, env, out, timeoutMs: INSTALL_TIMEOUT_MS }));
  return ok;
}

export interface LaunchOptions {
  extraFlags?: readonly string[];
  /** If false, a machine without a GPU offers no adapter. */
  webGpu?: boolean;
  /** The caller closes the browser on Ctrl-C; otherwise Playwright ends the whole process. */
  ownSignals?: boolean;
}

/** Headless Chromium with WebGPU, installed if needed. */
export async function launchChromium(options: LaunchOptions = {}): Promise<Browser> {
  const signals = options.ownSignals ? { handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false } : {};
  return chromium.launch({ ...(await commandLine(options)), ...signals });
}

/** The same with a profile of its own on disk, where a private window would keep caches in memory. */
export async function launchProfile(dir: string, options: LaunchOptions = {}): Promise<BrowserContext> {
  return chromium.launchPersistentContext(dir, await commandLine(options));
}

/** Launches a browser that many test files share; a closed connection closes what it opened. */
export async function launchSharedChromium(options: LaunchOptions = {}): Promise<BrowserServer> {
  return chromium.launchServer(await commandLine(options));
}

async function commandLine(options: LaunchOptions): Promise<{ executablePath: string; args: string[] }> {
  const executablePath = await ensureChromium();
  const webGpu = options.webGpu === false ? [] : [WEBGPU_FLAG];
  return { executablePath, args: [...CHROMIUM_FLAGS, ...webGpu, ...(options.extraFlags ?? [])] };
}
