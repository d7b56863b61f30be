// The question at hand: what is shown of it, and what keys and buttons do.
(() => {
  const { byId, make, quoted, letter, commas } = shown;
  let place = null;
  // A label is being written: until that is certain, keys wait.
  let busy = false;

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
    try {
      await work();
    } finally {
      busy = false;
    }
  }

  const choose = (answer) => alone(async () => {
    if (await labels.set(place, answer)) {
      say("status", answer === null ? `Cleared: question ${commas(place + 1)}` : `Saved: question ${commas(place + 1)}, ${labels.questions[place].choices[answer]}`);
      const next = answer === null ? null : labels.nextOpen(place);
      go(next ?? place);
    } else {
      say("status", "");
      show();
    }
  });

  const undo = () => alone(async () => {
    const undone = await labels.undo();
    if (undone === null) return;
    say("status", `Undone: question ${commas(undone + 1)}`);
    go(undone);
  });

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
      if (event.target.closest("button, a")) return;
      on();
    } else if (letterOf >= "a" && letterOf <= "z") {
      const index = letterOf.charCodeAt(0) - 97;
      // A key that is held down does not go on to label what comes next.
      if (event.repeat || index >= labels.questions[place].choices.length) return;
      choose(index);
    } else return;
    event.preventDefault();
  }

  async function load() {
    try {
      const file = await labels.load();
      byId("failed").hidden = true;
      say("file", file.split(/[\\/]/).at(-1));
      byId("file").title = file;
      document.title = `${file.split(/[\\/]/).at(-1)} · kvorum label`;
    } catch (error) {
      byId("failed").hidden = false;
      say("failed-words", error.words ?? String(error));
      return false;
    }
    return true;
  }

  function asked() {
    const number = Number(location.hash.slice(1));
    return Number.isInteger(number) && number >= 1 && number <= labels.questions.length ? number - 1 : null;
  }

  async function start() {
    if (!(await load())) return;
    list.draw();
    go(asked() ?? labels.nextOpen(-1) ?? 0);
  }

  byId("back").addEventListener("click", back);
  byId("on").addEventListener("click", on);
  byId("undo").addEventListener("click", undo);
  byId("clear").addEventListener("click", () => choose(null));
  byId("retry").addEventListener("click", () => alone(async () => {
    await labels.retry();
    if (!labels.unsaved.length) say("status", "Saved");
    show();
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
  list.onChoice((to) => {
    if (busy) return;
    say("status", "");
    go(to);
  });
  document.addEventListener("keydown", key);
  addEventListener("hashchange", () => { if (!busy && asked() !== null && asked() !== place) go(asked()); });
  addEventListener("beforeunload", (event) => { if (labels.unsaved.length) event.preventDefault(); });

  // Another tab, or another program, may have labelled meanwhile.
  const refresh = () => alone(async () => { if (await load()) show(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  start();
})();
