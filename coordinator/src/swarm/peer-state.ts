import type { PeerState } from '@shoal/protocol';

/** What moves a peer from one state to another. */
export type PeerEvent =
  | 'connect' // its lap channel opened
  | 'assign' // it was assigned experts while it held none
  | 'spare' // the plan has no experts for it
  | 'test' // what it has loaded is being tested
  | 'pass' // it passed, and serves
  | 'supersede' // nothing passed, and a newer assignment came meanwhile
  | 'lose-device' // it lost its GPU and has to load its experts again
  | 'busy' // it computed rows in the last second
  | 'idle' // it computed none
  | 'pause' // its donor paused it
  | 'rest' // its donor's limits have it rest
  | 'resume-serving' // its donor or its limits let it go on, and it serves experts
  | 'resume-empty' // they let it go on, and it serves none
  | 'resume-unconnected' // they let it go on before its lap channel opened
  | 'drain' // its experts go to others before it leaves
  | 'leave'; // it is gone

/** States in which a peer that serves experts is given laps. A draining peer serves until others have taken over. */
export const READY_STATES: ReadonlySet<PeerState> = new Set(['waiting', 'working', 'draining']);

/** Whether its donor, or its limits, have stopped the tab for a while. */
export const isStopped = (state: PeerState): boolean => state === 'paused' || state === 'resting';

type Row = Readonly<Partial<Record<PeerEvent, PeerState>>>;
const ENDS: Row = { drain: 'draining', leave: 'gone' };
const STOPS: Row = { pause: 'paused', rest: 'resting', ...ENDS };
const GOES_ON: Row = { 'resume-serving': 'waiting', 'resume-empty': 'loading', 'resume-unconnected': 'connecting' };

/** State × event → next state. In every other case the event changes nothing. */
export const PEER_TRANSITIONS: Readonly<Record<PeerState, Row>> = {
  connecting: { connect: 'loading', ...STOPS },
  loading: { test: 'testing', spare: 'waiting', ...STOPS },
  testing: { pass: 'waiting', supersede: 'loading', 'lose-device': 'loading', ...STOPS },
  waiting: { assign: 'loading', busy: 'working', 'lose-device': 'loading', ...STOPS },
  working: { idle: 'waiting', 'lose-device': 'loading', ...STOPS },
  paused: { ...GOES_ON, ...ENDS },
  resting: { ...GOES_ON, pause: 'paused', ...ENDS },
  draining: { leave: 'gone' },
  gone: {},
};
