"use strict";
// What the page knows of each question: unpacked when first looked at, with what follows from it.
const questions = (() => {
  const QUADRANTS = ["confident", "torn", "disputed"];
  const OUTCOMES = ["retained", "forgotten", "acquired", "never-known"];
  const block = (name) => JSON.parse(document.getElementById(`data-${name}`).textContent);
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  const kept = new Map();
  function once(name, build) {
    if (!kept.has(name)) kept.set(name, build());
    return kept.get(name);
  }

  function unpack(packed) {
    const letters = atob(packed.data);
    const bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
    const integers = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[packed.bytes];
    const whole = new integers(bytes.buffer);
    if (packed.scale === 1) return whole;
    const numbers = new Float64Array(whole.length);
    for (let place = 0; place < whole.length; place++) numbers[place] = whole[place] * packed.scale;
    return numbers;
  }

  function textsOf(task) {
    return once(`texts-${task}`, () => {
      const texts = block(`texts-${task}`);
      texts.search = () => once(`search-${task}`, () => texts.questions.map((question, place) =>
        plain([question, ...texts.choices[place], texts.subjects[place] ?? "", texts.ids[place]].join("\n"))));
      return texts;
    });
  }

  function answersOf(task, epoch) {
    return once(`answers-${task}-${epoch}`, () => {
      const texts = textsOf(task);
      const packed = block(`answers-${task}-${epoch}`);
      const answers = { epoch, members: packed.members, fitted: packed.fitted };
      for (const name of ["entropy", "expected", "information", "quadrant", "kl", "predicted", "votes", "mean", "rest", "rows"]) {
        answers[name] = packed[name] ? unpack(packed[name]) : null;
      }
      // Members' own probabilities are most of the numbers, and wanted only where a row is opened.
      for (const name of ["each", "each_rest"]) {
        Object.defineProperty(answers, name, { get: () => once(`${name}-${task}-${epoch}`, () => (packed[name] ? unpack(packed[name]) : null)) });
      }
      const size = answers.entropy.length;
      answers.size = size;
      answers.place = answers.rows ?? Uint32Array.from({ length: size }, (_, row) => row);
      answers.start = new Uint32Array(size + 1);
      for (let row = 0; row < size; row++) answers.start[row + 1] = answers.start[row] + texts.choices[answers.place[row]].length;
      answers.confidence = Float64Array.from({ length: size }, (_, row) => answers.mean[answers.start[row] + answers.predicted[row]]);
      answers.most = { confidence: 1 };
      for (const name of ["entropy", "expected", "information"]) answers.most[name] = answers[name].reduce((most, value) => Math.max(most, value), 0);
      return answers;
    });
  }

  // A task at an epoch, beside what was said of the same questions at epoch 0.
  function look(task, epoch, epochs) {
    return once(`look-${task}-${epoch}`, () => {
      const texts = textsOf(task);
      const answers = answersOf(task, epoch);
      const prior = epochs.includes(0) ? answersOf(task, 0) : null;
      const seen = { texts, answers, prior, moved: prior !== null && epoch !== 0 };
      seen.before = new Int32Array(answers.size).fill(-1);
      if (prior) {
        const there = new Int32Array(texts.questions.length).fill(-1);
        prior.place.forEach((place, row) => { there[place] = row; });
        answers.place.forEach((place, row) => { seen.before[row] = there[place]; });
      }
      seen.truth = (row) => texts.answers[answers.place[row]];
      seen.kind = (row) => (seen.truth(row) < 0 ? "unknown" : seen.truth(row) === answers.predicted[row] ? "right" : "wrong");
      seen.quadrant = (row) => QUADRANTS[answers.quadrant[row]];
      seen.outcome = (row) => {
        const before = seen.before[row];
        if (before < 0 || seen.truth(row) < 0) return "";
        const was = prior.predicted[before] === seen.truth(row);
        return OUTCOMES[(was ? 0 : 2) + (answers.predicted[row] === seen.truth(row) ? 0 : 1)];
      };
      seen.split = (row) => {
        const count = answers.members.length;
        const first = answers.votes[row * count];
        for (let member = 1; member < count; member++) if (answers.votes[row * count + member] !== first) return true;
        return false;
      };
      seen.keys = (name) => {
        if (name === "place") return answers.place;
        return name === "tv" ? once(`tv-${task}-${epoch}`, () => totalVariation(seen)) : answers[name];
      };
      return seen;
    });
  }

  function totalVariation({ answers, prior, before }) {
    return Float64Array.from({ length: answers.size }, (_, row) => {
      if (before[row] < 0) return 0;
      let sum = Math.abs((answers.rest?.[row] ?? 0) - (prior.rest?.[before[row]] ?? 0));
      for (let number = 0; number < answers.start[row + 1] - answers.start[row]; number++) {
        sum += Math.abs(answers.mean[answers.start[row] + number] - prior.mean[prior.start[before[row]] + number]);
      }
      return sum / 2;
    });
  }

  function find(seen, wanted) {
    const words = plain(wanted.search).split(/\s+/).filter(Boolean);
    const search = words.length ? seen.texts.search() : null;
    const found = [];
    for (let row = 0; row < seen.answers.size; row++) {
      if (wanted.show === "split" ? !seen.split(row) : wanted.show !== "all" && seen.kind(row) !== wanted.show) continue;
      if (wanted.outcome !== "all" && seen.outcome(row) !== wanted.outcome) continue;
      if (wanted.quadrant !== "all" && seen.quadrant(row) !== wanted.quadrant) continue;
      if (search && !words.every((word) => search[seen.answers.place[row]].includes(word))) continue;
      found.push(row);
    }
    const keys = seen.keys(wanted.sort);
    const sign = wanted.order === "down" ? -1 : 1;
    // What was not asked before has not moved any way: it comes last.
    const asked = ["kl", "tv"].includes(wanted.sort) ? (row) => (seen.before[row] < 0 ? 1 : 0) : () => 0;
    return found.sort((one, other) => asked(one) - asked(other) || sign * (keys[one] - keys[other]) || one - other);
  }

  return { index: () => block("index"), look, find };
})();
