// The questions, their labels, and the choices that did not reach the file. Those outlive a reload.
const labels = (() => {
  let opening = null;
  let name = null;
  let file = "";
  let questions = [];
  let progress = { labelled: 0, left: 0 };
  let words = "";
  // The place of each question by its key, null where several have the same.
  let places = new Map();
  // Choices that are not in the file, by place: the answer, what was shown in its stead, whether it is an undo.
  const unsaved = new Map();
  const skipped = new Set();
  let done = [];
  // How often a label has begun or ended to be written: what was got across that may be older than what is there.
  let writes = 0;
  let dropped = false;
  let told = () => {};

  function keep() {
    if (name === null) return;
    kept.set(name, {
      opening,
      unsaved: [...unsaved].map(([place, one]) => ({ ...one, place, key: questions[place].key })),
      skipped: [...skipped].map((place) => ({ place, key: questions[place].key })),
    });
  }

  function put(before) {
    // Places are those of one opening; across openings a question is known by what it asks.
    const at = ({ place, key }) => (before.opening === opening ? (questions[place] ? place : null) : places.get(key) ?? null);
    let lost = 0;
    for (const { place, key, answer, was, undo } of before.unsaved) {
      const now = at({ place, key });
      if (now === null) lost += 1;
      else unsaved.set(now, { answer, was, undo });
    }
    for (const one of before.skipped) if (at(one) !== null) skipped.add(at(one));
    if (unsaved.size && !words) words = "The page was loaded again before they were.";
    return { at, lost };
  }

  // All of it anew. `told` hears where a question is now that was at a place before, and what became of the rest.
  async function load() {
    const found = await server.questions();
    const first = opening === null;
    const other = !first && name !== `kvorum label ${found.identity}`;
    keep();
    const before = questions;
    const open = unsaved.size;
    ({ opening, file, questions } = found);
    name = `kvorum label ${found.identity}`;
    progress = { labelled: found.labelled, left: found.left };
    places = new Map();
    questions.forEach(({ key }, place) => places.set(key, places.has(key) ? null : place));
    unsaved.clear();
    skipped.clear();
    const { at, lost } = put(kept.get(name) ?? { opening, unsaved: [], skipped: [] });
    done = first || other ? [] : done.map((one) => ({ ...one, place: at({ place: one.place, key: before[one.place].key }) })).filter(({ place }) => place !== null);
    keep();
    told({
      file,
      moved: (place) => (first || other || place === null ? null : at({ place, key: before[place].key })),
      // Choices left behind: of another file, which keeps them, or of questions that are not there any more.
      other,
      left: other ? open : lost,
    });
  }

  // Whether anything has changed; "opened" where the file was opened again and all of it must be got anew.
  async function refresh() {
    const began = writes;
    const found = await server.answers();
    if (found.opening !== opening) return "opened";
    if (began !== writes) return false;
    const gone = new Set(found.gone);
    let changed = false;
    questions.forEach((question, place) => {
      const now = { answer: found.answers[place], gone: gone.has(place) };
      changed ||= now.answer !== question.answer || now.gone !== question.gone;
      Object.assign(question, now);
    });
    progress = { labelled: found.labelled, left: found.left };
    return changed;
  }

  // What is so in the file is shown; the choice is put over it only if one says so.
  async function afterRefusal(place, error) {
    try {
      if (error.field === "opening") return await load();
      if ((await refresh()) === "opened") return await load();
      if (unsaved.has(place)) unsaved.get(place).was = questions[place].answer;
    } catch (second) {
      if (second.words !== error.words) words += ` ${second.words ?? second}`;
    }
  }

  // Whether it is in the file now. Where not, `words` says why, and the choice is kept, unless it was dropped meanwhile.
  async function write(place, { answer, was, undo = false }, again = false) {
    writes += 1;
    try {
      progress = await server.label(place, { answer, was, opening, question: questions[place].key });
      if (!undo && was !== answer) done.push({ place, answer, before: was });
      questions[place].answer = answer;
      unsaved.delete(place);
      skipped.delete(place);
      return true;
    } catch (error) {
      if (!again || unsaved.has(place)) {
        unsaved.set(place, { answer, was, undo });
        words = error.words ?? String(error);
      }
      if (error.status === 409) await afterRefusal(place, error);
      return false;
    } finally {
      writes += 1;
      keep();
    }
  }

  return {
    load,
    refresh,
    onLoad: (tell) => { told = tell; },
    get questions() { return questions; },
    get progress() { return progress; },
    get unsaved() { return [...unsaved.keys()].sort((one, other) => one - other); },
    get words() { return words; },
    get undoable() { return done.length > 0; },
    // The answer that one sees: a choice of one's own, in the file or not yet.
    answer: (place) => (unsaved.has(place) ? unsaved.get(place).answer : questions[place].answer),
    state: (place) => (unsaved.has(place) ? "unsaved" : questions[place].gone ? "gone" : questions[place].answer !== null ? "labelled" : skipped.has(place) ? "skipped" : "open"),
    skip: (place) => {
      skipped.add(place);
      keep();
    },
    set: (place, answer) => write(place, { answer, was: unsaved.has(place) ? unsaved.get(place).was : questions[place].answer }),
    // The place of what was to be undone, null where the file was opened again, and whether it is; null where there is
    // nothing.
    undo: async () => {
      const last = done.pop();
      if (!last) return null;
      const from = opening;
      const undone = await write(last.place, { answer: last.before, was: last.answer, undo: true });
      return { place: from === opening ? last.place : null, undone };
    },
    // The places of what was saved although it was dropped meanwhile: it was on its way.
    retry: async () => {
      dropped = false;
      const late = [];
      const of = name;
      try {
        if ((await refresh()) === "opened") await load();
      } catch (error) {
        words = error.words ?? String(error);
        return late;
      }
      if (name !== of) return late;
      for (const place of [...unsaved.keys()]) {
        if (!unsaved.has(place)) continue;
        if (!(await write(place, unsaved.get(place), true))) break;
        if (dropped) late.push(place);
      }
      return late;
    },
    drop: () => {
      dropped = true;
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
