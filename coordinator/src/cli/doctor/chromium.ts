import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

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
export const CHROMIUM_FLAGS: readonly string[] = [
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export const WEBGPU_FLAG = '--enable-unsafe-webgpu';

/** Finds an installed Chromium: SHOAL_CHROMIUM, PATH, the usual places, or where Playwright's own download would be. */
export function findChromium(downloaded: () => string): string | undefined {
  const named = process.env.SHOAL_CHROMIUM;
  if (named) {
    if (existsSync(named)) return named;
    throw new Error(`SHOAL_CHROMIUM names ${named}, which does not exist.`);
  }
  const extension = process.platform === 'win32' ? '.exe' : '';
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((dir) => NAMES.map((name) => join(dir, name + extension)));
  return [...onPath, ...PLACES, downloaded()].find((path) => existsSync(path));
}
