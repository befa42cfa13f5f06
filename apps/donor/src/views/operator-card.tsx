import type { DonorInfo } from '@shoal/protocol';
import { needText } from '../need-text.ts';

/** Whom the donor would help, and whether that is needed now. */
export function OperatorCard({ info }: { info: DonorInfo }) {
  const { name, contact, about } = info.operator;
  return (
    <section class="card about" aria-label="Whom you help">
      <p class="need">
        <strong>{needText(info)}</strong>
      </p>
      {about && <p>{about}</p>}
      <p class="hint">
        {name ? `Run by ${name}. ` : 'The operator has not given a name. '}
        {contact && <Contact text={contact} />} The model is <span class="name">{info.model.id}</span>:{' '}
        <a href="./playground">try it first</a>.
      </p>
    </section>
  );
}

/** A link where it is an address. Nothing else becomes one, whatever it looks like. */
function Contact({ text }: { text: string }) {
  const isPage = /^https?:\/\/\S+$/.test(text);
  const isMail = /^[^\s@:/]+@[^\s@:/]+$/.test(text);
  if (!isPage && !isMail) return <>Contact: {text}.</>;
  return (
    <>
      Contact:{' '}
      <a href={isMail ? `mailto:${text}` : text} rel="noreferrer">
        {text}
      </a>
      .
    </>
  );
}
