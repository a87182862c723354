// The region's numbers, beside it.

import type { PictureHeader, Rect } from '../protocol';
import { make } from './dom';
import { valueText } from './readout';

export class RegionBox {
  readonly element = make('dl', 'pane-region');

  /** `corner`: the region's upper right one [device-independent pixels]. */
  update(roi: Rect | null, statistics: PictureHeader['roi'], corner: [number, number] | null): void {
    this.element.hidden = !roi || !corner;
    if (!roi || !corner) return;
    this.element.style.left = `${Math.max(0, corner[0] + 8)}px`;
    this.element.style.top = `${Math.max(0, corner[1])}px`;
    const known = statistics && String(statistics.rect) === String(roi) ? statistics : null;
    const rows: [string, string][] = [
      ['size', `${roi[2] - roi[0]} × ${roi[3] - roi[1]}`],
      ['total', known ? valueText(known.total) : '…'],
      ['mean', known ? numberOrNone(known.mean && Number(known.mean.toPrecision(4))) : '…'],
      ['maximum', known ? numberOrNone(known.maximum) : '…'],
    ];
    this.element.replaceChildren(...rows.flatMap(([name, value]) => [make('dt', '', {}, name), make('dd', '', {}, value)]));
  }
}

const numberOrNone = (value: number | null): string => (value === null ? 'no value' : valueText(value));
