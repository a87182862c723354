// Where a pane stands among the messages: it follows, was told to show one, or has stepped and does not know yet where to.

import type { PaneState } from '../interfaces';
import type { PictureHeader } from '../protocol';

/** A step that has shown nothing for so long will not [ms]. */
const STEP_MS = 2000;

type At = PaneState['at'];

export class Following {
  private stepped_ms: number | null = null;
  /** What was asked for and has not come yet. */
  private due: At = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** It was told to follow (null), or to show a message. */
  asked(at: At): void {
    this.stepped_ms = null;
    this.due = at;
  }

  stepped(): void {
    this.stepped_ms = this.now();
    this.due = null;
  }

  /** There was no message to step to. */
  gaveUp(): void {
    this.stepped_ms = null;
  }

  /** While it is not known where a step leads, no wish can say where the pane stands. */
  get isUnknown(): boolean {
    return this.stepped_ms !== null && this.now() - this.stepped_ms < STEP_MS;
  }

  /** The message that the pane shows from now on, of what has come; null: as before. */
  take({ follows, stream, id }: PictureHeader, at: At): At {
    if (follows) return null;
    if (this.due && (this.due.stream !== stream || this.due.id !== id)) return null; // it was on its way before
    this.due = null;
    if (this.stepped_ms === null && at === null) return null;
    this.stepped_ms = null;
    return at?.stream === stream && at.id === id ? null : { stream, id };
  }
}
