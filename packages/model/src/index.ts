export * from './config.ts';
export * from './dispatch.ts';
export * from './errors.ts';
export * from './f16.ts';
export * from './safetensors.ts';
export * from './tensor-names.ts';
