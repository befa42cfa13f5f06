#!/usr/bin/env node
// TypeScript is run as it is, through tsx; this only finds both.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
const main = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
// Ctrl-C reaches the child too, which ends in its own way.
process.on('SIGINT', () => {});
const { status } = spawnSync(process.execPath, ['--import', tsx, main, ...process.argv.slice(2)], { stdio: 'inherit' });
process.exitCode = status ?? 1;
