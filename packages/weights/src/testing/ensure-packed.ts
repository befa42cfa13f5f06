import { ensurePacked } from '../node/pack-model.ts';

/** A process that packs MODEL into CACHE as q8 and checks every byte, for tests of several at once. Prints the folder. */
const [modelDir, cacheDir] = process.argv.slice(2) as [string, string];
const onNotice = (text: string): void => void process.stderr.write(`${text}\n`);
const packed = await ensurePacked({ modelDir, cacheDir, quant: 'q8', onNotice });
await packed.verify();
process.stdout.write(packed.dir);
