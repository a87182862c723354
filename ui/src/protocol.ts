// What the page and its server say to each other; docs/reference/monitor-protocol.md says what each field means.

export type Kind = 'frame' | 'hit' | 'sum' | 'max' | 'hits-sum' | 'hits-max';
export type Pool = 'max' | 'mean';
/** x0, y0, x1, y1 in pixels of the picture. */
export type Rect = [number, number, number, number];

// --- from the page

export interface PaneWish {
  t: 'pane';
  pane: number;
  source: string;
  kind: Kind;
  rect: Rect;
  canvas: [number, number];
  masked: boolean;
  pool: Pool;
  full: boolean;
  roi: Rect | null;
  at: { stream: string; id: number } | null;
}

export type Request =
  | PaneWish
  | { t: 'step'; pane: number; by: -10 | -1 | 1 | 10 }
  | { t: 'close'; pane: number }
  | { t: 'ack'; pane: number; seq: number }
  | { t: 'hide'; hidden: boolean }
  | { t: 'px'; pane: number; x: number; y: number };

// --- from the server

export interface Hello {
  t: 'hello';
  version: string;
  role: 'viewer' | 'operator';
  control: boolean;
  sources: string[];
  offline: boolean;
  fps: number;
  panes: number;
}

export interface Geometry {
  name: string;
  beam: [number, number] | null;
  pixel_m: [number, number] | null;
  distance_m: number | null;
  wavelength_a: number | null;
}

export interface Run {
  t: 'run';
  source: string;
  stream: string | null;
  streams: string[];
  shape: [number, number] | null;
  dtype: string | null;
  n_expected: number | null;
  created_s: number | null;
  kinds: Kind[];
  assembled: boolean;
  geometry: Geometry | null;
  n_masked: number;
  peaks: string | null;
  first_id: number;
  last_id: number;
}

export type Life = 'waiting' | 'live' | 'delayed' | 'silent' | 'finished';

export interface HitNumbers {
  n_frames: number;
  n_hits: number;
  n_peaks: number;
  hit_rate: number;
  hit_rate_of_late: number;
  n_frames_saturated: number;
  lag: number;
}

export interface SourceNumbers {
  stream: string | null;
  life: Life;
  state: string;
  n_received: number;
  n_expected: number | null;
  n_missing: number;
  n_dropped: number;
  n_expired: number;
  n_late: number;
  n_duplicate: number;
  newest_id: number;
  rate_hz: number;
  rate_mb_s: number;
  age_s: number | null;
  detector_dropped: number | null;
  hits: HitNumbers | null;
}

export interface GroupNumbers {
  source: string;
  stream: string;
  name: string;
  members: number;
  rate_hz: number;
  lag_messages: number;
  lag_s: number;
  redelivered: number;
  dead: number;
  skipped: number;
  required: boolean;
}

export interface BufferNumbers {
  reachable: boolean;
  flaw: string;
  used_bytes: number | null;
  limit_bytes: number | null;
  n_spilled: number | null;
  spilling: boolean;
  folder: string | null;
  disk_free_bytes: number | null;
}

export interface Numbers {
  t: 'numbers';
  time_s: number;
  sources: Record<string, SourceNumbers>;
  groups: GroupNumbers[];
  buffer: BufferNumbers;
  viewers: number;
}

export interface History {
  t: 'history';
  source: string;
  time_s: number[];
  rate_hz: (number | null)[];
  age_s: (number | null)[];
  hit_rate: (number | null)[];
}

export interface Histogram {
  first: number;
  step: number;
  counts: number[];
}

export interface Histograms {
  t: 'histograms';
  source: string;
  stream: string;
  peaks_per_frame: Histogram;
  log10_intensity: Histogram;
  one_over_resolution: Histogram;
}

export interface Receipt {
  t: 'receipt';
  source: string;
  stream: string;
  receipt: Record<string, unknown>;
}

export interface LogEntry {
  time_s: number;
  level: 'info' | 'warning' | 'error';
  text: string;
}

export interface Log {
  t: 'log';
  entries: LogEntry[];
}

export interface Pixel {
  t: 'px';
  pane: number;
  /** null: the picture that was asked about is gone. */
  id: number | null;
  x: number;
  y: number;
  value: number | null;
  why: 'masked' | 'no value' | 'outside' | null;
  raw: { fs: number; ss: number; panel: string } | null;
  d: number | null;
}

export interface Gone {
  t: 'gone';
  pane: number;
  stream: string;
  id: number;
  why: string;
}

export type Answer = Hello | Run | Numbers | History | Histograms | Receipt | Log | Pixel | Gone;

export interface PictureHeader {
  t: 'picture';
  pane: number;
  seq: number;
  source: string;
  kind: Kind;
  stream: string;
  id: number;
  n_frames: number;
  follows: boolean;
  age_s: number;
  taken_s: number;
  full: [number, number];
  level: number;
  x0: number;
  y0: number;
  shape: [number, number];
  flag: number;
  scale: number;
  offset: number;
  percentiles: Record<'1' | '50' | '95' | '99.5' | '99.95', number>;
  histogram: Histogram;
  numbers: { maximum: number; mean: number; total: number; n_good: number; n_flagged: number; n_masked: number };
  hit: boolean | null;
  n_peaks: number | null;
  /** `mean` and `maximum` are null where no pixel has a value. */
  roi: { rect: Rect; n: number; total: number; mean: number | null; maximum: number | null } | null;
  blocks: Block[];
}

export interface Block {
  name: 'image' | 'peaks' | 'radial';
  codec: 'none' | 'bslz4';
  dtype: 'u2' | 'u4' | 'f4';
  shape: number[];
  offset: number;
  bytes: number;
}

/** A picture as the worker hands it to the page, unpacked. */
export interface Picture {
  header: PictureHeader;
  image: Uint16Array | Uint32Array;
  /** (n, 3): x, y, intensity. */
  peaks: Float32Array | null;
  /** (2, n): radius in pixels, mean. */
  radial: Float32Array | null;
  /** Bytes on the wire. */
  bytes: number;
  decode_ms: number;
  /** performance.now() when it came. */
  arrived_ms: number;
  /** How much later than a short message it came [s]; null or absent where that is not known. */
  late_s?: number | null;
}
