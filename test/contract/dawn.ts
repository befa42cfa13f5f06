import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

const ICD_NAME = 'vk_swiftshader_icd.json';
/** Where Linux packages put a Chromium, with SwiftShader's driver beside it. */
const BROWSER_FOLDERS = [
  '/usr/lib/chromium',
  '/usr/lib64/chromium-browser',
  '/usr/lib/chromium-browser',
  '/opt/google/chrome',
  '/snap/chromium/current/usr/lib/chromium-browser',
];

/** Linux: RTLD_LAZY | RTLD_GLOBAL | RTLD_NODELETE. */
const DLOPEN_FLAGS = 0x1101;

let instance: GPU | undefined;

/**
 * A new WebGPU adapter in Node (Dawn): SwiftShader's, so that every machine computes the same, unless VK_ICD_FILENAMES names
 * another driver or there is no SwiftShader. Throws if there is none, since a test without an adapter proves nothing.
 */
export async function dawnAdapter(): Promise<GPUAdapter> {
  instance ??= await createInstance();
  const adapter = await instance.requestAdapter();
  if (adapter) return adapter;
  throw new Error(
    `no WebGPU adapter in Node: install a Vulkan driver, or Chromium (its package carries ${ICD_NAME}), or name one in VK_ICD_FILENAMES`,
  );
}

async function createInstance(): Promise<GPU> {
  const icd = process.env['VK_ICD_FILENAMES'] ?? findSwiftShader();
  if (icd !== undefined) {
    process.env['VK_ICD_FILENAMES'] = icd;
    preloadVulkan(join(dirname(icd), 'libvulkan.so.1'));
  }
  // Imported here: the variable must be set before Dawn makes its instance.
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  return create([]);
}

/**
 * Loads Chromium's libvulkan.so.1, which Dawn opens by name and a machine without graphics packages lacks. A library that is
 * already loaded is found by its name. Node throws and unloads a library that is not an addon, hence NODELETE.
 */
function preloadVulkan(path: string): void {
  if (process.platform !== 'linux' || !existsSync(path)) return;
  try {
    process.dlopen({ exports: {} }, path, DLOPEN_FLAGS);
  } catch (error) {
    if (!String(error).includes('self-register')) throw error;
  }
}

/** Path of SwiftShader's Vulkan driver: beside a browser on PATH, in the usual folders, or in Playwright's cache. */
function findSwiftShader(): string | undefined {
  const folders = [...browsersOnPath(), ...BROWSER_FOLDERS, ...playwrightFolders()];
  return folders.map((folder) => join(folder, ICD_NAME)).find((path) => existsSync(path));
}

function browsersOnPath(): string[] {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .filter((path) => existsSync(path))
    .map((path) => dirname(realpathSync(path)));
}

function playwrightFolders(): string[] {
  const cache =
    process.env['PLAYWRIGHT_BROWSERS_PATH'] ?? join(process.env['HOME'] ?? '/root', '.cache', 'ms-playwright');
  if (!existsSync(cache)) return [];
  return readdirSync(cache).flatMap((name) =>
    ['chrome-linux', 'chrome-linux64'].map((folder) => join(cache, name, folder)),
  );
}
