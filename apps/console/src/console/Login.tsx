import { useSignal } from '@preact/signals';

export function Login(props: { refusal: string | undefined; onToken: (token: string) => void }) {
  const token = useSignal('');
  return (
    <form
      class="card login"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.value.trim() !== '') props.onToken(token.value.trim());
      }}
    >
      <h1>Operator console</h1>
      <p>
        Sign in with the admin token that the coordinator printed when it started, or with one that its operator gave
        you. The token stays in this tab and is forgotten when you close it.
      </p>
      <label for="token">Admin token</label>
      <input
        id="token"
        type="password"
        autocomplete="current-password"
        required
        value={token.value}
        aria-describedby={props.refusal === undefined ? undefined : 'refusal'}
        aria-invalid={props.refusal === undefined ? undefined : true}
        onInput={(event) => (token.value = event.currentTarget.value)}
      />
      {props.refusal !== undefined && (
        <p id="refusal" class="trouble" role="alert">
          Sign-in failed: {props.refusal}
        </p>
      )}
      <button type="submit" class="primary">
        Open the console
      </button>
    </form>
  );
}
