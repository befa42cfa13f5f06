import manifest from '../../package.json' with { type: 'json' };

/** Of all packages of the repository. */
export const VERSION: string = manifest.version;
