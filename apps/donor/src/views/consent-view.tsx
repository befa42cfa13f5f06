import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { KEPT_PLEDGES } from '@shoal/peer';
import { type DonorInfo, MAX_COORDINATORS } from '@shoal/protocol';
import { Greeting, LinkAsked } from '../contribution/told.tsx';
import type { DonorSession } from '../donor-session.ts';
import { expectedOf } from '../expected.ts';
import { formatBytes, formatCount, formatFigure, formatMemory, formatPlural } from '../format.ts';
import { DEVICE_WORD, mayHaveWebGpu } from '../device.ts';
import { cpuTerms, DeviceChoice } from './device-choice.tsx';
import { ExchangeChoice } from './exchange-choice.tsx';
import { InviteField } from './invite-field.tsx';
import { KeptWeights } from './kept-weights.tsx';
import { LimitsForm } from './limits-form.tsx';
import { MemorySlider } from './memory-slider.tsx';
import { OperatorCard } from './operator-card.tsx';

/** A page of text. */
const EXAMPLE_TOKENS = 1_000;

export function ConsentView({ session }: { session: DonorSession }) {
  const [pledgeBytes, setPledgeBytes] = useState(session.state.value.pledgeBytes);
  const [exchangeMbit, setExchangeMbit] = useState(session.state.value.exchangeMbit);
  const { device, offersTabToTab, keepsNothing, info, keptBytes = 0 } = session.state.value;
  const word = DEVICE_WORD[device];
  const needsInvite = info?.inviteOnly === true && !session.hasInvite;
  return (
    <>
      <h1>Lend part of your {word} to a language model that lives in many browser tabs.</h1>
      <Greeting desk={session.desk} />
      {info && <OperatorCard info={info} />}
      {info === null && <p class="kept">The coordinator doesn’t answer at the moment, so its figures are missing.</p>}
      {needsInvite && (
        <section class="card" aria-label="Invitation">
          <p>This swarm is for invited donors. Open your invitation link, or paste it here.</p>
          <InviteField session={session} />
        </section>
      )}
      <LinkAsked desk={session.desk} />
      <form
        class="card consent"
        onSubmit={(event) => {
          event.preventDefault();
          void session.lend({ device, pledgeBytes, paused: false, exchangeMbit });
        }}
      >
        <div class="offer">
          <DeviceChoice
            device={device}
            hasWebGpu={mayHaveWebGpu()}
            takesCpu={info?.takesCpu !== false}
            onChange={(chosen) => session.choose(chosen)}
          />
          <MemorySlider device={device} pledgeBytes={pledgeBytes} onChange={setPledgeBytes} />
          {offersTabToTab && <ExchangeChoice mbit={exchangeMbit} onChange={setExchangeMbit} />}
          {session.limits && (
            <details class="more-limits">
              <summary>More limits: time, traffic, hours, battery</summary>
              <LimitsForm limits={session.limits} />
            </details>
          )}
          <button type="submit" class="primary">
            Lend my {word}
          </button>
          <p class="hint">
            Nothing is downloaded or connected until you press the button. You can pause or close the tab at any time.
          </p>
        </div>
        <dl class="terms">
          <Term name={`Your ${word}`}>
            {device === 'cpu' ? 'Your computer’s memory holds' : 'Holds'}{' '}
            {info ? heldText(info, pledgeBytes) : 'a part of the model'}, in at most {formatMemory(pledgeBytes)}, and{' '}
            {device === 'cpu' ? 'its CPU computes' : 'computes'} with them while this tab is open. The limit is for all
            tabs of this browser together. The page can’t access your files or other tabs.
          </Term>
          <Term name="Download">{downloadText(info, pledgeBytes, keptBytes)}</Term>
          <Term name="Traffic">{trafficText(info, pledgeBytes)}</Term>
          <Term name="Power">
            {device === 'cpu'
              ? cpuTerms()
              : 'While answers are being computed, your GPU works as hard as in a demanding game: the fan may start, ' +
                'and a laptop’s battery drains faster. Between answers it is idle.'}
          </Term>
          <Term name="Who sees what">
            {exchangeMbit !== undefined &&
              'Donors whose tabs exchange weights with yours, and anyone who pretends to be one, see your IP address. '}
            The coordinator sees your IP address, {device === 'cpu' ? 'how many threads you lend' : 'your GPU’s name'}{' '}
            and how much memory you lend. Other people’s prompts pass through your tab as numbers from which most of a
            prompt can be reconstructed; your own prompts pass through other people’s tabs in the same way. The operator
            of this coordinator may run several: up to {MAX_COORDINATORS} of them may send work to your tab and see the
            same of you.
          </Term>
        </dl>
      </form>
      {keepsNothing && (
        <p class="kept">
          This browser keeps nothing for this page: its settings block it, or it is a private window. You can lend all
          the same. What is lost: weights are downloaded again on each visit, a reload of the page ends the visit, and
          your choices and your contributions are forgotten.
        </p>
      )}
      {keptBytes > 0 && <KeptWeights session={session} />}
    </>
  );
}

function Term({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** `up to all 160 experts of the model`, `up to 118 of the model’s 14,848 experts` */
function heldText(info: DonorInfo, pledgeBytes: number): string {
  const { experts, allExperts } = expectedOf(info, pledgeBytes);
  if (experts === allExperts) return `up to all ${formatPlural(allExperts, 'expert')} of the model`;
  return `up to ${formatCount(experts)} of the model’s ${formatPlural(allExperts, 'expert')}`;
}

type Known = DonorInfo | null | undefined;

function downloadText(info: Known, pledgeBytes: number, keptBytes: number): string {
  const most = info ? expectedOf(info, pledgeBytes).downloadBytes : pledgeBytes;
  const all = info ? info.model.layers * info.model.expertsPerLayer * info.model.shardBytes : Number.POSITIVE_INFINITY;
  const kept = Math.min(KEPT_PLEDGES * pledgeBytes, all);
  const first =
    keptBytes >= most
      ? `Most likely nothing: ${formatBytes(keptBytes)} are already cached here.`
      : keptBytes > 0
        ? `About ${formatBytes(most - keptBytes)}: ${formatBytes(keptBytes)} are already cached here.`
        : `Up to ${formatBytes(most)} to start with.`;
  const later = most < all ? ' A part of it again whenever the work is redistributed.' : '';
  return `${first}${later} Up to ${formatBytes(kept)} stay cached in this browser, so that you can come back without downloading again.`;
}

function trafficText(info: Known, pledgeBytes: number): string {
  if (!info)
    return 'A few kilobytes for each token and each layer that you hold. You see the actual figure while you lend.';
  const { bytesPerToken, bytesPerHour } = expectedOf(info, pledgeBytes);
  const { tokensPerSecond } = info.traffic;
  const each = `Up to ${formatBytes(bytesPerToken * EXAMPLE_TOKENS)} for each ${formatCount(EXAMPLE_TOKENS)} tokens, about a page and a half of text.`;
  const now =
    tokensPerSecond < 0.05
      ? 'Nobody has asked for anything in the last two minutes, and then there is almost no traffic.'
      : `In the last two minutes, ${formatFigure(tokensPerSecond)} tokens per second were answered: at that pace, up to ${formatBytes(bytesPerHour)} an hour. When nobody asks, there is almost none.`;
  return `${each} ${now} You see the actual figure while you lend.`;
}
