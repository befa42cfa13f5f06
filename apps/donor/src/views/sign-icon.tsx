import { SIGN_PATH, type Sign } from '../tab-sign.ts';

/** The state as a shape, which the text beside it repeats. */
export function SignIcon({ sign }: { sign: Sign }) {
  return (
    <svg class="sign" viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">
      <path fill-rule="evenodd" d={SIGN_PATH[sign]} />
    </svg>
  );
}
