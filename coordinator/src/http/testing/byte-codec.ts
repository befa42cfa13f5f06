import type { TextCodec } from '../codec.ts';

const BEGIN_OF_TEXT = 256;
const BEGIN_OF_TEXT_NAME = '<|begin|>';

/** One token per UTF-8 byte: every character outside ASCII is split over tokens, which is what tests want. */
export function byteCodec(): TextCodec {
  return {
    vocabSize: 257,
    async encode(task) {
      const text =
        'text' in task ? task.text : task.messages.map(({ role, content }) => `${role}: ${content}\n`).join('');
      const bytes = Buffer.from(text);
      if (bytes.length > task.maxTokens) return { fault: { reason: 'too-long', bytes: bytes.length } };
      return { ids: Uint32Array.from([BEGIN_OF_TEXT, ...bytes]) };
    },
    tokenBytes: (id) => (id === BEGIN_OF_TEXT ? Buffer.from(BEGIN_OF_TEXT_NAME) : Uint8Array.of(id)),
    tokenText: (id) => (id === BEGIN_OF_TEXT ? BEGIN_OF_TEXT_NAME : id < 0x80 ? String.fromCharCode(id) : undefined),
    specialText: (id) => (id === BEGIN_OF_TEXT ? BEGIN_OF_TEXT_NAME : undefined),
    idOf: (text) => (text === BEGIN_OF_TEXT_NAME ? BEGIN_OF_TEXT : undefined),
    dropsFirstSpace: false,
    fim: undefined,
    newDetokenizer: () => {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return {
        push: (id) => (id === BEGIN_OF_TEXT ? '' : decoder.decode(Uint8Array.of(id), { stream: true })),
        flush: () => decoder.decode(),
      };
    },
  };
}
