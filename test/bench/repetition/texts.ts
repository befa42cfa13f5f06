import { createRng, type Rng, type Tokenizer } from '@shoal/model';
import { heldOutText } from '../../golden/tiny-stories.ts';

/** Requests of one API key in the order in which they are answered, with the answers that a model gave. */
export interface Workload {
  name: string;
  requests: { promptIds: readonly number[]; answerIds: readonly number[] }[];
}

interface Turn {
  prompt: string;
  answer: string;
}

const NAMES = ['Rosa', 'Finn', 'Olive', 'Bram', 'Tilda', 'Otto', 'Wren', 'Hugo', 'Pia', 'Jasper'];
const PLACES = ['pond', 'market', 'barn', 'bridge', 'meadow', 'harbor'];
const KINDS =
  /\b(bear|boy|girl|puppy|donkey|duck|horse|snail|fox|rabbit|mouse|cat|owl|frog|squirrel|pigeon|goat|bird)\b/;

const stories = heldOutText
  .split('<|endoftext|>')
  .map((story) => story.trim())
  .filter((story) => story !== '');

/**
 * What agents ask for again and again, over the held-out stories: a text with changes, a list in JSON of what is in a text, and
 * the same prompt with other words in it. The words are the default model's, and the answers are made here, since drafting can be
 * measured against any known text.
 */
export function agentWorkloads(tokenizer: Tokenizer): Workload[] {
  const encode = ({ prompt, answer }: Turn): Workload['requests'][number] => ({
    promptIds: tokenizer.encode(`<|user|>${prompt}<|assistant|>`),
    answerIds: tokenizer.encode(answer),
  });
  return [
    { name: 'a text with changes', requests: editedTexts(createRng(1)).map(encode) },
    { name: 'lists in JSON', requests: jsonLists(createRng(2)).map(encode) },
    { name: 'a prompt with small changes', requests: changedPrompts(createRng(3)).map(encode) },
  ];
}

/** Prompts and answers of tokens drawn at random, in which nothing repeats but by chance. */
export function randomTexts(vocabSize: number): Workload {
  const rng = createRng(4);
  const ids = (count: number): number[] => Array.from({ length: count }, () => 4 + Math.floor(rng() * (vocabSize - 4)));
  return {
    name: 'random tokens',
    requests: Array.from({ length: 20 }, () => ({ promptIds: ids(400), answerIds: ids(400) })),
  };
}

/** Each story in three turns of one conversation: its hero gets another name, two sentences change, one goes and one comes. */
function editedTexts(rng: Rng): Turn[] {
  return stories.flatMap((story, i) => {
    const hero = heroOf(story);
    const name = NAMES[i % NAMES.length]!;
    const renamed = story.replaceAll(hero, name);
    const changed = withSentences(renamed, rng, ({ length }) => {
      const [first, second] = [pick(length, rng), pick(length, rng)];
      return (sentence, at) => (at === first || at === second ? otherSentence(story, rng) : sentence);
    });
    const moved = withSentences(changed, rng, ({ length }) => {
      const [gone, before] = [pick(length, rng), pick(length, rng)];
      return (sentence, at) =>
        at === gone ? '' : at === before ? `${otherSentence(story, rng)} ${sentence}` : sentence;
    });
    const asked = [
      `${story} Write it again, but call ${hero} ${name}.`,
      'Change two sentences that are not so good.',
      'Leave one sentence out, and add one.',
    ];
    const answers = [renamed, changed, moved];
    let conversation = '';
    return answers.map((answer, turn) => {
      const prompt = conversation + asked[turn]!;
      conversation = `${prompt}<|assistant|>${answer}<|user|>`;
      return { prompt, answer };
    });
  });
}

/** Of three stories at a time: who is in each, where it begins and how it ends. */
function jsonLists(rng: Rng): Turn[] {
  return stories.map((_, i) => {
    const chosen = [0, 1, 2].map((next) => stories[(i + next) % stories.length]!);
    const records = chosen.map((story) => {
      const sentences = sentencesOf(story);
      return {
        hero: heroOf(story),
        kind: KINDS.exec(story)?.[0] ?? 'child',
        place: PLACES[pick(PLACES.length, rng)],
        first: sentences[0],
        last: sentences.at(-1),
        sentences: sentences.length,
        happy: rng() < 0.7,
      };
    });
    const prompt = `${chosen.join('\n\n')}\n\nMake a list in JSON: hero, kind, place, first, last, sentences, happy.`;
    return { prompt, answer: JSON.stringify(records, null, 2) };
  });
}

/** Four stories, each asked for five times, with another hero and place in the prompt; a fifth of the sentences differ. */
function changedPrompts(rng: Rng): Turn[] {
  const bases = stories.slice(0, 4);
  return Array.from({ length: 20 }, (_, i) => {
    const story = bases[i % bases.length]!;
    const [name, place] = [NAMES[pick(NAMES.length, rng)]!, PLACES[pick(PLACES.length, rng)]!];
    const kind = KINDS.exec(story)?.[0] ?? 'child';
    const answer = withSentences(
      story.replaceAll(heroOf(story), name),
      rng,
      () => (sentence) => (rng() < 0.2 ? otherSentence(story, rng) : sentence),
    );
    return { prompt: `Tell me a story about ${name} the ${kind} at the ${place}, with a good end.`, answer };
  });
}

function withSentences(
  story: string,
  rng: Rng,
  change: (sentences: readonly string[]) => (sentence: string, at: number) => string,
): string {
  const sentences = sentencesOf(story);
  const changed = change(sentences);
  return sentences
    .map((sentence, at) => changed(sentence, at))
    .filter((sentence) => sentence !== '')
    .join(' ');
}

function otherSentence(than: string, rng: Rng): string {
  const others = stories.filter((story) => story !== than);
  const sentences = sentencesOf(others[pick(others.length, rng)]!);
  return sentences[pick(sentences.length, rng)]!;
}

/** The capitalised word that the story has most of, but for those that begin sentences. */
function heroOf(story: string): string {
  const counts = new Map<string, number>();
  for (const [, name] of story.matchAll(/[a-z,] ([A-Z][a-z]{2,})/g)) counts.set(name!, (counts.get(name!) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0]![0];
}

function sentencesOf(story: string): string[] {
  return story.match(/[^.!?]+[.!?]+"?\s*/g)!.map((sentence) => sentence.trim());
}

function pick(count: number, rng: Rng): number {
  return Math.floor(rng() * count);
}
