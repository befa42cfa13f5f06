// Node 20 does not take tsx's loader from a worker's execArgv: it is registered here, and then the thread is TypeScript.
import { register } from 'tsx/esm/api';

register();
await import('./pack-thread.ts');
