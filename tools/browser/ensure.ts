import { ensureChromium } from './chromium.ts';

try {
  ensureChromium((line) => process.stderr.write(`shoal: ${line}\n`));
} catch (error) {
  process.stderr.write(`shoal: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
