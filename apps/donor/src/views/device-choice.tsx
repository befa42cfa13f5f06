import { lentThreads, threadsInWords, type Device } from '../device.ts';

interface DeviceChoiceProps {
  device: Device;
  /** Whether the browser knows WebGPU; whether there is a GPU shows only once it is asked for. */
  hasWebGpu: boolean;
  onChange: (device: Device) => void;
}

export function DeviceChoice({ device, hasWebGpu, onChange }: DeviceChoiceProps) {
  return (
    <fieldset class="devices">
      <legend>What to lend</legend>
      <label>
        <input
          type="radio"
          name="device"
          value="gpu"
          checked={device === 'gpu'}
          disabled={!hasWebGpu}
          onChange={() => onChange('gpu')}
        />
        <span>
          GPU <small>{hasWebGpu ? 'fast' : 'no WebGPU here'}</small>
        </span>
      </label>
      <label>
        <input type="radio" name="device" value="cpu" checked={device === 'cpu'} onChange={() => onChange('cpu')} />
        <span>
          CPU <small>much slower</small>
        </span>
      </label>
    </fieldset>
  );
}

/** What lending a processor means, in words for the donor. */
export function cpuTerms(): string {
  const threads = lentThreads();
  const busy = `${threadsInWords(threads)} of your processor’s ${navigator.hardwareConcurrency} ${threads === 1 ? 'is' : 'are'} busy`;
  return (
    `While answers are written, ${busy}: other programs may feel it, the fan may start, and a laptop’s battery drains ` +
    'faster. Between answers it rests.'
  );
}
