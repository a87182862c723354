// Who reads the data and how far behind: consumer groups; what the buffer holds; what was lost, and where.

import type { BufferNumbers, GroupNumbers, SourceNumbers } from '../../protocol';
import type { Column } from '../../charts/csv';
import { el, setAttribute, setText } from '../dom';
import { bytes, count, duration, percent, plural, rate, shortName } from '../format';
import type { Trend } from '../model';
import type { Card, View } from '../view';
import { Shell } from './shell';
import { setCell, Table, type Cell, type Heading } from './table';

const LAG: Record<Trend, Pick<Cell, 'state' | 'why'>> = {
  fine: {},
  behind: { state: 'warn', why: 'more than 50 messages behind' },
  growing: { state: 'bad', why: 'behind, and falling further behind' },
};

export class GroupsCard implements Card {
  private readonly shell = new Shell({ name: 'consumer-groups', title: 'Consumer groups', wide: true, columns: () => this.columns() });
  private readonly table = new Table('Consumer groups');
  private readonly nothing = el('p', { class: 'nothing-here' }, 'no consumer group reads this stream');
  private groups: GroupNumbers[] = [];

  constructor() {
    this.shell.body.append(el('div', { class: 'scroll-x', tabindex: 0, role: 'group', 'aria-label': 'Consumer groups, table' }, this.table.element), this.nothing);
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update({ model }: View): void {
    this.groups = model.groups;
    this.element.hidden = model.hello?.offline === true && this.groups.length === 0;
    const several = new Set(this.groups.map((group) => group.source)).size > 1;
    const any = (of: (group: GroupNumbers) => number) => this.groups.some((group) => of(group) > 0);
    const [dead, skipped] = [any((g) => g.dead), any((g) => g.skipped)];
    const headings: Heading[] = [
      { text: 'group', title: 'Name of the consumer group; • : the stream is kept until it has read it' },
      ...(several ? [{ text: 'source', title: 'Data source' }] : []),
      { text: 'memb.', title: 'Members' },
      { text: 'Hz', title: 'Messages acknowledged per second' },
      { text: 'lag', title: 'Messages that it has not read yet' },
      { text: 'lag / s', title: 'How long ago the oldest message that it has not read came' },
      { text: 'redel.', title: 'Messages delivered again' },
      { text: 'dead', title: 'Dead letters: given up after too many tries' },
      ...(skipped ? [{ text: 'skip.', title: 'Messages skipped' }] : []),
    ];
    const rows = this.groups.map((group): Cell[] => {
      const lag = LAG[model.trend(group)];
      return [
        { text: group.required ? `${group.name} •` : group.name, why: group.required ? `${group.name}: the stream is kept until this group has read it` : group.name },
        ...(several ? [{ text: shortName(group.source), why: group.source }] : []),
        group.members === 0 && group.lag_messages > 0 ? { text: '0', state: 'warn', why: 'nobody reads' } : { text: count(group.members) },
        { text: rate(group.rate_hz) },
        { text: count(group.lag_messages), ...lag },
        { text: group.lag_messages > 0 ? lagSeconds(group.lag_s) : '0' },
        { text: count(group.redelivered) },
        group.dead > 0 ? { text: count(group.dead), state: 'bad', why: 'dead letters' } : { text: '0' },
        ...(skipped ? [{ text: count(group.skipped) }] : []),
      ];
    });
    this.nothing.hidden = rows.length > 0;
    this.table.element.hidden = rows.length === 0;
    this.table.set(headings, rows);
    const behind = this.groups.filter((group) => model.trend(group) !== 'fine').length;
    this.shell.setValue(behind ? `${behind} behind` : dead ? 'dead letters' : '');
    setAttribute(this.element, 'data-state', this.groups.some((g) => model.trend(g) === 'growing') ? 'bad' : behind ? 'warn' : null);
  }

  private columns(): Column[] {
    const of = (key: keyof GroupNumbers) => this.groups.map((group) => (typeof group[key] === 'boolean' ? String(group[key]) : (group[key] as string | number)));
    const keys: (keyof GroupNumbers)[] = ['source', 'stream', 'name', 'members', 'rate_hz', 'lag_messages', 'lag_s', 'redelivered', 'dead', 'skipped', 'required'];
    return keys.map((key) => ({ name: key, values: of(key) }));
  }
}

function lagSeconds(seconds: number): string {
  return seconds < 99.95 ? seconds.toFixed(1) : duration(seconds);
}

const FULL = 0.8; // the producer is slowed down when the buffer is full: say so before

export class BufferCard implements Card {
  private readonly shell = new Shell({ name: 'buffer', title: 'Buffer' });
  private readonly meter = el('meter', { min: 0, max: 1, low: 0.6, high: FULL, optimum: 0, 'aria-label': 'Buffer used' });
  private readonly lines = [0, 1, 2].map(() => el('p', { class: 'fact' }));

  constructor() {
    this.shell.body.append(this.meter, ...this.lines);
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update({ model }: View): void {
    const buffer = model.buffer;
    this.element.hidden = model.hello?.offline === true;
    if (buffer === null) return;
    const share = buffer.used_bytes !== null && buffer.limit_bytes ? buffer.used_bytes / buffer.limit_bytes : null;
    this.meter.hidden = share === null;
    this.meter.value = share ?? 0;
    this.shell.setValue(share === null ? '' : `${percent(share)} %`);
    const [used, spill, disk] = bufferCells(buffer, share);
    setCell(this.lines[0], used);
    setCell(this.lines[1], spill);
    setCell(this.lines[2], disk);
    this.lines[2].hidden = disk.text === '';
    setAttribute(this.meter, 'aria-valuetext', used.text);
    const states = [used, spill, disk].map((cell) => cell.state);
    setAttribute(this.element, 'data-state', states.includes('bad') ? 'bad' : states.includes('warn') ? 'warn' : null);
  }
}

/** What it says of the memory, of what lies on disk, and of the disk. */
export function bufferCells(buffer: BufferNumbers, share: number | null): [Cell, Cell, Cell] {
  if (!buffer.reachable) {
    const why = buffer.flaw || 'the server does not answer';
    return [{ text: 'unknown', state: 'bad', why: 'the buffer cannot be asked' }, { text: why }, { text: '' }];
  }
  const size = buffer.limit_bytes ? `${bytes(buffer.used_bytes)} of ${bytes(buffer.limit_bytes)}` : `${bytes(buffer.used_bytes)} used, no limit`;
  const used: Cell = share !== null && share > FULL ? { text: size, state: share > 0.95 ? 'bad' : 'warn', why: 'nearly full' } : { text: size };
  const n = buffer.n_spilled ?? 0;
  let spill: Cell = { text: buffer.folder === null && buffer.n_spilled === null ? 'nothing goes to disk' : 'no spill' };
  if (buffer.flaw) spill = { text: buffer.flaw, state: 'bad', why: 'nothing goes to disk' };
  else if (buffer.spilling) spill = { text: `spilling: ${plural(n, 'message')} on disk`, state: 'warn', why: 'readers are behind' };
  else if (n > 0) spill = { text: `${plural(n, 'message')} on disk` };
  const free = buffer.disk_free_bytes;
  const disk: Cell = free === null ? { text: '' } : { text: `${bytes(free)} free on disk`, why: buffer.folder ?? undefined };
  if (free !== null && free < 10e9) disk.state = 'warn'; // 10 GB: seconds of a fast detector
  return [used, spill, disk];
}

const LOSSES: { name: string; title: string; of: (n: SourceNumbers) => number | null; grave: 'warn' | 'bad' | '' }[] = [
  { name: 'missing', title: 'Messages that were expected and never came', of: (n) => n.n_missing, grave: 'bad' },
  { name: 'dropped', title: 'Messages that left memory before everybody had read them', of: (n) => n.n_dropped, grave: 'bad' },
  { name: 'detector', title: "What the detector's own counter says it has dropped", of: (n) => n.detector_dropped, grave: 'bad' },
  { name: 'late', title: 'Messages that came after their gap had been given up', of: (n) => n.n_late, grave: 'warn' },
  { name: 'duplicate', title: 'Messages that came twice, and were taken once', of: (n) => n.n_duplicate, grave: '' },
  { name: 'expired', title: 'Messages older than the stream is kept; they have left it', of: (n) => n.n_expired, grave: '' },
];

export class LossesCard implements Card {
  private readonly shell = new Shell({ name: 'losses', title: 'Lost' });
  private readonly values = LOSSES.map(() => el('dd'));

  constructor() {
    const list = el('dl', { class: 'facts' });
    LOSSES.forEach(({ name, title }, i) => list.append(el('div', { title }, el('dt', {}, name), this.values[i])));
    this.shell.body.append(list);
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update({ model, source }: View): void {
    const numbers = model.source(source);
    let worst: 'warn' | 'bad' | null = null;
    LOSSES.forEach(({ of, grave, title }, i) => {
      const n = numbers === null ? null : of(numbers);
      const state = n !== null && n > 0 ? grave : '';
      if (state === 'bad' || (state === 'warn' && worst === null)) worst = state;
      setCell(this.values[i], { text: n === null ? '–' : count(n), state, why: state ? title : n === null ? 'not known' : undefined });
    });
    const lost = numbers === null ? 0 : numbers.n_missing + numbers.n_dropped + (numbers.detector_dropped ?? 0);
    this.shell.setValue(numbers === null ? '' : lost ? count(lost) : 'nothing');
    setAttribute(this.element, 'data-state', worst);
  }
}

/** Which data sources there are, where several are watched. */
export class SourcesCard implements Card {
  private readonly shell = new Shell({ name: 'data-sources', title: 'Data sources', wide: true });
  private readonly table = new Table('Data sources');

  constructor() {
    this.shell.body.append(el('div', { class: 'scroll-x', tabindex: 0, role: 'group', 'aria-label': 'Data sources, table' }, this.table.element));
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update({ model, source: active }: View): void {
    const sources = model.hello?.sources ?? [];
    this.element.hidden = sources.length < 2;
    if (this.element.hidden) return;
    const rows = sources.map((source): Cell[] => {
      const n = model.source(source);
      const life = n?.life ?? 'waiting';
      const state = life === 'silent' ? 'bad' : life === 'delayed' ? 'warn' : '';
      return [
        { text: shortName(source) + (source === active ? ' ◂' : ''), why: source },
        { text: life, state, why: state ? `newest message ${duration(n?.age_s)} old` : undefined },
        { text: n?.stream ?? '–', why: n?.stream ?? undefined },
        { text: rate(n?.rate_hz) },
        { text: n?.hits ? `${percent(n.hits.hit_rate_of_late)} %` : '–' },
        { text: count(n?.n_received) },
      ];
    });
    this.table.set(
      [
        { text: 'source', title: 'Data source; ◂ : the one that the header is about' },
        { text: 'state', title: 'How it is' },
        { text: 'run', title: 'Stream' },
        { text: 'Hz', title: 'Messages per second' },
        { text: 'hits', title: 'Hit rate of late' },
        { text: 'received', title: 'Messages received' },
      ],
      rows,
    );
    setText(this.element.querySelector('.card-value') as Element, '');
  }
}
