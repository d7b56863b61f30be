// The tools over the table of questions, and the address that names the list they show.
(() => {
  const byId = (id) => document.getElementById(id);
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
  if (!byId("data-index")) return;

  const PAGE = matchMedia("(max-width: 52rem)").matches ? 20 : 25;
  const SETTLED_MS = 300;
  const index = questions.index();
  const usual = () => ({ task: 0, epoch: index[0].epochs.at(-1), show: "all", outcome: "all", quadrant: "all", sort: "information", order: "down", search: "" });
  const wanted = usual();
  const open = new Set();
  let seen, found = [], turned = 0, settled;

  const pick = (name) => byId(`pick-${name}`);
  const offered = (name, value) => [...pick(name).options].some((option) => option.value === value && !option.disabled);
  const commas = (number) => number.toLocaleString("en");

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    turned = Math.min(turned, pages - 1);
    const first = turned * PAGE;
    const listed = found.slice(first, first + PAGE);
    byId("rows").replaceChildren(rows.draw(seen, listed, open));
    const total = commas(seen.answers.size);
    byId("count").textContent = found.length
      ? `${commas(first + 1)}–${commas(first + listed.length)} of ${commas(found.length)} found among ${total} questions`
      : `No question of ${total} fits.`;
    byId("page").textContent = `page ${turned + 1} of ${pages}`;
    byId("back").disabled = turned === 0;
    byId("next").disabled = turned === pages - 1;
    for (const heading of document.querySelectorAll("#table th[data-sort]")) {
      if (heading.dataset.sort === wanted.sort) heading.setAttribute("aria-sort", wanted.order === "down" ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
  }

  // The tools show what is wanted; what a task at an epoch has not is not on offer.
  function show() {
    const { epochs } = index[wanted.task];
    if (!epochs.includes(wanted.epoch)) wanted.epoch = epochs.at(-1);
    pick("epoch").replaceChildren(...epochs.map((epoch) => new Option(epoch === 0 ? "0 (before fitting)" : String(epoch), epoch)));
    const known = epochs.includes(0);
    for (const option of pick("outcome").options) option.disabled = option.value !== "all" && !known;
    for (const option of pick("sort").options) if (["kl", "tv"].includes(option.value)) option.disabled = !known || wanted.epoch === 0;
    const fallback = usual();
    for (const name of ["show", "outcome", "quadrant", "sort"]) {
      if (!offered(name, wanted[name])) wanted[name] = fallback[name];
      pick(name).value = wanted[name];
    }
    pick("task").value = wanted.task;
    pick("epoch").value = wanted.epoch;
    byId("pick-direction").textContent = wanted.order === "down" ? "descending ▼" : "ascending ▲";
    if (byId("search").value !== wanted.search) byId("search").value = wanted.search;
  }

  function refresh() {
    show();
    const now = questions.look(wanted.task, wanted.epoch, index[wanted.task].epochs);
    if (!Object.is(now, seen)) {
      seen = now;
      open.clear();
      const { fitted, size, members } = seen.answers;
      byId("fitted").hidden = !fitted;
      byId("fitted").textContent = `${fitted} of these ${size} questions are among those that the members were fitted on.`;
      byId("table").style.setProperty("--voters", String(members.length));
      // Folding all texts for the first search takes a moment, better spent before somebody types.
      if (window.requestIdleCallback) requestIdleCallback(seen.texts.search);
    }
    turned = 0;
    found = questions.find(seen, wanted);
    draw();
  }

  function address() {
    const named = new URLSearchParams();
    const fallback = { ...usual(), task: -1, epoch: -1 };
    for (const [name, value] of Object.entries(wanted)) {
      if (value !== fallback[name]) named.set(name, name === "task" ? index[value].task : value);
    }
    return `#questions&${named}`;
  }

  function choose(changes) {
    Object.assign(wanted, changes);
    refresh();
    // Not at every letter typed: browsers refuse an address that changes too often.
    clearTimeout(settled);
    settled = setTimeout(() => history.replaceState(null, "", address()), SETTLED_MS);
  }

  function follow() {
    if (!location.hash.startsWith("#questions&")) return false;
    clearTimeout(settled);
    const named = new URLSearchParams(location.hash.slice("#questions&".length));
    Object.assign(wanted, usual());
    for (const name of ["show", "outcome", "quadrant", "sort", "order", "search"]) wanted[name] = named.get(name) ?? wanted[name];
    wanted.task = Math.max(0, index.findIndex((entry) => entry.task === named.get("task")));
    wanted.epoch = named.has("epoch") ? Number(named.get("epoch")) : index[wanted.task].epochs.at(-1);
    refresh();
    byId("questions").scrollIntoView();
    byId("count").focus({ preventScroll: true });
    return true;
  }

  pick("task").replaceChildren(...index.map((entry, task) => new Option(entry.title, task)));
  for (const name of ["task", "epoch"]) pick(name).addEventListener("change", (event) => choose({ [name]: Number(event.target.value) }));
  for (const name of ["show", "outcome", "quadrant", "sort"]) pick(name).addEventListener("change", (event) => choose({ [name]: event.target.value }));
  pick("direction").addEventListener("click", () => choose({ order: wanted.order === "down" ? "up" : "down" }));
  byId("search").addEventListener("input", (event) => choose({ search: event.target.value }));
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  function turn(step) {
    turned += step;
    draw();
    byId("count").scrollIntoView({ block: "nearest" });
    // A button that is disabled loses the focus to nothing.
    if (byId(step > 0 ? "next" : "back").disabled) byId("count").focus({ preventScroll: true });
  }
  byId("back").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  for (const heading of document.querySelectorAll("#table th[data-sort]")) {
    heading.firstElementChild.addEventListener("click", () => {
      const sort = heading.dataset.sort;
      const down = wanted.sort === sort ? wanted.order !== "down" : sort !== "place";
      choose({ sort, order: down ? "down" : "up" });
    });
  }
  addEventListener("hashchange", follow);
  // A link to the list that is shown already changes no address, and still leads there.
  addEventListener("click", (event) => { if (event.target.closest?.('a[href^="#questions&"]')?.hash === location.hash) follow(); });
  if (!follow()) refresh();
})();
