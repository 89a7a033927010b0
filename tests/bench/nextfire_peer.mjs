// SPDX-License-Identifier: Apache-2.0
// nextfire.c with croner: lines "ZONE<tab>EXPRESSION" on stdin, the nanoseconds a next fire takes on stdout.
import { readFileSync } from "node:fs";
import { Cron } from "croner";

const fires = Number(process.argv[2] ?? 5000);
const from = new Date(1774699200_000);
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const [timezone, expression] = line.split("\t");
  const cron = new Cron(expression, { timezone, paused: true });
  let at = from;
  const run = (n) => {
    for (let i = 0; i < n; i++) {
      at = cron.nextRun(at) ?? from;
      if (at - from > 3e12) at = from;
    }
  };
  run(fires / 5); // until it is compiled
  at = from;
  const start = process.hrtime.bigint();
  run(fires);
  console.log((Number(process.hrtime.bigint() - start) / fires).toFixed(1), at / 1000);
}
