import type { Contribution, ContributionReply, ContributionRequest } from '@shoal/protocol';
import type { PageTexts } from '@shoal/protocol/page';
import { signal } from '@preact/signals';
import type { Prove } from './browser-key.ts';

const GREETING_KEY = 'shoal.greeting';
const WATTS_KEY = 'shoal.watts';
/** Of a laptop's or a small desktop's GPU at work. */
const DEFAULT_WATTS = 60;
const MAX_WATTS = 1_000;

/** What the page remembers of the last visit, to greet its donor without asking anybody. */
export interface Greeting {
  name: string | null;
  tokens: number;
}

/** What a link to this page asks for, once its reader agrees. */
export type LinkRequest = Extract<ContributionRequest, { do: 'redeem' | 'join-team' }>;

export interface DeskOptions {
  /** Opens the browser's own key; undefined where it can have none. */
  openKey: () => Promise<Prove | undefined>;
  ask: (prove: Prove, request: ContributionRequest) => Promise<ContributionReply>;
  storage: PageTexts;
}

/** The donor's account as the page knows it, and what the donor asks about it. */
export class ContributionDesk {
  /** As of the coordinator's last word; undefined before any. */
  readonly known = signal<Contribution | undefined>(undefined);
  /** What the last request came to, for the donor to read. */
  readonly told = signal<{ isGood: boolean; text: string } | undefined>(undefined);
  readonly isBusy = signal(false);
  /** What came of the last request besides the account. */
  readonly made = signal<Omit<Extract<ContributionReply, { ok: true }>, 'ok' | 'contribution'>>({});
  readonly asked = signal<LinkRequest | undefined>(undefined);
  readonly watts = signal(DEFAULT_WATTS);
  readonly greeting: Greeting | undefined;
  readonly #options: DeskOptions;

  constructor(options: DeskOptions) {
    this.#options = options;
    this.greeting = readGreeting(options.storage);
    const watts = Number(options.storage.getItem(WATTS_KEY));
    if (watts >= 1 && watts <= MAX_WATTS) this.watts.value = watts;
  }

  /** The coordinator's newest figures. */
  read(contribution: Contribution): void {
    const { name, total, kept } = contribution;
    const before = this.known.value;
    this.known.value = contribution;
    if (kept && (before?.total.tokens !== total.tokens || before.name !== name)) {
      const greeting: Greeting = { name, tokens: Math.floor(total.tokens) };
      this.#options.storage.setItem(GREETING_KEY, JSON.stringify(greeting));
    }
  }

  /** Asks for a change, and tells what came of it. Returns whether it was done. */
  async ask(request: ContributionRequest, done: string): Promise<boolean> {
    if (this.isBusy.value) return false;
    this.isBusy.value = true;
    this.told.value = undefined;
    this.made.value = {};
    try {
      const prove = await this.#options.openKey();
      const reply = prove ? await this.#options.ask(prove, request) : NO_KEY;
      if (!reply.ok) return this.#tell(false, reply.message);
      const { ok: _, contribution, ...made } = reply;
      this.read(contribution);
      if (request.do === 'delete') this.#options.storage.removeItem(GREETING_KEY);
      this.made.value = made;
      return this.#tell(true, done);
    } finally {
      this.isBusy.value = false;
    }
  }

  setWatts(watts: number): void {
    if (!(watts >= 1 && watts <= MAX_WATTS)) return;
    this.watts.value = watts;
    this.#options.storage.setItem(WATTS_KEY, String(watts));
  }

  #tell(isGood: boolean, text: string): boolean {
    this.told.value = { isGood, text };
    return isGood;
  }
}

const NO_KEY = {
  ok: false,
  message:
    'This browser keeps no key for this page, so the coordinator can’t tell that it is you. Allow the page to keep data, and open it over HTTPS.',
} as const;

function readGreeting(storage: PageTexts): Greeting | undefined {
  try {
    const { name, tokens } = JSON.parse(storage.getItem(GREETING_KEY) ?? '{}') as Partial<Greeting>;
    if (typeof tokens !== 'number' || !(tokens > 0)) return undefined;
    return { name: typeof name === 'string' ? name : null, tokens };
  } catch {
    return undefined;
  }
}

/** Takes what a link asks for (`#link=CODE`, `#team=NUMBER`) out of the address, where it would be seen and copied along. */
export function takeLinkRequest({
  location,
  history,
}: {
  location: Pick<Location, 'hash' | 'pathname' | 'search'>;
  history: Pick<History, 'replaceState'>;
}): LinkRequest | undefined {
  const [, kind, value = ''] = /^#(link|team)=([\w-]{1,64})$/.exec(location.hash) ?? [];
  if (kind === undefined) return undefined;
  history.replaceState(null, '', location.pathname + location.search);
  if (kind === 'link') return value.length >= 22 ? { do: 'redeem', code: value } : undefined;
  const team = Number(value);
  return Number.isSafeInteger(team) && team > 0 ? { do: 'join-team', team } : undefined;
}
