// One client in a process of its own: node nodemailer.js PORT WORK-as-JSON; prints seconds and processor time.
const nodemailer = require("nodemailer");
const port = Number(process.argv[2]);
const work = JSON.parse(process.argv[3]);
const head = "From: <alice@client.example>\r\nSubject: benchmark\r\n\r\n";
const line = "QmVuY2htYXJrcyBtdXN0IGJlIGFzIGR1bGwgYXMgdGhleSBhcmUgaG9uZXN0LCBhbmQgc28g\r\n";
const body = line.repeat(Math.floor((work.size - head.length) / line.length));
const raw = (head + body).padEnd(work.size - 2, "=") + "\r\n";
const to = Array.from({ length: work.recipients }, (_, n) => `user${n}@mx.example`);

async function main() {
  const transport = nodemailer.createTransport({
    host: "127.0.0.1", port, secure: false, ignoreTLS: true, pool: true, maxConnections: 1, maxMessages: Infinity,
  });
  const begun = process.hrtime.bigint();
  const before = process.cpuUsage();
  for (let n = 0; n < work.messages; n += 1) {
    await transport.sendMail({ envelope: { from: "alice@client.example", to }, raw });
  }
  const used = process.cpuUsage(before);
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  console.log(JSON.stringify({ seconds, cpu: (used.user + used.system) / 1e6, memory: 0 }));
  transport.close();
}
main();
