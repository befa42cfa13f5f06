import type { AnswerPart, PartEvent } from '../parts.ts';
import type { ItemWriter } from './items.ts';

type NamedEvent = readonly [type: string, data: object];

/** The events of a stream that tell of a change of one part. `closed` is the status of an item that is complete. */
export function eventsOf(change: PartEvent, writer: ItemWriter, closed: 'completed' | 'incomplete'): NamedEvent[] {
  const { index, part } = change;
  const place = { item_id: writer.idOf(index, part), output_index: index };
  switch (change.type) {
    case 'open':
      return [
        ['response.output_item.added', { output_index: index, item: writer.begun(index, part) }],
        ...begun(part, place, writer),
      ];
    case 'more':
      return more(change, place, writer);
    case 'close':
      return [
        ...ended(part, place, writer),
        ['response.output_item.done', { output_index: index, item: writer.item(index, part, closed) }],
      ];
    default:
      return change satisfies never;
  }
}

function begun(part: AnswerPart, place: object, writer: ItemWriter): NamedEvent[] {
  if (part.type === 'call') return [];
  if (part.type === 'content') {
    return [['response.content_part.added', { ...place, content_index: 0, part: writer.textPart('', []) }]];
  }
  return writer.options.asSummary
    ? [['response.reasoning_summary_part.added', { ...place, summary_index: 0, part: summaryPart('') }]]
    : [['response.content_part.added', { ...place, content_index: 0, part: reasoningPart('') }]];
}

function more(
  { part, text: delta, tokens }: Extract<PartEvent, { type: 'more' }>,
  place: object,
  writer: ItemWriter,
): NamedEvent[] {
  switch (part.type) {
    case 'call':
      return [['response.function_call_arguments.delta', { ...place, delta }]];
    case 'content': {
      const logprobs = writer.logprobs(tokens);
      return [['response.output_text.delta', { ...place, content_index: 0, delta, logprobs }]];
    }
    case 'reasoning':
      return writer.options.asSummary
        ? [['response.reasoning_summary_text.delta', { ...place, summary_index: 0, delta }]]
        : [['response.reasoning_text.delta', { ...place, content_index: 0, delta }]];
    default:
      return part satisfies never;
  }
}

function ended(part: AnswerPart, place: object, writer: ItemWriter): NamedEvent[] {
  if (part.type === 'call') {
    const { name, arguments: text } = part;
    const own = writer.options.namespaces.get(name)?.name ?? name;
    return [['response.function_call_arguments.done', { ...place, name: own, arguments: text }]];
  }
  const { text } = part;
  if (part.type === 'content') {
    const whole = writer.textPart(text, part.tokens);
    return [
      ['response.output_text.done', { ...place, content_index: 0, text, logprobs: whole.logprobs }],
      ['response.content_part.done', { ...place, content_index: 0, part: whole }],
    ];
  }
  return writer.options.asSummary
    ? [
        ['response.reasoning_summary_text.done', { ...place, summary_index: 0, text }],
        ['response.reasoning_summary_part.done', { ...place, summary_index: 0, part: summaryPart(text) }],
      ]
    : [
        ['response.reasoning_text.done', { ...place, content_index: 0, text }],
        ['response.content_part.done', { ...place, content_index: 0, part: reasoningPart(text) }],
      ];
}

const summaryPart = (text: string) => ({ type: 'summary_text', text });
const reasoningPart = (text: string) => ({ type: 'reasoning_text', text });
