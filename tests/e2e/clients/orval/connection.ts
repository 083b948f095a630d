// Sends what the client asks for: base URL and token are the arguments of the program.

const [baseUrl, token] = process.argv.slice(2);

export async function send<T>(path: string, init: RequestInit): Promise<T> {
  const headers = new Headers(init.headers);
  if (!headers.has("authorization")) headers.set("authorization", `Bearer ${token}`);
  const response = await fetch(`${baseUrl}${path}`, { ...init, headers });
  const text = await response.text();
  return { status: response.status, headers: response.headers, data: text && JSON.parse(text) } as T;
}
