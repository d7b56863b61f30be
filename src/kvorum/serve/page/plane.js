// Where an answer stands among the calibration questions, between entropy and mutual information.
const plane = (() => {
  const { byId, make, draw, number, percent, many, commas } = shown;
  const KINDS = ["confident", "torn", "disputed"];
  const MARGIN = { left: 62, right: 14, top: 14, bottom: 44 };
  const ROOM = { x: 56, y: 26 };
  const NICE = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
  const figure = byId("drawing");
  let points = null, here = null;

  const kindOf = (entropy, information) => (information > points.mi_cut ? "disputed" : entropy > points.entropy_cut ? "torn" : "confident");
  const outcomeOf = (right) => (right === null ? "unknown" : right ? "right" : "wrong");

  const MARKS = {
    right: (x, y, size) => `M${x},${y}h.01`,
    wrong: (x, y, size) => `M${x - size},${y - size}l${2 * size},${2 * size}m0,${-2 * size}l${-2 * size},${2 * size}`,
    unknown: (x, y, size) => `M${x - size},${y}a${size},${size} 0 1 0 ${2 * size},0a${size},${size} 0 1 0 ${-2 * size},0`,
  };

  // Of values from 0 up, those that have room beside each other on a scale, the highest first.
  function ticks(values, at, room) {
    const kept = [0];
    for (const value of values.toReversed()) if (kept.every((other) => Math.abs(at(other) - at(value)) >= room)) kept.push(value);
    return kept;
  }

  function redraw() {
    if (!points) return;
    const width = figure.clientWidth;
    if (!width) return;
    const height = Math.round(Math.min(420, Math.max(260, width * 0.62)));
    const { predictive_entropy: entropies, mutual_information: informations, right } = points;
    const most = {
      x: 1.04 * Math.max(...entropies, points.entropy_cut, here?.entropy ?? 0, 0.1),
      y: 1.08 * Math.max(...informations, points.mi_cut, here?.information ?? 0, 0.001),
    };
    const span = { x: width - MARGIN.left - MARGIN.right, y: height - MARGIN.top - MARGIN.bottom };
    const round = (value) => Math.round(value * 100) / 100;
    const x = (entropy) => round(MARGIN.left + (span.x * entropy) / most.x);
    const y = (information) => round(height - MARGIN.bottom - span.y * Math.sqrt(Math.max(0, information) / most.y));
    const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const text = (content, attributes) => draw("text", attributes, content);

    const step = NICE.find((value) => value >= 0.05 && (span.x * value) / most.x >= ROOM.x) ?? most.x;
    const along = Array.from({ length: Math.floor(most.x / step) }, (_, place) => Number(((place + 1) * step).toFixed(6)));
    for (const value of [0, ...along]) {
      svg.append(draw("line", { class: "grid", x1: x(value), x2: x(value), y1: MARGIN.top, y2: height - MARGIN.bottom }));
      svg.append(text(String(value), { class: "tick x", x: x(value), y: height - MARGIN.bottom + 16, "text-anchor": "middle" }));
    }
    for (const value of ticks(NICE.filter((one) => one <= most.y), y, ROOM.y)) {
      svg.append(draw("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
      svg.append(text(String(value), { class: "tick y", x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" }));
    }
    svg.append(text("entropy (nats)", { class: "axis", x: MARGIN.left + span.x / 2, y: height - 6, "text-anchor": "middle" }));
    svg.append(text("mutual information (nats)", { class: "axis", transform: `translate(12 ${MARGIN.top + span.y / 2}) rotate(-90)`, "text-anchor": "middle" }));

    // Of a thousand marks, an element each would be slow; a path for each kind is not.
    const size = entropies.length > 300 ? 2.4 : 3.2;
    const paths = {};
    entropies.forEach((entropy, row) => {
      const name = `${kindOf(entropy, informations[row])} ${outcomeOf(right[row])}`;
      paths[name] = (paths[name] ?? "") + MARKS[outcomeOf(right[row])](x(entropy), y(informations[row]), size);
    });
    for (const [name, d] of Object.entries(paths)) {
      const path = draw("path", { class: `mark ${name}`, d });
      path.style.setProperty("--size", size);
      svg.append(path);
    }

    svg.append(draw("line", { class: "cut", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(points.mi_cut), y2: y(points.mi_cut) }));
    svg.append(draw("line", { class: "cut", x1: x(points.entropy_cut), x2: x(points.entropy_cut), y1: y(points.mi_cut), y2: height - MARGIN.bottom }));
    const at = here && { x: x(here.entropy), y: y(here.information) };
    if (at) svg.append(draw("path", { class: "reach", d: `M${MARGIN.left},${at.y}H${at.x}V${height - MARGIN.bottom}` }));
    svg.append(text("disputed", { class: "region", x: MARGIN.left + 6, y: y(points.mi_cut) - 6 }));
    if (height - MARGIN.bottom - y(points.mi_cut) > 24 && x(points.entropy_cut) - MARGIN.left > 80) {
      svg.append(text("confident", { class: "region", x: MARGIN.left + 6, y: y(points.mi_cut) + 15 }));
    }
    if (height - MARGIN.bottom - y(points.mi_cut) > 24 && width - MARGIN.right - x(points.entropy_cut) > 46) {
      svg.append(text("torn", { class: "region", x: width - MARGIN.right - 6, y: y(points.mi_cut) + 15, "text-anchor": "end" }));
    }

    if (at) {
      svg.append(draw("path", { id: "here", d: `M${at.x},${at.y - 8}l8,8l-8,8l-8,-8z` }));
    }
    figure.replaceChildren(svg);
  }

  // What is drawn, in numbers: how often each kind of doubt was right.
  function tell() {
    const counts = Object.fromEntries(KINDS.map((kind) => [kind, { questions: 0, known: 0, right: 0 }]));
    points.predictive_entropy.forEach((entropy, row) => {
      const count = counts[kindOf(entropy, points.mutual_information[row])];
      count.questions++;
      if (points.right[row] !== null) count.known++;
      if (points.right[row]) count.right++;
    });
    byId("kinds").replaceChildren(...KINDS.map((kind) => {
      const { questions, known, right } = counts[kind];
      const tag = make("span", "tag", kind);
      tag.style.setProperty("--tone", `var(--fig-${kind})`);
      const heading = make("th", "", tag);
      heading.scope = "row";
      return make("tr", here && kindOf(here.entropy, here.information) === kind ? "ours" : "", heading, make("td", "", commas(questions)), make("td", "", known ? percent(right / known) : "–"));
    }));
    byId("unknown").hidden = !points.right.includes(null);
    const place = here
      ? `This question has entropy ${number(here.entropy)} and mutual information ${number(here.information)} nats: ${kindOf(here.entropy, here.information)}.`
      : "A question that is asked will be marked here.";
    byId("place").textContent = place;
    figure.setAttribute("aria-label", `${many(points.right.length, "question")} of ${points.task} by entropy and mutual information. ${place} The table has the numbers.`);
  }

  new ResizeObserver(() => { if (figure.clientWidth !== figure.firstElementChild?.clientWidth) redraw(); }).observe(figure);

  return {
    // With a calibration the cuts are that one's, also over questions of another task.
    show: (found, calibration) => {
      points = found;
      const ours = found.task === calibration?.task ? ", which it was calibrated on" : "";
      const whose = calibration ? "the calibration questions" : "the task";
      byId("plane-hint").textContent = `${many(points.right.length, "question")} of ${points.task}${ours}. The lines are the medians of ${whose}: the further right, the more doubt; the higher (on a square-root scale), the more of it is because members disagree.`;
      redraw();
      tell();
    },
    none: (words) => {
      byId("plane-hint").textContent = words;
      byId("plane-body").hidden = true;
    },
    mark: (reply) => {
      here = { entropy: reply.entropy.predictive, information: reply.entropy.mutual_information };
      if (!points) return;
      redraw();
      tell();
    },
  };
})();
