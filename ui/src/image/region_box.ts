// The region's numbers, beside it.

import type { PictureHeader, Rect } from '../protocol';
import { make } from './dom';
import { valueText } from './readout';

export class RegionBox {
  readonly element = make('dl', 'pane-region');

  /** `corner`: the region's upper right one [device-independent pixels]. The box lies to the right of it, if there is room. */
  update(roi: Rect | null, statistics: PictureHeader['roi'], corner: [number, number] | null): void {
    this.element.hidden = !roi || !corner;
    if (!roi || !corner) return;
    const known = statistics && String(statistics.rect) === String(roi) ? statistics : null;
    const rows: [string, string][] = [
      ['size', `${roi[2] - roi[0]} × ${roi[3] - roi[1]}`],
      ['total', known ? valueText(known.total) : '…'],
      ['mean', known ? numberOrNone(known.mean && Number(known.mean.toPrecision(4))) : '…'],
      ['maximum', known ? numberOrNone(known.maximum) : '…'],
    ];
    const { offsetWidth: width, offsetHeight: height, parentElement: stage } = this.element;
    const place = (at: number, most: number) => `${Math.max(0, Math.min(most, at))}px`;
    this.element.style.left = place(corner[0] + 8, (stage?.clientWidth ?? Infinity) - width);
    this.element.style.top = place(corner[1], (stage?.clientHeight ?? Infinity) - height);
    this.element.replaceChildren(...rows.flatMap(([name, value]) => [make('dt', '', {}, name), make('dd', '', {}, value)]));
  }
}

const numberOrNone = (value: number | null): string => (value === null ? 'no value' : valueText(value));
