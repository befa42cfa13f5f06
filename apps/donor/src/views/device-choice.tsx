import { lentThreads, type Device } from '../device.ts';

interface DeviceChoiceProps {
  device: Device;
  /** Whether the browser supports WebGPU. Whether there is a GPU is only known once it is requested. */
  hasWebGpu: boolean;
  /** Whether the coordinator accepts tabs that compute on the CPU. */
  takesCpu: boolean;
  onChange: (device: Device) => void;
}

export function DeviceChoice({ device, hasWebGpu, takesCpu, onChange }: DeviceChoiceProps) {
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
          GPU <small>{hasWebGpu ? 'fast' : 'needs WebGPU'}</small>
        </span>
      </label>
      <label>
        <input
          type="radio"
          name="device"
          value="cpu"
          checked={device === 'cpu'}
          disabled={!takesCpu}
          onChange={() => onChange('cpu')}
        />
        <span>
          CPU <small>{takesCpu ? 'much slower' : 'not taken here'}</small>
        </span>
      </label>
    </fieldset>
  );
}

/** What lending a CPU means for the donor. */
export function cpuTerms(): string {
  const threads = lentThreads();
  const busy = `${threads} of your CPU’s ${navigator.hardwareConcurrency} threads ${threads === 1 ? 'is' : 'are'} busy`;
  return (
    `While answers are being computed, ${busy}: other programs may slow down, the fan may start, and a laptop’s battery ` +
    'drains faster. Between answers it is idle.'
  );
}
