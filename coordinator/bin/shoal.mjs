#!/usr/bin/env node
// Finds tsx and the TypeScript sources, which run without a build.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
const main = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
// Ctrl-C also reaches the child, which shuts down by itself.
process.on('SIGINT', () => {});
const { status } = spawnSync(process.execPath, ['--import', tsx, main, ...process.argv.slice(2)], { stdio: 'inherit' });
process.exitCode = status ?? 1;
