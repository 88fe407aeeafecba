// A peer for benchmarks: HMAC token, JSON check, 202, batches to RabbitMQ with confirms, on fastify and amqplib.
//
//   node server.js ADDRESS SIGNING_KEY_FILE AMQP_URL
//
// It does what a careful author would: no log, a bound on what waits, batches of 100 events, 64 messages in flight.

import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import amqplib from "amqplib";
import fastify from "fastify";

const [address, keys, amqp] = process.argv.slice(2);
const QUEUE = "peer-fastify.events";
const EVENTS_MAX = 65536;
const BATCH_EVENTS = 100;
const WINDOW = 64;

const key = Buffer.from(JSON.parse(readFileSync(keys, "utf8")).keys[0].key, "base64url");
const waiting = [];
let accepted = 0;
let confirmed = 0;
let inFlight = 0;

// The app that a token was made for; nothing if it is not good.
function verify(authorization) {
  if (!authorization?.startsWith("Bearer ")) return undefined;
  const token = authorization.slice(7);
  const dot = token.lastIndexOf(".");
  if (dot < 0) return undefined;
  const tag = Buffer.from(token.slice(dot + 1), "base64url");
  const expected = createHmac("sha256", key).update(token.slice(0, dot)).digest();
  if (tag.length !== expected.length || !timingSafeEqual(tag, expected)) return undefined;
  try {
    const claims = JSON.parse(Buffer.from(token.slice(token.indexOf(".") + 1, dot), "base64url").toString());
    return claims.aud === "forebay" && claims.exp > Date.now() / 1000 ? claims.sub : undefined;
  } catch {
    return undefined;
  }
}

const connection = await amqplib.connect(amqp);
const channel = await connection.createConfirmChannel();
await channel.assertQueue(QUEUE, { durable: true, arguments: { "x-queue-type": "classic" } });

// Sends what waits, as long as the window is open.
function publish() {
  while (inFlight < WINDOW && waiting.length > 0) {
    const events = waiting.splice(0, BATCH_EVENTS);
    const envelopes = events.map(
      ({ app, id, payload }) =>
        `{"specversion":"1.0","id":"${id}","source":"/apps/${app}","type":"forebay.event","datacontenttype":"application/json","data":${payload}}`,
    );
    inFlight += 1;
    channel.sendToQueue(QUEUE, Buffer.from(`[${envelopes.join(",")}]`), { persistent: true, mandatory: true }, (error) => {
      if (error) throw error;
      inFlight -= 1;
      confirmed += events.length;
      publish();
    });
  }
}

let isScheduled = false;
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  // After the requests that came together.
  setImmediate(() => {
    isScheduled = false;
    publish();
  });
}

const server = fastify({ logger: false, keepAliveTimeout: 3_600_000 });
// The text is passed on as it came: it is checked here, and not made anew from what was parsed.
server.removeContentTypeParser("application/json");
server.addContentTypeParser("*", { parseAs: "string" }, (_, text, done) => done(null, text));

server.post("/v1/events", (request, reply) => {
  const app = verify(request.headers.authorization);
  if (app === undefined) return reply.code(401).send();
  try {
    JSON.parse(request.body);
  } catch {
    return reply.code(400).send();
  }
  if (waiting.length >= EVENTS_MAX) return reply.code(503).send();
  const id = randomUUID();
  waiting.push({ app, id, payload: request.body });
  accepted += 1;
  schedule();
  return reply.code(202).type("application/json").send(`{"id":"${id}"}`);
});

server.get("/pending", (_, reply) => reply.type("text/plain").send(String(accepted - confirmed)));

const [host, port] = address.split(":");
await server.listen({ host, port: Number(port) });
