import { benchAdapters } from './adapters.ts';
import { benchCapacity } from './capacity.ts';
import { benchCoordinators } from './coordinators.ts';
import { benchCredit } from './credit.ts';
import { benchDraftHeads } from './draft-heads.ts';
import { benchDraftModel } from './draft-model.ts';
import { benchEngine, ENGINE_QUANTS } from './engine.ts';
import { benchGrammar } from './grammar.ts';
import { benchSchemaAnswers } from './schema-answers.ts';
import { benchHead } from './head.ts';
import { benchHedges } from './hedges.ts';
import { benchChoice } from './drafting/choice.ts';
import { benchDraftedAnswers } from './drafting/answers.ts';
import { benchHostile } from './hostile.ts';
import { benchKernels } from './kernels.ts';
import { benchLaps } from './lap-overhead.ts';
import { benchLoad } from './load/load.ts';
import { LOAD_HELP, LoadUsageError, parseLoadOptions } from './load/options.ts';
import { benchNetwork } from './network/network.ts';
import { NETWORK_HELP, NetworkUsageError, parseNetworkOptions } from './network/options.ts';
import { benchPromptLaps } from './prompt-laps.ts';
import { benchQuants } from './quants.ts';
import { benchRepetition } from './repetition/repetition.ts';
import { benchSeq2Seq } from './seq2seq.ts';
import { benchStripes } from './stripes.ts';
import { benchSwarm } from './swarm.ts';
import { benchWasm } from './wasm.ts';

const HELP = `npm run bench -- [suite] [options]

  network          time per token and streams over 0 to 50 ms beside their floors; its own options: bench network --help (default)
  load             what comes in at a stated rate, over a network of a stated length; its own options: bench load --help
  prompt-laps      first tokens and gaps between tokens by how far prompts may hold streams up (--prompt-laps), in virtual time
  swarm            placement beside its baselines, planning times, eight real tabs beside the simulator, two minutes of crashes
  laps             what a lap costs besides its kernel, stage by stage, with four real tabs and no delay; what 10,000 leave behind
  stripes          large frames in stripes over several PeerConnections, on a link of 20 ms
  hedges           lap times with and without hedging, on steady lines and lines with spikes, in virtual time
  coordinators     tokens/s of one and of three coordinators over a Postgres server, each behind a line of a stated rate, at 20 ms
  hostile          what one hostile donor of each kind does to 16 streams, beside the same streams without it (--only KIND)
  capacity         500 idle tabs beside 16 streams: event loop, memory of each
  credit           credit on the page, in the console and in the database, after churn and two restarts (--seconds N; 1800)
  adapters         LoRA adapters loaded and unloaded 200 times under 16 streams: answers that fail or change, memory;
                   tokens/s through tabs; what a token costs under an adapter, and under a mixture of some
  seq2seq          answers of an encoder–decoder of switch-base-8's dimensions, alone and 16 together, at 20 ms (4 GB of disk)
  repetition       drafts from texts beside prompt lookup, against known answers to agents' requests: tokens a pass, rows, µs
  choice           drafter, depth and width of drafts beside all fixed choices, in virtual time, by round trip, streams and text (--only CELL)
  drafted-answers  500 random requests with and without drafts while tabs come and go: all answers must be the same (--requests N)
  quants           error of each format of the experts beside rules not taken, and how fast experts are packed
  engine           the coordinator alone beside llama.cpp: decode and prefill, default model and V2-Lite's dimensions (12 GB of disk)
  draft-model      a draft model of Qwen3-0.6B's dimensions: ms a call by rows, and from which round trip on it pays
  draft-heads      EAGLE-3 and DFlash heads of Qwen3-30B-A3B's dimensions: ms a call by rows and blocks
  head             drawing tokens from a vocabulary of 151,936: ms a pass, and the event loop under 64 streams
  grammar          what masks cost at a vocabulary of 151,936, 64 answers under grammars at once, and hostile schemas
  schemas          the default model's answers to 300 schemas, in eight ways, validated (20 minutes)
  wasm             experts on the processor: GB/s of weights by format, rows and threads, beside a read loop
  kernels          the expert FFN on WebGPU beside onnxruntime-web's MatMulNBits, for one row and for 32

  --quant Q        engine: q8 or q4 alone; draft-model: q8 (default) or q4
  --repeats N      measurements of each figure, of which the median counts (3)
  --json           one JSON document on stdout instead of the table
  --help           print this
`;

const SUITES = [
  'capacity',
  'credit',
  'adapters',
  'seq2seq',
  'prompt-laps',
  'hedges',
  'coordinators',
  'hostile',
  'laps',
  'stripes',
  'swarm',
  'repetition',
  'choice',
  'drafted-answers',
  'draft-model',
  'draft-heads',
  'quants',
  'wasm',
  'head',
  'grammar',
  'schemas',
  'engine',
  'kernels',
];

const WITH_VALUE = new Set(['--repeats', '--quant', '--only', '--requests', '--seconds']);

function valueOf(argv: readonly string[], flag: string): string | undefined {
  const at = argv.indexOf(flag);
  return at === -1 ? undefined : argv[at + 1];
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'load') return withOwnOptions(LOAD, argv.slice(1));
  if (argv[0] === 'network') return withOwnOptions(NETWORK, argv.slice(1));
  const isWithoutSuite = argv.every((arg, i) => (i > 0 || arg.startsWith('-')) && !SUITES.includes(arg));
  if (isWithoutSuite && argv[0] !== '--help') return withOwnOptions(NETWORK, argv);
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
  if (suites.includes('capacity')) await benchCapacity({ json });
  if (suites.includes('credit') && !(await benchCredit({ json, seconds: Number(valueOf(argv, '--seconds') ?? 1800) })))
    return 1;
  if (suites.includes('adapters')) await benchAdapters({ json });
  if (suites.includes('seq2seq')) await benchSeq2Seq({ json, repeats });
  if (suites.includes('prompt-laps')) await benchPromptLaps({ json });
  if (suites.includes('hedges')) await benchHedges({ json });
  if (suites.includes('coordinators')) await benchCoordinators({ json });
  if (suites.includes('hostile')) await benchHostile({ json, only: valueOf(argv, '--only') });
  if (suites.includes('swarm')) await benchSwarm({ json });
  if (suites.includes('kernels')) await benchKernels({ repeats, json });
  if (suites.includes('engine')) await benchEngine({ repeats, json, quant });
  if (suites.includes('laps')) await benchLaps({ json });
  if (suites.includes('stripes')) await benchStripes({ json });
  if (suites.includes('repetition')) await benchRepetition({ json });
  const only = valueOf(argv, '--only');
  if (suites.includes('choice')) await benchChoice({ json, repeats, ...(only !== undefined && { only }) });
  if (suites.includes('drafted-answers')) await benchDraftedAnswers(Number(valueOf(argv, '--requests') ?? 500));
  if (suites.includes('draft-model')) await benchDraftModel({ repeats, json, quant });
  if (suites.includes('draft-heads')) await benchDraftHeads({ repeats, json });
  if (suites.includes('quants')) await benchQuants({ repeats, json });
  if (suites.includes('head')) await benchHead({ repeats, json });
  if (suites.includes('grammar')) await benchGrammar({ json });
  if (suites.includes('schemas')) await benchSchemaAnswers({ json });
  if (suites.includes('wasm')) await benchWasm({ repeats, json });
  return 0;
}

interface Suite {
  name: string;
  help: string;
  usageError: new (message: string) => Error;
  run: (argv: readonly string[]) => Promise<void>;
}

const LOAD: Suite = {
  name: 'load',
  help: LOAD_HELP,
  usageError: LoadUsageError,
  run: (argv) => benchLoad(parseLoadOptions(argv)),
};
const NETWORK: Suite = {
  name: 'network',
  help: NETWORK_HELP,
  usageError: NetworkUsageError,
  run: (argv) => benchNetwork(parseNetworkOptions(argv)),
};

async function withOwnOptions({ name, help, usageError, run }: Suite, argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(help);
    return 0;
  }
  try {
    await run(argv);
    return 0;
  } catch (error) {
    if (!(error instanceof usageError)) throw error;
    process.stderr.write(`bench ${name}: ${error.message}\n\n${help}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
