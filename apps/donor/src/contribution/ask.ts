import {
  challengeSchema,
  type ContributionReply,
  contributionReplySchema,
  type ContributionRequest,
} from '@shoal/protocol';
import { type CoordinatorUrl, socketAt } from '@shoal/protocol/page';
import { io } from 'socket.io-client';
import type { Prove } from './browser-key.ts';

/** From the socket's opening to the answer. */
const ASK_TIMEOUT_MS = 15_000;

const GONE: ContributionReply = {
  ok: false,
  message: 'The coordinator did not answer. Nothing was changed; try again in a moment.',
};

/** Asks a coordinator about the donor's account, on a socket of its own. Never rejects. */
export const askContribution =
  (coordinator: CoordinatorUrl): ContributionDeskAsk =>
  (prove, request) =>
    ask(coordinator, prove, request);
type ContributionDeskAsk = (prove: Prove, request: ContributionRequest) => Promise<ContributionReply>;

async function ask(
  coordinator: CoordinatorUrl,
  prove: Prove,
  request: ContributionRequest,
): Promise<ContributionReply> {
  const [url, at] = socketAt(coordinator, '/contribution');
  const socket = io(url, { ...at, reconnection: false, forceNew: true, timeout: ASK_TIMEOUT_MS });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<ContributionReply>((resolve) => {
      const end = (): void => resolve(GONE);
      timer = setTimeout(end, ASK_TIMEOUT_MS);
      socket.on('connect_error', end).on('disconnect', end);
      socket.on('challenge', async (message: unknown) => {
        try {
          const { nonce } = challengeSchema.parse(message);
          const text = JSON.stringify(request);
          const proof = await prove('contribution', nonce, text);
          const reply: unknown = await socket.timeout(ASK_TIMEOUT_MS).emitWithAck('ask', { proof, request: text });
          resolve(contributionReplySchema.parse(reply));
        } catch {
          end();
        }
      });
    });
  } finally {
    clearTimeout(timer);
    socket.disconnect();
  }
}
