// The questions, their labels, and the choices that did not reach the file. Those outlive a reload.
const labels = (() => {
  const KEPT = "kvorum label";
  let questions = [];
  let progress = { labelled: 0, left: 0 };
  let words = "";
  const unsaved = new Map();
  const skipped = new Set();
  const done = [];

  function keep() {
    sessionStorage.setItem(KEPT, JSON.stringify({ unsaved: [...unsaved], skipped: [...skipped] }));
  }

  function recall() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? '{"unsaved": [], "skipped": []}');
    for (const [place, answer] of kept.unsaved) if (place < questions.length) unsaved.set(place, answer);
    for (const place of kept.skipped) skipped.add(place);
    if (unsaved.size && !words) words = "The page was loaded again before they were.";
  }

  async function load() {
    const found = await server.questions();
    const first = !questions.length;
    questions = found.questions;
    progress = { labelled: found.labelled, left: found.left };
    if (first) recall();
    return found.file;
  }

  // Whether it is in the file now. Where not, `words` says why, and the choice is kept.
  async function write(place, answer) {
    try {
      progress = await server.label(place, answer);
      questions[place].answer = answer;
      unsaved.delete(place);
      skipped.delete(place);
      return true;
    } catch (error) {
      unsaved.set(place, answer);
      words = error.words ?? String(error);
      // What another program has written is shown; the choice is put over it only if one says so.
      if (error.status === 409) await load().catch((second) => { words += ` ${second.words ?? second}`; });
      return false;
    } finally {
      keep();
    }
  }

  return {
    load,
    get questions() { return questions; },
    get progress() { return progress; },
    get unsaved() { return [...unsaved.keys()].sort((one, other) => one - other); },
    get words() { return words; },
    get undoable() { return done.length > 0; },
    // The answer that one sees: a choice of one's own, in the file or not yet.
    answer: (place) => (unsaved.has(place) ? unsaved.get(place) : questions[place].answer),
    state: (place) => (unsaved.has(place) ? "unsaved" : questions[place].gone ? "gone" : questions[place].answer !== null ? "labelled" : skipped.has(place) ? "skipped" : "open"),
    skip: (place) => {
      skipped.add(place);
      keep();
    },
    set: async (place, answer) => {
      const before = questions[place].answer;
      if (!(await write(place, answer))) return false;
      if (before !== answer) done.push({ place, before });
      return true;
    },
    // The place of what was undone, null where there is nothing.
    undo: async () => {
      const last = done.pop();
      if (!last) return null;
      await write(last.place, last.before);
      return last.place;
    },
    retry: async () => {
      for (const [place, answer] of [...unsaved]) if (!(await write(place, answer))) return;
    },
    drop: () => {
      unsaved.clear();
      keep();
    },
    // The next question without a label, from the beginning again where none comes after; null where there is none.
    nextOpen: (place) => {
      const open = questions.map((_, at) => at).filter((at) => ["open", "skipped"].includes(labels.state(at)));
      return open.find((at) => at > place) ?? open.find((at) => at !== place) ?? null;
    },
  };
})();
