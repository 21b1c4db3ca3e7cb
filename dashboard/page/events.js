'use strict';
// The time line: marks under the charts, and the same as a list.

const EVENT_GLYPHS = { bad: '▲', warn: '◆', good: '●', info: '■' };
const EVENT_ROWS = { state: 0, overload: 1, phase: 1, health: 1, tuned: 2 };
const MAX_LISTED = 60;

const markPlot = document.querySelector('.marks');
{
  const keys = byId('event-keys');
  for (const [level, word] of [['bad', 'trouble'], ['warn', 'change'], ['good', 'recovery'], ['info', 'tuning']]) {
    const key = el('span', level);
    key.append(el('i', '', EVENT_GLYPHS[level]), word);
    keys.append(key);
  }
}

function drawEvents() {
  const seen = store.events.filter((e) => across(e.time) >= 0);
  while (markPlot.children.length > seen.length) markPlot.lastChild.remove();
  seen.forEach((e, i) => {
    const mark = markPlot.children[i] || markPlot.appendChild(el('span'));
    mark.className = `${e.level} row${EVENT_ROWS[e.kind] ?? 1}`;
    setText(mark, EVENT_GLYPHS[e.level]);
    mark.style.left = `${(100 * across(e.time)) / WIDE}%`;
    mark.title = `${clock(e.time)} ${e.name || 'server'}: ${e.text}`;
  });

  const list = byId('events');
  const newest = [...store.events].sort((a, b) => b.time - a.time || b.seq - a.seq).slice(0, MAX_LISTED);
  const key = store.events.length ? `${store.boot}.${store.events.length}.${store.events.at(-1).seq}` : '';
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...newest.map((e) => {
      const item = el('li', e.level);
      const glyph = el('i', '', EVENT_GLYPHS[e.level]);
      glyph.setAttribute('aria-hidden', 'true');
      const time = el('time', '', clock(e.time));
      time.dateTime = new Date(e.time).toISOString();
      const what = el('span', 'what');
      what.append(el('b', '', e.of === 'server' ? 'server' : e.name), ` ${e.text}`);
      if (e.of === 'route') what.prepend(el('small', '', 'route '));
      item.append(time, glyph, what);
      return item;
    }));
  }
  byId('no-events').hidden = newest.length > 0;
}
