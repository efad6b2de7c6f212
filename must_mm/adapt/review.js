// Labelling by mouse, touch or keyboard; the labels stay in this browser until
// they are saved as review.csv. Names come from the page as text, never as
// markup.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('review-data').textContent);
  const list = document.getElementById('review-images');
  const cards = [...list.children];
  const count = document.getElementById('review-count');
  const sort = document.getElementById('review-sort');
  const labels = new Map();
  const none = '-';
  const plain = text => text.trim().replace(/[\s_-]+/g, ' ').toLowerCase();
  const classes = new Map(data.classes.map(name => [plain(name), name]));
  const memory = `must-adapt review ${data.key}`;

  const path = card => data.images[Number(card.dataset.place)].path;
  const guesses = card => data.images[Number(card.dataset.place)].guesses;

  function remember() {
    try {
      localStorage.setItem(memory, JSON.stringify([...labels]));
    } catch { /* a browser that keeps nothing of files */ }
  }

  function show(card) {
    const label = labels.get(path(card));
    card.classList.toggle('done', label !== undefined);
    const said = card.querySelector('.said');
    said.textContent = label === undefined ? 'not labelled'
      : label === none ? 'of none of the classes' : label;
    for (const button of card.querySelectorAll('button[data-label]')) {
      button.setAttribute(
        'aria-pressed', String(button.dataset.label === label));
    }
    count.textContent =
      `${labels.size} of ${cards.length} labelled`;
  }

  function choose(card, label) {
    const known = path(card);
    if (label === undefined || labels.get(known) === label) {
      labels.delete(known);
    } else {
      labels.set(known, label);
    }
    card.querySelector('input').value = '';
    remember();
    show(card);
  }

  function move(card, step) {
    const order = [...list.children];
    const next = order[order.indexOf(card) + step];
    if (next) {
      next.focus();
      next.scrollIntoView({block: 'nearest'});
    }
  }

  // what is typed is a class, or the one class that begins with it
  function typed(input) {
    const text = plain(input.value);
    if (!text) return undefined;
    if (classes.has(text)) return classes.get(text);
    const like = [...classes.keys()].filter(name => name.startsWith(text));
    return like.length === 1 ? classes.get(like[0]) : null;
  }

  function take(card, input) {
    const label = typed(input);
    const wrong = label === null;
    input.setAttribute('aria-invalid', String(wrong));
    if (label) {
      labels.delete(path(card));
      choose(card, label);
    }
    return Boolean(label);
  }

  for (const card of cards) {
    const input = card.querySelector('input');
    card.addEventListener('click', event => {
      const button = event.target.closest('button[data-label]');
      if (button) choose(card, button.dataset.label);
    });
    input.addEventListener('change', () => take(card, input));
    card.addEventListener('keydown', event => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target === input) {
        if (event.key === 'Enter') {
          event.preventDefault();
          if (take(card, input)) move(card, 1);
        } else if (event.key === 'Escape') {
          input.value = '';
          input.setAttribute('aria-invalid', 'false');
          card.focus();
        }
        return;
      }
      const steps = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
      if (event.key in steps) {
        event.preventDefault();
        move(card, steps[event.key]);
      } else if (event.target !== card) {
        return;  // a button does what it does
      } else if (/^[1-9]$/.test(event.key)) {
        const guess = guesses(card)[Number(event.key) - 1];
        if (guess === undefined) return;
        labels.delete(path(card));
        choose(card, data.classes[guess]);
        move(card, 1);
      } else if (event.key === '0') {
        labels.delete(path(card));
        choose(card, none);
        move(card, 1);
      } else if (event.key === 'Backspace' || event.key === 'Delete') {
        choose(card, undefined);
      } else if (event.key.length === 1 && event.key !== ' ') {
        input.focus();  // and the letter goes there
      }
    });
  }

  sort.addEventListener('change', () => {
    const by = {
      useful: card => Number(card.dataset.place),
      sure: card => data.images[card.dataset.place].confidence,
      agreed: card => data.images[card.dataset.place].agreement,
      class: card => guesses(card)[0],
      file: card => path(card),
    }[sort.value];
    const compare = (a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1
      : a.dataset.place - b.dataset.place);
    list.append(...cards.toSorted(compare));
  });

  const quoted = text => /[",\r\n]/.test(text) || text !== text.trim()
    ? `"${text.replaceAll('"', '""')}"` : text;

  document.getElementById('review-save').addEventListener('click', () => {
    const lines = ['path,label'];
    for (const {path} of data.images) {
      if (labels.has(path)) {
        lines.push(`${quoted(path)},${quoted(labels.get(path))}`);
      }
    }
    const file = new Blob(
      [`${lines.join('\r\n')}\r\n`], {type: 'text/csv;charset=utf-8'});
    const link = document.createElement('a');
    link.href = URL.createObjectURL(file);
    link.download = 'review.csv';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  try {
    const known = new Set(data.images.map(image => image.path));
    for (const [path, label] of JSON.parse(localStorage.getItem(memory)) ?? []) {
      if (known.has(path)) labels.set(path, label);
    }
  } catch { /* nothing was kept */ }
  document.getElementById('review').classList.add('ready');
  cards.forEach(show);
})();
