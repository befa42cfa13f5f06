import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { writeRandomCheckpoint } from './random-checkpoint/write.ts';

const CONFIGS_DIR = join(import.meta.dirname, '../packages/model/src/testing/published-configs');
const HELP = `node --import tsx tools/random-checkpoint.ts --config NAME|FILE --out DIR [options]

Writes a checkpoint of random bfloat16 weights at a published model's real dimensions, with a config, an index and a tokenizer
that fit, to measure size and speed where the real weights are not to be had. The same options write the same bytes.

  --config NAME|FILE  a config.json, or one of those kept in this repository: DeepSeek-V2-Lite, DeepSeek-V3,
                      Qwen3-30B-A3B, OLMoE-1B-7B-0924, Mixtral-8x7B-v0.1, …
  --out DIR           where it goes
  --layers N          instead of the config's num_hidden_layers
  --seed N            (1)
  --file-gb N         divide the weights over files of about this many GB (5)
  --sparse            write only the first bytes of each tensor and leave holes for the rest
  --help              print this
`;

const GB = 1e9;

async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      config: { type: 'string' },
      out: { type: 'string' },
      layers: { type: 'string' },
      seed: { type: 'string', default: '1' },
      'file-gb': { type: 'string', default: '5' },
      sparse: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  if (!values.config || !values.out) throw new Error('--config and --out are needed; see --help');
  const started = performance.now();
  const { totalBytes } = await writeRandomCheckpoint({
    outDir: resolve(values.out),
    configPath: configPath(values.config),
    ...(values.layers !== undefined && { layers: number('--layers', values.layers) }),
    seed: number('--seed', values.seed),
    fileBytes: number('--file-gb', values['file-gb']) * GB,
    sparse: values.sparse,
    onProgress: progress(),
  });
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(`${values.out}: ${(totalBytes / GB).toFixed(2)} GB of weights in ${seconds.toFixed(1)} s\n`);
}

function configPath(nameOrFile: string): string {
  const published = join(CONFIGS_DIR, `${nameOrFile}.json`);
  return existsSync(published) ? published : resolve(nameOrFile);
}

function number(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0)) throw new Error(`${flag} ${JSON.stringify(text)} is not a number from 0 on`);
  return value;
}

/** Prints every 10 %. */
function progress(): (doneBytes: number, totalBytes: number) => void {
  let shown = 0;
  return (doneBytes, totalBytes) => {
    const tenths = Math.floor((10 * doneBytes) / totalBytes);
    if (tenths > shown) process.stderr.write(`${(shown = tenths) * 10} % of ${(totalBytes / GB).toFixed(2)} GB\n`);
  };
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`random-checkpoint: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
