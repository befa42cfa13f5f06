/** A prompt that is being computed. */
export interface PromptWork {
  client: string;
  /** Rows that are still to be computed, 1 at least. */
  remaining: number;
}

/** Rows that a client has at a time, so that prompts come forward in pieces worth a pass. */
const TURN_ROWS = 8;
/** Of its client's rows, what the longest-waiting prompt has in any case. */
const ELDEST_SHARE = 4;

/**
 * Divides the prompt rows of a pass among the prompts in prefill. Clients get equal parts, up to what each needs (round robin,
 * eight rows at a time, continued from pass to pass). Within a client, the prompt with the least left goes first, which
 * minimises the mean time to first token (shortest remaining processing time, Schrage 1968); a quarter is kept for the one that
 * has waited longest, so that none starves.
 */
export class PromptRows {
  /** The client that had the last turn. */
  #last: string | undefined;

  /** Rows for each of the prompts, which are in the order in which they began; `budget` in all, if that many are left. */
  of(prompts: readonly PromptWork[], budget: number): number[] {
    const byClient = new Map<string, number[]>();
    for (const [i, { client }] of prompts.entries()) {
      const own = byClient.get(client);
      if (own) own.push(i);
      else byClient.set(client, [i]);
    }
    const parts = this.#parts(byClient, prompts, budget);
    const rows = prompts.map(() => 0);
    for (const [client, own] of byClient) shortestFirst(own, prompts, parts.get(client) ?? 0, rows);
    return rows;
  }

  #parts(
    byClient: ReadonlyMap<string, number[]>,
    prompts: readonly PromptWork[],
    budget: number,
  ): ReadonlyMap<string, number> {
    const wanted = new Map<string, number>();
    for (const [client, own] of byClient)
      wanted.set(
        client,
        own.reduce((sum, i) => sum + prompts[i]!.remaining, 0),
      );
    const clients = [...byClient.keys()];
    const parts = new Map<string, number>();
    let left = budget;
    let at = clients.indexOf(this.#last ?? '') + 1;
    while (left > 0 && wanted.size > 0) {
      const client = clients[at++ % clients.length]!;
      const want = wanted.get(client);
      if (want === undefined) continue;
      const rows = Math.min(TURN_ROWS, want, left);
      parts.set(client, (parts.get(client) ?? 0) + rows);
      left -= rows;
      if (rows === want) wanted.delete(client);
      else wanted.set(client, want - rows);
      this.#last = client;
    }
    return parts;
  }
}

/** Divides `part` rows among one client's prompts, given by index. */
function shortestFirst(own: readonly number[], prompts: readonly PromptWork[], part: number, rows: number[]): void {
  const remaining = (i: number): number => prompts[i]!.remaining;
  const [eldest] = own;
  let left = part;
  const give = (i: number, most: number): void => {
    const more = Math.min(most, remaining(i) - rows[i]!, left);
    rows[i]! += more;
    left -= more;
  };
  give(eldest!, Math.ceil(part / ELDEST_SHARE));
  for (const i of own.toSorted((a, b) => remaining(a) - remaining(b))) give(i, Number.POSITIVE_INFINITY);
}
