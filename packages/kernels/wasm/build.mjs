// Compiles the AssemblyScript kernels into packages/kernels/dist: one module for each kind of host, since a module that
// imports shared memory cannot run without it, and one with relaxed SIMD does not validate without that feature.
// Plain JavaScript, since tools/run.mjs runs it first, with nothing but the dependencies installed.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = join(HERE, '..', 'dist');
/** 4 GiB, the range of 32-bit addresses. Reserved, not committed. */
const MAX_PAGES = 65_536;

const COMMON = ['--optimizeLevel', '3', '--shrinkLevel', '0', '--converge', '--noAssert', '--runtime', 'stub'];
const MEMORY = ['--importMemory', '--initialMemory', '1', '--maximumMemory', `${MAX_PAGES}`];
/** By file name: the features that the host must have, and whether kernels use relaxed SIMD (RELAXED in the sources). */
const VARIANTS = {
  'shoal.wasm': { enable: 'simd', shared: false, relaxed: false },
  'shoal-relaxed.wasm': { enable: 'simd,relaxed-simd', shared: false, relaxed: true },
  'shoal-threads.wasm': { enable: 'simd,threads', shared: true, relaxed: false },
  'shoal-threads-relaxed.wasm': { enable: 'simd,threads,relaxed-simd', shared: true, relaxed: true },
};

mkdirSync(OUT, { recursive: true });
for (const [file, { enable, shared, relaxed }] of Object.entries(VARIANTS)) {
  const { error, stderr } = await asc.main([
    join(HERE, 'assembly', 'index.ts'),
    '--outFile',
    join(OUT, file),
    '--enable',
    enable,
    '--use',
    `RELAXED=${relaxed ? 1 : 0}`,
    ...COMMON,
    ...MEMORY,
    ...(shared ? ['--sharedMemory'] : []),
  ]);
  if (error) {
    process.stderr.write(`${stderr.toString()}\n${error.message}\n`);
    process.exit(1);
  }
}
