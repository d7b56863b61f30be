// What the server is asked, and what can come of it.
const server = (() => {
  const AGAIN = [429, 503, 504];
  // Kept here alone: closed with the page, it is gone.
  let token = "";

  // A request that came to nothing: `status` 0 where there was no reply at all.
  class Refused extends Error {
    constructor(status, message, field = null, seconds = null) {
      super(message);
      Object.assign(this, { status, field, seconds });
    }

    // In words, with what to do.
    get words() {
      if (this.status === 0) return "The server cannot be reached. Once it runs again, ask again: nothing here is lost.";
      const again = this.seconds ? `Try again in about ${this.seconds} s.` : "Try again in a moment.";
      if (this.status === 429) return `The server is busy: too many questions wait. ${again}`;
      return shown.sentence(this.message) + (AGAIN.includes(this.status) ? ` ${again}` : "");
    }
  }

  async function call(path, body, signal) {
    const headers = new Headers();
    if (token) headers.set("authorization", `Bearer ${token}`);
    if (body) headers.set("content-type", "application/json");
    let reply, text;
    try {
      reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store", credentials: "omit" });
      text = await reply.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refused(0, String(error));
    }
    let content;
    try {
      content = JSON.parse(text);
    } catch {
      throw new Refused(reply.status, `The reply, of status ${reply.status}, is none of kvorum's: something may stand between this page and its server`);
    }
    if (reply.ok) return content;
    const { message = `The server replied ${reply.status}`, field = null } = content?.error ?? {};
    throw new Refused(reply.status, String(message), field, Number(reply.headers.get("retry-after")) || null);
  }

  return {
    Refused,
    posterior: () => call("v1/posterior"),
    plane: () => call("v1/plane"),
    questions: (task, offset, limit) => call(`v1/tasks/${encodeURIComponent(task)}/questions?offset=${offset}&limit=${limit}`),
    ask: async (question, signal) => (await call("v1/answers", { questions: [question] }, signal)).answers[0],
    // False for what no header can carry.
    useToken: (text) => {
      if (!/^[\x21-\x7e]+$/.test(text)) return false;
      token = text;
      return true;
    },
    get hasToken() { return token !== ""; },
  };
})();
