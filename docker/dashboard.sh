#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Puts the dashboard together: docker/dashboard.sh BUILD_DIR makes BUILD_DIR/static from static/ and the two libraries in
# node_modules, with their licences. There is no build step: files are copied, and vendor/preact.js names in one place
# what the dashboard takes from preact and htm.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:?usage: docker/dashboard.sh BUILD_DIR}/static
modules=$here/node_modules

rm -rf "$out.new"
mkdir -p "$out.new"
cp -R "$here/static/." "$out.new"
vendor=$out.new/vendor
mkdir -p "$vendor"
cp "$modules/preact/dist/preact.module.js" "$vendor/preact-core.js"
# The browser has no package names: the hooks must find preact by its file.
sed 's/from"preact"/from".\/preact-core.js"/g' "$modules/preact/hooks/dist/hooks.module.js" >"$vendor/preact-hooks.js"
cp "$modules/htm/dist/htm.module.js" "$vendor/htm.js"
cp "$modules/preact/LICENSE" "$vendor/LICENSE.preact"
cp "$modules/htm/LICENSE" "$vendor/LICENSE.htm"
if [ ! -f "$here/static/vendor/preact.js" ]; then
    cat >"$vendor/preact.js" <<'END'
import { h } from './preact-core.js';
import htm from './htm.js';
export * from './preact-core.js';
export * from './preact-hooks.js';
export const html = htm.bind(h);
END
fi
rm -rf "$out"
mv "$out.new" "$out"
