import { z } from 'zod';

/**
 * What the lab page (`/lab`) asks and gets: GET /v1/gates says which gates there are, and POST /v1/gates runs the model over a text
 * with one of them. The coordinator is trusted, so what it answers are plain types.
 */

/** Tokens of a text: as many as a pass of prompt rows has at most, since some gates must see all of them at once. */
export const LAB_MAX_TOKENS = 256;
/** Enough for these, however long the words. */
const MAX_TEXT_CHARS = 8_192;
const MAX_TABS = 64;

/** The name of the model's own gate, whatever its kind. */
export const OWN_GATE = 'own';

export const labRequestSchema = z.object({
  text: z
    .string()
    .min(1)
    .max(MAX_TEXT_CHARS)
    .meta({ description: `A text of up to ${LAB_MAX_TOKENS} tokens.` }),
  gate: z
    .string()
    .max(64)
    .default(OWN_GATE)
    .meta({ description: '`own` for the model’s gate, or the name of one that takes its place.' }),
  settings: z
    .record(z.string().max(64), z.union([z.number(), z.boolean(), z.string().max(64)]))
    .default({})
    .meta({ description: 'Of that gate; what is missing has the value that GET /v1/gates names.' }),
  tabs: z.int().min(1).max(MAX_TABS).nullish().meta({
    description: 'Count tabs and bytes as if each layer’s experts were on this many; default: where they are.',
  }),
});
export type LabRequest = z.infer<typeof labRequestSchema>;

/** A setting of a gate, as a field of a form has it. */
export interface GateSetting {
  name: string;
  kind: 'integer' | 'number' | 'boolean' | 'choice';
  /** The value that a form begins with; null if it may be absent. */
  value: number | boolean | string | null;
  min?: number;
  max?: number;
  choices?: string[];
}

export interface LabGate {
  name: string;
  title: string;
  /** The paper. */
  source: string;
  sees: 'row' | 'sequence';
  /** Whether it gives tokens experts, or experts mixtures of tokens. */
  gives: 'assignments' | 'slots';
  settings: GateSetting[];
}

export interface LabFacts {
  model: string;
  /** The kind of the model's own gate, and its settings in words. */
  own: { title: string; settings: Record<string, number | boolean | string> };
  layers: number[];
  experts: number;
  expertsPerToken: number;
  /** Tabs that serve now. */
  tabs: number;
  maxTokens: number;
  /** Those that can take the place of the model's. */
  gates: LabGate[];
  /** Why there are none. */
  refusal?: string;
}

/** The figures of one layer. */
export interface LayerFigures {
  /** [experts]: tokens that each was given; of slots, those that it has. */
  load: number[];
  /** Entropy of the load, in bits: log2 of the number of experts if all have the same. */
  loadBits: number;
  /** Mean entropy of a token's weights, in bits. */
  weightBits: number;
  /** Experts of a token: fewest, mean, most. */
  expertsPerToken: [number, number, number];
  /** Assignments that no expert had room for, and tokens that are left with none. */
  dropped: number;
  withoutExpert: number;
  /** Mean number of tabs that a token is sent to, and bytes of a token's rows, both ways. */
  tabsPerToken: number;
  bytesPerToken: number;
}

export interface LabLayer {
  layer: number;
  figures: LayerFigures;
  /** [tokens], one past each token's last assignment; absent where the gate makes slots. */
  rowEnd?: number[];
  experts?: number[];
  weights?: number[];
  /** (token, expert) that had no room. */
  dropped?: [number, number][];
  /** [slots, tokens] and [tokens, slots]: what each token contributes to a slot, and each slot to a token. */
  dispatch?: number[];
  combine?: number[];
  slotsPerExpert?: number;
}

export interface LabStudy {
  model: string;
  gate: string;
  title: string;
  /** Whether this is the gate that the model was trained with. */
  isOwn: boolean;
  settings: Record<string, number | boolean | string>;
  tokens: { id: number; text: string }[];
  experts: number;
  /** Mean −ln p of the text's tokens but the first, in nats; null for a single token, and of an encoder. */
  nll: number | null;
  /** Tabs that were counted with, and whether they were assumed. */
  tabs: number;
  tabsAreAssumed: boolean;
  layers: LabLayer[];
}
