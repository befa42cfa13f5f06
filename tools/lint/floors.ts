/**
 * What each part may import, from the lowest floor up: itself, the parts in its row (all earlier in the table) and npm
 * packages. ARCHITECTURE.md says why.
 */

/** `packages/*` and `apps/*`, with their tests. Packages are imported by name, never by path. */
export const PACKAGE_FLOORS: FloorTable = {
  'packages/model': [],
  'packages/protocol': ['packages/model'],
  'packages/weights': ['packages/model'],
  'packages/placement': ['packages/model'],
  'packages/kernels': ['packages/model', 'packages/weights'],
  'packages/transport': ['packages/protocol'],
  'packages/peer': ['packages/weights', 'packages/kernels', 'packages/protocol', 'packages/transport'],
  'apps/donor': ['packages/protocol', 'packages/transport', 'packages/peer'],
  'apps/console': ['packages/protocol', 'packages/transport'],
  coordinator: [
    'packages/model',
    'packages/protocol',
    'packages/weights',
    'packages/placement',
    'packages/kernels',
    'packages/transport',
    // For `shoal donate` alone: see DOORS.
    'apps/donor',
  ],
};

/** Parts that another imports in these files alone. */
export const DOORS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  coordinator: { 'apps/donor': ['coordinator/src/cli/donate.ts'] },
};

/** Inside `coordinator/src`, without tests. All other files there are the top floor and may import all of these. */
export const COORDINATOR_FLOORS: FloorTable = {
  base: [],
  timeline: ['base'],
  mirror: ['base'],
  database: ['base'],
  access: ['base', 'database'],
  settings: ['base', 'database'],
  bans: ['base', 'database'],
  cluster: ['base', 'database'],
  'config.ts': ['base'],
  adapters: ['base', 'config.ts'],
  'local-experts': ['base', 'config.ts'],
  laps: ['base', 'timeline', 'local-experts'],
  trust: ['base', 'laps', 'local-experts'],
  swarm: ['base', 'access', 'cluster', 'config.ts', 'adapters', 'local-experts', 'laps', 'trust'],
  records: ['base', 'database', 'trust', 'swarm'],
  contribution: ['base', 'database', 'access', 'laps', 'trust', 'swarm', 'records'],
  scheduler: ['base', 'timeline', 'config.ts', 'adapters', 'laps'],
  attention: ['base', 'database', 'cluster', 'local-experts', 'laps', 'trust', 'swarm', 'records', 'scheduler'],
  history: ['base', 'database'],
  alerts: ['base', 'database'],
  lab: ['base', 'local-experts'],
  text: ['base'],
  grammar: ['base', 'scheduler'],
  conventions: ['base', 'grammar'],
  http: ['base', 'access', 'settings', 'bans', 'adapters', 'scheduler', 'lab', 'text', 'grammar', 'conventions'],
  console: [
    'base',
    'database',
    'access',
    'settings',
    'bans',
    'cluster',
    'adapters',
    'local-experts',
    'laps',
    'trust',
    'swarm',
    'records',
    'scheduler',
  ],
};

export type FloorTable = Readonly<Record<string, readonly string[]>>;
