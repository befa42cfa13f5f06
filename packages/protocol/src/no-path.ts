import { z } from 'zod';

/** Candidates by type: of this machine, as a STUN server sees it, and at a TURN server. */
const countsSchema = z.object({
  host: z.number().int().min(0).max(1000),
  srflx: z.number().int().min(0).max(1000),
  relay: z.number().int().min(0).max(1000),
});
const packets = z.number().int().min(0).max(1_000_000);

/**
 * Donor → coordinator, event `no-path`: ICE has found no way by UDP, and the visit ends. What the tab measured, of its main
 * connection; the coordinator knows the rest.
 */
export const noPathSchema = z.object({
  waitedMs: z.number().int().min(0).max(600_000),
  own: countsSchema,
  theirs: countsSchema,
  /** Connectivity checks: sent, answered, and come from the other side. Not every browser counts them. */
  checks: z.object({ sent: packets, answered: packets, heard: packets }).optional(),
  /** Whether a TURN server was named, and what came of it: nothing, a relayed address, or an error code of STUN's. */
  turn: z.discriminatedUnion('state', [
    z.object({ state: z.enum(['none', 'silent', 'answered']) }),
    z.object({ state: z.literal('refused'), code: z.number().int().min(300).max(699) }),
  ]),
});
export type NoPath = z.infer<typeof noPathSchema>;
export type CandidateCounts = z.infer<typeof countsSchema>;

/** Why ICE found no way, as far as the measured facts tell, and who can do what about it. */
export interface NoPathCause {
  code:
    'no-own' | 'no-theirs' | 'one-way' | 'handshake' | 'relay-refused' | 'relay-silent' | 'relay-dead-end' | 'no-udp';
  /** To the donor, in full sentences. */
  happened: string;
  donor: string;
  /** To the operator. */
  operator: string;
}

const ANOTHER_NETWORK = 'Another network may work right away, or this one without its VPN. This tab keeps trying.';
const OPEN_UDP =
  'Let UDP through to this machine: see --udp-ports and --announce, and a TURN server over TCP for donors whose networks block UDP (docs/OPERATIONS.md, UDP).';

/** `where` names the coordinator's addresses, if they are known. */
export function explainNoPath(facts: NoPath, where: readonly string[] = []): NoPathCause {
  const { own, theirs, checks } = facts;
  if (total(own) === 0)
    return {
      code: 'no-own',
      happened: 'This browser named no address for a direct connection (WebRTC).',
      donor:
        'An extension, a privacy setting or a policy may turn WebRTC off. Turn that off for this page, or use another browser.',
      operator: 'The browser named no address: an extension or a policy of the donor turns WebRTC off.',
    };
  if (total(theirs) === 0)
    return {
      code: 'no-theirs',
      happened: 'The coordinator named no address for a direct connection (WebRTC).',
      donor: 'Only the operator can change this. This tab keeps trying.',
      operator:
        'This machine named no address that the tab got: check that it has a network besides loopback, or set --announce.',
    };
  if (checks && checks.answered > 0)
    return {
      code: 'handshake',
      happened: 'Packets get through in both directions, but the encrypted connection was not set up in time.',
      donor: 'The connection may be slow or lose much. This tab keeps trying.',
      operator:
        'UDP works both ways, but the DTLS handshake did not end in time: a lossy line, or packets above 1,200 bytes are dropped.',
    };
  if (checks && checks.heard > 0)
    return {
      code: 'one-way',
      happened: 'Packets of the coordinator arrive here, but it does not seem to get ours.',
      donor: `A firewall or VPN of this network blocks outgoing UDP packets. ${ANOTHER_NETWORK}`,
      operator: `Packets reach the tab and its own don't come in. ${OPEN_UDP}`,
    };
  return withoutAPacket(facts, where);
}

/** Nothing came back by UDP; a TURN server might have helped. */
function withoutAPacket({ checks, turn }: NoPath, where: readonly string[]): NoPathCause {
  const at = where.length === 0 ? '' : ` from ${where.join(' or ')}`;
  const sent =
    checks && checks.sent > 0
      ? `${checks.sent} UDP packets were sent, and none came back${at}`
      : `No UDP packet came back${at}`;
  const happened = `The coordinator answers over TCP (this page comes from it), but not over UDP. ${sent}.`;
  const donor = `A firewall or VPN may block UDP here, or the coordinator can't be reached by it from anywhere. ${ANOTHER_NETWORK} If none does, tell the operator.`;
  if (turn.state === 'none')
    return {
      code: 'no-udp',
      happened: `${happened} No relay (TURN) is set up.`,
      donor,
      operator: `${sent}; no TURN server is set up. If no tab joins at all, only TCP is forwarded to this machine (docker run -p without /udp, a NAT or a firewall).${privateHint(where)} ${OPEN_UDP}`,
    };
  if (turn.state === 'refused')
    return {
      code: 'relay-refused',
      happened: `${happened} The relay (TURN) refused: code ${turn.code}.`,
      donor: 'Only the operator can change this. This tab keeps trying.',
      operator: `${sent}, and the TURN server ${refusal(turn.code)}`,
    };
  if (turn.state === 'silent')
    return {
      code: 'relay-silent',
      happened: `${happened} The relay (TURN) does not answer either.`,
      donor,
      operator: `${sent}, and the TURN server did not answer: check that it runs, that its port is open by UDP and TCP, and that --ice-servers names it with ?transport=tcp, too.`,
    };
  return {
    code: 'relay-dead-end',
    happened: `${happened} The relay (TURN) answers, but its packets don't come back either.`,
    donor: 'Only the operator can change this. This tab keeps trying.',
    operator: `${sent}, not even over the TURN server, which answers: let it relay to the address that this machine names (coturn's allowed-peer-ip).`,
  };
}

function refusal(code: number): string {
  if (code === 401 || code === 441)
    return `did not accept the login (${code}): give both the same --turn-secret or password, and set their clocks.`;
  if (code === 486 || code === 508) return `has no room left (${code}): raise its quotas and ports.`;
  return `refused with code ${code}: see its log.`;
}

/** Of RFC 1918 and RFC 4193: what a container or a machine behind NAT has. */
const PRIVATE = /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[f[cd])/;

function privateHint(where: readonly string[]): string {
  if (where.length === 0 || !where.every((address) => PRIVATE.test(address))) return '';
  return ' Tabs are told addresses of a private network only: if donors are outside of it, set --announce.';
}

function total({ host, srflx, relay }: CandidateCounts): number {
  return host + srflx + relay;
}
