import { setTimeout as delay } from 'node:timers/promises';
import { DonorBrowser } from '../browser/donor-tabs.ts';

/** Well above the default model's 12 MB. */
const PLEDGE_MIB = 128;
/** SwiftShader compiles shaders on the cores that also do everything else. */
const JOIN_TIMEOUT_MS = 180_000;
const PROMPT = { prompt: 'Once upon a time', max_tokens: 40, temperature: 0 };

/** What was seen of a coordinator that was used as a client and a donor would. */
export interface Rehearsal {
  version: string;
  text: string;
  /** Rows that the tab computed for the second answer. */
  rowsByTab: number;
}

/** Lets a coordinator of the default model answer alone, and again with a tab in Chromium. Throws where the two answers differ. */
export async function rehearse(url: string): Promise<Rehearsal> {
  const { version } = await json<{ version: string }>(`${url}/healthz`);
  const alone = await complete(url);
  const browser = await DonorBrowser.launch();
  try {
    const tab = await browser.open(url, PLEDGE_MIB);
    await covered(url, () => tab.page.innerText('body'));
    const before = await rowsByTabs(url);
    const text = await complete(url);
    if (text !== alone)
      throw new Error(`a tab changed the answer from ${JSON.stringify(alone)} to ${JSON.stringify(text)}`);
    const rowsByTab = (await rowsByTabs(url)) - before;
    if (rowsByTab === 0) throw new Error('the tab has computed no row');
    return { version, text, rowsByTab };
  } finally {
    await browser.close();
  }
}

async function complete(url: string): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const { choices } = await json<{ choices: { text: string }[] }>(`${url}/v1/completions`, {
    method: 'POST',
    headers,
    body: JSON.stringify(PROMPT),
  });
  return choices[0]!.text;
}

/** Until tabs serve every expert. */
async function covered(url: string, pageText: () => Promise<string>): Promise<void> {
  const giveUpMs = performance.now() + JOIN_TIMEOUT_MS;
  for (;;) {
    const { uncoveredExperts } = await json<{ uncoveredExperts: number }>(`${url}/readyz`);
    if (uncoveredExperts === 0) return;
    if (performance.now() > giveUpMs) throw new Error(`the tab serves nothing; its page says:\n${await pageText()}`);
    await delay(500);
  }
}

async function rowsByTabs(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const [, rows] = /^shoal_expert_rows_total\{by="tab"\} (\S+)$/m.exec(text) ?? [];
  return Number(rows ?? Number.NaN);
}

async function json<T>(url: string, init?: RequestInit): Promise<T> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T;
}
