import { askAll, type ClientRequest, type Outcome } from './client.ts';

/** Messages from the parent process. */
export interface ToClients {
  url: string;
  model: string;
  chains: ClientRequest[][];
  durationMs: number;
  temperature: number;
}

export interface FromClients {
  outcomes: Outcome[];
}

process.on('message', (message: ToClients) => {
  const { url, model, chains, ...options } = message;
  void askAll(url, model, chains, options).then((outcomes) => {
    const answer: FromClients = { outcomes };
    process.send!(answer);
  });
});
process.on('disconnect', () => process.exit(0));
process.send!('open');
