import { contributionAskSchema, type ContributionReply, HELLO_TIMEOUT_MS } from '@shoal/protocol';
import { startDeadline } from '@shoal/transport';
import type { Namespace, Socket } from 'socket.io';
import type { Access } from '../access/access.ts';
import { newChallenge, provenKey } from '../access/proof.ts';
import { type Clock, NetworkBuckets } from '../base/token-bucket.ts';
import { donorIdOf } from '../swarm/donor-id.ts';
import { type Contributions, parseRequest } from './contributions.ts';

const MINUTE_MS = 60_000;
/** Of one address: a person presses a few buttons, and a class shares an address. */
const ASKS_PER_MINUTE = 60;
/** Questions under way at a time, each with at most three statements. */
const MAX_ASKING = 32;
/** Time for the answer to be sent before the socket is closed. */
const FLUSH_MS = 200;

export interface ContributionGatewayOptions {
  access: Pick<Access, 'addressOfSocket'>;
  contributions: Pick<Contributions, 'ask'>;
  clock?: Clock;
}

/** Answers donors' questions about their accounts: one on each socket, signed over the socket's challenge. */
export function serveContributions(namespace: Namespace, options: ContributionGatewayOptions): void {
  const { access, contributions, clock } = options;
  const asks = new NetworkBuckets(ASKS_PER_MINUTE, MINUTE_MS, clock && { clock });
  let asking = 0;
  const answer = async (socket: Socket, challenge: ReturnType<typeof newChallenge>, message: unknown) => {
    const waitMs = asks.take(access.addressOfSocket(socket));
    if (waitMs > 0)
      return refused(`Many questions came from your network. Try again in ${Math.ceil(waitMs / 1000)} s.`);
    const parsed = contributionAskSchema.safeParse(message);
    const request = parsed.success ? parseRequest(parsed.data.request) : undefined;
    if (!parsed.success || !request) return refused(reasonOf(parsed.data?.request));
    const { proof, request: text } = parsed.data;
    const key = provenKey(proof, challenge, 'contribution', text);
    if (!key) return refused('The page’s proof of which browser it is does not hold. Reload the page.');
    if (asking >= MAX_ASKING) return refused('Many donors are asking at the moment. Try again in a few seconds.');
    asking++;
    try {
      return await contributions.ask(donorIdOf(key), request);
    } finally {
      asking--;
    }
  };
  namespace.on('connection', (socket) => {
    const challenge = newChallenge();
    let isAsked = false;
    const end = (): void => void setTimeout(() => socket.disconnect(true), FLUSH_MS).unref();
    const stopDeadline = startDeadline(() => socket.disconnect(true), HELLO_TIMEOUT_MS);
    socket.on('disconnect', stopDeadline);
    socket.on('ask', (message: unknown, reply: unknown) => {
      if (isAsked || typeof reply !== 'function') return socket.disconnect(true);
      isAsked = true;
      stopDeadline();
      void answer(socket, challenge, message).then((given) => {
        reply(given);
        end();
      });
    });
    socket.emit('challenge', challenge);
  });
}

const refused = (message: string): ContributionReply => ({ ok: false, message });

/** What is wrong with a request that is none: of a name the rule, since a person wrote it. */
function reasonOf(text: string | undefined): string {
  try {
    const { do: what } = JSON.parse(text ?? '') as { do?: unknown };
    if (what === 'name' || what === 'found-team')
      return 'Names have 1 to 32 letters, digits, signs and single spaces, with at least one letter or digit.';
  } catch {
    // No JSON.
  }
  return 'The page sent a question that the coordinator does not know. Reload the page.';
}
