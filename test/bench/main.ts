import { benchEngine, ENGINE_QUANTS } from './engine.ts';
import { benchKernels } from './kernels.ts';
import { benchGarbage } from './lap-garbage.ts';
import { benchLaps } from './lap-overhead.ts';
import { benchLoad } from './load/load.ts';
import { LOAD_HELP, LoadUsageError, parseLoadOptions } from './load/options.ts';
import { benchNetwork } from './network.ts';
import { benchQuants } from './quants.ts';
import { benchSwarm } from './swarm.ts';
import { benchWasm } from './wasm.ts';

const HELP = `npm run bench -- [suite] [options]

  network          tokens/s by tabs and streams, where a lap's time goes, bytes against their floor (default)
  load             what comes in at a stated rate, over a network of a stated length; its own options: bench load --help
  swarm            placement beside its baselines, planning times, eight real tabs beside the simulator, two minutes of crashes
  laps             what a lap costs besides its kernel, stage by stage, with four real tabs and no delay; what 10,000 leave behind
  quants           error of each format of the experts beside rules not taken, and how fast experts are packed
  engine           the coordinator alone beside llama.cpp: decode and prefill, default model and V2-Lite's dimensions (12 GB of disk)
  wasm             experts on the processor: GB/s of weights by format, rows and threads, beside a read loop
  kernels          the expert FFN on WebGPU beside onnxruntime-web's MatMulNBits, for one row and for 32

  --quant Q        engine: q8 or q4 alone
  --repeats N      measurements of each figure, of which the median counts (3)
  --json           one JSON document on stdout instead of the table
  --help           print this
`;

const SUITES = ['network', 'laps', 'swarm', 'quants', 'wasm', 'engine', 'kernels'];

const WITH_VALUE = new Set(['--repeats', '--quant']);

function valueOf(argv: readonly string[], flag: string): string | undefined {
  const at = argv.indexOf(flag);
  return at === -1 ? undefined : argv[at + 1];
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'load') return load(argv.slice(1));
  const flags = argv.filter((arg) => arg.startsWith('-'));
  if (flags.includes('--help')) {
    process.stdout.write(HELP);
    return 0;
  }
  const repeats = Number(argv.includes('--repeats') ? valueOf(argv, '--repeats') : 3);
  if (!Number.isInteger(repeats) || repeats < 1 || repeats > 100) {
    process.stderr.write('bench: --repeats takes a whole number from 1 to 100\n');
    return 2;
  }
  const quant = valueOf(argv, '--quant');
  if (argv.includes('--quant') && !ENGINE_QUANTS.some((known) => known === quant)) {
    process.stderr.write(`bench: --quant takes ${ENGINE_QUANTS.join(' or ')}\n`);
    return 2;
  }
  const suites = argv.filter((arg, i) => !arg.startsWith('-') && !WITH_VALUE.has(argv[i - 1]!));
  const unknown = suites.find((suite) => !SUITES.includes(suite));
  if (unknown !== undefined) {
    process.stderr.write(`bench: there is no suite "${unknown}"\n\n${HELP}`);
    return 2;
  }
  const json = flags.includes('--json');
  if (suites.includes('swarm')) await benchSwarm({ json });
  if (suites.includes('kernels')) await benchKernels({ repeats, json });
  if (suites.includes('engine')) await benchEngine({ repeats, json, quant });
  if (suites.includes('laps')) {
    await benchLaps({ json });
    await benchGarbage({ json });
  }
  if (suites.includes('quants')) await benchQuants({ repeats, json });
  if (suites.includes('wasm')) await benchWasm({ repeats, json });
  if (suites.length === 0 || suites.includes('network')) await benchNetwork({ repeats, json });
  return 0;
}

/** It has options of its own. */
async function load(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(LOAD_HELP);
    return 0;
  }
  try {
    await benchLoad(parseLoadOptions(argv));
    return 0;
  } catch (error) {
    if (!(error instanceof LoadUsageError)) throw error;
    process.stderr.write(`bench load: ${error.message}\n\n${LOAD_HELP}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
