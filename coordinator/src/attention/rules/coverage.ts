import { counted, MINUTE_MS, type Rule } from '../facts.ts';

/** Moves leave experts without a tab for seconds, and a tab that joins loads for about a minute. */
const SETTLES_MS = MINUTE_MS;
/** Replicas are planned after all is covered, and loaded after that. */
const REPLICAS_SETTLE_MS = 2 * MINUTE_MS;
/** From here on the end of one donor is felt: the coordinator has to compute half of all experts at once. */
const TOO_MUCH = 0.5;
const STILL_TOO_MUCH = 0.4;
/** Above it, most answers meet an expert on a single tab. */
const MANY_SHORT = 0.1;

const uncovered: Rule = {
  name: 'uncovered',
  about: 'swarm',
  raiseAfterMs: SETTLES_MS,
  clearAfterMs: 0,
  check({ tabs, coverage }) {
    if (tabs.serving === 0 || coverage.uncovered === 0) return undefined;
    return {
      severity: 'warning',
      text: `${counted(coverage.uncovered, 'expert')} of ${coverage.experts.toLocaleString('en-GB')} ${coverage.uncovered === 1 ? 'is' : 'are'} on no tab, so the coordinator computes ${coverage.uncovered === 1 ? 'it' : 'them'}`,
      remedy: 'More memory is needed: ask donors to lend more, or others to join.',
      href: '#map',
    };
  },
};

const underReplicated: Rule = {
  name: 'under-replicated',
  about: 'swarm',
  raiseAfterMs: REPLICAS_SETTLE_MS,
  clearAfterMs: 0,
  check({ tabs, coverage: { experts, uncovered: none, short, replicas, donors } }) {
    // What no tab holds is the rule above's.
    const few = short - none;
    if (tabs.serving === 0 || few <= 0 || replicas < 2) return undefined;
    const which =
      few === experts
        ? `All ${experts.toLocaleString('en-GB')} experts are`
        : `${counted(few, 'expert')} ${few === 1 ? 'is' : 'are'}`;
    const where = replicas === 2 ? 'on one donor’s tabs only' : `on fewer than ${replicas} donors’ tabs`;
    return {
      severity: few / experts > MANY_SHORT ? 'warning' : 'notice',
      text: `${which} ${where}, where ${replicas} are asked for: when a tab leaves, answers slow down until others have loaded what it held`,
      remedy:
        donors < replicas
          ? `Copies are placed with different donors, and there ${donors === 1 ? 'is only one' : `are only ${donors}`}: ask ${replicas - donors} more to join, or set replicas to ${donors}.`
          : 'More memory is needed: ask donors to lend more, or others to join.',
      href: '#map',
    };
  },
};

const oneDonor: Rule = {
  name: 'one-donor-holds-too-much',
  about: 'swarm',
  raiseAfterMs: REPLICAS_SETTLE_MS,
  clearAfterMs: MINUTE_MS,
  check({ coverage: { experts, donors, heaviestDonor: heaviest } }, isRaised) {
    if (!heaviest || donors < 2 || heaviest.alone / experts < (isRaised ? STILL_TOO_MUCH : TOO_MUCH)) return undefined;
    return {
      severity: 'notice',
      text: `One donor (${heaviest.tab}) alone holds ${counted(heaviest.alone, 'expert')} of ${experts.toLocaleString('en-GB')}`,
      remedy:
        'If that donor leaves, the coordinator computes them until others have loaded them. Ask others to lend more memory.',
      href: '#map',
    };
  },
};

const oneAddress: Rule = {
  name: 'one-address-holds-too-much',
  about: 'swarm',
  raiseAfterMs: REPLICAS_SETTLE_MS,
  clearAfterMs: MINUTE_MS,
  check({ coverage: { experts, heaviestAddress: heaviest, heaviestDonor } }, isRaised) {
    if (!heaviest || heaviest.alone / experts < (isRaised ? STILL_TOO_MUCH : TOO_MUCH)) return undefined;
    // One donor's only tab has one address: it is said once.
    if (heaviestDonor && heaviestDonor.alone >= heaviest.alone) return undefined;
    return {
      severity: 'notice',
      text: `Tabs behind one address (${heaviest.address}) hold ${counted(heaviest.alone, 'expert')} of ${experts.toLocaleString('en-GB')} that no other tab holds`,
      remedy:
        'One failing line takes all of them. Ask donors elsewhere to join. If a proxy’s address is shown for all donors, start with --trust-proxy.',
      href: '#peers',
    };
  },
};

export const COVERAGE_RULES: readonly Rule[] = [uncovered, underReplicated, oneDonor, oneAddress];
