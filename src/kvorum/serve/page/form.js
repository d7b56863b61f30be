// The question that is being written, and errors beside the field that they are about.
const form = (() => {
  const { byId, make, letter } = shown;
  const LEAST = 2, STARTING = 3;
  const GROWS = CSS.supports("field-sizing", "content");
  const question = byId("question"), subject = byId("subject"), list = byId("candidates");
  let most = 26, made = 0, changed = () => {};

  const candidates = () => [...list.querySelectorAll("textarea")];
  const grow = (field) => {
    if (GROWS) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  };
  const write = (field, text) => {
    field.value = text;
    grow(field);
  };

  // Names go by place, so they change when a row goes.
  function rename() {
    const rows = [...list.children];
    rows.forEach((row, place) => {
      row.querySelector("label").replaceChildren(make("span", "hidden", "Choice "), letter(place));
      const remove = row.querySelector("button");
      remove.setAttribute("aria-label", `Remove choice ${letter(place)}`);
      remove.disabled = rows.length <= LEAST;
    });
    byId("add").disabled = rows.length >= most;
  }

  function add(after = list.lastElementChild, text = "") {
    const row = make("li", "candidate");
    const field = make("textarea");
    field.id = `choice-${made++}`;
    field.rows = 1;
    field.dir = "auto";
    field.setAttribute("aria-describedby", `${field.id}-error choices-hint`);
    const label = make("label");
    label.htmlFor = field.id;
    const remove = make("button", "quiet", "×");
    remove.type = "button";
    remove.addEventListener("click", () => {
      const next = (row.nextElementSibling ?? row.previousElementSibling).querySelector("textarea");
      row.remove();
      rename();
      next.focus();
      changed();
    });
    const error = make("p", "error");
    error.id = `${field.id}-error`;
    row.append(label, field, remove, error);
    if (after) after.after(row);
    else list.append(row);
    write(field, text);
    rename();
    return field;
  }

  function entered(event) {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    event.preventDefault();
    const fields = candidates();
    const next = fields[fields.indexOf(event.target) + 1];
    if (next) next.focus();
    else if (!event.target.value) byId("ask").requestSubmit();
    else if (fields.length < most) add().focus();
  }

  function pasted(event) {
    const lines = event.clipboardData.getData("text").split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
    if (lines.length < 2) return;
    event.preventDefault();
    let field = event.target;
    field.setRangeText(lines[0], field.selectionStart, field.selectionEnd, "end");
    grow(field);
    let left = 0;
    for (const line of lines.slice(1)) {
      const row = field.closest("li"), next = row.nextElementSibling?.querySelector("textarea");
      if (next && !next.value) write(next, line);
      else if (list.children.length < most) add(row, line);
      else { left++; continue; }
      field = row.nextElementSibling.querySelector("textarea");
    }
    field.focus();
    if (left) say("choices", `This server takes ${most} choices; ${shown.many(left, "line")} did not fit.`);
    changed();
  }

  // Where a name of the API's stands on the page.
  function place(name) {
    const [, part, index] = /^questions\[0\]\.(question|subject|choices)(?:\[(\d+)\])?$/.exec(name ?? "") ?? [];
    if (part === "subject" && byId("subject-field").hidden) return null;
    if (part !== "choices" || index === undefined) return part ?? null;
    return candidates()[index]?.id ?? "choices";
  }

  function say(id, words) {
    byId(`${id}-error`).textContent = words;
    // Of choices as a whole, the first field stands for all: a group cannot be invalid.
    const field = id === "choices" ? candidates()[0] : byId(id);
    field.setAttribute("aria-invalid", "true");
    if (id === "choices") field.setAttribute("aria-describedby", `choices-error ${field.id}-error choices-hint`);
    return field;
  }

  // Show an error where it belongs; false where that is no field of the form.
  function blame(name, words) {
    const id = place(name);
    if (!id) return false;
    const values = candidates().map((field) => field.value);
    const twice = values.findIndex((value, place) => values.indexOf(value) < place);
    const empty = byId(id)?.value.trim() === "";
    // The API counts from 0, the page in letters.
    if (id === "choices" && twice > 0) say(id, `Choices ${letter(values.indexOf(values[twice]))} and ${letter(twice)} are the same.`).focus();
    else say(id, empty ? `It is empty. Write something here${id.startsWith("choice-") ? ", or remove it" : ""}.` : words).focus();
    return true;
  }

  function forgive(field) {
    const ids = field ? [field.id, ...(field.closest("fieldset") ? ["choices"] : [])] : null;
    for (const error of byId("ask").querySelectorAll(".error")) {
      if (!ids || ids.some((id) => error.id === `${id}-error`)) error.textContent = "";
    }
    for (const wrong of byId("ask").querySelectorAll("[aria-invalid]")) {
      if (!field || wrong === field || field.closest("fieldset")?.contains(wrong) && !byId(`${wrong.id}-error`).textContent) wrong.removeAttribute("aria-invalid");
    }
  }

  function fill(asked) {
    forgive();
    write(question, asked.question);
    write(subject, asked.subject ?? "");
    list.replaceChildren();
    for (const choice of asked.choices) add(undefined, choice);
    changed();
  }

  // As the API takes it. Fields left empty at the end are none.
  function content() {
    const choices = candidates().map((field) => field.value);
    while (choices.length > LEAST && !choices.at(-1)) choices.pop();
    return { question: question.value, choices, ...(subject.value && !byId("subject-field").hidden && { subject: subject.value }) };
  }

  for (let place = 0; place < STARTING; place++) add();
  byId("add").addEventListener("click", () => { add().focus(); changed(); });
  list.addEventListener("keydown", entered);
  list.addEventListener("paste", pasted);
  byId("ask").addEventListener("input", (event) => { grow(event.target); forgive(event.target); changed(); });
  byId("ask").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      byId("ask").requestSubmit();
    }
  });

  return {
    content, fill, blame, forgive,
    onChange: (tell) => { changed = tell; },
    // What the server takes, and whether its prompts name a subject.
    suit: (posterior) => {
      most = posterior.limits.max_choices;
      byId("subject-field").hidden = !/\bsubject\b/.test(posterior.prompt_template);
      rename();
    },
  };
})();
