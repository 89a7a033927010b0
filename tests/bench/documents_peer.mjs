// SPDX-License-Identifier: Apache-2.0
// The three stages as one would write them in Node over Redis Streams: a stream and a consumer group a stage, batches of
// 100, every value kept under a key of its own, as in the pipeline that is measured. No retries, no dead letters, no
// fences: a stage acknowledges when its results are written.
//
//   node documents_peer.mjs SOCKET FILE N submit|extract|summarize...
//
// Begins with the documents of FILE, a line each, when something is pushed to the list `go`; pushes to `done` after N
// summaries.
import { readFileSync } from 'node:fs';
import IORedis from 'ioredis';

const [path, file, count, ...roles] = process.argv.slice(2);
const connect = () => new IORedis({ path });
const BATCH = 100;

async function submit() {
    const redis = connect();
    const documents = readFileSync(file, 'utf8').trim().split('\n');
    await redis.lpush('ready', 'submit');
    await redis.blpop('go', 0);
    for (let at = 0; at < documents.length; at += BATCH) {
        const batch = redis.pipeline();
        for (const text of documents.slice(at, at + BATCH)) {
            const { id } = JSON.parse(text);
            batch.set(`pipeline.${id}.raw`, text);
            batch.xadd('raw', '*', 'id', id);
        }
        await batch.exec();
    }
}

async function stage(name, stream, work) {
    const redis = connect();
    const reader = connect();
    await reader.xgroup('CREATE', stream, name, '0', 'MKSTREAM').catch(() => {});
    await redis.lpush('ready', name);
    for (;;) {
        const answer = await reader.xreadgroup('GROUP', name, 'one', 'COUNT', BATCH, 'BLOCK', 1000, 'STREAMS', stream, '>');
        if (!answer) continue;
        const entries = answer[0][1];
        const out = redis.pipeline();
        await work(redis, out, entries.map(([, fields]) => fields[1]));
        out.xack(stream, name, ...entries.map(([number]) => number));
        await out.exec();
        await work.after?.(redis, entries.length);
    }
}

async function extract(redis, out, ids) {
    const raws = await redis.mget(ids.map((id) => `pipeline.${id}.raw`));
    raws.forEach((text) => {
        const { id, body } = JSON.parse(text);
        const words = body.split(/\s+/).filter((w) => w !== '');
        const entities = words.filter((w) => w[0] !== w[0].toLowerCase());
        out.set(`pipeline.${id}.extracted`, JSON.stringify({ id, entities, word_count: words.length }));
        out.xadd('extracted', '*', 'id', id);
    });
}

async function summarize(redis, out, ids) {
    const values = await redis.mget(ids.flatMap((id) => [`pipeline.${id}.extracted`, `pipeline.${id}.raw`]));
    ids.forEach((id, i) => {
        const { entities } = JSON.parse(values[2 * i]);
        const { title, body } = JSON.parse(values[2 * i + 1]);
        const one_liner = body.length > 80 ? body.slice(0, 80) + '...' : body;
        out.set(`pipeline.${id}.summary`, JSON.stringify({ id, title, one_liner, entity_count: entities.length }));
    });
}
let left = Number(count);
summarize.after = async (redis, n) => {
    left -= n;
    if (left === 0) {
        left = Number(count);
        await redis.lpush('done', '1');
    }
};

if (roles.includes('extract')) stage('extract', 'raw', extract);
if (roles.includes('summarize')) stage('summarize', 'extracted', summarize);
if (roles.includes('submit')) {
    await submit();
    if (roles.length === 1) process.exit(0);
}
