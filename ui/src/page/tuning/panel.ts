// The peak finder at work on the picture that is shown: change a number, see the peaks move, then give it to the running
// group; the mask is drawn, the powder begun anew. Nothing is changed for others before somebody has confirmed it.

import { el, setText } from '../dom';
import { plural } from '../format';
import { isMessage } from '../hash';
import type { Model } from '../model';
import type { PaneFrame } from '../pane-frame';
import { addMask, apply, parameters, preview, resetPowder } from './control';
import { ParameterForm } from './form';

const SETTLE_MS = 250; // while a number is typed or spun, nothing is asked

export class TuningPanel {
  readonly element: HTMLElement;
  isOpen = false;
  private readonly form = new ParameterForm(() => this.soon());
  private readonly said = el('p', { class: 'said' });
  private readonly group = el('span', { class: 'card-value' });
  private readonly outcome = el('p', { class: 'outcome' });
  private readonly applyButton: HTMLButtonElement;
  private readonly resetButton: HTMLButtonElement;
  private readonly confirm = el('dialog', { 'aria-labelledby': 'confirm-title' });
  private source = '';
  private groupName = '';
  private version: number | null = null;
  private timer = 0;
  private asking: AbortController | null = null;
  private previewed = '';

  /** `hold` stops the picture: the effect is seen on one frame, not on one that is gone when the answer comes. */
  constructor(private readonly active: () => PaneFrame | null, private readonly hold: () => void) {
    this.applyButton = el('button', { type: 'button', class: 'primary', disabled: true, onclick: () => this.ask() }, 'Apply to the running group');
    this.resetButton = el('button', { type: 'button', disabled: true, onclick: () => this.form.reset() }, 'Back to current');
    const act = (name: string, title: string, what: () => Promise<string | null>) =>
      el('button', { type: 'button', title, onclick: () => void this.act(what) }, name);
    this.element = el(
      'section',
      { class: 'card card-wide tuning', 'aria-label': 'Tuning', hidden: true },
      el('div', { class: 'card-head' }, el('h2', {}, 'Tune the peak finder'), this.group),
      this.form.element,
      el('div', { class: 'verdict' }, this.outcome, el('div', { class: 'buttons' }, this.applyButton, this.resetButton)),
      el('h3', {}, 'Mask and powder'),
      el(
        'div',
        { class: 'buttons' },
        act('Draw mask', 'Click the corners of a polygon in the picture; double click or Enter ends it, Escape gives up', () => this.draw(false)),
        act('Erase mask', 'Unmask a polygon', () => this.draw(true)),
        act('Reset powder', 'The powder of this data source begins anew, for everybody', () => this.resetPowder()),
      ),
      this.said,
      this.confirm,
    );
  }

  toggle(): void {
    this.isOpen = !this.isOpen;
    this.element.hidden = !this.isOpen;
    if (this.isOpen) {
      void this.load();
      this.element.parentElement?.scrollTo({ top: 0 });
    } else this.stop();
  }

  update(model: Model): void {
    const allowed = model.hello?.control === true && model.hello.role === 'operator';
    if (this.isOpen && !allowed) this.toggle();
    const source = this.active()?.state.source ?? '';
    if (this.isOpen && source !== this.source) void this.load();
  }

  /** Another message is on the screen: the trial is of that one now, and over where the picture follows again. */
  pictureChanged(): void {
    const frame = this.active();
    if (!frame || !this.form.changes.length) return;
    if (!frame.picture?.header.follows) this.soon();
    else if (this.previewed !== '') this.trial(frame, 'Hold the picture (Space) to see the effect.');
  }

  private async load(): Promise<void> {
    const source = this.active()?.state.source ?? '';
    this.source = source;
    this.version = null;
    this.buttons();
    setText(this.said, '');
    try {
      const answer = await parameters(source);
      if (source !== this.source) return;
      this.groupName = answer.group;
      this.version = answer.version;
      setText(this.group, `group ${answer.group}, version ${answer.version}`);
      this.form.set(answer.parameters);
      setText(this.outcome, answer.parameters.length ? 'Change a number to see its effect on the picture.' : 'This group has no parameters.');
    } catch (error) {
      this.form.set([]);
      setText(this.group, '');
      this.say(error);
    }
    this.buttons();
  }

  private soon(): void {
    this.buttons();
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.try(), SETTLE_MS);
  }

  private async try(): Promise<void> {
    const frame = this.active();
    if (!this.isOpen || !frame) return;
    const read = this.form.values();
    if ('error' in read) return this.trial(frame, read.error);
    if (!this.form.changes.length) return this.trial(frame, 'These are the values that the group uses.');
    this.hold();
    const shown = frame.shown;
    if (!shown || !isMessage(frame.kind)) return this.trial(frame, 'Show a frame or a hit to see the effect: a powder has no peaks of one frame.');
    const wanted = JSON.stringify([frame.number, shown, read.values]);
    if (wanted === this.previewed) return;
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    setText(this.outcome, `searching frame ${shown.id} …`);
    try {
      const answer = await preview({ source: frame.state.source, kind: frame.kind, stream: shown.stream, id: shown.id, values: read.values }, asking.signal);
      if (asking.signal.aborted) return;
      this.previewed = wanted;
      frame.image.showTrial(answer.peaks);
      setText(this.outcome, `${answer.hit ? '✔ hit' : '○ no hit'}: ${plural(answer.n_peaks, 'peak')} in frame ${shown.id}`);
    } catch (error) {
      if (!asking.signal.aborted) this.trial(frame, `No preview: ${wordsOf(error)}`);
    }
  }

  private trial(frame: PaneFrame, text: string): void {
    this.previewed = '';
    frame.image.showTrial(null);
    setText(this.outcome, text);
  }

  private ask(): void {
    const read = this.form.values();
    if ('error' in read) return setText(this.outcome, read.error);
    const changes = this.form.changes.map((name) => el('li', {}, `${name.replaceAll('_', ' ')}: ${String(read.values[name])}`));
    const yes = el('button', { type: 'button', class: 'primary', onclick: () => void this.apply(read.values) }, 'Apply');
    this.confirm.replaceChildren(
      el('h2', { id: 'confirm-title' }, `Change the running group ${this.groupName}?`),
      el('p', {}, `Its members use these values from their next frames on; now it is version ${this.version}.`),
      el('ul', {}, ...changes),
      el('form', { method: 'dialog', class: 'buttons' }, yes, el('button', {}, 'Cancel')),
    );
    this.confirm.showModal();
  }

  private async apply(values: Record<string, unknown>): Promise<void> {
    this.confirm.close();
    try {
      const { version } = await apply(this.source, values);
      await this.load();
      this.stopTrial();
      setText(this.said, `Applied: ${this.groupName} uses version ${version} from its next frames on.`);
    } catch (error) {
      this.say(error, 'Not applied: ');
    }
  }

  private async act(what: () => Promise<string | null>): Promise<void> {
    setText(this.said, '');
    try {
      setText(this.said, (await what()) ?? '');
    } catch (error) {
      this.say(error);
    }
  }

  private async draw(erase: boolean): Promise<string | null> {
    const frame = this.active();
    if (!frame) return null;
    setText(this.said, 'Click the corners in the picture; double click ends, Escape gives up.');
    const polygon = await frame.image.drawPolygon();
    if (polygon === null || polygon.length < 3) return 'Nothing was changed.';
    const { n_masked, version } = await addMask(frame.state.source, polygon, erase);
    return `${plural(n_masked, 'pixel')} masked now, version ${version}.`;
  }

  private async resetPowder(): Promise<string | null> {
    await resetPowder(this.active()?.state.source ?? '');
    return 'The powder begins anew.';
  }

  private say(error: unknown, before = ''): void {
    setText(this.said, `✖ ${before}${wordsOf(error)}`);
  }

  private buttons(): void {
    const changed = this.version !== null && this.form.changes.length > 0;
    this.applyButton.disabled = !changed || 'error' in this.form.values();
    this.resetButton.disabled = !changed;
  }

  private stop(): void {
    this.asking?.abort();
    window.clearTimeout(this.timer);
    this.stopTrial();
  }

  private stopTrial(): void {
    this.previewed = '';
    this.active()?.image.showTrial(null);
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
