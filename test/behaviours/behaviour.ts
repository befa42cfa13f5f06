import type { Servers } from './servers.ts';

/** A test of another server, by its file under that server's folder of tests. */
export interface SourceTest {
  server: 'llama.cpp' | 'vLLM';
  file: string;
  test: string;
}

/** Something that other servers' tests ask of the OpenAI- and Anthropic-compatible endpoints. */
export interface Behaviour {
  askedBy: readonly SourceTest[];
  says: string;
  /** Why it does not hold here. */
  differs?: string;
  /** Rejects where the behaviour does not hold. */
  run(servers: Servers): Promise<void>;
}

/** A file under `tools/server/tests/unit`. */
export function llama(file: string, test: string): SourceTest {
  return { server: 'llama.cpp', file: `${file}.py`, test };
}

/** A file under `tests`, where no other folder is named under `tests/entrypoints/openai`. */
export function vllm(file: string, test: string): SourceTest {
  return { server: 'vLLM', file: `${file}.py`, test };
}
