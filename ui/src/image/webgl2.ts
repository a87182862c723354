// Draws a tile on the graphics card: integers go into a texture as they are, colours are looked up in the shader.
//
// The spans of each column and row are textures, too: they are computed where Canvas 2D computes them, in doubles, so that
// both show the same pixels at any zoom.

import { NO_VALUE, TABLE_SIZE, type Colours } from './colours';
import type { Drawing, Renderer, Tile } from './renderer';
import { FRAGMENT, VERTEX } from './shaders';
import { MOST_POOLED, spans } from './spans';

const UNITS = { tile: 0, table: 1, map: 2, columns: 3, rows: 4 } as const;
const UNIFORMS = ['flag', 'mean', 'pooled', 'scale', 'low', 'perColour', 'factor', 'offset', 'background', 'height'] as const;
const SCALES = { linear: 0, sqrt: 1, log: 2 } as const;
const TABLE_EDGE = 256;

export class Webgl2Renderer implements Renderer {
  readonly name = 'webgl2';
  private readonly uniforms: Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>;
  private readonly textures = new Map<keyof typeof UNITS, { texture: WebGLTexture; key: string }>();
  private readonly mostPixels: number;
  private tile: Tile | null = null;
  private coloursVersion = -1;
  private readonly onLost: (event: Event) => void;

  /** null where there is no WebGL 2; `fast`: or none that is faster than plain canvas. */
  static make(canvas: HTMLCanvasElement, fast: boolean, lost: () => void): Webgl2Renderer | null {
    const gl = canvas.getContext('webgl2', {
      alpha: false,
      antialias: false,
      depth: false,
      stencil: false,
      failIfMajorPerformanceCaveat: fast,
    });
    if (!gl || (fast && isSoftware(gl))) return null;
    return new Webgl2Renderer(canvas, gl, lost);
  }

  private constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGL2RenderingContext,
    private readonly lost: () => void,
  ) {
    const program = link(gl);
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)])) as never;
    for (const [name, unit] of Object.entries(UNITS)) gl.uniform1i(gl.getUniformLocation(program, name), unit);
    gl.bindVertexArray(gl.createVertexArray());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.mostPixels = gl.getParameter(gl.MAX_TEXTURE_SIZE) as number;
    this.onLost = () => lost();
    canvas.addEventListener('webglcontextlost', this.onLost);
  }

  setTile(tile: Tile | null): void {
    this.tile = tile;
    if (!tile) return;
    if (tile.width > this.mostPixels || tile.height > this.mostPixels) return this.lost();
    const { gl } = this;
    const wide = tile.data instanceof Uint32Array;
    const format = wide ? gl.R32UI : gl.R16UI;
    this.upload('tile', format, tile.width, tile.height, gl.RED_INTEGER, wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, tile.data);
  }

  draw({ frame, colours, pool, background }: Drawing): void {
    const { gl, tile, uniforms } = this;
    const { width, height } = this.canvas;
    if (!width || !height || gl.isContextLost()) return;
    gl.viewport(0, 0, width, height);
    const rgb = background.map((part) => part / 255) as [number, number, number];
    if (!tile) {
      gl.clearColor(...rgb, 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      return;
    }
    const pixel = frame.scale * 2 ** tile.level;
    const columns = spans(width, frame.left, pixel, Math.round(tile.x0 / 2 ** tile.level), tile.width);
    const rows = spans(height, frame.top, pixel, Math.round(tile.y0 / 2 ** tile.level), tile.height);
    this.upload('columns', gl.RG32I, width, 1, gl.RG_INTEGER, gl.INT, columns);
    this.upload('rows', gl.RG32I, height, 1, gl.RG_INTEGER, gl.INT, rows);
    this.setColours(colours);
    gl.uniform1ui(uniforms.flag, tile.flag);
    gl.uniform1i(uniforms.pooled, pixel < 1 ? 1 : 0);
    gl.uniform1i(uniforms.mean, pool === 'mean' ? 1 : 0);
    gl.uniform1i(uniforms.height, height);
    gl.uniform3f(uniforms.background, ...rgb);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  dispose(): void {
    this.canvas.removeEventListener('webglcontextlost', this.onLost);
    for (const { texture } of this.textures.values()) this.gl.deleteTexture(texture);
    // Browsers keep sixteen contexts at most: this one is free from now on.
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }

  private setColours(colours: Colours): void {
    if (this.coloursVersion === colours.version) return;
    this.coloursVersion = colours.version;
    const { gl, uniforms } = this;
    const bytes = (packed: Uint32Array) => new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
    const edge = TABLE_SIZE / TABLE_EDGE;
    this.upload('table', gl.RGBA8, TABLE_EDGE, edge, gl.RGBA, gl.UNSIGNED_BYTE, bytes(colours.table));
    this.upload('map', gl.RGBA8, 256, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes(colours.map));
    const { scale, low, perColour, factor, offset } = colours.formula;
    gl.uniform1i(uniforms.scale, SCALES[scale]);
    gl.uniform1f(uniforms.low, low);
    gl.uniform1f(uniforms.perColour, perColour);
    gl.uniform1f(uniforms.factor, factor);
    gl.uniform1f(uniforms.offset, offset);
  }

  /** Into the texture of that name; it is made anew when its format or size has changed. */
  private upload(
    name: keyof typeof UNITS,
    internal: number,
    width: number,
    height: number,
    format: number,
    type: number,
    data: ArrayBufferView,
  ): void {
    const { gl } = this;
    const key = `${internal} ${width} ${height}`;
    gl.activeTexture(gl.TEXTURE0 + UNITS[name]);
    const old = this.textures.get(name);
    if (old?.key !== key) {
      if (old) gl.deleteTexture(old.texture);
      const texture = gl.createTexture();
      this.textures.set(name, { texture, key });
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
        gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      }
    } else gl.bindTexture(gl.TEXTURE_2D, old.texture);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, type, data);
  }
}

/** Not every browser says no to `failIfMajorPerformanceCaveat` where it should. */
function isSoftware(gl: WebGL2RenderingContext): boolean {
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  const name: unknown = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(String(name));
}

function link(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  const sources = [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT(NO_VALUE, MOST_POOLED)],
  ] as const;
  for (const [type, source] of sources) {
    const shader = gl.createShader(type);
    if (!shader) throw new Error('no shader');
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader) ?? 'no shader');
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? 'no program');
  return program;
}
