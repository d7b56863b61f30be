// What runs here; asking, and what comes of it.
(() => {
  const { byId, make, percent, atMost, atLeast, exactly, many } = shown;
  const SCORES = JSON.parse(byId("rule").dataset.scores);
  let posterior = null;
  // The request that is under way. Of another, a reply that still comes is not shown.
  let asking = null;

  function say(id, words) { byId(id).textContent = words; }

  function describe() {
    byId("lead").classList.remove("waiting");
    const { model, fitted_on: task, epoch, run, members, diverged, answer_format: format, calibration } = posterior;
    byId("title").replaceChildren(make("span", "name", model), ...(task ? [" fitted on ", make("span", "name", task)] : []));
    document.title = `${model} · kvorum`;
    const lost = Object.keys(diverged).length;
    const where = [epoch === null ? "" : ` after epoch ${epoch}`, run ? ` of the run ${run}` : ""].join("");
    say("members", `${many(members.length, "member")}${where}, answering by ${format === "letter" ? "the letter of a choice" : "the text of a choice"}.${lost ? ` ${many(lost, "member")} more diverged in fitting and ${lost === 1 ? "has" : "have"} no vote.` : ""}`);
    byId("uncalibrated").hidden = calibration !== null;
    if (!calibration) return say("rule", "");
    const { answer: rule, questions, confidence, temperature } = calibration;
    // A temperature from the same questions touches what is guaranteed of probabilities.
    const nearly = temperature !== 1 && rule.score === "one_minus_top" ? " nearly" : "";
    const wrong = rule.answered ? percent(rule.wrong / rule.answered) : "none";
    const bounds = `at most ${atMost(rule.risk_bound)} of its answers are wrong${rule.coverage_bound === null ? "" : ` and at least ${atLeast(rule.coverage_bound)} of questions are answered`}`;
    say("rule", `Calibrated on ${many(questions, "question")} of ${calibration.task}: it answers where ${SCORES[rule.score] ?? rule.score} is at most ${rule.threshold.toPrecision(3)}, and abstains elsewhere. It answered ${percent(rule.answered / questions)} of them, ${wrong} of those wrongly. On other questions drawn like them, each with${nearly} ${exactly(confidence)} confidence, ${bounds}.`);
  }

  function wantToken(words) {
    byId("lead").classList.remove("waiting");
    byId("entrance").hidden = false;
    say("token-error", words);
    byId("token").setAttribute("aria-invalid", String(Boolean(words)));
    byId("token").focus();
  }

  async function start() {
    try {
      posterior = await server.posterior();
    } catch (error) {
      if (error.status === 401) return wantToken(server.hasToken ? "The server does not know this token." : "");
      byId("lead").classList.remove("waiting");
      byId("failed").hidden = false;
      return say("failed-words", error.words ?? String(error));
    }
    byId("failed").hidden = true;
    if (!byId("entrance").hidden) {
      byId("entrance").hidden = true;
      byId("question").focus();
    }
    describe();
    form.suit(posterior);
    pick.offer(posterior.tasks);
    if (!posterior.tasks.length) return plane.none("The run has scored no questions at this epoch, so there are none to place an answer among.");
    try {
      plane.show(await server.plane(), posterior.calibration);
    } catch (error) {
      plane.none(error.words ?? String(error));
    }
  }

  function busy(yes) {
    byId("send").setAttribute("aria-disabled", String(yes));
    byId("answer").setAttribute("aria-busy", String(yes));
    byId("send").textContent = yes ? "Asking…" : "Ask";
  }

  function giveUp() {
    asking?.abort();
    asking = null;
    busy(false);
  }

  async function ask() {
    if (asking) return;
    form.forgive();
    const { content, known, from } = pick.recognise(form.content());
    const ours = asking = new AbortController();
    busy(true);
    say("status", "Asking…");
    try {
      const reply = await server.ask(content, ours.signal);
      if (asking !== ours) return;
      answer.show(reply, { asked: content, known, from, posterior });
      plane.mark(reply);
      say("status", answer.spoken(reply, content, known));
      bring();
    } catch (error) {
      if (asking !== ours) return;
      say("status", "");
      refuse(error);
    } finally {
      if (asking === ours) giveUp();
    }
  }

  function refuse(error) {
    if (error.status === 401) return wantToken(server.hasToken ? "The server does not know this token." : "The server wants a token.");
    const words = error.words ?? String(error);
    if (error.status === 422 && form.blame(error.field, words)) return;
    say("refusal-error", error.status === 422 && error.field ? `${error.field}: ${words}` : words);
  }

  // On a narrow screen the answer is below what was asked.
  function bring() {
    const { top } = byId("answer").getBoundingClientRect();
    if (top < 0 || top > innerHeight * 0.6) byId("answer").scrollIntoView({ block: "start" });
  }

  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("entrance").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!server.useToken(byId("token").value.trim())) return wantToken("A token is of letters, digits and signs, without spaces.");
    say("token-error", "");
    start();
  });
  byId("again").addEventListener("click", start);
  form.onChange(() => {
    if (!asking) return;
    giveUp();
    say("status", "No longer asking: the question has changed.");
  });
  pick.onChoice(() => byId("send").focus());
  start();
})();
