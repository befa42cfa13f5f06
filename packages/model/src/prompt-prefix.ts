import { z } from 'zod';
import { ModelError } from './errors.ts';

/** A `post_processor` of tokenizer.json, of which only what it puts before and after a text matters here. */
export type PostProcessor =
  | { type: 'ByteLevel' }
  | { type: 'TemplateProcessing'; single: readonly TemplatePiece[]; special_tokens: Record<string, { ids: number[] }> }
  | { type: 'BertProcessing' | 'RobertaProcessing'; cls: NamedToken; sep: NamedToken }
  | { type: 'Sequence'; processors: readonly PostProcessor[] };

type NamedToken = readonly [token: string, id: number];
type TemplatePiece = { SpecialToken: { id: string } } | { Sequence: { id: string } };

const id = z.int().min(0);

const namedToken = z.tuple([z.string(), id]);

export const postProcessorSchema: z.ZodType<PostProcessor> = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('ByteLevel') }),
    z.looseObject({
      type: z.literal('TemplateProcessing'),
      single: z.array(
        z.union([
          z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) }),
          z.looseObject({ Sequence: z.looseObject({ id: z.string() }) }),
        ]),
      ),
      special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(id) })),
    }),
    z.looseObject({ type: z.enum(['BertProcessing', 'RobertaProcessing']), cls: namedToken, sep: namedToken }),
    z.looseObject({ type: z.literal('Sequence'), processors: z.array(postProcessorSchema) }),
  ]),
);

/** The tokens that a post-processor puts after a text. */
export function textSuffix(processor: PostProcessor | null | undefined): number[] {
  switch (processor?.type) {
    case undefined:
    case 'ByteLevel':
      return [];
    case 'BertProcessing':
    case 'RobertaProcessing':
      return [processor.sep[1]];
    case 'Sequence':
      return processor.processors.flatMap(textSuffix);
    case 'TemplateProcessing': {
      const { single, special_tokens: tokens } = processor;
      return idsOf(single.slice(single.findLastIndex((piece) => 'Sequence' in piece) + 1), tokens);
    }
  }
}

/** Classes that, in transformers before 5, replace the post-processor by what `add_bos_token` says. */
const OBEYS_ADD_BOS = /^(Code)?Llama|^Gemma|^Cohere/;

export interface PrefixFacts {
  postProcessor: PostProcessor | null | undefined;
  addBos: boolean | null | undefined;
  bosTokenId: number | undefined;
  tokenizerClass: string | null | undefined;
}

/**
 * The tokens that a prompt begins with, which are transformers' with `add_special_tokens`: what the post-processor puts before a
 * text. Two wishes of tokenizer_config.json are respected as transformers 4 does, since the models were made with it, though
 * version 5 reads past them in byte-level tokenizers: `add_bos_token` adds the token where the post-processor adds nothing, and, for the tokenizers of
 * Llama's kind, takes everything away where it is false.
 *
 * What a post-processor puts after a text is left out: an end-of-text between a prompt and its continuation tells the model that
 * the two have nothing to do with each other.
 */
export function promptPrefix({ postProcessor, addBos, bosTokenId, tokenizerClass }: PrefixFacts): number[] {
  if (addBos === false && OBEYS_ADD_BOS.test(tokenizerClass ?? '')) return [];
  const prefix = postProcessor ? tokensBefore(postProcessor) : [];
  if (prefix.length > 0 || addBos !== true) return prefix;
  if (bosTokenId !== undefined) return [bosTokenId];
  const message = 'tokenizer_config.json: add_bos_token is true but bos_token is not set';
  throw new ModelError('contradiction', 'add_bos_token', message);
}

function tokensBefore(processor: PostProcessor): number[] {
  switch (processor.type) {
    case 'ByteLevel':
      return [];
    case 'BertProcessing':
    case 'RobertaProcessing':
      return [processor.cls[1]];
    case 'Sequence': {
      const [prefix = [], ...others] = processor.processors.map(tokensBefore).filter((tokens) => tokens.length > 0);
      // transformers would apply the second one's template for pairs.
      if (others.length > 0) throw badPostProcessor('several processors of a sequence add tokens');
      return prefix;
    }
    case 'TemplateProcessing':
      return templateTokensBefore(processor);
  }
}

function templateTokensBefore({
  single,
  special_tokens: tokens,
}: Extract<PostProcessor, { type: 'TemplateProcessing' }>): number[] {
  const end = single.findIndex((piece) => 'Sequence' in piece);
  if (end < 0) throw badPostProcessor('single has no place for the text');
  return idsOf(single.slice(0, end), tokens);
}

function idsOf(pieces: readonly TemplatePiece[], tokens: Record<string, { ids: number[] }>): number[] {
  return pieces.flatMap((piece) => {
    const name = 'SpecialToken' in piece ? piece.SpecialToken.id : '';
    const token = Object.hasOwn(tokens, name) ? tokens[name] : undefined;
    if (!token) throw badPostProcessor(`special_tokens lacks ${JSON.stringify(name)}`);
    return token.ids;
  });
}

function badPostProcessor(problem: string): ModelError {
  return new ModelError('bad-tokenizer', 'post_processor', `tokenizer.json: post_processor: ${problem}`);
}
