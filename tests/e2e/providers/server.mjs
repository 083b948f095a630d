// Waits until a server that this process spawned listens on a port.
import { connect } from 'node:net';

export async function listening(server, port) {
  let ended = null;
  server.on('exit', (status) => { ended = status; }).on('error', (error) => { ended = error; });
  for (;;) {
    if (ended !== null) throw new Error(`the server ended: ${ended}; if it is missing, run make tools`);
    const accepts = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => resolve(false));
    });
    if (accepts) return;
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}
