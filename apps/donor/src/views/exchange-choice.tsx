import { DEFAULT_EXCHANGE_MBIT, MAX_EXCHANGE_MBIT } from '../offers.ts';

interface ExchangeChoiceProps {
  /** Most that is sent to other tabs; undefined: nothing is exchanged. */
  mbit: number | undefined;
  onChange: (mbit: number | undefined) => void;
}

/** Asks whether to exchange weights with other tabs, and how fast. Off until the donor says so. */
export function ExchangeChoice({ mbit, onChange }: ExchangeChoiceProps) {
  const isOn = mbit !== undefined;
  return (
    <fieldset class="exchange">
      <legend>Other tabs</legend>
      <label class="check">
        <input
          type="checkbox"
          name="exchange"
          checked={isOn}
          aria-describedby="exchange-terms"
          onChange={({ currentTarget }) => onChange(currentTarget.checked ? DEFAULT_EXCHANGE_MBIT : undefined)}
        />
        <span>Exchange weights with other donors’ tabs</span>
      </label>
      <p class="hint" id="exchange-terms">
        <strong>Donors whose tabs do this learn each other’s IP addresses.</strong> Your tab gets weights from theirs
        and passes on what it has, which it checks as if they came from the coordinator. It sends nothing while it
        computes.
      </p>
      {isOn && (
        <label class="rate">
          <span>Upload at most</span>
          <input
            type="number"
            name="exchange-mbit"
            min={1}
            max={MAX_EXCHANGE_MBIT}
            step={1}
            required
            value={mbit}
            onInput={({ currentTarget }) => {
              const wanted = currentTarget.valueAsNumber;
              if (wanted >= 1 && wanted <= MAX_EXCHANGE_MBIT) onChange(Math.round(wanted));
            }}
          />
          <span>Mbit/s</span>
        </label>
      )}
    </fieldset>
  );
}
