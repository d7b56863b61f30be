// All questions with their states, to go to any of them. One entry is a stop of the Tab key; arrows go from there.
const list = (() => {
  const { byId, make, quoted } = shown;
  const MARKS = { labelled: "✓", open: "", skipped: "–", unsaved: "!", gone: "×" };
  const WORDS = { labelled: "labelled", open: "no label", skipped: "skipped", unsaved: "not saved", gone: "no longer in the file" };
  let chosen = () => {};

  const entries = () => byId("list").querySelectorAll("button");

  function mark(button, place, current) {
    const state = labels.state(place);
    button.dataset.state = state;
    button.querySelector(".mark").textContent = MARKS[state];
    button.querySelector(".hidden").textContent = `, ${WORDS[state]}`;
    if (place === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    button.tabIndex = place === current ? 0 : -1;
  }

  function entry(question, place) {
    const sign = make("span", "mark");
    sign.setAttribute("aria-hidden", "true");
    const button = make("button", "entry", make("span", "number", String(place + 1)), sign, quoted(question.question, "clamp"), make("span", "hidden"));
    button.type = "button";
    button.dataset.place = place;
    return make("li", "", button);
  }

  byId("list").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) chosen(Number(button.dataset.place));
  });
  byId("list").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step && entries()[Number(event.target.dataset.place) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

  return {
    onChoice: (tell) => { chosen = tell; },
    draw: () => byId("list").replaceChildren(...labels.questions.map(entry)),
    update: (current) => {
      const buttons = entries();
      buttons.forEach((button, place) => mark(button, place, current));
      // Within the list alone: the page stays where it is.
      const { offsetTop: top, offsetHeight: height } = buttons[current];
      const box = byId("list");
      if (top < box.scrollTop || top + height > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
    },
  };
})();
