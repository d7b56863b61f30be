// What the server is asked, and what can come of it.
const server = (() => {
  // A request that came to nothing: `status` 0 where there was no reply at all; `field` is the part that was wrong.
  class Refused extends Error {
    constructor(status, message, field = null) {
      super(message);
      this.status = status;
      this.field = field;
    }

    get words() {
      return this.status === 0 ? `The server cannot be reached. Start kvorum label on this file again with --web --port ${location.port || 80}; then this page goes on.` : shown.sentence(this.message);
    }
  }

  async function call(path, method, body) {
    const headers = body ? { "content-type": "application/json" } : {};
    let reply, content;
    try {
      reply = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit" });
      content = await reply.text();
    } catch (error) {
      throw new Refused(0, String(error));
    }
    try {
      content = JSON.parse(content);
    } catch {
      throw new Refused(reply.status, `The reply, of status ${reply.status}, is none of kvorum's`);
    }
    if (reply.ok) return content;
    throw new Refused(reply.status, String(content?.error?.message ?? `The server replied ${reply.status}`), content?.error?.field ?? null);
  }

  return {
    questions: () => call("api/questions", "GET"),
    answers: () => call("api/answers", "GET"),
    label: (place, given) => call(`api/questions/${place}`, "PUT", given),
  };
})();
