// One answer: what it is, how sure, and why.
const answer = (() => {
  const { byId, make, quoted, letter, number, exactly, many, sentence } = shown;

  const named = (asked, choice) => make("span", "named", make("b", "", letter(choice)), " ", quoted(asked.choices[choice]));

  function verdict(reply, asked) {
    if (reply.answer !== null) return [quoted(reply.answer, reply.answer.length > 60 ? "verdict long" : "verdict", "p")];
    return [make("p", "verdict abstains", "Abstains"), make("p", "", "Most probable, yet too doubtful to be the answer: ", named(asked, reply.top))];
  }

  // `known`: the index of the right choice, null where nobody has said which that is.
  function outcome(reply, asked, known) {
    if (known === null) return [];
    const right = reply.top === known;
    const given = reply.answer !== null;
    const words = given ? (right ? "✓ Right" : "✗ Wrong") : `That would have been ${right ? "right" : "wrong"}`;
    const truth = right ? ["."] : ["; the right answer is ", named(asked, known)];
    return [make("p", given ? `known ${right ? "right" : "wrong"}` : "known", words, ...truth)];
  }

  function kind(decision) {
    const tag = make("span", "tag", decision.kind);
    tag.style.setProperty("--tone", `var(--fig-${decision.kind})`);
    return tag;
  }

  function why(reply) {
    if (!reply.decision) return [make("p", "why", "The run is not calibrated, so it answers everything, and how often such answers are wrong is not known.")];
    return [make("p", "why", kind(reply.decision), " ", reply.decision.why)];
  }

  // A member's mark. One of them is a stop of the Tab key; arrows go from there.
  function vote(member, choice) {
    const own = number(member.probabilities[choice]);
    const chip = make("li", "vote", make("span", "hidden", "member "), String(member.member), make("span", "hidden", `, which gives it ${own}`));
    chip.tabIndex = -1;
    chip.dataset.member = member.member;
    chip.title = `member ${member.member}: ${own}`;
    return chip;
  }

  function bar(reply, choice) {
    const whole = make("span", "bar", make("span", "part"));
    whole.style.setProperty("--share", reply.probabilities[choice]);
    for (const member of reply.members) {
      const own = make("span", "own");
      own.dataset.member = member.member;
      own.style.setProperty("--at", member.probabilities[choice]);
      whole.append(own);
    }
    return whole;
  }

  function bars(reply, asked, known) {
    const rows = asked.choices.map((_, place) => {
      const name = named(asked, place);
      if (place === known) name.append(make("span", "truth", " ✓ right answer"));
      const row = make("li", place === reply.top ? "choice top" : "choice", name, make("span", "p", number(reply.probabilities[place])), bar(reply, place));
      const votes = reply.members.filter((member) => member.vote === place).map((member) => vote(member, place));
      if (votes.length) {
        const marks = make("ul", "votes", ...votes);
        marks.setAttribute("aria-label", `votes for ${letter(place)}`);
        row.append(marks);
      }
      return row;
    });
    return make("ol", "bars", ...rows);
  }

  // Pointing at a member, or going to it with the keys, shows what it says alone.
  function explore(list, reply) {
    const line = make("p", "hint alone");
    const usual = "A numbered mark is a member's vote. Point at one, or go to it with Tab and the arrows, to see what it says alone.";
    const marks = [...list.querySelectorAll(".vote")];
    const look = (mark) => {
      const member = reply.members.find((one) => one && String(one.member) === mark?.dataset.member);
      line.textContent = member ? `Member ${member.member} alone: ${member.probabilities.slice(0, 8).map((p, place) => `${letter(place)} ${number(p)}`).join(", ")}${member.probabilities.length > 8 ? ", …" : ""}` : usual;
      for (const own of list.querySelectorAll(".own")) own.classList.toggle("seen", own.dataset.member === mark?.dataset.member);
    };
    const focused = () => marks.find((mark) => mark === document.activeElement);
    if (marks.length) marks[0].tabIndex = 0;
    list.addEventListener("focusin", (event) => look(event.target.closest(".vote")));
    list.addEventListener("focusout", () => look());
    list.addEventListener("pointerover", (event) => look(event.target.closest(".vote") ?? focused()));
    list.addEventListener("pointerleave", () => look(focused()));
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && marks[marks.indexOf(event.target) + step];
      if (!step || !marks.includes(event.target)) return;
      event.preventDefault();
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    look();
    return line;
  }

  function members(reply, asked, rest) {
    const table = make("table");
    const head = make("tr", "", ...["member", ...asked.choices.map((_, place) => letter(place)), ...(rest ? ["anything else"] : [])].map((name) => {
      const heading = make("th", "", name);
      heading.scope = "col";
      return heading;
    }));
    const lines = reply.members.map((member) => {
      const heading = make("th", "", String(member.member));
      heading.scope = "row";
      const others = rest ? [Math.max(0, 1 - member.probabilities.reduce((sum, p) => sum + p, 0))] : [];
      return make("tr", "", heading, ...[...member.probabilities, ...others].map((p, place) => make("td", place === member.vote ? "voted" : "", number(p))));
    });
    table.append(make("thead", "", head), make("tbody", "", ...lines));
    const scroll = make("div", "scroll", table);
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "What each member says");
    return make("details", "", make("summary", "", "What each member says"), scroll);
  }

  function doubt(reply, asked, rest) {
    const { predictive, expected, mutual_information: information } = reply.entropy;
    const outcomes = asked.choices.length + (rest ? 1 : 0);
    const most = Math.log(outcomes);
    const whole = make("div", "split", make("span", "expected"), make("span", "information"));
    whole.style.setProperty("--expected", Math.min(1, expected / most));
    whole.style.setProperty("--information", Math.min(1, information / most));
    const part = (name, value, words) => {
      const term = make("dt", name, `${words[0]} `, make("b", "", `${number(value)} nats`));
      return make("div", "", term, make("dd", "", words[1]));
    };
    return [
      make("h3", "", "Where the doubt lies"),
      whole,
      make("p", "hint scale", make("span", "", "0"), make("span", "", `${number(most)}: the most that ${many(outcomes, "outcome")} allow`)),
      make("dl", "entropies",
        part("total", predictive, ["Entropy", "All of the doubt in the members' mean answer."]),
        part("expected", expected, ["In the question", "Expected entropy: doubt that every member has. More data of this kind will not remove it."]),
        part("information", information, ["Between members", "Mutual information: members disagree, since the training questions did not settle the matter."])),
    ];
  }

  const SETS = { lac: ["lac", "the smallest sets on average"], adaptive: ["adaptive", "larger where there is more doubt"] };

  function sets(reply, asked, calibration) {
    if (!reply.decision || !calibration) return [];
    const lines = Object.entries(reply.decision.sets).map(([method, choices]) => {
      const [name, nature] = SETS[method] ?? [method, ""];
      const all = calibration.sets[method]?.threshold === null;
      const held = choices.length ? choices.map((choice) => named(asked, choice)) : ["none: no choice is likely enough"];
      const few = all ? [make("span", "hint", "All, since there were too few calibration questions to leave any out.")] : [];
      return make("div", "", make("dt", "", name, nature && ` (${nature})`), make("dd", "", ...held, ...few));
    });
    return [
      make("h3", "", "Choices that together hold the right one"),
      make("p", "hint", `Each way of choosing them does so for${calibration.temperature === 1 ? " at least" : ", nearly,"} ${exactly(1 - calibration.alpha)} of questions drawn like those it was calibrated on.`),
      make("dl", "sets", ...lines),
    ];
  }

  function show(reply, { asked, known, from, posterior }) {
    const rest = posterior?.answer_format === "letter";
    const calibration = posterior?.calibration;
    const list = bars(reply, asked, known);
    const else_ = rest ? [make("p", "hint rest", `On anything that is no choice: ${number(reply.rest)}.`)] : [];
    const heat = calibration?.temperature ?? 1;
    const warm = heat === 1 ? [] : [make("p", "hint", `Bars are at the calibration's temperature, ${heat.toPrecision(3)}. Votes, what members say alone, and entropies are without it.`)];
    byId("shown").replaceChildren(
      make("p", "asked", quoted(asked.question), from && make("span", "from", ` (${from})`)),
      ...verdict(reply, asked), ...outcome(reply, asked, known), ...why(reply),
      make("h3", "", "Probabilities and votes"), list, ...else_, explore(list, reply), ...warm, members(reply, asked, rest),
      ...doubt(reply, asked, rest), ...sets(reply, asked, calibration),
    );
  }

  // The same for who does not see it, short.
  function spoken(reply, asked, known) {
    const top = `${asked.choices[reply.top]}, probability ${number(reply.probabilities[reply.top])}`;
    const said = reply.answer !== null ? `Answer: ${top}.` : `It abstains. Most probable: ${top}.`;
    const judged = known === null ? "" : reply.top === known ? " Right." : ` Wrong; the right answer is ${asked.choices[known]}.`;
    return `${said}${judged}${reply.decision ? ` ${sentence(reply.decision.kind)}` : ""}`;
  }

  return { show, spoken };
})();
