import type { SettingForm } from '@shoal/protocol';
import { z } from 'zod';

interface Entry<T> {
  title: string;
  /** One sentence for the console. */
  help: string;
  form: SettingForm;
  schema: z.ZodType<T>;
  /** Where no option of the start says otherwise. */
  default: T;
  /** The option of the start that gives its default. */
  option?: string;
  /** Whether only operators may see the value. */
  isSecret?: true;
}

type Words = Pick<Entry<never>, 'title' | 'help' | 'option' | 'isSecret'>;

const onOff = (words: Words): Entry<boolean> => ({
  ...words,
  form: { kind: 'switch' },
  schema: z.boolean('must be true or false'),
  default: false,
});

const whole = (least: number, most: number, initial: number, words: Words): Entry<number> => {
  const error = `must be a whole number from ${least} to ${most}`;
  const schema = z.number(error).int(error).min(least, error).max(most, error);
  return { ...words, form: { kind: 'whole', least, most }, schema, default: initial };
};

const share = (least: number, most: number, initial: number, words: Words): Entry<number> => {
  const error = `must be a number from ${least} to ${most}`;
  const schema = z.number(error).min(least, error).max(most, error);
  return { ...words, form: { kind: 'share', least, most }, schema, default: initial };
};

/** One line, or several. Without control characters, since it is shown to strangers and written to logs. */
const text = (kind: 'text' | 'long-text', mostChars: number, words: Words): Entry<string> => ({
  ...words,
  form: { kind, mostChars },
  schema: z
    .string('must be a text')
    .trim()
    .max(mostChars, `must have ${mostChars} characters or fewer`)
    // eslint-disable-next-line no-control-regex
    .regex(kind === 'text' ? /^[^\u0000-\u001f\u007f]*$/ : /^[^\u0000-\u0009\u000b-\u001f\u007f]*$/, {
      error: kind === 'text' ? 'must be one line without control characters' : 'must have no control characters',
    }),
  default: '',
});

/** Empty, or where a program listens. */
const url = (words: Words): Entry<string> => {
  const base = text('text', 2_000, words);
  const error = 'must be empty, or a URL that begins with https:// or http://';
  return { ...base, schema: base.schema.refine((given) => given === '' || isHttpUrl(given), { error }) };
};

function isHttpUrl(given: string): boolean {
  return URL.canParse(given) && /^https?:$/.test(new URL(given).protocol);
}

/** All settings, in the order in which the console shows them. */
export const SETTINGS = {
  operatorName: text('text', 80, {
    title: 'Operator',
    help: 'Who runs this coordinator, as donors and visitors read it.',
  }),
  operatorContact: text('text', 200, {
    title: 'Contact',
    help: 'Where donors can write to: an e-mail address or a URL.',
  }),
  about: text('long-text', 1_000, {
    title: 'About',
    help: 'What the model is used for, as donors read it before they lend a GPU.',
  }),
  replicas: whole(1, 16, 2, {
    title: 'Replicas',
    help: 'Copies of each expert, on tabs of different donors, as far as the memory that is lent allows.',
    option: '--replicas',
  }),
  deviceLimit: whole(0, 64, 0, {
    title: 'Device limit',
    help: 'Tabs that a token may use in a layer; 0 is no limit. A limit makes laps cheaper and may change answers.',
    option: '--device-limit',
  }),
  auditShare: share(0.01, 1, 0.02, {
    title: 'Audit share',
    help: 'The least share of a tab’s rows that the coordinator computes again, however long the tab has been right.',
  }),
  inviteOnly: onOff({
    title: 'Invited donors only',
    help: 'Only donors with an invitation may join. Tabs that have none are dismissed.',
  }),
  drainAll: onOff({
    title: 'Drain all tabs',
    help: 'All tabs rest, and the coordinator computes everything itself, until this is switched off.',
  }),
  alertWebhook: {
    ...url({
      title: 'Alerts to',
      help: 'A webhook that is told what needs attention; empty for none.',
    }),
    isSecret: true,
  },
  creditPriority: onOff({
    title: 'Credit buys priority',
    help: 'Requests of donors whose work was verified go first in the queue.',
  }),
} satisfies Record<string, Entry<string> | Entry<number> | Entry<boolean>>;

export type SettingName = keyof typeof SETTINGS;
export type SettingValues = { [Name in SettingName]: (typeof SETTINGS)[Name]['default'] };
export type SettingChanges = { [Name in SettingName]?: SettingValues[Name] | null };

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];

export function entryOf(name: SettingName): Entry<string | number | boolean> {
  return SETTINGS[name] as Entry<string | number | boolean>;
}

/** A change as it is asked for over HTTP: any of the settings, null for the default. */
export const settingChangesSchema = z.strictObject(
  Object.fromEntries(SETTING_NAMES.map((name) => [name, entryOf(name).schema.nullable().optional()])),
) as unknown as z.ZodType<SettingChanges>;
