// SPDX-License-Identifier: Apache-2.0
// What one would write in Node today: fastify takes the body, @octokit/webhooks verifies it, BullMQ keeps the job under
// the delivery's id, so that a repeated delivery is one job.
import Fastify from 'fastify';
import IORedis from 'ioredis';
import { Queue } from 'bullmq';
import { Webhooks } from '@octokit/webhooks';

const connection = new IORedis({ path: process.argv[2], maxRetriesPerRequest: null });
const queue = new Queue('hooks', { connection });
const webhooks = new Webhooks({ secret: process.env.BENCH_SECRET });
const app = Fastify({ bodyLimit: 26214400 });
app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => done(null, body));

app.post('/hooks/github', async (request, reply) => {
    if (!(await webhooks.verify(request.body, request.headers['x-hub-signature-256'])))
        return reply.code(401).send();
    const id = request.headers['x-github-delivery'];
    await queue.add(request.headers['x-github-event'], JSON.parse(request.body), { jobId: id });
    return reply.code(202).send({ id });
});

console.log(await app.listen({ port: 0, host: '127.0.0.1' }));
