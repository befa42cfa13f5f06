import { useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import { KEPT_PLEDGES } from '@shoal/peer';
import type { DonorSession } from '../donor-session.ts';
import { formatBytes, formatMemory } from '../format.ts';
import { DEVICE_WORD, mayHaveWebGpu } from '../device.ts';
import { cpuTerms, DeviceChoice } from './device-choice.tsx';
import { KeptWeights } from './kept-weights.tsx';
import { MemorySlider } from './memory-slider.tsx';

/** An example to hold one's own line against: three layers, 2,048 wide, in 16 bits, there and back. */
const EXAMPLE_BYTES_PER_TOKEN = 3 * 2 * 2048 * 2;
const EXAMPLE_TOKENS_PER_SECOND = 10;
const EXAMPLE_BYTES_PER_HOUR = EXAMPLE_BYTES_PER_TOKEN * EXAMPLE_TOKENS_PER_SECOND * 3600;

export function ConsentView({ session }: { session: DonorSession }) {
  const [pledgeBytes, setPledgeBytes] = useState(session.state.value.pledgeBytes);
  const { device } = session.state.value;
  const word = DEVICE_WORD[device];
  const keptBytes = session.state.value.keptBytes ?? 0;
  return (
    <>
      <h1>Lend a part of your {word} to a language model that lives in many browser tabs.</h1>
      <form
        class="card consent"
        onSubmit={(event) => {
          event.preventDefault();
          void session.lend({ device, pledgeBytes, paused: false });
        }}
      >
        <div class="offer">
          <DeviceChoice device={device} hasWebGpu={mayHaveWebGpu()} onChange={(chosen) => session.choose(chosen)} />
          <MemorySlider device={device} pledgeBytes={pledgeBytes} onChange={setPledgeBytes} />
          <button type="submit" class="primary">
            Lend my {word}
          </button>
          <p class="hint">Nothing has been downloaded or connected yet. Close the tab, or press Pause, at any time.</p>
        </div>
        <dl class="terms">
          <Term name={`Your ${word}`}>
            {device === 'cpu' ? 'Your computer’s memory holds' : 'Holds'} some of the model’s weights, up to{' '}
            {formatMemory(pledgeBytes)}, and {device === 'cpu' ? 'its processor computes' : 'computes'} with them while
            this tab is open. The page has no way to your files or your other tabs.
          </Term>
          <Term name="Download">
            {keptBytes > 0
              ? `${formatBytes(keptBytes)} are kept from before and need no download; the rest is at most ${formatMemory(pledgeBytes)}. `
              : `At most ${formatMemory(pledgeBytes)} to begin with, and some of it anew when the work is handed out differently. `}
            It is kept in this browser, at most {formatMemory(KEPT_PLEDGES * pledgeBytes)} of it, so that you can come
            back without a download.
          </Term>
          <Term name="Traffic">
            A few kilobytes for every token and layer that you hold. For example, three layers that are 2,048 wide, at
            ten tokens a second, make about {formatBytes(EXAMPLE_BYTES_PER_HOUR)} an hour; with nothing to answer, next
            to nothing. The real figure is shown while you lend.
          </Term>
          <Term name="Power">
            {device === 'cpu'
              ? cpuTerms()
              : 'While answers are written your GPU works as in a demanding game: the fan may start, and a laptop’s ' +
                'battery drains faster. Between answers it rests.'}
          </Term>
          <Term name="Who sees what">
            The coordinator sees your IP address,{' '}
            {device === 'cpu' ? 'how many threads of yours work' : 'your GPU’s name'} and what you lend. Other people’s
            prompts pass through your tab as numbers, from which a prompt can largely be reconstructed; your own prompts
            pass through other people’s tabs in the same way.
          </Term>
        </dl>
      </form>
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
