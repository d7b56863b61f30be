// Questions of the run's tasks, to ask without writing any.
const pick = (() => {
  const { byId, make, quoted, commas } = shown;
  const LISTED = 6;
  let tasks = [], first = 0, latest = 0, picked = null, chosen = () => {};

  const task = () => tasks[byId("task").selectedIndex];
  // As a field gives it back.
  const plain = (text) => text.replace(/\r\n?/g, "\n");

  async function load(from) {
    const { task: name, questions: total } = task();
    const ours = ++latest;
    byId("pick-error").textContent = "";
    try {
      const found = await server.questions(name, from, LISTED);
      if (ours !== latest) return null;
      const questions = found.questions.map((question, row) => ({ ...question, place: from + row }));
      first = from;
      byId("listed").replaceChildren(...questions.map((question) => entry(name, question)));
      mark();
      byId("which").textContent = questions.length ? `${commas(from + 1)}–${commas(from + questions.length)} of ${commas(total)}` : "none";
      byId("back").disabled = from === 0;
      byId("next").disabled = from + LISTED >= total;
      return questions;
    } catch (error) {
      if (ours === latest) byId("pick-error").textContent = error.words ?? String(error);
      return null;
    }
  }

  function entry(name, question) {
    const button = make("button", "entry", quoted(question.question, "clamp"));
    button.type = "button";
    button.addEventListener("click", () => choose(name, question));
    button.dataset.place = question.place;
    return make("li", "", button);
  }

  function mark() {
    for (const button of byId("listed").querySelectorAll("button")) {
      if (picked?.task === task().task && String(picked.place) === button.dataset.place) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  function choose(name, question) {
    picked = { task: name, ...question };
    mark();
    form.fill(question);
    chosen();
  }

  async function random() {
    const { task: name, questions: total } = task();
    const place = Math.floor(Math.random() * total);
    const found = await load(place - (place % LISTED));
    if (found?.length) choose(name, found[place % LISTED] ?? found[0]);
  }

  // What the form holds, in the very words of the question picked where it still is that one, with its known answer.
  function recognise(content) {
    const same = picked && plain(picked.question) === content.question && picked.choices.length === content.choices.length
      && picked.choices.every((choice, place) => plain(choice) === content.choices[place]);
    if (!same) return { content, known: null, from: "" };
    return { content: { ...content, question: picked.question, choices: picked.choices }, known: picked.answer, from: `question ${commas(picked.place + 1)} of ${picked.task}` };
  }

  byId("task").addEventListener("change", () => load(0));
  byId("back").addEventListener("click", () => load(Math.max(0, first - LISTED)));
  byId("next").addEventListener("click", () => load(first + LISTED));
  byId("random").addEventListener("click", random);
  byId("pick").addEventListener("toggle", () => { if (byId("pick").open && !byId("listed").children.length) load(0); });

  return {
    recognise,
    onChoice: (tell) => { chosen = tell; },
    offer: (of) => {
      tasks = of.filter((one) => one.questions > 0);
      byId("pick").hidden = !tasks.length;
      byId("task").replaceChildren(...tasks.map((one) => new Option(`${one.task} (${commas(one.questions)})`, one.task)));
      if (byId("pick").open && tasks.length) load(0);
    },
  };
})();
