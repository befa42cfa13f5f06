import { ensureChromium } from './chromium.ts';

try {
  await ensureChromium();
} catch (error) {
  process.stderr.write(`shoal: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
