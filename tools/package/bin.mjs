#!/usr/bin/env node
// The command of the installed package. Plain JavaScript that any Node reads, so that an old one is told what is needed.
import { readFileSync } from 'node:fs';

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [, major, minor] = /(\d+)\.(\d+)/.exec(engines.node);
const [thisMajor, thisMinor] = process.versions.node.split('.').map(Number);
if (thisMajor < major || (thisMajor === Number(major) && thisMinor < minor)) {
  process.stderr.write(`shoal: Shoal needs Node ${major}.${minor} or newer; this is ${process.versions.node}.\n`);
  process.exit(1);
}
await import('../dist/main.js');
