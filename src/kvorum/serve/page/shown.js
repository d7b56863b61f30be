// Elements and numbers as they are shown. Text from the server only ever becomes text nodes.
const shown = (() => {
  const NOTHING = 1e-9;
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);

  const make = (tag, className, ...content) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content);
    return element;
  };
  const draw = (tag, attributes, ...content) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...content);
    return element;
  };
  // Words of a language of its own direction among ours.
  const quoted = (text, className = "", tag = "span") => {
    const element = make(tag, className, text);
    element.dir = "auto";
    return element;
  };

  const letter = (choice) => (choice < 26 ? String.fromCharCode(97 + choice) : String(choice + 1));
  const number = (value) => (value < NOTHING ? "0.000" : value >= 0.0995 ? value.toFixed(3) : value < 0.00005 ? "<0.0001" : value.toFixed(4));
  const percent = (share) => `${(100 * share).toFixed(1).replace(/\.0$/, "")}%`;
  // Bounds and what was asked for: no promise is rounded in its favour.
  const atMost = (share) => `${Math.ceil(1000 * share - 1e-9) / 10}%`;
  const atLeast = (share) => `${Math.floor(1000 * share + 1e-9) / 10}%`;
  const exactly = (share) => `${Number((100 * share).toPrecision(6))}%`;
  const commas = (value) => value.toLocaleString("en");
  const many = (count, noun) => `${commas(count)} ${noun}${count === 1 ? "" : "s"}`;
  const sentence = (text) => {
    const whole = text.trim();
    return whole ? whole[0].toUpperCase() + whole.slice(1) + (/[.!?]$/.test(whole) ? "" : ".") : "";
  };

  return { byId, make, draw, quoted, letter, number, percent, atMost, atLeast, exactly, commas, many, sentence };
})();
