import type { z } from 'zod';
import type { TextClient } from '../text/text-thread.ts';
import type { Caller } from './caller.ts';
import type { ParsedRequest, ParseDeps } from './requests/parsed-request.ts';
import type { AnswerShape } from './shapes/shape.ts';

/** An endpoint that answers with generated text. */
export interface Endpoint<Body> {
  url: string;
  schema: z.ZodType<Body>;
  /** What a body asks for. Throws an ApiError that names the parameter. */
  read(body: Body, caller: Caller): Asked;
}

/** A request that has been read. */
export interface Read {
  /** What has no effect, beside the parameters that the schema doesn't know. */
  ignored?: readonly string[];
}

/** One for generated text. */
export interface Asked extends Read {
  /** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
  parse(deps: ParseDeps, client: TextClient): Promise<ParsedRequest>;
  /** How the answer is written. */
  shape: AnswerShape;
}

/** An endpoint that answers with one document and generates nothing, about a text say. */
export interface PlainEndpoint<Body> {
  url: string;
  schema: z.ZodType<Body>;
  /** What a body asks for. Throws an ApiError that names the parameter. */
  read(body: Body, caller: Caller): AskedDocument;
}

/** What an endpoint needs of the request that it answers, where that takes the model's work. */
export interface PlainWork {
  requestId: string;
  signal: AbortSignal;
  /** Counts the work against what the API key may have, until the request ends. Throws an ApiError where that is too much. */
  hold(promptTokens: number): void;
}

/** A request for one document. */
export interface AskedDocument extends Read {
  /**
   * A document, or one that is written already. Rejects with an ApiError that names the parameter, or with the reason of the
   * client's signal.
   */
  answer(deps: ParseDeps, client: TextClient, work: PlainWork): Promise<object | { json: string }>;
}
