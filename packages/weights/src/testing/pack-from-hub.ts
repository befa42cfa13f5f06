import { openSource } from '../node/source/open-source.ts';
import { packModel } from '../node/pack-model.ts';

/** A process that packs NAME into OUT as q8, for tests that kill it. HF_ENDPOINT and HF_HOME say from where. */
const [name, outDir] = process.argv.slice(2) as [string, string];
await packModel({ source: await openSource(name, { patience: { delayMs: 1 } }), outDir, quant: 'q8', threads: 0 });
