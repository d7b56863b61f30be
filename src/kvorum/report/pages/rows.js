// Rows of the table of questions. Text from the data only ever becomes text nodes.
const rows = (() => {
  const NOTHING = 1e-9;
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const letter = (choice) => (choice < 26 ? String.fromCharCode(97 + choice) : String(choice + 1));
  const shown = (value) => (value < NOTHING ? "0.000" : value >= 0.0995 ? value.toFixed(3) : value < 0.00005 ? "<0.0001" : value.toFixed(4));

  function measure(seen, row, name, label) {
    const { answers } = seen;
    const cell = make("td", "number", shown(answers[name][row]));
    cell.dataset.name = label;
    const bar = make("span", "bar");
    bar.style.setProperty("--share", answers.most[name] > NOTHING ? (answers[name][row] / answers.most[name]).toFixed(3) : "0");
    cell.append(bar);
    return cell;
  }

  function votes(seen, row) {
    const { answers } = seen;
    const cell = make("td", "votes");
    cell.dataset.name = "votes";
    const count = answers.members.length;
    const box = make("span");
    box.setAttribute("role", "img");
    const spoken = [];
    for (let member = 0; member < count; member++) {
      const choice = answers.votes[row * count + member];
      const vote = make("span", choice === seen.truth(row) ? "vote good" : "vote", letter(choice));
      vote.title = `member ${answers.members[member]}`;
      box.append(vote);
      spoken.push(letter(choice));
    }
    box.setAttribute("aria-label", `votes: ${spoken.join(" ")}`);
    cell.append(box);
    return cell;
  }

  function tags(seen, row) {
    const line = make("div", "tags");
    for (const name of [seen.outcome(row), seen.quadrant(row)].filter(Boolean)) {
      const tag = make("span", "tag", name.replace("-", " "));
      tag.style.setProperty("--tone", `var(--fig-${name})`);
      line.append(tag);
    }
    if (seen.moved && seen.before[row] >= 0) {
      line.append(make("span", "", `moved by KL ${shown(seen.keys("kl")[row])}, TV ${shown(seen.keys("tv")[row])}`));
    }
    return line;
  }

  function summary(seen, row, open) {
    const { texts, answers } = seen;
    const place = answers.place[row];
    const kind = seen.kind(row);
    const line = make("tr", `row ${kind}`);
    const mark = make("td", "mark");
    const button = make("button", "open", { right: "✓", wrong: "✗", unknown: "?" }[kind]);
    button.type = "button";
    button.title = kind === "unknown" ? "answer unknown" : kind;
    button.setAttribute("aria-label", `${button.title}; show choices of: ${texts.questions[place].slice(0, 80)}`);
    button.setAttribute("aria-expanded", String(open.has(row)));
    mark.append(button);
    const question = make("td", "text");
    question.append(make("div", "clamp", texts.questions[place]));
    question.append(make("div", "meta", [texts.subjects[place], texts.ids[place]].filter(Boolean).join(" · ")));
    question.append(tags(seen, row));
    const answer = make("td", "answer");
    const choices = texts.choices[place];
    answer.append(make("div", "clamp", `${letter(answers.predicted[row])}: ${choices[answers.predicted[row]]}`));
    if (kind === "wrong") answer.append(make("div", "truth clamp", `right: ${letter(seen.truth(row))}: ${choices[seen.truth(row)]}`));
    line.append(mark, question, answer, measure(seen, row, "confidence", "confidence"), measure(seen, row, "entropy", "predictive entropy"),
      measure(seen, row, "expected", "expected entropy"), measure(seen, row, "information", "mutual information"), votes(seen, row));
    const toggle = () => {
      if (open.delete(row)) line.nextElementSibling.remove();
      else { open.add(row); line.after(detail(seen, row)); }
      button.setAttribute("aria-expanded", String(open.has(row)));
    };
    line.addEventListener("click", () => { if (!String(getSelection())) toggle(); });
    return line;
  }

  function probability(value, className) {
    const cell = make("td", "p", shown(value));
    if (className) cell.classList.add(className);
    cell.style.setProperty("--share", value.toFixed(3));
    return cell;
  }

  function probabilities(seen, row) {
    const { texts, answers, prior } = seen;
    const count = answers.members.length;
    const start = answers.start[row];
    const width = answers.start[row + 1] - start;
    const before = seen.moved ? seen.before[row] : -1;
    const table = make("table", "choices");
    const head = make("tr");
    const names = ["choice", ...(before >= 0 ? ["epoch 0"] : []), "mean", ...(answers.each ? answers.members.map((member) => `member ${member}`) : [])];
    for (const name of names) {
      const heading = make("th", "", name);
      heading.scope = "col";
      head.append(heading);
    }
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    const add = (name, good, was, mean, each) => {
      const entry = make("tr", good ? "good" : "");
      const heading = make("th", "", name);
      heading.scope = "row";
      entry.append(heading);
      if (before >= 0) entry.append(probability(was, "was"));
      entry.append(probability(mean, "mean"));
      for (const value of each) entry.append(probability(value));
      table.tBodies[0].append(entry);
    };
    texts.choices[answers.place[row]].forEach((choice, number) => {
      const right = number === seen.truth(row);
      const each = answers.each ? answers.members.map((_, member) => answers.each[start * count + member * width + number]) : [];
      const was = before >= 0 ? prior.mean[prior.start[before] + number] : 0;
      add(`${letter(number)}: ${choice}${right ? " ✓" : ""}`, right, was, answers.mean[start + number], each);
    });
    if (answers.rest || (before >= 0 && prior.rest)) {
      const each = answers.each ? answers.members.map((_, member) => answers.each_rest?.[row * count + member] ?? 0) : [];
      add("anything else", false, before >= 0 ? prior.rest?.[before] ?? 0 : 0, answers.rest?.[row] ?? 0, each);
    }
    return table;
  }

  function detail(seen, row) {
    const line = make("tr", "detail");
    const cell = make("td");
    cell.colSpan = 8;
    const inner = make("div", "inner");
    inner.append(make("p", "full", seen.texts.questions[seen.answers.place[row]]));
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "probabilities of the choices");
    scroll.append(probabilities(seen, row));
    inner.append(scroll);
    if (!seen.answers.each) inner.append(make("p", "hint", "To keep this page small it holds each member's probabilities for later epochs only; all are in the run's Parquet files."));
    cell.append(inner);
    line.append(cell);
    return line;
  }

  function draw(seen, listed, open) {
    const lines = document.createDocumentFragment();
    for (const row of listed) {
      lines.append(summary(seen, row, open));
      if (open.has(row)) lines.append(detail(seen, row));
    }
    return lines;
  }

  return { draw };
})();
