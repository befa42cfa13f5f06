import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { KEPT_PLEDGES } from '@shoal/peer';
import { MAX_COORDINATORS } from '@shoal/protocol';
import { Greeting, LinkAsked } from '../contribution/told.tsx';
import type { DonorSession } from '../donor-session.ts';
import { formatBytes, formatMemory } from '../format.ts';
import { DEVICE_WORD, mayHaveWebGpu } from '../device.ts';
import { cpuTerms, DeviceChoice } from './device-choice.tsx';
import { ExchangeChoice } from './exchange-choice.tsx';
import { KeptWeights } from './kept-weights.tsx';
import { MemorySlider } from './memory-slider.tsx';

/** An example for comparison: three layers, 2,048 wide, 16 bits, both ways. */
const EXAMPLE_BYTES_PER_TOKEN = 3 * 2 * 2048 * 2;
const EXAMPLE_TOKENS_PER_SECOND = 10;
const EXAMPLE_BYTES_PER_HOUR = EXAMPLE_BYTES_PER_TOKEN * EXAMPLE_TOKENS_PER_SECOND * 3600;

export function ConsentView({ session }: { session: DonorSession }) {
  const [pledgeBytes, setPledgeBytes] = useState(session.state.value.pledgeBytes);
  const [exchangeMbit, setExchangeMbit] = useState(session.state.value.exchangeMbit);
  const { device, offersTabToTab, keepsNothing } = session.state.value;
  const word = DEVICE_WORD[device];
  const keptBytes = session.state.value.keptBytes ?? 0;
  return (
    <>
      <h1>Lend part of your {word} to a language model that lives in many browser tabs.</h1>
      <Greeting desk={session.desk} />
      <LinkAsked desk={session.desk} />
      <form
        class="card consent"
        onSubmit={(event) => {
          event.preventDefault();
          void session.lend({ device, pledgeBytes, paused: false, exchangeMbit });
        }}
      >
        <div class="offer">
          <DeviceChoice device={device} hasWebGpu={mayHaveWebGpu()} onChange={(chosen) => session.choose(chosen)} />
          <MemorySlider device={device} pledgeBytes={pledgeBytes} onChange={setPledgeBytes} />
          {offersTabToTab && <ExchangeChoice mbit={exchangeMbit} onChange={setExchangeMbit} />}
          <button type="submit" class="primary">
            Lend my {word}
          </button>
          <p class="hint">
            Nothing is downloaded or connected until you press the button. You can pause or close the tab at any time.
          </p>
        </div>
        <dl class="terms">
          <Term name={`Your ${word}`}>
            {device === 'cpu' ? 'Your computer’s memory holds' : 'Holds'} some of the model’s weights, up to{' '}
            {formatMemory(pledgeBytes)}, and {device === 'cpu' ? 'its CPU computes' : 'computes'} with them while this
            tab is open. The page can’t access your files or other tabs.
          </Term>
          <Term name="Download">
            {keptBytes > 0
              ? `${formatBytes(keptBytes)} are already cached here; the rest is at most ${formatMemory(pledgeBytes)}. `
              : `At most ${formatMemory(pledgeBytes)} to start with, and a part of that again whenever the work is redistributed. `}
            Up to {formatMemory(KEPT_PLEDGES * pledgeBytes)} stay cached in this browser, so that you can come back
            without downloading again.
          </Term>
          <Term name="Traffic">
            A few kilobytes per token for each layer that you hold. For example, three layers of width 2,048 at ten
            tokens per second make about {formatBytes(EXAMPLE_BYTES_PER_HOUR)} per hour; with no answers to compute,
            there is almost no traffic. You see the actual figure while you lend.
          </Term>
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
