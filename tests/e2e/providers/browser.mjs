// What a browser does while a person signs in: keeps cookies, and follows redirects up to the client's callback.
import { request } from 'node:http';

export class Browser {
  #cookies = new Map();

  constructor(callback) {
    this.callback = callback;
  }

  // Returns the last response with its text and URL; at the callback, only its URL.
  async open(url, options = {}) {
    for (let redirects = 0; redirects < 10; redirects += 1) {
      if (this.callback && url.startsWith(this.callback)) return { url };
      const response = await this.#send(url, options);
      if (!response.location) return { url, ...response };
      url = new URL(response.location, url).href;
      options = {};
    }
    throw new Error(`more than 10 redirects, the last to ${url}`);
  }

  postForm(url, fields) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.open(url, { method: 'POST', headers, body: `${new URLSearchParams(fields)}` });
  }

  // Sends JSON as a page's script does.
  async sendJson(method, url, body) {
    const headers = { 'content-type': 'application/json', origin: new URL(url).origin };
    const response = await this.open(url, { method, headers, body: JSON.stringify(body) });
    if (response.status >= 300) throw new Error(`${url}: ${response.status} ${response.text}`);
    return response.text ? JSON.parse(response.text) : null;
  }

  // With `node:http`, because `fetch` declares each request as one of a script (`Sec-Fetch-Mode: cors`).
  async #send(url, { method, headers, body }) {
    const cookie = [...this.#cookies].map((pair) => pair.join('=')).join('; ');
    const response = await new Promise((resolve, reject) => {
      request(url, { method, headers: { ...headers, cookie } }, resolve).on('error', reject).end(body);
    });
    for (const set of response.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
      this.#cookies.set(name, value);
    }
    const text = (await response.toArray()).join('');
    return { status: response.statusCode, location: response.headers.location, text };
  }
}
