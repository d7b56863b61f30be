// The question at hand: what is shown of it, and what keys and buttons do.
(() => {
  const { byId, make, quoted, letter, commas, many } = shown;
  let place = null;
  // A label is being written: until that is certain, keys do nothing.
  let busy = false;
  // Whether letters choose: who speaks to a browser, or strays on the keys, can turn them off.
  let letters = kept.letters;

  const say = (id, words) => { byId(id).textContent = words; };
  const numbers = (places) => `${places.slice(0, 8).map((one) => commas(one + 1)).join(", ")}${places.length > 8 ? ", …" : ""}`;

  function choice(text, index) {
    const ours = labels.answer(place) === index;
    const unsaved = ours && labels.state(place) === "unsaved";
    const button = make("button", unsaved ? "choice unsaved" : "choice", make("kbd", "", index < 26 ? letter(index) : ""), quoted(text, "text"), make("span", "tick", unsaved ? "!" : "✓"));
    button.type = "button";
    button.setAttribute("aria-pressed", String(ours));
    button.querySelector(".tick").setAttribute("aria-hidden", "true");
    button.addEventListener("click", () => choose(index));
    return make("li", "", button);
  }

  function show() {
    const { questions, progress, unsaved } = labels;
    const { question, choices, subject } = questions[place];
    byId("bar").max = questions.length;
    byId("bar").value = progress.labelled;
    say("count", `${commas(progress.labelled)} of ${commas(questions.length)} labelled, ${commas(progress.left)} left`);
    say("where", `Question ${commas(place + 1)} of ${commas(questions.length)}`);
    say("subject", subject);
    say("question", question);
    byId("choices").replaceChildren(...choices.map(choice));
    const labelled = labels.answer(place) !== null;
    say("last", letter(Math.min(choices.length, 26) - 1));
    byId("back").disabled = place === 0;
    say("on", labelled ? "Next →" : "Skip →");
    say("on-word", labelled ? "next" : "skip");
    byId("undo").disabled = !labels.undoable;
    byId("clear").hidden = !labelled;
    byId("done").hidden = progress.left > 0 || unsaved.length > 0;
    byId("unsaved").hidden = !unsaved.length;
    if (unsaved.length) say("unsaved-words", `Not saved: the ${unsaved.length === 1 ? "choice of question" : "choices of questions"} ${numbers(unsaved)}. ${labels.words}`);
    list.update(place);
    byId("card").hidden = false;
  }

  function showLetters() {
    byId("letters").checked = letters;
    document.body.classList.toggle("no-letters", !letters);
  }

  function go(to) {
    place = to;
    history.replaceState(null, "", `#${place + 1}`);
    show();
    byId("question").focus({ preventScroll: true });
    if (byId("card").getBoundingClientRect().top < 0) byId("card").scrollIntoView({ block: "start" });
  }

  async function alone(work) {
    if (busy || place === null) return;
    busy = true;
    byId("card").setAttribute("aria-busy", "true");
    try {
      await work();
    } finally {
      busy = false;
      byId("card").removeAttribute("aria-busy");
    }
  }

  const choose = (answer) => alone(async () => {
    say("status", "");
    if (await labels.set(place, answer)) {
      say("status", answer === null ? `Cleared: question ${commas(place + 1)}` : `Saved: question ${commas(place + 1)}, ${labels.questions[place].choices[answer]}`);
      const next = answer === null ? null : labels.nextOpen(place);
      go(next ?? place);
    } else stay();
  });

  const undo = () => alone(async () => {
    say("status", "");
    const last = await labels.undo();
    if (last === null) return;
    if (last.undone) say("status", `Undone: question ${commas(last.place + 1)}`);
    if (last.place === null) stay();
    else go(last.place);
  });

  // At the question that was there before, wherever it is now.
  function stay() {
    if (place === null) go(labels.nextOpen(-1) ?? 0);
    else show();
  }

  function on() {
    if (busy || place === null) return;
    say("status", "");
    if (labels.answer(place) !== null) return go((place + 1) % labels.questions.length);
    labels.skip(place);
    const next = labels.nextOpen(place);
    if (next === null) say("status", "This is the only one left");
    go(next ?? place);
  }

  function back() {
    if (busy || !place) return;
    say("status", "");
    go(place - 1);
  }

  function key(event) {
    if (event.defaultPrevented || event.altKey || place === null) return;
    const letterOf = event.key.length === 1 ? event.key.toLowerCase() : "";
    if (event.ctrlKey || event.metaKey) {
      if (letterOf !== "z" || event.shiftKey) return;
      undo();
    } else if (event.key === "ArrowRight") on();
    else if (event.key === "ArrowLeft" || event.key === "Backspace") back();
    else if (event.key === "Delete") {
      if (labels.answer(place) !== null) choose(null);
    } else if (event.key === " ") {
      // On a button it is the button's own key.
      if (event.target.closest("button, a, input")) return;
      on();
    } else if (letterOf >= "a" && letterOf <= "z") {
      const index = letterOf.charCodeAt(0) - 97;
      // A key that is held down does not go on to label what comes next.
      if (!letters || event.repeat || index >= labels.questions[place].choices.length) return;
      choose(index);
    } else return;
    event.preventDefault();
  }

  function fail(error) {
    byId("failed").hidden = false;
    say("failed-words", error.words ?? String(error));
  }

  async function load() {
    try {
      await labels.load();
      byId("failed").hidden = true;
    } catch (error) {
      fail(error);
      return false;
    }
    return true;
  }

  function asked() {
    const number = Number(location.hash.slice(1));
    return Number.isInteger(number) && number >= 1 && number <= labels.questions.length ? number - 1 : null;
  }

  // The file, for the first time or as it was opened again.
  labels.onLoad(({ file, moved, other, left }) => {
    const name = file.split(/[\\/]/).at(-1);
    say("file", name);
    byId("file").title = file;
    document.title = `${name} · kvorum label`;
    list.draw();
    const again = place !== null;
    place = moved(place);
    if (other) say("status", `Another file is open here now: ${name}${left ? `. ${many(left, "choice")} not saved in the other: kept until it is open here again` : ""}`);
    else if (left) say("status", `${many(left, "choice")} not saved, and their questions are not in the file as they were: dropped`);
    else if (again) say("status", "The file was opened again; this is what it holds now");
  });

  async function start() {
    if (!(await load())) return;
    go(asked() ?? labels.nextOpen(-1) ?? 0);
  }

  byId("back").addEventListener("click", back);
  byId("on").addEventListener("click", on);
  byId("undo").addEventListener("click", undo);
  byId("clear").addEventListener("click", () => choose(null));
  byId("retry").addEventListener("click", () => alone(async () => {
    say("status", "");
    const late = await labels.retry();
    if (late.length) say("status", `Dropped, but for the choice of question ${numbers(late)}, which was saved before that`);
    else if (!labels.unsaved.length && !byId("status").textContent.trim()) say("status", "Saved");
    stay();
  }));
  byId("drop").addEventListener("click", () => {
    labels.drop();
    say("status", "Dropped");
    show();
  });
  byId("again").addEventListener("click", () => (place === null ? start() : refresh()));
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("question").focus();
  });
  byId("letters").addEventListener("change", () => {
    kept.letters = letters = byId("letters").checked;
    showLetters();
  });
  list.onChoice((to) => {
    if (busy) return;
    say("status", "");
    go(to);
  });
  document.addEventListener("keydown", key);
  addEventListener("hashchange", () => { if (!busy && asked() !== null && asked() !== place) go(asked()); });
  addEventListener("beforeunload", (event) => { if (labels.unsaved.length) event.preventDefault(); });

  // Another tab, or another program, may have labelled meanwhile. Keys are taken all the while.
  async function refresh() {
    let changed;
    try {
      changed = await labels.refresh();
      byId("failed").hidden = true;
    } catch (error) {
      fail(error);
      return;
    }
    if (changed === "opened") {
      await alone(async () => {
        if (await load()) stay();
      });
    } else if (changed) {
      const at = [...byId("choices").querySelectorAll("button")].indexOf(document.activeElement);
      show();
      byId("choices").querySelectorAll("button")[at]?.focus();
    }
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  showLetters();
  start();
})();
