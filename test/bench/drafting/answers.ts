import { createRng } from '@shoal/model';
import { startTinyCoordinator } from '../../integration/tiny-coordinator.ts';
import { covered, until, VirtualDonor } from '../../integration/virtual-donor.ts';
import { fables, heldOutStories } from '../load/prompts.ts';

/** Pairs of requests at a time: one with drafts and one without. */
const AT_A_TIME = 6;
/** Requests between one tab's death or coming and the next. */
const BETWEEN_CHURN = 12;
const TABS = 3;
const REQUEST_TIMEOUT_MS = 120_000;

type Asked = Record<string, unknown>;

/**
 * Asks random requests over HTTP with drafts and without, while tabs join and die, and throws unless all answers are the same: ids,
 * texts, log-probabilities and ends.
 */
export async function benchDraftedAnswers(requests: number): Promise<void> {
  const coordinator = await startTinyCoordinator({ replicas: 2, maxBatch: 16 });
  const tabs: VirtualDonor[] = [];
  const join = async (): Promise<void> => void tabs.push(await VirtualDonor.join(coordinator));
  const rng = createRng(14);
  const counts: Record<string, number> = {};
  const different: Asked[] = [];
  let [next, tokens] = [0, 0];
  try {
    for (let tab = 0; tab < TABS; tab++) await join();
    await until('tabs to serve', () => covered(coordinator));
    const worker = async (): Promise<void> => {
      while (next < requests) {
        const number = next++;
        if (number % (2 * BETWEEN_CHURN) === BETWEEN_CHURN) tabs.shift()?.kill();
        if (number % (2 * BETWEEN_CHURN) === 2 * BETWEEN_CHURN - 1) await join();
        const { asked, traits } = anyRequest(number, rng);
        for (const trait of traits) counts[trait] = (counts[trait] ?? 0) + 1;
        const pair = [ask(coordinator.url, asked), ask(coordinator.url, { ...asked, shoal: { speculate: false } })];
        const [drafted, plain] = await Promise.all(pair);
        tokens += plain!.tokens;
        if (drafted!.answer !== plain!.answer) different.push(asked);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    const { drafted, accepted } = coordinator.scheduler.speculation.totals;
    const kinds = Object.entries(counts).map(([trait, count]) => `${trait} ${count}`);
    process.stdout.write(
      `${requests - different.length} of ${requests} answers are the same with drafts and without (${tokens} tokens; ` +
        `${accepted} of ${drafted} drafts were right; tabs died ${Math.floor((requests + BETWEEN_CHURN - 1) / (2 * BETWEEN_CHURN))} times).\n` +
        `Requests by kind: ${kinds.join(', ')}.\n`,
    );
  } finally {
    await Promise.all(tabs.map((tab) => tab.close()));
    await coordinator.close();
  }
  if (different.length > 0) throw new Error(`answers differ: ${JSON.stringify(different.slice(0, 3))}`);
}

/** A request with any of the parameters that drafts could disturb, and their names. */
function anyRequest(number: number, rng: () => number): { asked: Asked; traits: string[] } {
  const texts = [...heldOutStories(), ...fables()];
  const words = texts[number % texts.length]!.split(' ');
  const temperature = [0, 0.7, 1.3][number % 3]!;
  const traits = [temperature === 0 ? 'greedy' : `temperature ${temperature}`];
  const some = (share: number, trait: string, fields: Asked): Asked => {
    if (rng() >= share) return {};
    traits.push(trait);
    return fields;
  };
  const asked = {
    model: 'tiny-stories',
    prompt: words.slice(0, 3 + Math.floor(rng() * 25)).join(' '),
    max_tokens: 1 + Math.floor(rng() * 48),
    temperature,
    seed: number,
    ...(temperature > 0 && some(0.5, 'top_p', { top_p: 0.5 + rng() / 2 })),
    ...(temperature > 0 && some(0.4, 'top_k', { top_k: 1 + Math.floor(rng() * 40) })),
    ...some(0.4, 'logprobs', { logprobs: 1 + Math.floor(rng() * 4) }),
    ...some(0.3, 'stop', { stop: [['.', ' and'], [' the'], ['!', ' was']][Math.floor(rng() * 3)] }),
    ...some(0.2, 'n', { n: 2 + Math.floor(rng() * 2) }),
    ...some(0.2, 'echo', { echo: true }),
    ...some(0.2, 'mask', { guided_regex: ['[A-Z][a-z ]{5,60}[.]', '([a-z]+ ){3,9}[a-z]+[.]'][Math.floor(rng() * 2)] }),
    ...some(0.2, 'penalties', { presence_penalty: rng(), frequency_penalty: rng() }),
  };
  return { asked, traits };
}

/** The choices of an answer, as one text. */
async function ask(url: string, asked: Asked): Promise<{ answer: string; tokens: number }> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asked),
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  const body = (await response.json()) as { choices?: unknown[]; usage?: { completion_tokens: number } };
  if (!body.choices) throw new Error(`${response.status} ${JSON.stringify(body)} for ${JSON.stringify(asked)}`);
  return { answer: JSON.stringify(body.choices), tokens: body.usage?.completion_tokens ?? 0 };
}
