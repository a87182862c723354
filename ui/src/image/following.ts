// Where a pane stands among the messages: it follows, was told to show one, or has stepped and does not know yet where to.

import type { PaneState } from '../interfaces';
import type { PictureHeader } from '../protocol';

/** A step that has shown nothing for so long will not [ms]. */
export const STEP_MS = 1500;

type At = PaneState['at'];

export class Following {
  /** Steps that have shown nothing yet, and when the last one was asked for. */
  private steps = 0;
  private stepped_ms = 0;
  /** What was asked for and has not come yet. */
  private due: At = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** It was told to follow (null), or to show a message. */
  asked(at: At): void {
    this.steps = 0;
    this.due = at;
  }

  stepped(): void {
    this.steps++;
    this.stepped_ms = this.now();
    this.due = null;
  }

  /** There was no message to step to. */
  gaveUp(): void {
    this.steps = 0;
  }

  /** While it is not known where a step leads, no wish can say where the pane stands. */
  get isUnknown(): boolean {
    return this.steps > 0 && this.now() - this.stepped_ms < STEP_MS;
  }

  /** The message that the pane shows from now on, of what has come; null: as before. */
  take({ follows, stream, id }: PictureHeader, at: At): At {
    if (follows) return null;
    if (this.due && (this.due.stream !== stream || this.due.id !== id)) return null; // it was on its way before
    this.due = null;
    if (this.steps === 0 && at === null) return null;
    this.steps = Math.max(0, this.steps - 1);
    return at?.stream === stream && at.id === id ? null : { stream, id };
  }
}
