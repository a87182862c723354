// The shaders of the WebGL renderer. They do what canvas2d.ts does.

import type { Rgb } from './colours';

/** One triangle that covers the canvas. */
export const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3. : -1., gl_VertexID == 2 ? 3. : -1.);
  gl_Position = vec4(corner, 0., 1.);
}`;

export const FRAGMENT = (noValue: Rgb, mostPooled: number): string => `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp isampler2D;
precision highp sampler2D;

uniform usampler2D tile;
uniform isampler2D columns, rows;  // first and end of the tile's pixels for each pixel of the screen
uniform sampler2D table, map;
uniform uint flag;
uniform bool pooled, mean;
uniform int scale, height;
uniform float low, perColour, factor, offset;
uniform vec3 background;
out vec4 colour;

float scaled(float value) {
  if (scale == 1) return sqrt(max(0., value));
  if (scale == 2) return log(1. + max(0., value));
  return value;
}

vec4 colourOf(uint number) {
  if (number < 65536u) return texelFetch(table, ivec2(number & 255u, number >> 8), 0);
  float index = floor((scaled(float(number) * factor + offset) - low) * perColour + .5);
  return texelFetch(map, ivec2(int(clamp(index, 0., 255.)), 0), 0);
}

void main() {
  ivec2 column = texelFetch(columns, ivec2(int(gl_FragCoord.x), 0), 0).xy;
  ivec2 row = texelFetch(rows, ivec2(height - 1 - int(gl_FragCoord.y), 0), 0).xy;
  if (column.x < 0 || row.x < 0) { colour = vec4(background, 1.); return; }
  uint number = 0u;
  bool good = false;
  if (!pooled) {
    number = texelFetch(tile, ivec2(column.x, row.x), 0).r;
    good = number != flag;
  } else {
    ivec2 stride = (ivec2(column.y - column.x, row.y - row.x) + ${mostPooled - 1}) / ${mostPooled};
    // The sum in two halves: exact for 256 pixels of 32 bits, which one number would not hold.
    uint n = 0u, sumLow = 0u, sumHigh = 0u;
    for (int y = row.x; y < row.y; y += stride.y) {
      for (int x = column.x; x < column.y; x += stride.x) {
        uint one = texelFetch(tile, ivec2(x, y), 0).r;
        if (one == flag) continue;
        number = good ? max(number, one) : one;
        good = true;
        if (mean) { n++; sumLow += one & 65535u; sumHigh += one >> 16; }
      }
    }
    if (mean && good) {
      uint rest = sumHigh % n;
      number = (sumHigh / n << 16) + (rest * 65536u + sumLow) / n;
    }
  }
  colour = good ? colourOf(number) : vec4(${noValue.map((part) => `${part}./255.`).join(', ')}, 1.);
}`;
