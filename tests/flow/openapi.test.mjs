// SPDX-License-Identifier: Apache-2.0
// The description of the API is valid OpenAPI 3.1, names what the server has, and its examples are true to its schemas.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { World, document, endAll, resolve, root, validate } from "./api_world.mjs";

after(endAll);

const methods = { HTTP_GET_: ["get"], HTTP_POST_: ["post"], HTTP_PUT_: ["put"], HTTP_DELETE_: ["delete"], ANY_METHOD: ["post"] };
const operations = Object.entries(document.paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));

test("the document is valid by the official schema of OpenAPI 3.1", async () => {
  const result = await new Validator().validate(structuredClone(document));
  assert.ok(result.valid, JSON.stringify(result.errors, null, 1));
  assert.equal(document.openapi, "3.1.0");
});

test("the document names the same paths and methods as the table of routes", () => {
  const rows = [...readFileSync(join(root, "handlers/routes.c"), "utf8").matchAll(/^\s*ROW\((\w+),\s*"([^"]+)"/gm)];
  assert.ok(rows.length > 30);
  const routed = rows.flatMap(([, method, path]) => {
    const named = path.replace(/:(\w+)/g, "{$1}").replace("/hooks/*", "/hooks/{path}").replace("/v1/kv/*", "/v1/kv/{key}");
    assert.ok(methods[method], `${method} is not known to this test`);
    return methods[method].map((m) => `${m} ${named}`);
  });
  assert.deepEqual(operations.map((o) => `${o.method} ${o.path}`).sort(), routed.sort());
});

test("open routes and no others are described as open", () => {
  const rows = [...readFileSync(join(root, "handlers/routes.c"), "utf8").matchAll(/^\s*ROW\((\w+),\s*"([^"]+)"(.*)$/gm)];
  for (const [, method, path, rest] of rows) {
    const item = document.paths[path.replace(/:(\w+)/g, "{$1}").replace("/hooks/*", "/hooks/{path}").replace("/v1/kv/*", "/v1/kv/{key}")];
    assert.equal(item[methods[method][0]].security?.length === 0, rest.includes(".open = true"), path);
  }
});

test("operations have names of their own, and say what all their path parameters are", () => {
  const names = operations.map((o) => o.operation.operationId);
  assert.equal(new Set(names).size, names.length);
  for (const { path, method, operation } of operations) {
    const wanted = [...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]);
    const given = (operation.parameters ?? []).map(resolve).filter((p) => p.in === "path").map((p) => p.name);
    assert.deepEqual(given, wanted, `${method} ${path}`);
  }
});

test("every example fits its schema", () => {
  let n = 0;
  const look = (media, what) => {
    if (media?.example === undefined) return;
    validate(media.schema, media.example, what);
    n++;
  };
  for (const { path, method, operation } of operations) {
    for (const p of (operation.parameters ?? []).map(resolve)) look(p, `${method} ${path} ${p.name}`);
    for (const media of Object.values(operation.requestBody?.content ?? {})) look(media, `${method} ${path}`);
    for (const [status, response] of Object.entries(operation.responses))
      for (const media of Object.values(resolve(response).content ?? {})) look(media, `${method} ${path} ${status}`);
  }
  assert.ok(n > 100, `${n} examples`);
});

test("every schema that is referred to is there, and every one that is there is used", () => {
  const text = JSON.stringify(document);
  const used = new Set([...text.matchAll(/#\/components\/(\w+)\/(\w+)/g)].map((m) => `${m[1]}/${m[2]}`));
  const there = ["schemas", "parameters", "responses"].flatMap((kind) => Object.keys(document.components[kind]).map((name) => `${kind}/${name}`));
  assert.deepEqual([...used].sort(), there.sort());
});

test("the server gives the document to everybody, and says when it has not changed", async () => {
  const world = new World("", { env: { HOOKMESH_TOKEN: "a-token-for-a-test" } });
  await world.start();
  const answer = await world.get("/v1/openapi.json");
  assert.deepEqual(answer.json, document);
  const again = await world.call("GET", "/v1/openapi.json", { headers: { "if-none-match": answer.headers.etag } });
  assert.equal(again.status, 304);
  assert.equal(again.text, "");
  await world.finish();
});
