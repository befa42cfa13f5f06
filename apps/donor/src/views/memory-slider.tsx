import { formatMemory } from '../format.ts';
import { nearestStop, PLEDGE_STOPS_BYTES } from '../pledge.ts';

interface MemorySliderProps {
  pledgeBytes: number;
  onChange: (pledgeBytes: number) => void;
}

export function MemorySlider({ pledgeBytes, onChange }: MemorySliderProps) {
  const index = PLEDGE_STOPS_BYTES.indexOf(nearestStop(pledgeBytes));
  return (
    <div class="slider">
      <label for="pledge">GPU memory, at most</label>
      <output for="pledge">{formatMemory(pledgeBytes)}</output>
      <input
        id="pledge"
        type="range"
        min={0}
        max={PLEDGE_STOPS_BYTES.length - 1}
        step={1}
        value={index}
        aria-valuetext={formatMemory(pledgeBytes)}
        onInput={({ currentTarget }) => onChange(PLEDGE_STOPS_BYTES[Number(currentTarget.value)]!)}
      />
    </div>
  );
}
