import { existsSync, readdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { realpathSync } from 'node:fs';

const ICD_NAME = 'vk_swiftshader_icd.json';
/** Where Linux packages put a Chromium, with SwiftShader's driver beside it. */
const BROWSER_FOLDERS = [
  '/usr/lib/chromium',
  '/usr/lib64/chromium-browser',
  '/usr/lib/chromium-browser',
  '/opt/google/chrome',
  '/snap/chromium/current/usr/lib/chromium-browser',
];

/**
 * WebGPU in Node (Dawn), on the machine's own GPU or on SwiftShader. Throws where there is neither: a test without an
 * adapter has shown nothing.
 */
export async function dawnAdapter(): Promise<GPUAdapter> {
  process.env['VK_ICD_FILENAMES'] ??= findSwiftShader() ?? '';
  if (!process.env['VK_ICD_FILENAMES']) delete process.env['VK_ICD_FILENAMES'];
  // Imported here: the Vulkan loader reads the variable when the addon makes its instance.
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  const gpu = create([]);
  instances.push(gpu);
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    throw new Error(
      `no WebGPU adapter in Node: install a Vulkan driver, or Chromium (its package carries ${ICD_NAME}), or name one in VK_ICD_FILENAMES`,
    );
  }
  return adapter;
}

/** Dawn's instance must outlive its devices, and nothing else holds it. */
const instances: GPU[] = [];

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
