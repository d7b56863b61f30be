// What outlives a reload, or this page. A browser may forbid both: then it is forgotten with the page, and all else works.
const kept = (() => {
  const LETTERS = "kvorum-letters";

  // Also of what the browser does not keep.
  const memory = new Map();

  const attempt = (work) => {
    try {
      return work();
    } catch {
      return null;
    }
  };

  return {
    get: (name) => memory.get(name) ?? attempt(() => JSON.parse(sessionStorage.getItem(name))),
    set: (name, value) => {
      memory.set(name, value);
      attempt(() => sessionStorage.setItem(name, JSON.stringify(value)));
    },
    // Whether letters choose. A cookie, since each start of the server may have another port, and so a storage of its own.
    get letters() { return !attempt(() => document.cookie.split("; ").includes(`${LETTERS}=off`)); },
    set letters(on) { attempt(() => { document.cookie = `${LETTERS}=${on ? "on" : "off"}; max-age=31536000; path=/; samesite=strict`; }); },
  };
})();
