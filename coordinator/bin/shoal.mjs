#!/usr/bin/env node
// Runs the TypeScript sources, without a build and in this process: a signal that is sent to it reaches the command itself.
import { register } from 'tsx/esm/api';

register();
await import('../src/cli/main.ts');
