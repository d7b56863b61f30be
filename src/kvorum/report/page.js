// The table of questions. Text from the data only ever becomes text nodes.
"use strict";
(() => {
  const PAGE = matchMedia("(max-width: 52rem)").matches ? 20 : 50;
  const DIGITS = 4;
  const NOTHING = 1e-9;
  const byId = (id) => document.getElementById(id);
  const indexBlock = byId("data-index");
  if (!indexBlock || !byId("table")) return;
  const index = JSON.parse(indexBlock.textContent);

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const letter = (choice) => (choice < 26 ? String.fromCharCode(97 + choice) : String(choice + 1));
  const shown = (value) => (value < NOTHING ? "0.000" : value >= 0.0995 ? value.toFixed(3) : value < 0.00005 ? "<0.0001" : value.toFixed(DIGITS));
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  function unpack(block) {
    const bytes = Uint8Array.from(atob(block.data), (sign) => sign.charCodeAt(0));
    const integers = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[block.bytes];
    const numbers = new integers(bytes.buffer);
    return block.scale === 1 ? numbers : Float64Array.from(numbers, (number) => number * block.scale);
  }

  const kept = new Map();
  function once(name, build) {
    if (!kept.has(name)) kept.set(name, build());
    return kept.get(name);
  }

  function textsOf(task) {
    return once(`texts-${task}`, () => {
      const texts = JSON.parse(byId(`data-texts-${task}`).textContent);
      texts.search = () => once(`search-${task}`, () => texts.questions.map((question, place) =>
        plain([question, ...texts.choices[place], texts.subjects[place] ?? "", texts.ids[place]].join("\n"))));
      return texts;
    });
  }

  function answersOf(task, epoch) {
    return once(`answers-${task}-${epoch}`, () => {
      const texts = textsOf(task);
      const block = JSON.parse(byId(`data-answers-${task}-${epoch}`).textContent);
      const answers = { members: block.members, fitted: block.fitted };
      for (const name of ["entropy", "expected", "information", "predicted", "votes", "mean", "rest", "each", "each_rest", "rows"]) {
        answers[name] = block[name] ? unpack(block[name]) : null;
      }
      const size = answers.entropy.length;
      answers.size = size;
      answers.place = answers.rows ?? Uint32Array.from({ length: size }, (_, row) => row);
      answers.start = new Uint32Array(size + 1);
      for (let row = 0; row < size; row++) answers.start[row + 1] = answers.start[row] + texts.choices[answers.place[row]].length;
      answers.confidence = Float64Array.from({ length: size }, (_, row) => answers.mean[answers.start[row] + answers.predicted[row]]);
      answers.most = { entropy: 0, expected: 0, information: 0, confidence: 1 };
      for (const name of ["entropy", "expected", "information"]) for (const value of answers[name]) if (value > answers.most[name]) answers.most[name] = value;
      return answers;
    });
  }

  const state = { task: 0, epoch: index[0].epochs.at(-1), kind: "all", sort: "information", down: true, words: "", page: 0, open: new Set() };
  let texts, answers, found = [];

  const outcome = (row) => {
    const truth = texts.answers[answers.place[row]];
    return truth < 0 ? "unknown" : truth === answers.predicted[row] ? "right" : "wrong";
  };
  const split = (row) => {
    const count = answers.members.length;
    for (let member = 1; member < count; member++) if (answers.votes[row * count + member] !== answers.votes[row * count]) return true;
    return false;
  };

  function find() {
    const words = plain(state.words).split(/\s+/).filter(Boolean);
    const search = words.length ? texts.search() : null;
    found = [];
    for (let row = 0; row < answers.size; row++) {
      if (state.kind === "split" ? !split(row) : state.kind !== "all" && outcome(row) !== state.kind) continue;
      if (search && !words.every((word) => search[answers.place[row]].includes(word))) continue;
      found.push(row);
    }
    const keys = state.sort === "place" ? answers.place : answers[state.sort];
    const sign = state.down ? -1 : 1;
    found.sort((one, other) => sign * (keys[one] - keys[other]) || one - other);
  }

  function measure(row, name, label) {
    const cell = make("td", "number", shown(answers[name][row]));
    cell.dataset.name = label;
    const bar = make("span", "bar");
    bar.style.setProperty("--share", answers.most[name] > NOTHING ? (answers[name][row] / answers.most[name]).toFixed(3) : "0");
    cell.append(bar);
    return cell;
  }

  function votes(row) {
    const cell = make("td", "votes");
    cell.dataset.name = "votes";
    const count = answers.members.length;
    const truth = texts.answers[answers.place[row]];
    const box = make("span");
    box.setAttribute("role", "img");
    const spoken = [];
    for (let member = 0; member < count; member++) {
      const choice = answers.votes[row * count + member];
      const vote = make("span", choice === truth ? "vote good" : "vote", letter(choice));
      vote.title = `member ${answers.members[member]}`;
      box.append(vote);
      spoken.push(letter(choice));
    }
    box.setAttribute("aria-label", `votes: ${spoken.join(" ")}`);
    cell.append(box);
    return cell;
  }

  function summaryRow(row) {
    const place = answers.place[row];
    const kind = outcome(row);
    const line = make("tr", `row ${kind}`);
    const mark = make("td", "mark");
    const button = make("button", "open", { right: "✓", wrong: "✗", unknown: "?" }[kind]);
    button.type = "button";
    button.title = kind === "unknown" ? "answer unknown" : kind;
    button.setAttribute("aria-label", `${button.title}; show choices of: ${texts.questions[place].slice(0, 80)}`);
    button.setAttribute("aria-expanded", String(state.open.has(row)));
    mark.append(button);
    const question = make("td", "text");
    question.append(make("div", "clamp", texts.questions[place]));
    question.append(make("div", "meta", [texts.subjects[place], texts.ids[place]].filter(Boolean).join(" · ")));
    const answer = make("td", "answer");
    const choices = texts.choices[place];
    answer.append(make("div", "clamp", `${letter(answers.predicted[row])}: ${choices[answers.predicted[row]]}`));
    if (kind === "wrong") answer.append(make("div", "truth clamp", `right: ${letter(texts.answers[place])}: ${choices[texts.answers[place]]}`));
    line.append(mark, question, answer, measure(row, "confidence", "confidence"), measure(row, "entropy", "predictive entropy"),
      measure(row, "expected", "expected entropy"), measure(row, "information", "mutual information"), votes(row));
    const toggle = () => {
      if (state.open.delete(row)) line.nextElementSibling.remove();
      else { state.open.add(row); line.after(detailRow(row)); }
      button.setAttribute("aria-expanded", String(state.open.has(row)));
    };
    line.addEventListener("click", () => { if (!String(getSelection())) toggle(); });
    return line;
  }

  function probability(value) {
    const cell = make("td", "p", shown(value));
    cell.style.setProperty("--share", value.toFixed(3));
    return cell;
  }

  function detailRow(row) {
    const place = answers.place[row];
    const count = answers.members.length;
    const choices = texts.choices[place];
    const start = answers.start[row];
    const width = answers.start[row + 1] - start;
    const line = make("tr", "detail");
    const cell = make("td");
    cell.colSpan = 8;
    const inner = make("div", "inner");
    inner.append(make("p", "full", texts.questions[place]));
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "probabilities of the choices");
    const table = make("table", "choices");
    const head = make("tr");
    for (const name of ["choice", "mean", ...(answers.each ? answers.members.map((member) => `member ${member}`) : [])]) {
      const heading = make("th", "", name);
      heading.scope = "col";
      head.append(heading);
    }
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    const add = (name, good, mean, each) => {
      const entry = make("tr", good ? "good" : "");
      const heading = make("th", "", name);
      heading.scope = "row";
      const middle = probability(mean);
      middle.classList.add("mean");
      entry.append(heading, middle);
      for (const value of each) entry.append(probability(value));
      table.tBodies[0].append(entry);
    };
    choices.forEach((choice, number) => {
      const right = number === texts.answers[place];
      const each = answers.each ? answers.members.map((_, member) => answers.each[start * count + member * width + number]) : [];
      add(`${letter(number)}: ${choice}${right ? " ✓" : ""}`, right, answers.mean[start + number], each);
    });
    if (answers.rest) {
      const each = answers.each_rest ? answers.members.map((_, member) => answers.each_rest[row * count + member]) : [];
      add("anything else", false, answers.rest[row], each);
    }
    scroll.append(table);
    inner.append(scroll);
    if (!answers.each) inner.append(make("p", "hint", "To keep this page small it holds each member's probabilities for later epochs only; all are in the run's Parquet files."));
    cell.append(inner);
    line.append(cell);
    return line;
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * PAGE;
    const rows = found.slice(first, first + PAGE);
    const lines = document.createDocumentFragment();
    for (const row of rows) {
      lines.append(summaryRow(row));
      if (state.open.has(row)) lines.append(detailRow(row));
    }
    byId("rows").replaceChildren(lines);
    const total = answers.size.toLocaleString("en");
    byId("count").textContent = found.length
      ? `${(first + 1).toLocaleString("en")}–${(first + rows.length).toLocaleString("en")} of ${found.length.toLocaleString("en")} found among ${total} questions`
      : `No question of ${total} fits.`;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("back").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
    byId("pick-direction").textContent = state.down ? "descending ▼" : "ascending ▲";
    byId("pick-sort").value = state.sort;
    for (const heading of document.querySelectorAll("#table th[data-sort]")) {
      if (heading.dataset.sort === state.sort) heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
  }

  function refresh() {
    state.page = 0;
    find();
    draw();
  }

  function load() {
    texts = textsOf(state.task);
    answers = answersOf(state.task, state.epoch);
    state.open.clear();
    byId("fitted").hidden = !answers.fitted;
    byId("fitted").textContent = `${answers.fitted} of these ${answers.size} questions are among those that the members were fitted on.`;
    byId("table").style.setProperty("--voters", String(answers.members.length));
    refresh();
    // Folding all texts for the first search takes a moment, better spent before somebody types.
    const { search } = texts;
    if (window.requestIdleCallback) requestIdleCallback(search);
  }

  function offerEpochs() {
    const epochs = index[state.task].epochs;
    if (!epochs.includes(state.epoch)) state.epoch = epochs.at(-1);
    byId("pick-epoch").replaceChildren(...epochs.map((epoch) => new Option(epoch === 0 ? "0 (untouched model)" : String(epoch), epoch)));
    byId("pick-epoch").value = state.epoch;
  }

  byId("pick-task").replaceChildren(...index.map((entry, task) => new Option(entry.title, task)));
  byId("pick-task").addEventListener("change", (event) => { state.task = Number(event.target.value); offerEpochs(); load(); });
  byId("pick-epoch").addEventListener("change", (event) => { state.epoch = Number(event.target.value); load(); });
  byId("pick-kind").addEventListener("change", (event) => { state.kind = event.target.value; refresh(); });
  byId("pick-sort").addEventListener("change", (event) => { state.sort = event.target.value; refresh(); });
  byId("pick-direction").addEventListener("click", () => { state.down = !state.down; refresh(); });
  byId("search").addEventListener("input", (event) => { state.words = event.target.value; refresh(); });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  const turn = (step) => { state.page += step; draw(); byId("count").scrollIntoView({ block: "nearest" }); };
  byId("back").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  for (const heading of document.querySelectorAll("#table th[data-sort]")) {
    heading.firstElementChild.addEventListener("click", () => {
      const name = heading.dataset.sort;
      state.down = state.sort === name ? !state.down : name !== "place";
      state.sort = name;
      refresh();
    });
  }
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
  offerEpochs();
  load();
})();
