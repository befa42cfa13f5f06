import { MAX_CPU_PLEDGE_BYTES, type Device } from '../device.ts';
import { formatMemory } from '../format.ts';
import { nearestStop, PLEDGE_STOPS_BYTES } from '../pledge.ts';

interface MemorySliderProps {
  device: Device;
  pledgeBytes: number;
  onChange: (pledgeBytes: number) => void;
}

export function MemorySlider({ device, pledgeBytes: wantedBytes, onChange }: MemorySliderProps) {
  const maxBytes = device === 'cpu' ? MAX_CPU_PLEDGE_BYTES : Number.POSITIVE_INFINITY;
  const stops = PLEDGE_STOPS_BYTES.filter((stop) => stop <= maxBytes);
  const pledgeBytes = Math.min(wantedBytes, maxBytes);
  const index = stops.indexOf(nearestStop(pledgeBytes));
  return (
    <div class="slider">
      <label for="pledge">{device === 'cpu' ? 'Maximum memory' : 'Maximum GPU memory'}</label>
      <output for="pledge">{formatMemory(pledgeBytes)}</output>
      <input
        id="pledge"
        type="range"
        min={0}
        max={stops.length - 1}
        step={1}
        value={index}
        aria-valuetext={formatMemory(pledgeBytes)}
        onInput={({ currentTarget }) => onChange(stops[Number(currentTarget.value)]!)}
      />
    </div>
  );
}
