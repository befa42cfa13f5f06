import { exportGguf } from '@shoal/weights/node';
import { choice, text } from '../base/option-values.ts';
import { option } from '../base/options.ts';
import { CONFIG_OPTIONS, MODEL } from '../config.ts';
import { command, untilInterrupted } from './command.ts';
import { openModelOption } from './model-option.ts';
import { withProgress } from './progress.ts';

export const runExportGguf = command({
  name: 'export-gguf',
  usage: ['--model MODEL --out FILE [options]'],
  about: `
Writes a deepseek_v2 or deepseek_v3 checkpoint as a GGUF file (architecture deepseek2) that llama.cpp loads, so that its
numbers can be compared with ours. The MTP module is left out.`,
  options: {
    model: option('model', MODEL, {
      required: true,
      help: 'ORG/NAME[@REVISION] of a hub, or a Hugging Face directory; neither a *.gguf file nor a packed model',
    }),
    offline: CONFIG_OPTIONS.offline,
    out: option('out', text('FILE'), { required: true, help: 'the file to write; it appears when it is complete' }),
    type: option('type', choice('f32', 'f16', 'q8_0', 'q4_0'), {
      default: 'f32',
      help: "format of matrices, by llama.cpp's rules; norms, gates and biases stay f32",
    }),
  },
  run: (options, io) =>
    untilInterrupted(async (signal) => {
      const source = await openModelOption(options, io, signal);
      const { out, type } = options;
      await withProgress(io, 'writing', (onProgress) => exportGguf({ source, out, type, signal, onProgress }));
      io.stdout.write(`${options.out}: ${options.type}\n`);
    }),
});
