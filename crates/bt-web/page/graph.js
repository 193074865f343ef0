// Rates over time: five minutes by the second, an hour and a day by longer steps.

import { html, useLayoutEffect, useRef, useState } from './vendor/htm-preact.js';
import * as format from './format.js';

const SPANS = [{ name: '5 min', step: 1, length: 300 }, { name: 'hour', step: 12, length: 300 }, { name: 'day', step: 288, length: 300 }];

// The rates of all torrents since the page was opened, in rings of 300 steps.
export class History {
  constructor() {
    this.rings = SPANS.map(() => []);
    this.sums = SPANS.map(() => ({ down: 0, up: 0, count: 0 }));
  }

  add(down, up) {
    SPANS.forEach(({ step, length }, at) => {
      const sum = this.sums[at];
      sum.down += down;
      sum.up += up;
      sum.count += 1;
      if (sum.count < step) return;
      this.rings[at].push({ down: sum.down / step, up: sum.up / step });
      if (this.rings[at].length > length) this.rings[at].shift();
      this.sums[at] = { down: 0, up: 0, count: 0 };
    });
  }
}

function draw(canvas, points, length) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  pen.clearRect(0, 0, width, height);
  const top = Math.max(1024, ...points.map(({ down, up }) => Math.max(down, up)));
  const style = getComputedStyle(canvas);
  for (const [key, color] of [['down', style.getPropertyValue('--down')], ['up', style.getPropertyValue('--up')]]) {
    pen.beginPath();
    points.forEach((point, at) => {
      const x = width - ((points.length - 1 - at) * width) / length;
      const y = height - 4 - (point[key] / top) * (height - 8);
      if (at === 0) pen.moveTo(x, y);
      else pen.lineTo(x, y);
    });
    pen.strokeStyle = color;
    pen.lineWidth = 2;
    pen.stroke();
  }
  return top;
}

export function Graph({ history, version }) {
  const canvas = useRef(null);
  const [span, setSpan] = useState(0);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => { setTop(draw(canvas.current, history.rings[span], SPANS[span].length)); }, [version, span]);
  return html`<div class="graph"><div class="tabs small">${SPANS.map(({ name }, at) => html`<button key=${name} class=${span === at ? 'on' : ''} onClick=${() => setSpan(at)}>${name}</button>`)}
      <span class="legend"><i class="down"></i>down <i class="up"></i>up, top ${format.rate(top)}</span></div>
    <canvas ref=${canvas} role="img" aria-label="Rates over time"></canvas></div>`;
}
