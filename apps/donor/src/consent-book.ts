import type { PageTexts } from '@shoal/protocol/page';
import { rememberConsent, withdrawConsent, type Consent } from './consent.ts';
import { rememberPledge } from './pledge.ts';

/** What the donor has agreed to, kept for a reload of the tab, and for the next visit where it is about the browser. */
export class ConsentBook {
  readonly #tabStorage: PageTexts;
  readonly #browserStorage: PageTexts;

  constructor({ tabStorage, browserStorage }: { tabStorage: PageTexts; browserStorage: PageTexts }) {
    this.#tabStorage = tabStorage;
    this.#browserStorage = browserStorage;
  }

  /** The donor agrees: a reload goes on with this. */
  agree(consent: Consent): void {
    this.choosePledge(consent.pledgeBytes);
    rememberConsent(this.#tabStorage, consent);
  }

  /** The next visit begins with this amount. */
  choosePledge(pledgeBytes: number): void {
    rememberPledge(this.#browserStorage, pledgeBytes);
  }

  /** A reload starts nothing any more. */
  withdraw(): void {
    withdrawConsent(this.#tabStorage);
  }
}
