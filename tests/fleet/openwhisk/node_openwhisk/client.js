// npm's `openwhisk`, unmodified: one call of each kind; what it got goes to stdout as JSON. Arguments: URL KEY MODULE.wasm
"use strict";
const fs = require("fs");
const openwhisk = require("openwhisk");

const [url, key, file] = process.argv.slice(2);
const whisk = openwhisk({ apihost: url, api_key: `00000000-0000-0000-0000-000000000000:${key}` });

async function ended(activationId) {
  for (;;) {
    try {
      return await whisk.activations.get({ name: activationId });
    } catch (error) {
      if (error.statusCode !== 404) throw error;
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

async function main() {
  const got = {};
  const action = fs.readFileSync(file);
  got.version = (await whisk.actions.update({ name: "js", action, kind: "wasm", params: { a: 1 } })).version;
  got.result = await whisk.actions.invoke({ name: "js", blocking: true, result: true, params: { b: 2 } });
  const { activationId } = await whisk.actions.invoke({ name: "js" });
  got.success = (await ended(activationId)).response.success;
  got.logs = (await whisk.activations.logs({ name: activationId })).logs.length;
  await whisk.actions.update({ name: "seq", sequence: ["/_/js", "/_/js"] });
  got.sequence = await whisk.actions.invoke({ name: "seq", blocking: true, result: true });
  got.actions = (await whisk.actions.list()).map((one) => one.name).sort();
  await whisk.triggers.update({ name: "t" });
  await whisk.rules.update({ name: "r", trigger: "t", action: "js" });
  const fired = await whisk.triggers.invoke({ name: "t", params: { x: 1 } });
  got.fired = (await ended(JSON.parse((await ended(fired.activationId)).logs[0]).activationId)).response.result;
  await whisk.rules.disable({ name: "r" });
  got.rule = (await whisk.rules.get({ name: "r" })).status;
  const feed = { name: "/whisk.system/alarms/alarm", trigger: "t" };
  got.feed = (await whisk.feeds.create({ ...feed, params: { cron: "0 0 1 1 *" } })).response.result;
  await whisk.feeds.delete(feed);
  await whisk.actions.update({ name: "js", action, kind: "wasm", annotations: { "web-export": true } });
  got.route = (await whisk.routes.create({ action: "js", basepath: "/js", relpath: "/x", operation: "get" })).gwApiUrl;
  got.routes = (await whisk.routes.list()).apis.length;
  await whisk.routes.delete({ basepath: "/js" });
  try {
    await whisk.actions.get({ name: "none" });
  } catch (error) {
    got.none = [error.statusCode, error.error.error];
  }
  await whisk.rules.delete({ name: "r" });
  await whisk.triggers.delete({ name: "t" });
  for (const name of ["seq", "js"]) await whisk.actions.delete({ name });
  got.left = (await whisk.actions.list()).length;
  console.log(JSON.stringify(got));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
