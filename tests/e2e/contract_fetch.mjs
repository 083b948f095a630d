const [host, token] = process.argv.slice(2);

const response = await fetch(`${host}/api/auth/api-keys/`, { method: 'POST',
  headers: {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'},
  body: '{"name":"example"}' });
const data = await response.json();

console.log(JSON.stringify(data));
if (response.status !== 201) process.exit(1);
